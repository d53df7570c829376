"""Print the realism table: the synthetic spine beside what was measured on real MRI.

    python -m training.realism.table --count 10 [--diseased 60] [--json OUT] [--real DIR]

Each synthetic patient gives one image of each kind of sequence, so 10 patients are 40 volumes.
With `--real` the same ruler is laid on real scans too: it must give about the measured figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.volume import Role
from training.realism.edema import QUANTILES, EdemaRatios, edema_ratios, voxel_quantiles
from training.realism.intensity import INTENSITY_ROWS, measure_intensities
from training.realism.real import real_specimens
from training.realism.reference import (
    FEWEST_FOR_SPREAD,
    Measured,
    Verdict,
    facts,
    judge,
    measured_lordosis,
    measured_shapes,
    measured_signals,
    reason_for,
)
from training.realism.shape import BODY_ROWS, DISC_ROWS, LORDOSIS_ROWS, Shapes, measure_shapes
from training.realism.specimens import GROUPS, MEASURED_LEVELS
from training.realism.synthetic import Setting, synthetic_patients

FIRST_DISEASED_SEED = 500_000
FAINT = (1.2, 1.5)
"""Edema over normal marrow where it is hardest to call."""

MEASURED = Setting(in_plane_mm=1.0)
"""The measured volumes were resampled to 1 mm, which changes noise and grain."""


@dataclass(slots=True)
class Collected:
    """Values by (section, row), the section being a sequence, a level, a disc or the lordosis."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, section: str, figures: Mapping[str, float]) -> None:
        """Take in the figures of one volume or body."""
        for row, value in figures.items():
            self.values.setdefault((section, row), []).append(value)

    def add_shapes(self, shapes: Shapes) -> None:
        """Take in one spine's shapes, mid heights against their neighbours included."""
        for level, figures in (*shapes.bodies.items(), *shapes.discs.items()):
            self.add(level, figures)
        self.add("lordosis", shapes.lordosis)
        for upper, level, lower in zip(
            MEASURED_LEVELS, MEASURED_LEVELS[1:], MEASURED_LEVELS[2:], strict=False
        ):
            if {upper, level, lower} <= set(shapes.bodies):
                above, here, below = (
                    shapes.bodies[name]["height mid"] for name in (upper, level, lower)
                )
                self.add(level, {"mid/neighbours": 2 * here / (above + below)})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    section: str
    row: str
    measured: Measured | None
    synthetic: Verdict
    real: Measured | None
    reason: str


def collect_synthetic(count: int, diseased: int) -> tuple[Collected, list[EdemaRatios]]:
    """Draw and measure `count` healthy patients, and others with disease for the edema."""
    found = Collected()
    for patient in synthetic_patients(tuple(GROUPS), range(count), MEASURED, with_bodies=True):
        for image in patient.images.values():
            if len(image.levels) >= 2:
                found.add(image.group, measure_intensities(image))
        found.add_shapes(measure_shapes(patient.bodies, (1.0, 1.0, 1.0), patient.levels))
    seeds = range(FIRST_DISEASED_SEED, FIRST_DISEASED_SEED + diseased)
    wet = synthetic_patients((Role.STIR,), seeds, Setting(healthy=False))
    return found, [edema_ratios(patient.images[Role.STIR]) for patient in wet]


def collect_real(studies: Path) -> Collected:
    """Measure real scans with the same ruler; the masks of a patient count once."""
    found, seen = Collected(), set()
    for specimen in real_specimens(studies):
        found.add(specimen.group, measure_intensities(specimen))
        if specimen.patient not in seen and not specimen.patient.startswith("vb1"):
            shapes = measure_shapes(specimen.body, specimen.volume.spacing.mm, specimen.levels)
            found.add_shapes(shapes)
        seen.add(specimen.patient)
    return found


def compare(synthetic: Collected, real: Collected | None = None) -> list[Line]:
    """Every row that was measured, or that the ruler gives."""
    lines = []
    for section, row, measured in _rows():
        values = synthetic.values.get((section, row), [])
        if measured is None and not values:
            continue
        verdict = judge(row, measured or Measured(float("nan"), float("nan"), 0), values)
        there = None if real is None else _summary(real.values.get((section, row), []))
        lines.append(Line(section, row, measured, verdict, there, reason_for(row, section)))
    return lines


def _rows() -> Iterable[tuple[str, str, Measured | None]]:
    for group in GROUPS.values():
        known = measured_signals(group)
        yield from ((group, row, known.get(row)) for row in INTENSITY_ROWS)
    bodies, discs = measured_shapes("body"), measured_shapes("disc")
    beside: dict[str, dict[str, Any]] = facts()["neighbour_height_ratio"]
    for level in MEASURED_LEVELS:
        yield from ((level, row, bodies.get((level, row))) for row in BODY_ROWS)
        if level in beside:
            ratio = beside[level]
            yield level, "mid/neighbours", Measured(ratio["mean"], ratio["sd"], ratio["n"])
    for disc in dict.fromkeys(name for name, _ in discs):
        yield from ((disc, row, discs.get((disc, row))) for row in DISC_ROWS)
    lordosis = measured_lordosis()
    yield from (("lordosis", row, lordosis.get(row)) for row in LORDOSIS_ROWS)


def _summary(values: list[float]) -> Measured | None:
    known = np.array([v for v in values if np.isfinite(v)])
    if not known.size:
        return None
    return Measured(float(known.mean()), float(known.std()), len(known))


def edema_figures(patients: list[EdemaRatios]) -> dict[str, list[float]]:
    """Quantiles of lesions and of voxels, and the variation inside lesions."""
    lesions = [ratio for patient in patients for ratio in patient.lesions]
    faint = [FAINT[0] <= ratio <= FAINT[1] for ratio in lesions]
    varied = [cv for patient in patients for cv in patient.variations]
    nothing = [float("nan")] * len(QUANTILES)
    return {
        "lesions": np.percentile(lesions, QUANTILES).tolist() if lesions else nothing,
        "voxels": voxel_quantiles(patients),
        "cv in lesion": np.percentile(varied, QUANTILES).tolist() if varied else nothing,
        "count": [float(len(lesions))],
        "faint": [float(np.mean(faint)) if faint else float("nan")],
    }


def as_text(lines: list[Line], edema: Mapping[str, list[float]]) -> str:
    """The table for reading; flagged rows end in what is wrong with them."""
    out = [
        f"{'where':12} {'figure':18} {'measured':>18} {'synthetic':>18} {'same ruler, real':>18}"
        "  verdict"
    ]
    for line in lines:
        synthetic = Measured(line.synthetic.median, line.synthetic.sd, line.synthetic.n)
        out.append(
            f"{line.section:12} {line.row:18} {_cell(line.measured):>18} {_cell(synthetic):>18} "
            f"{_cell(line.real):>18}  {_verdict(line)}".rstrip()
        )
    judged = [line for line in lines if line.measured is not None]
    good = sum(line.synthetic.agrees for line in judged)
    meant = sum(not line.synthetic.agrees and bool(line.reason) for line in judged)
    out.append(f"{good} of {len(judged)} measured rows agree; {meant} deviate for a stated reason")
    known = facts()["edema"]
    out.append("\nedema / normal marrow on STIR       p5    p25   p50   p75   p95")
    for name, numbers in (
        ("lesions, measured", known["lesion_p5_p25_p50_p75_p95"]),
        (f"lesions, synthetic ({edema['count'][0]:.0f})", edema["lesions"]),
        ("voxels, measured", known["voxel_p5_p25_p50_p75_p95"]),
        ("voxels, synthetic", edema["voxels"]),
        ("CV in lesion, measured", np.percentile(known["cv_in_lesion"]["values"], QUANTILES)),
        ("CV in lesion, synthetic", edema["cv in lesion"]),
    ):
        out.append(f"{name:32} " + " ".join(f"{value:5.2f}" for value in numbers))
    low, high = FAINT
    out.append(f"{100 * edema['faint'][0]:.0f} % of the synthetic lesions lie within {low}-{high}")
    return "\n".join(out) + "\n"


def _cell(figure: Measured | None) -> str:
    if figure is None or not figure.n:
        return "-"
    digits = 1 if abs(figure.mean) >= 10 else 2 if abs(figure.mean) >= 0.1 else 3
    return f"{figure.mean:.{digits}f} ± {figure.sd:.{digits}f} ({figure.n})"


def _verdict(line: Line) -> str:
    if line.measured is None:
        return ""
    faults = []
    verdict, measured = line.synthetic, line.measured
    if not verdict.median_agrees:
        known = abs(measured.mean) > 1e-6 and verdict.n and line.row not in ("AP offset",)
        far = f"x{verdict.median / measured.mean:.2f}" if known else "far"
        faults.append(f"median {far}")
    if verdict.spread_agrees is False:
        faults.append(f"spread x{verdict.sd / measured.sd:.2f}")
    if not faults:
        small = measured.n < FEWEST_FOR_SPREAD
        return "ok (spread not judged)" if small else "ok"
    meant = f" (meant: {line.reason})" if line.reason else ""
    return "FLAG " + ", ".join(faults) + meant


def as_json(lines: list[Line], edema: Mapping[str, list[float]]) -> dict[str, Any]:
    """The same for machines."""
    return {"rows": [asdict(line) for line in lines], "edema": dict(edema)}


def main() -> None:
    """Print the synthetic spine's figures beside the measured ones."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=10, help="synthetic patients")
    parser.add_argument("--diseased", type=int, help="patients with disease; half the count")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--real", type=Path, help="real_studies folder: check the ruler on it")
    given = parser.parse_args()
    diseased = given.diseased if given.diseased is not None else max(1, given.count // 2)
    synthetic, edema = collect_synthetic(given.count, diseased)
    real = None if given.real is None else collect_real(given.real)
    lines, figures = compare(synthetic, real), edema_figures(edema)
    sys.stdout.write(as_text(lines, figures))
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(lines, figures), indent=1))


if __name__ == "__main__":
    main()
