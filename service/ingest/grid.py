"""Is a row of slices a regular grid? Places on it, gaps, misplacement, tilt, and the policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StackPolicy:
    """Tolerances in mm and what may be repaired. Recorded with every finding that used them.

    Attributes:
        same_plane_mm: Two slices closer than this along the normal show the same plane; above
            the noise of positions, below any slice pitch in use.
        misplacement_mm: No slice may lie further than this from its place on the regular grid,
            along the slice step or in the plane. Positions carry rounding and some scanners'
            noise of under 0.1 mm; a half-millimetre error of a body's position is too much.
        max_interpolated_slices: Missing interior slices that may be interpolated, none of them
            beside another; 0 refuses every gap.
        max_tilt_degrees: Largest angle of the slice step to the normal; more is refused.
        min_slices: Fewest slices of a stack that can hold vertebral bodies.
        max_pitch_mm: Largest slice pitch; a body 25 mm deep needs four slices or more.
        min_matrix: Fewest pixels along the longer side. The shorter may be less: rectangular
            fields of view are usual, and a small field of view is no fault.
    """

    same_plane_mm: float = 0.3
    misplacement_mm: float = 0.4
    max_interpolated_slices: int = 1
    max_tilt_degrees: float = 20.0
    min_slices: int = 7
    max_pitch_mm: float = 7.5
    min_matrix: int = 192


class Action(StrEnum):
    """What the policy does about a finding."""

    WARN = "warn"
    REPAIR = "repair"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class StackFinding:
    """A geometry check that did not pass; `detail` holds counts and millimetres only."""

    code: str
    action: Action
    detail: str


def places_of(heights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Grid index of each ascending height.

    The pitch is the median of the differences that are near the smallest: with several slices
    missing, the median of all may be a gap.
    """
    differences = np.diff(heights)
    near = differences[differences <= 1.5 * differences.min()]
    steps = np.maximum(np.rint(differences / np.median(near)), 1)
    return np.concatenate(([0], np.cumsum(steps))).astype(np.int64)


def grid_findings(
    positions: NDArray[np.float64],
    places: NDArray[np.int64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
    policy: StackPolicy,
) -> list[StackFinding]:
    """Check slices against the regular grid they were laid on.

    Args:
        positions: (slice, 3) centres of first voxels, LPS mm, ascending along the normal.
        places: (slice,) index of each on the grid.
        step: (3,) displacement from one place to the next.
        normal: (3,) unit slice normal.
        policy: Tolerances.
    """
    findings = []
    off = positions - (positions[0] + places[:, None] * step)
    # The ends lie on the grid by construction: share an error there with the slices between.
    off -= (off.max(axis=0) + off.min(axis=0)) / 2
    along = float(np.abs(off @ normal).max())
    across = float(np.linalg.norm(off - np.outer(off @ normal, normal), axis=1).max())
    if along > policy.misplacement_mm:
        detail = f"a slice lies {along:.2f} mm from its place, {policy.misplacement_mm:g} allowed"
        findings.append(StackFinding("uneven_spacing", Action.REFUSE, detail))
    if across > policy.misplacement_mm:
        detail = f"a slice is shifted in its plane by {across:.2f} mm"
        findings.append(StackFinding("slices_not_aligned", Action.REFUSE, detail))
    return findings + _gap_findings(places, policy) + _tilt_findings(places, step, normal, policy)


def _gap_findings(places: NDArray[np.int64], policy: StackPolicy) -> list[StackFinding]:
    missing = np.diff(places) - 1
    total = int(missing.sum())
    if total == 0:
        return []
    if total <= policy.max_interpolated_slices and int(missing.max()) == 1:
        detail = f"{total} of {int(places[-1]) + 1} slices interpolated"
        return [StackFinding("missing_slices", Action.REPAIR, detail)]
    detail = f"{total} slices missing, {policy.max_interpolated_slices} may be interpolated"
    return [StackFinding("gap_too_large", Action.REFUSE, detail)]


def _tilt_findings(
    places: NDArray[np.int64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
    policy: StackPolicy,
) -> list[StackFinding]:
    sideways = float(np.linalg.norm(step - normal * (step @ normal)))
    # Below a tenth of a millimetre over the whole stack it is rounding, kept in the affine.
    if sideways * int(places[-1]) < 0.1:
        return []
    degrees = float(np.degrees(np.arctan2(sideways, step @ normal)))
    large = degrees > policy.max_tilt_degrees
    action = Action.REFUSE if large else Action.WARN
    return [
        StackFinding("tilted_stack", action, f"slice step {degrees:.1f} degrees off the normal")
    ]
