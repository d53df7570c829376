"""Print how the localiser does on real scans, per kind of sequence: `make evaluate-real`.

The scans are for looking and measuring only; nothing is trained on them. Every series that has a
truth mask is taken as the reference in turn, through the ingest and the localiser that serve.

    python -m training.evaluate_real [--studies DIR] [--json OUT] [--overlays DIR]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from models.anatomy import LABEL_VALUES
from models.findings import Localisation, StudyVolumes
from models.geometry import to_lps
from models.localiser.localiser import Localiser
from models.volume import Volume
from training.localiser.matching import StudyScore, score_localisation

GROUPS: Final = ("T1", "T2 pathological", "STIR", "T2 healthy", "Dixon water")


@dataclass(frozen=True, slots=True)
class Truth:
    """One series with its masks.

    Attributes:
        study: Folder name.
        group: One of `GROUPS`.
        series_instance_uid: Of the series.
        mask: NIfTI file on the series' grid.
    """

    study: str
    group: str
    series_instance_uid: str
    mask: Path


@dataclass(frozen=True, slots=True)
class Result:
    """One series scored; `score` is None when ingest did not give its volume."""

    study: str
    group: str
    seconds: float
    anchor: str
    score: StudyScore | None


def truths_of(study: Path) -> list[Truth]:
    """Read which series of a study folder have masks."""
    told = json.loads((study / "truth.json").read_text())
    found = []
    for series in told["series"]:
        if series.get("truth_nifti"):
            group = _group(study.name, str(series["true_weighting"]))
            found.append(
                Truth(
                    study.name,
                    group,
                    str(series["series_instance_uid"]),
                    study / str(series["truth_nifti"]),
                )
            )
    return found


def _group(study: str, weighting: str) -> str:
    if study.startswith("vb3"):
        return "Dixon water"
    if weighting.startswith("T1"):
        return "T1"
    if "STIR" in weighting or "TIRM" in weighting:
        return "STIR"
    return "T2 healthy" if study.startswith("vb2") else "T2 pathological"


def mask_on(volume: Volume, path: Path) -> NDArray[np.uint8]:
    """Read a truth mask and lay it on a volume's stored grid (nearest voxel, by LPS position)."""
    image = SimpleITK.ReadImage(str(path))
    labels = SimpleITK.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    to_mask = np.eye(4)
    # SimpleITK counts (column, row, slice); arrays count (slice, row, column).
    to_mask[:3, :3] = (direction * np.array(image.GetSpacing()))[:, ::-1]
    to_mask[:3, 3] = image.GetOrigin()
    index_map = np.linalg.inv(to_mask) @ volume.affine
    places = np.indices(volume.shape).reshape(3, -1).T
    at = np.rint(to_lps(index_map, places)).astype(int)
    inside = ((at >= 0) & (at < labels.shape)).all(axis=1)
    values = np.zeros(len(at), np.uint8)
    values[inside] = labels[tuple(at[inside].T)]
    return values.reshape(volume.shape)


def evaluate(studies: Path, localiser: Localiser, overlays: Path | None) -> Iterator[Result]:
    """Score every series with a mask in a folder of studies."""
    names = {value: level for level, value in LABEL_VALUES.items()}
    for study in sorted(path.parent for path in studies.glob("*/truth.json")):
        volumes = _volumes(study / "dicom")
        for truth in truths_of(study):
            volume = volumes.get(truth.series_instance_uid)
            if volume is None:
                yield Result(truth.study, truth.group, 0.0, "", None)
                continue
            start = time.perf_counter()
            found = localiser(StudyVolumes(volume, {volume.role: volume}))
            seconds = time.perf_counter() - start
            masks = mask_on(volume, truth.mask)
            score = score_localisation(found, masks, names)
            if overlays is not None:
                _draw(overlays / f"{truth.study}-{truth.group}.png", volume, found, masks)
            yield Result(truth.study, truth.group, seconds, found.anchor.value, score)


def _volumes(dicom: Path) -> dict[str, Volume]:
    """The volumes that ingest chooses, by series."""
    from service.ingest.grid import StackPolicy  # noqa: PLC0415
    from service.ingest.safety import Limits  # noqa: PLC0415
    from service.ingest.study import read_study  # noqa: PLC0415

    with TemporaryDirectory() as workspace:
        ingested = read_study(
            dicom, limits=Limits(), policy=StackPolicy(), workspace=Path(workspace)
        )
    if ingested.volumes is None:
        return {}
    chosen = (ingested.volumes.reference, *ingested.volumes.by_role.values())
    return {volume.series_instance_uid: volume for volume in chosen}


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not trials:
        return (0.0, 1.0)
    z = 1.959964
    share = hits / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return ((middle - half) / scale, (middle + half) / scale)


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Figures of a group of series."""
    scored = [r.score for r in results if r.score is not None]
    bodies = [body for score in scored for body in score.bodies]
    found = [body for body in bodies if body.found]
    heights = [body.height_errors_mm for body in found if body.height_errors_mm is not None]
    hits = len(found)
    return {
        "series": len(results),
        "unread": len(results) - len(scored),
        "bodies": len(bodies),
        "found": hits,
        "found_95": [round(v, 4) for v in wilson(hits, len(bodies))],
        "false_bodies": sum(score.false_bodies for score in scored),
        "duplicates": sum(score.duplicates for score in scored),
        "merged": sum(score.merged for score in scored),
        "dice": _mean([body.dice for body in found]),
        "central_dice": _mean([body.central_dice for body in found]),
        "volume_ratio": _median([body.volume_ratio for body in found]),
        "centroid_error_mm": _median([body.centroid_error_mm for body in found]),
        "height_errors_mm": [_median([h[i] for h in heights]) for i in range(3)],
        "sacrum": sum(score.sacrum_recognised for score in scored),
        "levels_right": sum(score.levels_right for score in scored),
        "seconds": _median([r.seconds for r in results]),
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3) if values else float("nan")


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 3) if values else float("nan")


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures as text, one line per group."""
    lines = [
        f"{'group':16} {'bodies found':>14} {'95 % interval':>15} {'false':>5} {'dup':>4} "
        f"{'merged':>6} {'Dice':>6} {'central':>7} {'volume':>7} {'centre mm':>9} "
        f"{'heights a/m/p mm':>17} {'S1':>7} {'levels':>7} {'s':>5}"
    ]
    for group, row in figures.items():
        low, high = row["found_95"]
        heights = "/".join(f"{value:.2f}" for value in row["height_errors_mm"])
        series = row["series"] - row["unread"]
        lines.append(
            f"{group:16} {row['found']:>6}/{row['bodies']:<7} {low:7.3f}-{high:.3f}  "
            f"{row['false_bodies']:>5} {row['duplicates']:>4} {row['merged']:>6} "
            f"{row['dice']:6.3f} {row['central_dice']:7.3f} {row['volume_ratio']:7.2f} "
            f"{row['centroid_error_mm']:9.2f} {heights:>17} {row['sacrum']:>3}/{series:<3} "
            f"{row['levels_right']:>3}/{series:<3} {row['seconds']:5.2f}"
        )
        if row["unread"]:
            lines.append(f"{'':16} {row['unread']} series not read by ingest")
    return "\n".join(lines)


def _draw(path: Path, volume: Volume, found: Localisation, truth: NDArray[np.uint8]) -> None:
    """Three slices with our contours (colour) over the truth (white)."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    middle = int(np.argmax((truth > 0).sum(axis=(1, 2))))
    slices = [min(max(middle + step, 0), len(truth) - 1) for step in (-3, 0, 3)]
    figure, axes = pyplot.subplots(1, 3, figsize=(18, 9))
    brightest = float(np.percentile(volume.array, 99.5))
    aspect = volume.spacing.row_mm / volume.spacing.column_mm
    for axis, index in zip(axes, slices, strict=True):
        axis.imshow(volume.array[index], cmap="gray", vmax=brightest, aspect=aspect)
        if (truth[index] > 0).any():
            axis.contour(truth[index] > 0, [0.5], colors="white", linewidths=0.6)
        for vertebra in found.vertebrae:
            mask = found.labels[index] == vertebra.index
            if mask.any():
                colour = f"C{vertebra.index % 10}"
                axis.contour(mask, [0.5], colors=colour, linewidths=1.2)
                row, column = np.argwhere(mask).mean(axis=0)
                axis.text(column, row, vertebra.level or "?", color=colour, ha="center")
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=60)
    pyplot.close(figure)


def open_localiser(bundle_dir: Path | None, checkpoint: Path | None) -> Localiser:
    """The served localiser, or a checkpoint on trial."""
    if checkpoint is not None:
        from training.localiser.session import CheckpointSession  # noqa: PLC0415

        return Localiser(CheckpointSession.load(checkpoint), {})
    from models.registry import resolve  # noqa: PLC0415
    from models.runtime import open_session  # noqa: PLC0415

    bundle = resolve("localiser", bundle_dir=bundle_dir)
    return Localiser(open_session(bundle, "cpu"), bundle.metadata)


def main() -> int:
    """Evaluate on real scans."""
    usual = Path(os.environ.get("ACUITY_REAL_DATA", "../shared")) / "real_studies"
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--studies", type=Path, default=usual)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--overlays", type=Path, help="draw every series into this folder")
    parser.add_argument("--bundle-dir", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a training checkpoint instead")
    given = parser.parse_args()
    if not any(given.studies.glob("*/truth.json")):
        sys.stderr.write("no real studies here; set ACUITY_REAL_DATA to the folder that has them\n")
        return 2
    localiser = open_localiser(given.bundle_dir, given.checkpoint)
    results = list(evaluate(given.studies, localiser, given.overlays))
    figures = {g: summarise([r for r in results if r.group == g]) for g in GROUPS}
    figures["all"] = summarise(results)
    sys.stdout.write(table({g: row for g, row in figures.items() if row["series"]}) + "\n")
    if given.json:
        content = {"groups": figures, "series": [asdict(result) for result in results]}
        given.json.write_text(json.dumps(content, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
