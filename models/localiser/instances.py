"""From voxel classes and votes to separate vertebral bodies.

Every voxel of a body votes for the body's centre in the sagittal plane. Bodies that touch (crushed,
fused) still vote for different centres, so peaks of the votes count them, and each voxel belongs to
the peak nearest to its vote. Votes of all slices share one plane: bodies of one spine follow each
other from head to foot, so no two have the same place in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from models.localiser.classes import Structure
from models.localiser.preprocess import OFFSET_UNIT_MM, PIXEL_MM

VOTE_BLUR_MM: Final = 2.5
"""Votes scatter by about this much around a centre."""

PEAK_DISTANCE_MM: Final = 9.0
"""Two centres are never nearer: the thinnest crushed body with its disc is thicker."""

VOTE_REACH_MM: Final = 14.0
"""A voxel whose vote lies further than this from every centre belongs to none."""

SMALLEST_ML: Final = 0.6
"""Less bone than this is no body, not even one cut by the image edge."""

SMALLEST_OF_NEIGHBOURS: Final = 0.22
"""A whole body has at least this part of its neighbours' volume. A volume ratio is used and not a
distance or an angle, which would drop a true, steep S1."""

SPLINTER: Final = 0.35
"""A part that touches a body at least this many times larger (as a ratio) belongs to it: votes that
scatter inside one body make a second peak."""

ADOPTION_STEPS: Final = 6
"""How far, in pixels, a body grows over bone that no body claimed."""

EDGE_ROWS: Final = 3
"""A mask that comes this near to an image edge, in pixels, counts as cut by it."""

MIDDLE_INSIDE_MM: Final = 8.0
"""A body whose centre is nearer than this to the first or last slice may lack its middle. Missing
side walls (a narrow stack) leave heights and depth measurable."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A body found, not yet named.

    Attributes:
        label: Its value in the label array.
        centre: (3,) working index (slice, row, column), weighted by probability.
        volume_ml: Sum of the body probability over its voxels.
        s1_share: Part of its body probability that the network gives to S1, 0 to 1.
        confidence: Mean probability of being bone of a body, over its voxels.
        cut: Whether the edge of the image cuts it.
    """

    label: int
    centre: NDArray[np.float64]
    volume_ml: float
    s1_share: float
    confidence: float
    cut: bool


def find_bodies(
    probability: NDArray[np.float32], offsets: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], tuple[Candidate, ...]]:
    """Separate the vertebral bodies, S1 included.

    Args:
        probability: (7, slices, rows, columns) of the `Structure` classes.
        offsets: (2, slices, rows, columns) votes (rows, columns) in units of `OFFSET_UNIT_MM`.
        spacing_mm: (3,) of the working grid.

    Returns:
        Labels (slices, rows, columns) and the bodies that have them, in no order.
    """
    bone = probability[Structure.BODY] + probability[Structure.SACRUM_S1]
    voxels = np.nonzero(bone > 0.5)
    labels = np.zeros(bone.shape, np.uint8)
    if not len(voxels[0]):
        return labels, ()
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    votes = np.stack(
        [voxels[axis] + offsets[axis - 1][voxels] * (OFFSET_UNIT_MM / PIXEL_MM) for axis in (1, 2)],
        axis=1,
    )
    peaks = _peaks(votes, voxel_ml, (bone.shape[1], bone.shape[2]))
    if not len(peaks):
        return labels, ()
    labels[voxels] = _nearest_peak(votes, peaks)
    box = _bounds(voxels)
    inner = _largest_parts(_absorb_splinters(labels[box], len(peaks)))
    labels[box] = _adopt_orphans(inner, bone[box] > 0.5)
    s1 = probability[Structure.SACRUM_S1]
    found = [
        _describe(label, places, bone, s1, spacing_mm)
        for label, places in places_of(labels).items()
    ]
    return labels, tuple(_plausible([body for body in found if body is not None]))


def places_of(labels: NDArray[np.uint8]) -> dict[int, NDArray[np.intp]]:
    """Voxels (n, 3) of every label, found in one pass over the array."""
    flat = np.flatnonzero(labels)
    if not len(flat):
        return {}
    values = labels.ravel()[flat]
    order = np.argsort(values, kind="stable")
    places = np.stack(np.unravel_index(flat[order], labels.shape), axis=1)
    present, starts = np.unique(values[order], return_index=True)
    parts = np.split(places, starts[1:])
    return {int(label): part for label, part in zip(present, parts, strict=True)}


def renumbered(
    labels: NDArray[np.uint8], kept: Sequence[Candidate]
) -> tuple[NDArray[np.uint8], tuple[Candidate, ...]]:
    """Give the kept bodies the values 1, 2, … in their order, and all others 0."""
    lookup = np.zeros(256, np.uint8)
    for position, body in enumerate(kept, start=1):
        lookup[body.label] = position
    return lookup[labels], tuple(replace(body, label=i) for i, body in enumerate(kept, start=1))


def _peaks(
    votes: NDArray[np.float64], voxel_ml: float, plane: tuple[int, int]
) -> NDArray[np.float64]:
    """Centres (n, 2) as (row, column), strongest first: maxima of the blurred votes."""
    places = np.round(votes).astype(np.intp)
    np.clip(places, 0, np.array(plane) - 1, out=places)
    flat = np.bincount(places[:, 0] * plane[1] + places[:, 1], minlength=plane[0] * plane[1])
    sigma = VOTE_BLUR_MM / PIXEL_MM
    counts = SimpleITK.GetImageFromArray(flat.reshape(plane).astype(np.float32))
    field = SimpleITK.GetArrayFromImage(SimpleITK.DiscreteGaussian(counts, sigma**2))
    # What the smallest body would give if its votes scattered by as much again as the blur.
    floor = SMALLEST_ML / voxel_ml / (2 * np.pi * 2 * sigma**2)
    reach = PEAK_DISTANCE_MM / PIXEL_MM
    rows, columns = np.ogrid[: plane[0], : plane[1]]
    peaks: list[tuple[int, int]] = []
    while len(peaks) < 40:
        row, column = (int(i) for i in np.unravel_index(np.argmax(field), plane))
        if field[row, column] < floor:
            break
        peaks.append((row, column))
        field[(rows - row) ** 2 + (columns - column) ** 2 < reach**2] = 0.0
    return np.array(peaks, dtype=np.float64).reshape(-1, 2)


def _nearest_peak(votes: NDArray[np.float64], peaks: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(n,) number of the peak nearest to each vote, counted from 1; 0 when none is near."""
    rows, columns = votes.T.astype(np.float32)
    nearest = np.zeros(len(votes), np.uint8)
    least = np.full(len(votes), (VOTE_REACH_MM / PIXEL_MM) ** 2, np.float32)
    # Peak by peak: a table of all distances would be tens of MB and slower.
    for number, (row, column) in enumerate(peaks.astype(np.float32), start=1):
        apart = (rows - row) ** 2 + (columns - column) ** 2
        closer = apart < least
        nearest[closer] = number
        np.copyto(least, apart, where=closer)
    return nearest


def _absorb_splinters(labels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Give every part that touches a much larger body to the one it touches most."""
    contact = _contacts(labels, count)
    sizes = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64)
    owner = np.arange(count + 1)
    for label in np.argsort(sizes[1:]) + 1:
        touches = contact[label].copy()
        touches[sizes * SPLINTER < sizes[label]] = 0
        touches[0] = 0
        if sizes[label] and touches.any():
            larger = int(np.argmax(touches))
            owner[owner == label] = larger
            contact[larger] += contact[label]
            contact[:, larger] += contact[:, label]
            contact[label], contact[:, label] = 0, 0
            contact[larger, larger] = 0
            sizes[larger] += sizes[label]
            sizes[label] = 0.0
    return owner.astype(np.uint8)[labels]


def _contacts(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """(count + 1, count + 1) number of in-plane voxel faces that two labels share."""
    size = count + 1
    total = np.zeros(size * size, np.int64)
    for axis in (1, 2):
        one, other = (
            np.moveaxis(labels, axis, 0)[span].ravel() for span in (slice(1, None), slice(-1))
        )
        differ = (one != other) & (one > 0) & (other > 0)
        pairs = one[differ].astype(np.intp) * size + other[differ]
        total += np.bincount(pairs, minlength=size * size)
    table = total.reshape(size, size)
    return np.asarray(table + table.T)


def _largest_parts(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep of every label its largest connected part."""
    kept = np.zeros_like(labels)
    for label, places in places_of(labels).items():
        low, high = places.min(axis=0), places.max(axis=0) + 1
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        mask = SimpleITK.GetImageFromArray((labels[box] == label).astype(np.uint8))
        parts = SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(mask))
        largest = int(np.argmax(np.bincount(parts.ravel())[1:])) + 1
        kept[box][parts == largest] = label
    return kept


def _adopt_orphans(labels: NDArray[np.uint8], bone: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Let bodies grow, inside their slices, over bone whose votes went astray."""
    grown, orphans = labels.copy(), bone & (labels == 0)
    for _ in range(ADOPTION_STEPS):
        if not orphans.any():
            break
        before = grown.copy()
        for axis, step in ((1, 1), (1, -1), (2, 1), (2, -1)):
            neighbour = np.roll(before, step, axis)
            # What rolls over the edge is no neighbour.
            edge = [slice(None)] * 3
            edge[axis] = slice(0, 1) if step > 0 else slice(-1, None)
            neighbour[tuple(edge)] = 0
            np.copyto(grown, neighbour, where=orphans & (grown == 0) & (neighbour > 0))
        orphans &= grown == 0
    return grown


def _bounds(voxels: tuple[NDArray[np.intp], ...]) -> tuple[slice, slice, slice]:
    """Smallest box that holds some voxels."""
    slices, rows, columns = (slice(int(axis.min()), int(axis.max()) + 1) for axis in voxels)
    return slices, rows, columns


def _describe(
    label: int,
    places: NDArray[np.intp],
    bone: NDArray[np.float32],
    s1: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
) -> Candidate | None:
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    voxels = tuple(places.T)
    weight = bone[voxels].astype(np.float64)
    volume_ml = float(weight.sum()) * voxel_ml
    if volume_ml < SMALLEST_ML:
        return None
    plane = np.array(bone.shape[1:])
    in_plane = places[:, 1:]
    at_edge = ((in_plane < EDGE_ROWS) | (in_plane >= plane - EDGE_ROWS)).any(axis=1)
    centre = weight @ places / weight.sum()
    to_side = min(centre[0], bone.shape[0] - 1 - centre[0]) * spacing_mm[0]
    return Candidate(
        label=label,
        centre=np.asarray(centre),
        volume_ml=volume_ml,
        s1_share=float(s1[voxels].sum() / weight.sum()),
        confidence=float(weight.mean()),
        cut=bool(at_edge.any() or to_side < MIDDLE_INSIDE_MM),
    )


def _plausible(found: list[Candidate]) -> list[Candidate]:
    """Drop specks: whole bodies far smaller than their neighbours in the chain."""
    order = sorted(found, key=lambda body: body.centre[1])
    kept = []
    for i, body in enumerate(order):
        around = [
            order[j].volume_ml for j in range(max(0, i - 2), min(len(order), i + 3)) if j != i
        ]
        usual = float(np.median(around)) if around else body.volume_ml
        if body.cut or body.volume_ml >= SMALLEST_OF_NEIGHBOURS * usual:
            kept.append(body)
    return kept
