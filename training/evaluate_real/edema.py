"""Edema calls on real scans against what one reader saw, and in volunteers.

No reading here is adjudicated, and volunteers are only presumed to have no edema.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Call, Feature, LevelFindings, Scores
from models.geometry import Affine, to_index
from training.evaluate_real.studies import HEALTHY, Truth
from training.statistics.counts import wilson

UNADJUDICATED: Final = (
    "Readings are unadjudicated, made from pictures by one reader; volunteers are presumed to have "
    "no edema. Neither is a reference standard."
)


@dataclass(frozen=True, slots=True)
class EdemaReading:
    """What was said of one body, beside what was seen.

    Attributes:
        study: Folder name.
        group: Of the series.
        level: Its true name where it has a mask, else the name it was given, or None.
        visible: Unadjudicated reading; None where equivocal, not read, or without a mask.
        read: Whether somebody looked at this body for edema at all.
        probability: Calibrated.
        call: With the rule of measured contrast.
        limited_by: Why the call is not the network's, and other limits.
        bright_fraction: Measured share of the body that outshines the field by `bright_from`.
        bright_from: Multiple of the field.
        marrow_ratio: Median of the body over the field.
    """

    study: str
    group: str
    level: str | None
    visible: bool | None
    read: bool
    probability: float
    call: Call
    limited_by: tuple[str, ...]
    bright_fraction: float | None
    bright_from: float | None
    marrow_ratio: float | None


def read_edema(
    truth: Truth,
    scores: Scores,
    mask: NDArray[np.integer],
    affine: Affine,
    names: Mapping[int, str],
) -> tuple[EdemaReading, ...]:
    """Bring a study's edema findings together with its reading.

    Args:
        truth: Of the fluid-sensitive series.
        scores: Of the study.
        mask: (slice, row, column) truth labels.
        affine: Of the mask's grid.
        names: Truth label to level name.

    Returns:
        One per body that was judged, cranial to caudal.
    """
    # Volunteers have no readings: every entry of theirs is None.
    read = any(seen is not None for seen in truth.visible_edema.values())
    return tuple(
        _reading(truth, findings, _true_level(findings, mask, affine, names), read=read)
        for findings in scores.levels
        if findings.edema is not None
    )


def _true_level(
    findings: LevelFindings,
    mask: NDArray[np.integer],
    affine: Affine,
    names: Mapping[int, str],
) -> str | None:
    """Name of the true body that a found one's centroid lies in."""
    place = np.rint(to_index(affine, findings.vertebra.centroid_lps_mm)).astype(int)
    if ((place < 0) | (place >= mask.shape)).any():
        return None
    return names.get(int(mask[tuple(place)]))


def _reading(
    truth: Truth, findings: LevelFindings, true_level: str | None, *, read: bool
) -> EdemaReading:
    edema = findings.edema
    if edema is None:
        raise ValueError("a body without an edema finding has no reading")

    def value(name: str) -> float | None:
        return findings.features.get(name, Feature()).value

    return EdemaReading(
        study=truth.study,
        group=truth.group,
        level=true_level or findings.vertebra.level,
        visible=truth.visible_edema.get(true_level) if true_level else None,
        read=read and true_level is not None,
        probability=round(edema.probability, 4),
        call=edema.call,
        limited_by=edema.limited_by,
        bright_fraction=value("bright_fraction"),
        bright_from=value("bright_from"),
        marrow_ratio=value("fluid_ratio_to_marrow_field"),
    )


def summarise_edema(readings: Sequence[EdemaReading]) -> dict[str, Any]:
    """Calls by reading, calls in volunteers with their intervals, and every body that was read."""
    of_read = [reading for reading in readings if reading.read]
    by_reading = {
        name: _calls([reading for reading in of_read if reading.visible is seen])
        for name, seen in (("visible", True), ("not_visible", False), ("equivocal", None))
    }
    healthy = {
        group: _shares([reading for reading in readings if reading.group == group])
        for group in HEALTHY
    }
    studies = {reading.study for reading in of_read}
    return {
        "note": UNADJUDICATED,
        "by_reading": by_reading,
        "visible_above_all_others": _ranked(of_read),
        "healthy": healthy,
        "bodies": [asdict(reading) for reading in readings if reading.study in studies],
    }


def _ranked(readings: Sequence[EdemaReading]) -> bool | None:
    """Whether every body with visible edema scores above every one without; None without both."""
    seen = [reading.probability for reading in readings if reading.visible]
    unseen = [reading.probability for reading in readings if reading.visible is False]
    return min(seen) > max(unseen) if seen and unseen else None


def _calls(readings: Sequence[EdemaReading]) -> dict[str, int]:
    counted = Counter(reading.call for reading in readings)
    return {"bodies": len(readings), **{call.value: counted[call] for call in Call}}


def _shares(readings: Sequence[EdemaReading]) -> dict[str, Any]:
    calls = _calls(readings)
    shares: dict[str, Any] = dict(calls)
    for call in (Call.PRESENT, Call.INDETERMINATE):
        between = wilson(calls[call.value], len(readings))
        shares[f"{call.value}_95"] = [round(between.low, 4), round(between.high, 4)]
    return shares


def edema_table(figures: Mapping[str, Any]) -> str:
    """The figures of `summarise_edema` as text."""
    lines = ["Marrow edema", figures["note"], ""]
    if figures["bodies"]:
        lines.append(
            f"{'study':10} {'level':6} {'seen':10} {'prob.':>6} {'call':14} {'bright':>7} "
            f"{'from':>5} {'median':>7}  flags"
        )
        lines += map(_line, figures["bodies"])
        lines.append("")
    for name, calls in figures["by_reading"].items():
        if calls["bodies"]:
            lines.append(
                f"read as {name.replace('_', ' ')}: {calls['bodies']} bodies, called present "
                f"{calls['present']}, indeterminate {calls['indeterminate']}, "
                f"absent {calls['absent']}"
            )
    if figures["visible_above_all_others"] is not None:
        said = "yes" if figures["visible_above_all_others"] else "no"
        lines.append(f"every body read as visible scores above every one read as not: {said}")
    for group, calls in figures["healthy"].items():
        if not calls["bodies"]:
            lines.append(f"volunteers, {group}: no fluid-sensitive series")
            continue
        parts = [
            f"{call} {calls[call]} ({calls[call] / calls['bodies']:.1%}, 95 % "
            f"{calls[f'{call}_95'][0]:.1%}-{calls[f'{call}_95'][1]:.1%})"
            for call in ("present", "indeterminate")
        ]
        lines.append(f"volunteers, {group}: {calls['bodies']} bodies, called {', '.join(parts)}")
    return "\n".join(lines)


def _line(body: Mapping[str, Any]) -> str:
    seen = {True: "yes", False: "no", None: "equivocal"}[body["visible"]]
    measured = (
        f"{_number(body['bright_fraction']):>7} {_number(body['bright_from']):>5} "
        f"{_number(body['marrow_ratio']):>7}"
    )
    return (
        f"{body['study']:10} {body['level'] or '?':6} {seen if body['read'] else 'not read':10} "
        f"{body['probability']:6.3f} {body['call']:14} {measured}  {', '.join(body['limited_by'])}"
    ).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
