"""What else an image shows of where its bodies stand: ribs beside them, and the end of the cord."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.instances import Candidate

BESIDE_MM: Final = (12.0, 42.0)
"""How far to the side of a body's centre its rib's head and neck are looked for."""

BEHIND_MM: Final = (-4.0, 38.0)
"""And how far behind it."""

ALONG: Final = (-0.25, 0.6)
"""And where along the spine, in steps to the next body, upwards: most heads lie at the disc above,
those of the last two pairs on the body itself."""

SIDE_SEEN_MM: Final = 26.0
"""A stack shows ribs beside a body when it goes this far to at least one side."""

RIB_ML: Final = 0.15
"""So much of what is called rib counts as one."""

CORD_MM2: Final = 8.0
"""Less cord than this in a row (over all slices) is none."""

CORD_ABOVE_MM: Final = 25.0
"""The cord ends in view when this much of it is seen above its end …"""

CANAL_BELOW_MM: Final = 25.0
"""… and this much canal below it."""

CORD_TIP_MM: Final = 8.0
"""Rows above its end over which the cord's place is averaged."""

STRAY_MM: Final = 12.0
"""A gap in the cord this long is its end: what looks like cord below it is roots."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Beside a chain of n bodies, cranial to caudal.

    Attributes:
        ribs_ml: (n,) volume of rib beside each body; NaN where the stack does not reach there, and
            for a body without one (`RIB_ML`) that the image cuts, whose rib may lie beyond the
            edge.
        conus: Where the cord ends: 0 at the centre of the first body, 1 at that of the second;
            None when its end is not in view.
    """

    ribs_ml: NDArray[np.float64]
    conus: float | None


def find_landmarks(
    chain: Sequence[Candidate],
    rib: NDArray[np.float32],
    cord: NDArray[np.float32],
    canal: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
) -> Landmarks:
    """Read the landmarks off the network's maps.

    Args:
        chain: Bodies, cranial to caudal, centres in the working grid.
        rib: (slices, rows, columns) probability of rib.
        cord: Same, of the cord.
        canal: Same, of the canal with its cord.
        spacing_mm: (3,) of the working grid.
    """
    centres = np.array([body.centre * spacing_mm for body in chain]).reshape(-1, 3)
    if len(centres) < 2:
        return Landmarks(np.full(len(centres), np.nan), None)
    width_mm = (rib.shape[0] - 1) * float(spacing_mm[0])
    ribs = _ribs_beside(centres, np.argwhere(rib > 0.5) * spacing_mm, spacing_mm, width_mm)
    cut = np.array([body.cut for body in chain], bool)
    ribs[cut & (ribs < RIB_ML)] = np.nan
    return Landmarks(ribs, _conus(centres, cord, canal, spacing_mm))


def _ribs_beside(
    centres: NDArray[np.float64],
    places: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    width_mm: float,
) -> NDArray[np.float64]:
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    steps = np.gradient(centres[:, 1:], axis=0)
    found = np.empty(len(centres))
    for i, (centre, step) in enumerate(zip(centres, steps, strict=True)):
        reach = max(centre[0], width_mm - centre[0])
        if reach < SIDE_SEEN_MM:
            found[i] = np.nan
            continue
        pitch = float(np.linalg.norm(step))
        up = -step / pitch
        away = places - centre
        along = away[:, 1:] @ up / pitch
        behind = away[:, 1:] @ np.array([up[1], -up[0]])
        beside = np.abs(away[:, 0])
        inside = _between(along, ALONG) & _between(behind, BEHIND_MM) & _between(beside, BESIDE_MM)
        found[i] = int(inside.sum()) * voxel_ml
    return found


def _between(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((values >= limits[0]) & (values <= limits[1]))


def _conus(
    centres: NDArray[np.float64],
    cord: NDArray[np.float32],
    canal: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
) -> float | None:
    pixel_mm2 = float(spacing_mm[0] * spacing_mm[2])
    row_mm = float(spacing_mm[1])
    held = (cord > 0.5).sum(axis=(0, 2)) * pixel_mm2 >= CORD_MM2
    rows = np.flatnonzero(held)
    if not len(rows):
        return None
    gaps = np.flatnonzero(np.diff(rows) * row_mm > STRAY_MM)
    end = int(rows[gaps[0]] if len(gaps) else rows[-1])
    below = (canal > 0.5).sum(axis=(0, 2)) * pixel_mm2 >= CORD_MM2
    enough = int(below[end + 1 :].sum()) * row_mm >= CANAL_BELOW_MM
    if not enough or int(held[: end + 1].sum()) * row_mm < CORD_ABOVE_MM:
        return None
    band = slice(max(0, end - round(CORD_TIP_MM / row_mm)), end + 1)
    columns = np.flatnonzero((cord[:, band] > 0.5).any(axis=(0, 1)))
    return _along_chain(centres[:, 1:], np.array([end * row_mm, columns.mean() * spacing_mm[2]]))


def _along_chain(centres: NDArray[np.float64], point: NDArray[np.float64]) -> float | None:
    """Place of a point beside a chain of centres, by the step that it lies beside."""
    last = len(centres) - 2
    for i, (upper, lower) in enumerate(pairwise(centres)):
        step = lower - upper
        part = float((point - upper) @ step / (step @ step))
        if (part >= 0.0 or i == 0) and (part < 1.0 or i == last):
            return i + part if -0.6 <= part <= 1.6 else None
    return None
