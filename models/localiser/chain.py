"""Which of the bodies found form the spine: the best path from head to foot.

Every body brings a gain, every step to the next a price. Prices are soft: a steep S1 or a gap where
a body was missed costs something, a blob in the abdomen or behind the back costs more than it
brings. The canal speaks for a body: it runs behind each true one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.instances import Candidate

NEAREST_MM: Final = 10.0
"""Two centres nearer than this are not two bodies."""

USUAL_MM: Final = 50.0
"""Neighbours are at most this far apart; a missed body doubles it."""

FARTHEST_MM: Final = 95.0

STEEPEST_DEGREES: Final = 60.0
"""Steps lean less than this from the vertical; only a steep S1 comes near."""

NO_CANAL_GAIN: Final = 0.35
"""Gain of a body that has no canal behind it."""

CANAL_ML: Final = 0.25
"""So much canal behind a body counts as a canal."""

DISC_REACH_MM: Final = 25.0
"""A disc lies this near to the line between the centres of its two bodies."""

JOIN_STEP: Final = 0.62
"""Part of the usual distance between bodies under which two parts may be one body. A crushed body
is further from its neighbours, for the discs stay."""

JOIN_VOLUME: Final = 1.35
"""Largest volume of a joined body, as a part of its neighbours'."""

_CANAL_ROWS_MM: Final = 12.0
_CANAL_BEHIND_MM: Final = (8.0, 48.0)


def backbone(
    found: Sequence[Candidate],
    canal: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
) -> list[Candidate]:
    """Choose the bodies of the spine.

    Args:
        found: In any order, centres in the working grid.
        canal: (slices, rows, columns) probability of the canal.
        spacing_mm: (3,) of the working grid.

    Returns:
        The chosen ones, cranial to caudal.
    """
    order = sorted(found, key=lambda body: body.centre[1])
    if not order:
        return []
    places = np.array([body.centre * spacing_mm for body in order])
    gains = _gains(order, [_canal_behind(body, canal, spacing_mm) for body in order])
    best = gains.copy()
    came_from = np.full(len(order), -1)
    for i in range(1, len(order)):
        worth = best[:i] - _prices(places[:i], places[i])
        before = int(np.argmax(worth))
        if worth[before] > 0:
            best[i] += worth[before]
            came_from[i] = before
    path = [int(np.argmax(best))]
    while came_from[path[-1]] >= 0:
        path.append(int(came_from[path[-1]]))
    return [order[i] for i in reversed(path)]


def discs_above(
    chain: Sequence[Candidate], disc: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Volume of the disc between each body and the one above it, mL; 0 for the first.

    Args:
        chain: Cranial to caudal.
        disc: (slices, rows, columns) probability of disc.
        spacing_mm: (3,) of the working grid.
    """
    # A disc's place is asked for in the plane only, so its slices are counted beforehand.
    counts = np.count_nonzero(disc > 0.5, axis=0)
    pixels = np.argwhere(counts)
    slices = counts[tuple(pixels.T)]
    places = pixels * spacing_mm[1:]
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    volumes = np.zeros(len(chain))
    for i, (above, body) in enumerate(pairwise(chain), start=1):
        top, bottom = (one.centre[1:] * spacing_mm[1:] for one in (above, body))
        axis = bottom - top
        length = float(np.linalg.norm(axis))
        along = (places - top) @ axis / length**2
        beside = np.abs((places - top) @ np.array([-axis[1], axis[0]])) / length
        between = (along > 0) & (along < 1) & (beside < DISC_REACH_MM)
        volumes[i] = slices[between].sum() * voxel_ml
    return volumes


def rejoined(
    labels: NDArray[np.uint8], chain: Sequence[Candidate], spacing_mm: NDArray[np.float64]
) -> list[Candidate]:
    """Join two parts of one body: far too near for two, together no more than one, both cut or not.

    Args:
        labels: Changed in place: the joined body has the label of its larger part.
        chain: Cranial to caudal.
        spacing_mm: (3,) of the working grid.

    Returns:
        The chain with joined bodies.
    """
    bodies = list(chain)
    i = 0
    while len(bodies) > 3 and i + 1 < len(bodies):
        places = np.array([body.centre * spacing_mm for body in bodies])
        steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        others = np.delete(steps, i)
        volumes = np.array([body.volume_ml for body in bodies])
        together = volumes[i] + volumes[i + 1]
        usual = np.median(np.delete(volumes, [i, i + 1])[max(0, i - 2) : i + 2])
        # What is left of the next body where the image ends is near, and no part of this one.
        alike = bodies[i].cut == bodies[i + 1].cut
        if alike and steps[i] < JOIN_STEP * np.median(others) and together < JOIN_VOLUME * usual:
            bodies[i : i + 2] = [_joined(labels, bodies[i], bodies[i + 1])]
        else:
            i += 1
    return bodies


def _joined(labels: NDArray[np.uint8], one: Candidate, other: Candidate) -> Candidate:
    small, large = sorted((one, other), key=lambda body: body.volume_ml)
    labels[labels == small.label] = large.label
    part = np.array([large.volume_ml, small.volume_ml]) / (large.volume_ml + small.volume_ml)
    return replace(
        large,
        centre=part[0] * large.centre + part[1] * small.centre,
        volume_ml=large.volume_ml + small.volume_ml,
        s1_share=float(part @ (large.s1_share, small.s1_share)),
        c2_share=float(part @ (large.c2_share, small.c2_share)),
        confidence=float(part @ (large.confidence, small.confidence)),
        cut=large.cut or small.cut,
    )


def _gains(order: Sequence[Candidate], behind: Sequence[bool]) -> NDArray[np.float64]:
    """Between 0.1 and 1: sure, of a usual size, with a canal."""
    volumes = np.array([body.volume_ml for body in order])
    usual = float(np.median(volumes[np.array(behind)])) if any(behind) else float(volumes.max())
    size = np.clip(volumes / (0.4 * usual), 0.2, 1.0)
    sure = np.clip([2 * body.confidence - 1 for body in order], 0.2, 1.0)
    return np.asarray(size * sure * np.where(behind, 1.0, NO_CANAL_GAIN))


def _prices(upper: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Price of the step from each upper body to the lower one."""
    step = lower - upper
    distance = np.linalg.norm(step, axis=1)
    price = np.interp(
        distance,
        [NEAREST_MM - 1, NEAREST_MM, USUAL_MM, FARTHEST_MM, FARTHEST_MM + 40],
        [1.5, 0.0, 0.0, 1.5, 4.0],
    )
    lean = np.degrees(np.arccos(np.clip(step[:, 1] / np.maximum(distance, 1e-6), -1.0, 1.0)))
    return np.asarray(price + np.clip((lean - STEEPEST_DEGREES) / 20.0, 0.0, None))


def _canal_behind(
    body: Candidate, canal: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> bool:
    """Whether the canal runs behind a body, in any slice."""
    row, column = body.centre[1:]
    rows = _CANAL_ROWS_MM / spacing_mm[1]
    near, far = (mm / spacing_mm[2] for mm in _CANAL_BEHIND_MM)
    window = canal[
        :,
        max(0, int(row - rows)) : max(0, int(row + rows)),
        max(0, int(column + near)) : max(0, int(column + far)),
    ]
    return bool((window > 0.5).sum() * np.prod(spacing_mm) / 1000.0 > CANAL_ML)
