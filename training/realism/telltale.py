"""Can phantom crops be told from real ones, and by what?

    python -m training.realism.telltale --studies DIR [--patients 16] [--json OUT] [--pictures DIR]

Crops around bodies, intensity-normalised, on the real scans' voxels; patient-wise
cross-validation. Beside it stands how well real scans of one data set are told from those of
another, and how well a phantom is that was scanned as the data set was. Real scans are read into
memory only; pictures of them go to the folder that `--pictures` names, which must lie outside the
repository.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.volume import Role
from training.realism.crops import SLICE_MM, Crops, crops_of
from training.realism.detector import Clue, Detection, clues, detect_by_features
from training.realism.features import feature_table
from training.realism.matched import MATCHED, matched_patients
from training.realism.network import detect_by_network, region_shares
from training.realism.real import real_specimens
from training.realism.sheets import draw_transplant, draw_verdicts
from training.realism.sites import SitePair, as_line, as_mapping, site_pairs
from training.realism.specimens import GROUPS, Specimen
from training.realism.synthetic import Setting, synthetic_patients

CLUES_PRINTED: Final = 12
FIRST_SEED: Final = 900_000

Labelled = list[tuple[Specimen, bool]]
"""Images, each with whether it is real."""

BLURS_MM: Final = {"as acquired": 0.0, "resolution hidden": 1.2}
"""The real scans were acquired more coarsely than their 1 mm voxels, some at 2 mm, and blur is an
easy tell that no reader minds. The second look blurs both kinds alike: what it still finds is
anatomy, contrast and texture."""


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One comparison; the detections are None when too few real patients are at hand.

    `sites` holds what the same classifier reaches between real scans of two data sets.
    """

    group: str
    look: str
    crops: Crops
    features: Detection | None
    network: Detection | None
    transplant: NDArray[np.float32] | None
    clues: list[Clue]
    sites: list[SitePair]


def examine(
    crops: Crops, group: str, look: str = "as acquired", *, with_network: bool = True
) -> GroupResult:
    """Try to tell the crops of one kind of sequence apart."""
    names, values = feature_table(crops.images)
    if len(np.unique(crops.patients[crops.real])) < 2:
        alone = clues(crops, names, values)
        return GroupResult(group, look, crops, None, None, None, alone, [])
    by_features, found = detect_by_features(crops, names, values)
    by_network, transplant = detect_by_network(crops) if with_network else (None, None)
    return GroupResult(
        group, look, crops, by_features, by_network, transplant, found, site_pairs(crops)
    )


def gather(studies: Path, patients: int, first_seed: int) -> Iterator[tuple[str, Labelled]]:
    """What is compared: by name, images each told whether it is real.

    First every kind of sequence, the phantom drawn from the whole mix of protocols; then every
    data set of `MATCHED`, against that mix (unless it is all there is of its kind) and against
    phantoms scanned as it was.
    """
    real = list(real_specimens(studies))
    setting = Setting(in_plane_mm=1.0, slice_mm=SLICE_MM)
    seeds = range(first_seed, first_seed + patients)
    mixed: dict[Role, Labelled] = {role: [] for role in GROUPS}
    for patient in synthetic_patients(tuple(GROUPS), seeds, setting):
        for role, specimen in patient.images.items():
            mixed[role].append((specimen, False))
    for role, name in GROUPS.items():
        yield name, [(one, True) for one in real if one.volume.role is role] + mixed[role]
    for matched in MATCHED:
        name = f"{GROUPS[matched.role]} of {matched.dataset}"
        kind = [one for one in real if one.volume.role is matched.role]
        own = [(one, True) for one in kind if one.patient.startswith(f"{matched.dataset}_")]
        if 0 < len(own) < len(kind):
            yield f"{name}, whole mix", own + mixed[matched.role]
        if own:
            alike = matched_patients(matched, seeds)
            yield f"{name}, matched", own + [(one, False) for one in alike]


def as_text(result: GroupResult) -> str:
    """One comparison in words and figures."""
    crops = result.crops
    people = [len(np.unique(crops.patients[crops.real == kind])) for kind in (True, False)]
    synthetic = int((~crops.real).sum())
    out = [
        f"\n{result.group}, {result.look}: {int(crops.real.sum())} real crops of {people[0]} "
        f"patients, {synthetic} synthetic of {people[1]}"
    ]
    for name, detection in (("features", result.features), ("network", result.network)):
        if detection is not None:
            low, high = detection.interval
            out.append(f"  AUROC by {name}: {detection.auroc:.3f} ({low:.3f}-{high:.3f})")
    if result.features is None:
        out.append("  one real patient: no cross-validation; single features only")
    elif people[0] < 5:
        out.append(f"  only {people[0]} real patients: indicative")
    if result.transplant is not None:
        shares = region_shares(result.transplant)
        told = ", ".join(f"{k} {v:+.2f}" for k, v in sorted(shares.items(), key=lambda s: -s[1]))
        out.append(f"  real patches make a phantom look more real by (logit): {told}")
    out += [as_line(pair) for pair in result.sites]
    columns = ("phantom p5/p50/p95", "real p5/p50/p95")
    out.append(f"  {'feature':34} {'alone':>6} {'lost':>6} {columns[0]:>24} {columns[1]:>24}")
    for clue in result.clues[:CLUES_PRINTED]:
        spans = [" ".join(f"{v:7.3f}" for v in span) for span in (clue.phantom, clue.real)]
        figures = f"{clue.auroc:6.3f} {clue.importance:6.3f}"
        out.append(f"  {clue.name:34} {figures} {spans[0]:>24} {spans[1]:>24}")
    return "\n".join(out) + "\n"


def as_json(result: GroupResult) -> dict[str, Any]:
    """The same for machines; no crop and no score of a single real patient is in it."""
    found: dict[str, Any] = {"group": result.group, "look": result.look}
    found["clues"] = [asdict(clue) for clue in result.clues]
    for name, detection in (("features", result.features), ("network", result.network)):
        if detection is not None:
            found[name] = {"auroc": detection.auroc, "interval": detection.interval}
    found["real_against_real"] = [as_mapping(pair) for pair in result.sites]
    if result.transplant is not None:
        found["given_away_by"] = region_shares(result.transplant)
    return found


def _draw(folder: Path, result: GroupResult) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{result.group} {result.look}".lower().replace(",", "").replace(" ", "-")
    detection = result.network or result.features
    scores = None if detection is None else detection.scores
    draw_verdicts(folder / f"{stem}.png", result.crops, scores, result.group)
    if result.transplant is not None:
        draw_transplant(folder / f"{stem}-transplant.png", result.crops, result.transplant)


def main() -> None:
    """Tell phantom crops from real ones."""
    usual = Path(os.environ.get("ACUITY_REAL_DATA", "../shared")) / "real_studies"
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--studies", type=Path, default=usual)
    parser.add_argument("--patients", type=int, default=16, help="synthetic patients")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="another draw")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of crops")
    parser.add_argument("--no-network", action="store_true", help="features only")
    given = parser.parse_args()
    results = []
    for name, specimens in gather(given.studies, given.patients, given.first_seed):
        for look, blur_mm in BLURS_MM.items():
            crops = crops_of(specimens, np.random.default_rng(5), blur_mm)
            result = examine(crops, name, look, with_network=not given.no_network)
            sys.stdout.write(as_text(result))
            sys.stdout.flush()
            results.append(result)
            if given.pictures is not None:
                _draw(given.pictures, result)
    if given.json is not None:
        given.json.write_text(json.dumps([as_json(result) for result in results], indent=1))


if __name__ == "__main__":
    main()
