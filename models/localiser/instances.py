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
from numpy.typing import NDArray

from models.localiser.classes import Structure
from models.localiser.parts import largest_parts
from models.localiser.preprocess import OFFSET_UNIT_MM

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

ADOPTION_MM: Final = 6.0
"""How far a body grows over bone that no body claimed."""

EDGE_MM: Final = 3.0
EDGE_SHARE: Final = 0.02
"""A body of which this part lies this near to an image edge counts as cut by it. Less are votes of
a cut neighbour that went astray, beside the middle for the most part."""

BLUR_LEFT_OUT: Final = 0.01
"""The blur's kernel ends where its tails hold less than this part of it."""

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
        s1_share, c2_share: Part of its body probability that the network gives to S1, and to C2.
        confidence: Mean probability of being bone of a body, over its voxels.
        cut: Whether the edge of the image cuts it.
    """

    label: int
    centre: NDArray[np.float64]
    volume_ml: float
    s1_share: float
    confidence: float
    cut: bool
    c2_share: float = 0.0


def find_bodies(
    probability: NDArray[np.float32], offsets: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], tuple[Candidate, ...]]:
    """Separate the vertebral bodies, S1 included.

    Args:
        probability: (classes, slices, rows, columns) of the `Structure` classes.
        offsets: (2, slices, rows, columns) votes (rows, columns) in units of `OFFSET_UNIT_MM`.
        spacing_mm: (3,) of the grid, whose pixels are square.

    Returns:
        Labels (slices, rows, columns) and the bodies that have them, in no order.
    """
    bone = bone_of(probability)
    labels = np.zeros(bone.shape, np.uint8)
    box = box_of(bone > 0.5)
    if box is None:
        return labels, ()
    # From here on only in the box around all bodies: a tenth of the picture or less.
    inside = bone[box] > 0.5
    voxels = np.nonzero(inside)
    corner = np.array([span.start for span in box])
    voxel_ml, pixel_mm = float(np.prod(spacing_mm)) / 1000.0, float(spacing_mm[1])
    votes = np.empty((2, len(voxels[0])), np.float32)
    for axis in (0, 1):
        votes[axis] = offsets[axis][box][inside] * np.float32(OFFSET_UNIT_MM / pixel_mm)
        votes[axis] += voxels[axis + 1] + corner[axis + 1]
    peaks = _peaks(votes, voxel_ml, pixel_mm, (bone.shape[1], bone.shape[2]))
    if not len(peaks):
        return labels, ()
    claimed = np.zeros(inside.shape, np.uint8)
    claimed[voxels] = _nearest_peak(votes, peaks, VOTE_REACH_MM / pixel_mm)
    kept = largest_parts(_absorb_splinters(claimed, len(peaks)))
    labels[box] = _adopt_orphans(kept, inside, round(ADOPTION_MM / pixel_mm))
    ends = (probability[Structure.SACRUM_S1], probability[Structure.C2])
    found = _describe(labels, bone, ends, spacing_mm)
    return labels, tuple(_plausible(found))


def bone_of(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """(slices, rows, columns) probability of any vertebral body, C2 and S1 included."""
    bone = probability[Structure.BODY] + probability[Structure.SACRUM_S1]
    bone += probability[Structure.C2]
    return np.asarray(bone)


@dataclass(frozen=True, slots=True)
class LabelBoxes:
    """Where labels lie.

    Attributes:
        labels: (n,) values present, ascending.
        low: (n, 3) first index of each along every axis.
        high: (n, 3) one past the last.
    """

    labels: NDArray[np.intp]
    low: NDArray[np.intp]
    high: NDArray[np.intp]


def boxes_of(labels: NDArray[np.uint8]) -> LabelBoxes:
    """Smallest box around every label."""
    values, places = _labelled(labels)
    return _boxes(values, places, labels.shape)


def _labelled(
    labels: NDArray[np.uint8],
) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], ...]]:
    """Values and places of all labelled voxels."""
    # Of a mask: numpy looks for set bytes several times faster than for numbers.
    flat = np.flatnonzero(labels > 0)
    return labels.ravel()[flat].astype(np.intp), np.unravel_index(flat, labels.shape)


def _boxes(
    values: NDArray[np.intp], places: tuple[NDArray[np.intp], ...], shape: tuple[int, ...]
) -> LabelBoxes:
    present = np.flatnonzero(np.bincount(values, minlength=1))
    low, high = [], []
    for place, size in zip(places, shape, strict=True):
        table = np.bincount(values * size + place, minlength=256 * size).reshape(-1, size) > 0
        low.append(np.argmax(table[present], axis=1))
        high.append(size - np.argmax(table[present, ::-1], axis=1))
    return LabelBoxes(present, np.stack(low, axis=1), np.stack(high, axis=1))


def renumbered(
    labels: NDArray[np.uint8], kept: Sequence[Candidate]
) -> tuple[NDArray[np.uint8], tuple[Candidate, ...]]:
    """Give the kept bodies the values 1, 2, … in their order, and all others 0."""
    lookup = np.zeros(256, np.uint8)
    for position, body in enumerate(kept, start=1):
        lookup[body.label] = position
    named = tuple(replace(body, label=i) for i, body in enumerate(kept, start=1))
    return np.take(lookup, labels), named


def _peaks(
    votes: NDArray[np.float32], voxel_ml: float, pixel_mm: float, plane: tuple[int, int]
) -> NDArray[np.float64]:
    """Centres (n, 2) as (row, column), strongest first: maxima of the blurred votes (2, voxels)."""
    limits = np.array(plane)[:, None] - 1
    rows, columns = np.clip(np.rint(votes).astype(np.intp), 0, limits)
    flat = np.bincount(rows * plane[1] + columns, minlength=plane[0] * plane[1])
    sigma = VOTE_BLUR_MM / pixel_mm
    field = _blurred(flat.reshape(plane).astype(np.float32), sigma)
    # What the smallest body would give if its votes scattered by as much again as the blur.
    floor = SMALLEST_ML / voxel_ml / (2 * np.pi * 2 * sigma**2)
    reach = PEAK_DISTANCE_MM / pixel_mm
    around = int(np.ceil(reach))
    peaks: list[tuple[int, int]] = []
    while len(peaks) < 40:
        row, column = (int(i) for i in np.unravel_index(np.argmax(field), plane))
        if field[row, column] < floor:
            break
        peaks.append((row, column))
        top, left = max(0, row - around), max(0, column - around)
        near = field[top : row + around + 1, left : column + around + 1]
        down, right = np.ogrid[: near.shape[0], : near.shape[1]]
        near[(down + top - row) ** 2 + (right + left - column) ** 2 < reach**2] = 0.0
    return np.array(peaks, dtype=np.float64).reshape(-1, 2)


def _blurred(counts: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Convolve (rows, columns) with the discrete Gaussian; at an edge its pixels go on outside."""
    taps = _gaussian_taps(sigma)
    radius = len(taps) // 2
    box = box_of(counts > 0, radius)
    if box is None:
        return counts
    out = np.zeros_like(counts)
    values = counts[box]
    for axis in (0, 1):
        wide = [(0, 0), (0, 0)]
        wide[axis] = (radius, radius)
        # Inside the picture the box ends in zeros, which then go on; at its edge the votes do.
        padded = np.pad(values, wide, mode="edge")
        size = values.shape[axis]
        values = np.zeros_like(values)
        for shift, weight in enumerate(taps):
            values += weight * padded.take(range(shift, shift + size), axis)
    out[box] = values
    return out


def _gaussian_taps(sigma: float) -> NDArray[np.float32]:
    """The discrete Gaussian (Lindeberg 1990): Bessel functions, here from their Fourier series."""
    turns = 2 * np.pi * np.arange(256) / 256
    half = np.fft.ifft(np.exp(sigma**2 * (np.cos(turns) - 1.0))).real[:128]
    within = half[0] + 2 * np.concatenate(([0.0], np.cumsum(half[1:])))
    radius = int(np.argmax(within >= 1.0 - BLUR_LEFT_OUT))
    taps = np.concatenate((half[radius:0:-1], half[: radius + 1]))
    return np.asarray(taps / taps.sum(), np.float32)


def _nearest_peak(
    votes: NDArray[np.float32], peaks: NDArray[np.float64], reach: float
) -> NDArray[np.uint8]:
    """(n,) number of the peak nearest to each vote, counted from 1; 0 when none is in reach."""
    rows, columns = votes
    nearest = np.zeros(len(rows), np.uint8)
    least = np.full(len(rows), reach**2, np.float32)
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
    sizes = np.bincount(labels[labels > 0], minlength=count + 1).astype(np.float64)
    owner = np.arange(count + 1)
    for label in np.argsort(sizes[1:]) + 1:
        touches = contact[label].copy()
        touches[sizes * SPLINTER < sizes[label]] = 0
        if sizes[label] and touches.any():
            larger = int(np.argmax(touches))
            owner[owner == label] = larger
            contact[larger] += contact[label]
            contact[:, larger] += contact[:, label]
            contact[label], contact[:, label] = 0, 0
            contact[larger, larger] = 0
            sizes[larger] += sizes[label]
            sizes[label] = 0.0
    if (owner == np.arange(count + 1)).all():
        return labels
    return np.take(owner.astype(np.uint8), labels)


def _contacts(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """(count + 1, count + 1) number of in-plane voxel faces that two labels share."""
    size = count + 1
    total = np.zeros(size * size, np.int64)
    faces = (
        (labels[:, 1:], labels[:, :-1]),
        (labels[:, :, 1:], labels[:, :, :-1]),
    )
    for one, other in faces:
        differ = (one != other) & (one > 0) & (other > 0)
        pairs = one[differ].astype(np.intp) * size + other[differ]
        total += np.bincount(pairs, minlength=size * size)
    table = total.reshape(size, size)
    return np.asarray(table + table.T)


def _adopt_orphans(
    labels: NDArray[np.uint8], bone: NDArray[np.bool_], steps: int
) -> NDArray[np.uint8]:
    """Let bodies grow, inside their slices, over bone whose votes went astray."""
    # Beyond the edge lies no neighbour.
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)))
    grown = padded.ravel()
    orphans = np.flatnonzero(np.pad(bone & (labels == 0), ((0, 0), (1, 1), (1, 1))))
    row = padded.shape[2]
    for _ in range(steps):
        if not len(orphans):
            break
        adopted = np.zeros(len(orphans), np.uint8)
        for neighbour in (-row, row, -1, 1):
            np.copyto(adopted, grown[orphans + neighbour], where=adopted == 0)
        grown[orphans] = adopted
        orphans = orphans[adopted == 0]
    return padded[:, 1:-1, 1:-1]


def box_of(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, ...] | None:
    """Find the smallest box that holds a mask.

    Args:
        mask: Of any number of axes.
        margin: Voxels to add on every side, as far as the array goes.

    Returns:
        A slice per axis; None when nothing is set.
    """
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        held = np.flatnonzero(mask.any(axis=others))
        if not len(held):
            return None
        low, high = int(held[0]) - margin, int(held[-1]) + 1 + margin
        box.append(slice(max(0, low), min(size, high)))
    return tuple(box)


def _describe(
    labels: NDArray[np.uint8],
    bone: NDArray[np.float32],
    ends: tuple[NDArray[np.float32], NDArray[np.float32]],
    spacing_mm: NDArray[np.float64],
) -> list[Candidate]:
    """Sum up every label that has enough bone."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    values, places = _labelled(labels)
    weight = bone[places].astype(np.float64)
    total = np.bincount(values, weight)
    voxels = np.bincount(values)
    s1, c2 = (np.bincount(values, end[places]) for end in ends)
    moments = np.stack([np.bincount(values, weight * place) for place in places], axis=1)
    at_edge = np.bincount(values, weight * _near_edge(places, labels.shape, spacing_mm))
    found = []
    for label in np.flatnonzero(voxels):
        if total[label] * voxel_ml < SMALLEST_ML:
            continue
        centre = moments[label] / total[label]
        to_side = min(centre[0], labels.shape[0] - 1 - centre[0]) * spacing_mm[0]
        found.append(
            Candidate(
                label=int(label),
                centre=np.asarray(centre),
                volume_ml=float(total[label]) * voxel_ml,
                s1_share=float(s1[label] / total[label]),
                confidence=float(total[label] / voxels[label]),
                cut=bool(at_edge[label] > EDGE_SHARE * total[label] or to_side < MIDDLE_INSIDE_MM),
                c2_share=float(c2[label] / total[label]),
            )
        )
    return found


def _near_edge(
    places: tuple[NDArray[np.intp], ...], shape: tuple[int, ...], spacing_mm: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,) which places lie near the first or last row or column."""
    near = np.zeros(len(places[0]), bool)
    for axis in (1, 2):
        edge = EDGE_MM / spacing_mm[axis]
        near |= (places[axis] < edge) | (places[axis] >= shape[axis] - edge)
    return near


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
