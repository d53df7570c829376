"""Figures of many outcomes, and the text that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from training.localiser.evaluate.cases import USUAL, Outcome
from training.localiser.evaluate.curves import Point
from training.statistics.counts import wilson
from training.statistics.roc import Interval

BINS: Final = 10


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures over all outcomes; proportions as [hits, of, low, high] with 95 % intervals."""
    bodies = [body for o in outcomes for body in o.score.bodies]
    found = [body for body in bodies if body.found]
    heights = [b.height_errors_mm for b in found if b.height_errors_mm is not None]
    anchored = [o for o in outcomes if o.anchored and o.numbering == USUAL]
    variants = [o for o in outcomes if o.anchored and o.numbering != USUAL]
    named = [pair for o in outcomes for pair in o.named]
    return {
        "scans": len(outcomes),
        "found": _part(len(found), len(bodies)),
        "dice": _mean([b.dice for b in found]),
        "central_dice": _mean([b.central_dice for b in found]),
        "centroid_mm": _median([b.centroid_error_mm for b in found]),
        "height_errors_mm": [_median([h[i] for h in heights]) for i in range(3)],
        "false_bodies_per_scan": _mean([float(o.score.false_bodies) for o in outcomes]),
        "merged_or_double": sum(o.score.merged + o.score.duplicates for o in outcomes),
        "levels_right_where_countable": _part(
            sum(o.score.levels_right for o in anchored), len(anchored)
        ),
        "withheld_where_uncountable": _share(outcomes, "uncountable", "withheld"),
        "variants_right_or_flagged": _part(
            sum(o.score.levels_right or o.flagged for o in variants), len(variants)
        ),
        "usual_flagged": _part(sum(o.flagged for o in anchored), len(anchored)),
        "level_ece": calibration_error(named),
        "names": len(named),
    }


def _share(outcomes: Sequence[Outcome], among: str, what: str) -> list[float]:
    chosen = [o for o in outcomes if getattr(o, among)]
    return _part(sum(getattr(o, what) for o in chosen), len(chosen))


def _part(hits: int, of: int) -> list[float]:
    between = wilson(hits, of) if of else Interval(float("nan"), float("nan"))
    return [hits, of, round(between.low, 4), round(between.high, 4)]


def calibration_error(named: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error of level names over ten equal bins of confidence."""
    if not named:
        return float("nan")
    confidence = np.array([pair[0] for pair in named])
    right = np.array([pair[1] for pair in named], float)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return round(float(np.sum(gaps)), 4)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3) if values else float("nan")


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 2) if values else float("nan")


def table(figures: dict[str, dict[str, Any]]) -> str:
    """One column per set, one line per figure."""
    names = list(figures)
    lines = [f"{'synthetic patients':32}" + "".join(f"{name:>26}" for name in names)]
    lines += [
        f"{key:32}" + "".join(f"{_shown(figures[name][key]):>26}" for name in names)
        for key in next(iter(figures.values()))
    ]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, list) and len(value) == 4:
        hits, of, low, high = value
        return f"{hits}/{of} ({low:.3f}-{high:.3f})"
    if isinstance(value, list):
        return "/".join(f"{one:.2f}" for one in value)
    return str(value)


def curve_lines(points: Sequence[Point]) -> str:
    """Text of the curves: Dice, bodies found and levels right at every step."""
    lines = [f"{'changed':22} {'to':>6} {'found':>9} {'Dice':>6} {'levels right':>13} {'mm':>5}"]
    for point in points:
        row = summarise(point.outcomes)
        found, right = row["found"], row["levels_right_where_countable"]
        lines.append(
            f"{point.what:22} {point.value:>6g} {found[0]:>4}/{found[1]:<4} {row['dice']:6.3f} "
            f"{right[0]:>6}/{right[1]:<6} {row['centroid_mm']:5.2f}"
        )
    return "\n".join(lines)
