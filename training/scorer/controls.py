"""Negative controls: what must come to nothing, what must be noticed, what must not change.

    python -m training.scorer.controls --held-out CROPS [--studies STUDIES] [--bundle DIR]

CROPS is a folder of `training.scorer.cache` (`training.scorer.evaluate` leaves one behind). The
exit code is 1 when a control fails. The network is asked alone: measured signs were taken from
series that nobody spoilt. STUDIES are synthetic ones as DICOM, read and localised as served.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.findings import Localisation, StudyVolumes
from models.registry import read_bundle, resolve
from models.scorer.calibration import ScorerCalibration, read_calibration
from models.scorer.crops import CHANNELS, PRESENCE, extract_crops, fluid_sensitive
from models.scorer.distribution import distribution_score, distribution_statistics
from models.scorer.heads import HEADS
from models.scorer.network import ScorerNetwork
from models.scorer.normalisation import DARK, to_log_ratio
from models.scorer.roles import roles_contradicted
from models.volume import Role
from service.ingest.contrast import is_inverted
from service.pipeline import reader
from service.settings import Settings
from training.evaluate_real.networks import open_localiser
from training.scorer.calibrate import CALLED
from training.scorer.pool import Batch, LevelPool
from training.statistics.roc import auroc, both_classes

FLUID, T1 = CHANNELS.index("fluid"), CHANNELS.index("t1")
MOST_LEVELS: Final = 400
"""Levels that are looked at."""

SHUFFLES: Final = 400
NOTICED: Final = 0.8
"""Share of spoilt studies that must be noticed."""

DOUBTED_AT_MOST: Final = 0.02
"""Share of right studies that may be doubted."""

STEADY: Final = 0.95
"""Share of calls that must stay where nothing was spoilt that they rest on."""

NEAR_CHANCE: Final = 0.03
"""Distance of the mean area under the curve from 0.5 over shuffled labels."""

Spoil = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Control:
    """One control's outcome."""

    name: str
    wanted: str
    value: float
    passed: bool


def inverted(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fluid-sensitive signal turned over, as with a wrong photometric interpretation."""
    spoilt = crops.copy()
    signal = np.exp(crops[:, FLUID]) * (1.0 + DARK) - DARK
    most = np.quantile(signal, 0.995, axis=(1, 2, 3), keepdims=True)
    turned = np.maximum(most - signal, 0.0) / np.maximum(most - 1.0, 0.05)
    spoilt[:, FLUID] = to_log_ratio(turned.astype(np.float32))
    return spoilt


def swapped(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """T1 taken for the fluid-sensitive series and the other way round."""
    spoilt = crops.copy()
    spoilt[:, [FLUID, T1]] = crops[:, [T1, FLUID]]
    return spoilt


def mirrored(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Left and right exchanged."""
    return np.ascontiguousarray(crops[:, :, ::-1])


def of_another(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """T1 of another patient: each level gets that of one half the list away."""
    spoilt = crops.copy()
    spoilt[:, T1] = np.roll(crops[:, T1], len(crops) // 2, axis=0)
    return spoilt


def controls(
    network: ScorerNetwork, pool: LevelPool, calibration: ScorerCalibration, seed: int = 0
) -> list[Control]:
    """Run every control on levels that show a fluid-sensitive series and T1.

    Args:
        network: In evaluation mode.
        pool: Held-out levels.
        calibration: Of the bundle.
        seed: Of the shuffling.
    """
    shown = [
        number
        for number, presence in enumerate(pool.presence)
        if presence[:3].any() and presence[PRESENCE.index("t1")]
    ]
    batch = pool.batch(np.array(shown[:MOST_LEVELS]))
    before = heads_of(network, batch.crops, batch.presence)
    found = [_shuffled(name, before, batch, seed) for name in CALLED]
    usual = flagged(batch.crops, batch.presence, calibration)
    found.append(
        Control("untouched, flagged as unlike training", "at most 0.10", usual, usual <= 0.1)
    )
    for name, spoil in (("inverted contrast", inverted), ("T1 and STIR swapped", swapped)):
        # Whole studies are noticed before they come here, see `of_studies`; single levels are not.
        noticed = flagged(spoil(batch.crops), batch.presence, calibration)
        found.append(
            Control(f"{name}, flagged", f"at least {NOTICED}", noticed, noticed >= NOTICED)
        )
    for name, spoil, kept in (
        ("left and right mirrored", mirrored, CALLED),
        ("T1 of another patient", of_another, ("edema", "unhealed")),
    ):
        after = heads_of(network, spoil(batch.crops), batch.presence)
        for task in kept:
            same = _same_calls(before, after, task, calibration)
            found.append(
                Control(f"{name}, {task} calls kept", f"at least {STEADY}", same, same >= STEADY)
            )
    return found


def of_studies(
    studies: Iterable[Path], localise: Callable[[StudyVolumes], Localisation]
) -> list[Control]:
    """Whole studies, as served: series taken for each other, and series turned over.

    Args:
        studies: Folders with `dicom` in them; those without T1 and a fluid-sensitive series are
            passed over.
        localise: As served.
    """
    read = reader(Settings())
    contradicted: dict[str, list[bool]] = {"right": [], "exchanged": []}
    inverted_of: dict[str, list[bool]] = {"right": [], "inverted": []}
    for folder in studies:
        volumes = read(folder / "dicom").volumes
        other = None if volumes is None else _exchanged(volumes)
        if volumes is None or other is None:
            continue
        for told, study in zip(contradicted.values(), (volumes, other), strict=True):
            found = localise(study)
            told.append(roles_contradicted(extract_crops(study, found), found))
        fluid = fluid_sensitive(volumes)
        if fluid is not None:
            over = replace(fluid, array=fluid.array.max() - fluid.array)
            for told, volume in zip(inverted_of.values(), (fluid, over), strict=True):
                told.append(is_inverted(volume))
    return [
        *_pair("roles", contradicted, ("right, contradicted", "T1 and STIR exchanged, noticed")),
        *_pair("contrast", inverted_of, ("right, refused", "STIR turned over, refused")),
    ]


def _pair(
    what: str, seen: Mapping[str, Sequence[bool]], names: tuple[str, str]
) -> Iterator[Control]:
    """How often what is right is doubted, and how often what is wrong is noticed."""
    right, wrong = seen.values()
    if not right:
        return
    usual, noticed = float(np.mean(right)), float(np.mean(wrong))
    of = f"{len(right)} studies"
    bound = f"at most {DOUBTED_AT_MOST}"
    yield Control(f"{what} {names[0]}, {of}", bound, usual, usual <= DOUBTED_AT_MOST)
    yield Control(f"{names[1]}, {of}", f"at least {NOTICED}", noticed, noticed >= NOTICED)


def _exchanged(study: StudyVolumes) -> StudyVolumes | None:
    """The study with the two series in each other's role; None without both."""
    fluid, t1 = fluid_sensitive(study), study.by_role.get(Role.T1)
    if fluid is None or t1 is None:
        return None
    taken = replace(t1, role=fluid.role, limits=fluid.limits)
    roles = {**study.by_role, fluid.role.value: taken, t1.role.value: replace(fluid, role=t1.role)}
    return replace(study, reference=taken, by_role=roles)


def heads_of(
    network: ScorerNetwork, crops: NDArray[np.float32], presence: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(level, len(HEADS)) of the network's answers."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), 32):
            rows = slice(start, start + 32)
            answer = network(torch.from_numpy(crops[rows]), torch.from_numpy(presence[rows]))
            parts.append(answer[1].numpy())
    return np.concatenate(parts)


def flagged(
    crops: NDArray[np.float32], presence: NDArray[np.float32], calibration: ScorerCalibration
) -> float:
    """Share of levels that lie outside the training range."""
    scores = [
        distribution_score(distribution_statistics(crop, there), calibration.bounds)
        for crop, there in zip(crops, presence, strict=True)
    ]
    return float(np.mean(np.array(scores) > 1.0))


def _shuffled(name: str, heads: NDArray[np.float32], batch: Batch, seed: int) -> Control:
    """Mean area under the curve against labels that belong to other levels."""
    column = HEADS.index(name)
    truth = batch.targets[:, column]
    asked = np.isfinite(truth)
    positive = truth[asked] > 0.5
    wanted = f"0.5, give or take {NEAR_CHANCE}"
    if not both_classes(positive):
        return Control(f"shuffled labels, {name}", wanted, float("nan"), passed=False)
    rng = np.random.default_rng(seed)
    scores = heads[asked, column].astype(np.float64)
    areas = [auroc(scores, rng.permutation(positive)) or 0.0 for _ in range(SHUFFLES)]
    mean = float(np.mean(areas))
    return Control(f"shuffled labels, {name}", wanted, mean, abs(mean - 0.5) <= NEAR_CHANCE)


def _same_calls(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    task: str,
    calibration: ScorerCalibration,
) -> float:
    """Share of levels whose call neither turned over from present to absent nor back."""
    point, platt = calibration.operating_points[task], calibration.platt[task]
    sides = []
    for heads in (before, after):
        chance = platt.probability(heads[:, HEADS.index(task)])
        sides.append(np.where(chance >= point.high, 1, np.where(chance < point.low, -1, 0)))
    return float(np.mean(sides[0] * sides[1] != -1))


def main() -> int:
    """Print every control; 1 when one fails."""
    from training.scorer.evaluate import network_of  # noqa: PLC0415  it imports plots

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--studies", type=Path, help="folder of synthetic studies as DICOM")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the served one by default")
    given = parser.parse_args()
    bundle = read_bundle(given.bundle) if given.bundle else resolve("scorer")
    pool = LevelPool(given.held_out)
    pool.refresh()
    found = controls(network_of(bundle), pool, read_calibration(bundle.metadata))
    if given.studies is not None:
        found += of_studies(sorted(given.studies.iterdir()), open_localiser(None, None))
    for one in found:
        verdict = "ok" if one.passed else "FAILED"
        sys.stdout.write(f"{one.name}: {one.value:.3f} (wanted: {one.wanted}) {verdict}\n")
    return 0 if all(one.passed for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
