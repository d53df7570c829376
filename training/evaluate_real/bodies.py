"""How bodies were found and named: figures per group of series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluate_real.edema import EdemaReading
from training.evaluate_real.inserted import Inserted
from training.localiser.matching import StudyScore
from training.statistics.counts import wilson


@dataclass(frozen=True, slots=True)
class Result:
    """One series scored.

    Attributes:
        study: Folder name.
        group: One of `GROUPS`.
        seconds: That the localiser took.
        anchor: What levels were counted from.
        score: None when ingest did not give the series' volume.
        edema: One reading per body where the series is its study's fluid-sensitive one.
        inserted: What was said of edema put into one of its bodies.
    """

    study: str
    group: str
    seconds: float
    anchor: str
    score: StudyScore | None
    edema: tuple[EdemaReading, ...] = ()
    inserted: tuple[Inserted, ...] = ()


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Figures of a group of series."""
    scored = [r.score for r in results if r.score is not None]
    bodies = [body for score in scored for body in score.bodies]
    found = [body for body in bodies if body.found]
    heights = [body.height_errors_mm for body in found if body.height_errors_mm is not None]
    hits = len(found)
    between = wilson(hits, len(bodies))
    return {
        "series": len(results),
        "unread": len(results) - len(scored),
        "bodies": len(bodies),
        "found": hits,
        "found_95": [round(between.low, 4), round(between.high, 4)],
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
