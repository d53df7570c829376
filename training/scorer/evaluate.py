"""Judge a scorer on synthetic cases, with baselines beside it: JSON, a page with plots, a table.

    python -m training.scorer.evaluate --out DIR [--held-out 120] [--stress 60] [--training 120]

Cases are drawn into DIR and kept. Thresholds were fitted on one half of the held-out seeds; only
the other half is judged here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.durable import write_durably
from models.manifest import MODEL_SAFETENSORS
from models.registry import Bundle, open_verified, read_bundle, resolve
from models.runtime import load_network
from models.scorer.calibration import ScorerCalibration, read_calibration
from models.scorer.network import ScorerNetwork
from training.phantom.recipe import load_recipe
from training.scorer.baselines import (
    TASKS,
    Baseline,
    baselines,
    compared,
    sign_table,
    unweighed,
)
from training.scorer.cache import fill_cache
from training.scorer.combine import weighed
from training.scorer.export import halves, whole
from training.scorer.figures import evaluate
from training.scorer.page import page
from training.scorer.pool import LevelPool
from training.scorer.predict import predict

FOLDERS: Final = {"validate": "held_out", "stress": "stress", "train": "train"}
"""Recipe to the folder its crops are kept in."""


def judge(
    network: ScorerNetwork,
    calibration: ScorerCalibration,
    pools: Mapping[str, LevelPool],
    training: LevelPool,
) -> tuple[dict[str, Any], dict[str, dict[str, list[Baseline]]]]:
    """Figures of every set, and its baselines' scores for plots.

    Args:
        network: Of the bundle.
        calibration: Of the bundle.
        pools: Name of a test set to its levels.
        training: What baselines learn from.
    """
    figures: dict[str, Any] = {}
    beside: dict[str, dict[str, list[Baseline]]] = {}
    learned = sign_table(training, calibration)
    for name, pool in pools.items():
        alone = predict(network, pool)
        seen = weighed(alone, pool, calibration.combination, calibration.reference_heights_mm)
        tables = learned, sign_table(pool, calibration)
        beside[name] = {
            task: [*unweighed(alone, seen, task), *baselines(training, tables, task)]
            for task in TASKS
        }
        rows = {task: compared(seen, found, task) for task, found in beside[name].items()}
        figures[name] = evaluate(network, pool, calibration, seen) | {"baselines": rows}
    return figures, beside


def network_of(bundle: Bundle) -> ScorerNetwork:
    """The bundle's network, for PyTorch; without the evidence, which no figure asks for.

    Raises:
        TypeError: The bundle holds another kind of network.
    """
    network = load_network(bundle.manifest.network, open_verified(bundle)[MODEL_SAFETENSORS])
    if not isinstance(network, ScorerNetwork):
        raise TypeError(f"{bundle.name} is not a scorer")
    plain = ScorerNetwork(**bundle.network.arguments)
    plain.load_state_dict(network.state_dict())
    return plain.eval()


def told(figures: Mapping[str, Any]) -> str:
    """The main figures as text."""
    lines = []
    for name, found in figures.items():
        lines += [f"{name}: {found['levels']} levels, synthetic", ""]
        lines += _task_lines(found)
        extent = found["as_acquired"]["extent"]
        if extent["bodies"]:
            lines.append(
                f"  extent: error {extent['mean_error_points']} points "
                f"({extent.get('mean_error_points_said')} in the {extent['said']} of "
                f"{extent['bodies']} not called absent), bins right {extent['bins_right']}, "
                f"interval holds {extent.get('interval_coverage')}"
            )
        for part in ("height_loss_weighed", "height_loss_learned", "height_loss_measured"):
            one = found["as_acquired"].get(part) or found.get(part) or {}
            if one.get("levels"):
                lines.append(
                    f"  {part.replace('_', ' ')}: error {one['mean_error_points']} points, "
                    f"Genant kappa {one['genant_kappa_quadratic']}"
                )
        for mimic, one in found["kept_from_unhealed"].items():
            if one["levels"]:
                lines.append(f"  {mimic}: kept from unhealed {one['kept']} of {one['levels']}")
        for stratum, one in found["strata"].items():
            areas = [
                f"{task} AUROC {one[task].get('auroc', 'too few')}"
                for task in ("unhealed", "pathological")
            ]
            lines.append(f"  {stratum}: {one['levels']} levels, {', '.join(areas)}")
        lines.append("")
    return "\n".join(lines)


def _task_lines(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for view in ("as_acquired", "fluid_and_t1", "fluid_only"):
        for task in TASKS:
            one = found[view][task]
            if one.get("auroc") is not None:
                lines.append(
                    f"  {task}, {view.replace('_', ' ')}: AUROC {one['auroc']} {one['auroc_95']}, "
                    f"ECE {one['ece']}, {one['positive']} of {one['asked']} positive"
                )
        for part in ("etiology_sets", "acuity_sets"):
            for group, one in found[view][part].items():
                lines.append(
                    f"  {part.replace('_', ' ')}, {view.replace('_', ' ')}, {group}: hold "
                    f"{one['coverage']} (nominal {one['nominal']}), size {one['mean_size']}"
                )
    for task, rows in found["baselines"].items():
        for row in rows:
            detail = f" ({row['detail']})" if row["detail"] else ""
            lines.append(f"  {task}, {row['model']}{detail}: AUROC {row['auroc']}")
    return lines


def main() -> None:
    """Draw what is missing, judge, write JSON and page, print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the served one by default")
    parser.add_argument("--held-out", type=int, default=120, help="held-out patients, both halves")
    parser.add_argument("--stress", type=int, default=60, help="patients of the shifted recipe")
    parser.add_argument("--training", type=int, default=120, help="patients baselines learn from")
    given = parser.parse_args()
    bundle = read_bundle(given.bundle) if given.bundle else resolve("scorer")
    counts = {"validate": given.held_out, "stress": given.stress, "train": given.training}
    for name, count in counts.items():
        fill_cache(load_recipe(name), given.out / FOLDERS[name], count)
    pools = {
        "held out": halves(given.out / FOLDERS["validate"])[1],
        "stress": whole(given.out / FOLDERS["stress"]),
    }
    figures, beside = judge(
        network_of(bundle),
        read_calibration(bundle.metadata),
        pools,
        whole(given.out / FOLDERS["train"]),
    )
    about = {"bundle": f"scorer {bundle.version}", "command": "python -m training.scorer.evaluate"}
    write_durably(given.out / "figures.json", json.dumps(figures | about, indent=1).encode())
    text = page(figures, pools, beside, (network_of(bundle), read_calibration(bundle.metadata)))
    write_durably(given.out / "scorer.html", text.encode())
    sys.stdout.write(told(figures))


if __name__ == "__main__":
    main()
