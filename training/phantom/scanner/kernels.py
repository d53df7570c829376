"""Compiled inner loops of the scanner: mixing fine voxels, resampling, truth by majority, noise.

All are plain loops over arrays; shapes are the caller's business (`sampling`, `acquisition`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.phantom.painting.kernels import jit

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Places = NDArray[np.int64]

MIXED: Final = 255
"""Stands for several labels in one place."""

LABELS: Final = 40
"""Structures and bodies are numbered below this."""


@jit
def mix_slices(
    maps: tuple[Bytes, Bytes, Bytes], table: Floats, start: Places, weights: Floats, out: Floats
) -> None:
    """Signal of slices before in-plane resampling, each fine voxel looked up once.

    Args:
        maps: Tissue, fat percent and free water, (fine slice, row, column).
        table: (tissues, fat levels, water levels).
        start: (slices,) first fine slice of each slice.
        weights: (slices, taps) of the fine slices from there on.
        out: (slice, row, column), zero; the sums are added to it.
    """
    tissue, fat, water = maps
    rows, columns = tissue.shape[1], tissue.shape[2]
    line = np.empty(columns, dtype=np.float32)
    taps = weights.shape[1]
    for k in range(start.min(), min(start.max() + taps, tissue.shape[0])):
        for i in range(rows):
            for j in range(columns):
                line[j] = table[tissue[k, i, j], fat[k, i, j], water[k, i, j] >> 3]
            for z in range(len(start)):
                tap = k - start[z]
                if 0 <= tap < taps:
                    weight = weights[z, tap]
                    if weight != 0.0:
                        target = out[z, i]
                        for j in range(columns):
                            target[j] += weight * line[j]


@jit
def resample(
    volume: Floats, rows: tuple[Places, Floats], columns: tuple[Places, Floats], out: Floats
) -> None:
    """Apply a band matrix along rows and one along columns of every slice.

    Args:
        volume: (slice, row, column).
        rows: (output rows,) start and (output rows, taps) weights.
        columns: The same for columns.
        out: (slice, output row, output column).
    """
    height, width = len(rows[0]), volume.shape[2]
    lines = np.empty((height, width), dtype=np.float32)
    upright = np.empty((width, height), dtype=np.float32)
    across = np.empty((len(columns[0]), height), dtype=np.float32)
    for z in range(volume.shape[0]):
        _apply(volume[z], rows, lines)
        _transpose(lines, upright)
        # Columns too are summed along memory, which is what makes it fast.
        _apply(upright, columns, across)
        _transpose(across, out[z])


@jit
def _apply(source: Floats, band: tuple[Places, Floats], out: Floats) -> None:
    """Band matrix times a matrix: weighted sums of whole rows, four at a time."""
    start, weights = band
    taps, width = weights.shape[1], source.shape[1]
    whole = taps - taps % 4
    for i in range(len(start)):
        target = out[i]
        target[:] = 0.0
        for tap in range(0, whole, 4):
            first = start[i] + tap
            w0, w1 = weights[i, tap], weights[i, tap + 1]
            w2, w3 = weights[i, tap + 2], weights[i, tap + 3]
            s0, s1, s2, s3 = source[first], source[first + 1], source[first + 2], source[first + 3]
            for j in range(width):
                target[j] += w0 * s0[j] + w1 * s1[j] + w2 * s2[j] + w3 * s3[j]
        for tap in range(whole, taps):
            weight = weights[i, tap]
            line = source[start[i] + tap]
            for j in range(width):
                target[j] += weight * line[j]


@jit
def _transpose(source: Floats, out: Floats) -> None:
    """Copy a matrix transposed, in blocks that stay in cache."""
    rows, columns = source.shape
    for first in range(0, rows, 16):
        for left in range(0, columns, 16):
            for j in range(left, min(left + 16, columns)):
                for i in range(first, min(first + 16, rows)):
                    out[j, i] = source[i, j]


@jit
def pick(volume: Bytes, slices: Places, rows: Places, columns: Places, out: Bytes) -> None:
    """Values of a fine map at given slices, rows and columns."""
    for z in range(len(slices)):
        for i in range(len(rows)):
            source = volume[slices[z], rows[i]]
            for j in range(len(columns)):
                out[z, i, j] = source[columns[j]]


@jit
def magnitude(
    signal: Floats, noise: Floats, level: Floats, scale: float, roll: tuple[int, int]
) -> None:
    """Rician magnitude of a real signal, scaled and rounded to 0..4095, in place.

    Args:
        signal: (slice, row, column).
        noise: The same shape, of unit standard deviation; its copy from `roll` rows and columns
            away serves as the imaginary channel, unrelated at any one voxel.
        level: (row, column) standard deviation.
        scale: Stored value of a signal of one.
        roll: Rows and columns between the two channels.
    """
    slices, rows, columns = signal.shape
    for z in range(slices):
        for i in range(rows):
            far = noise[z, (i + roll[0]) % rows]
            for j in range(columns):
                other = j + roll[1]
                if other >= columns:
                    other -= columns
                real = signal[z, i, j] + level[i, j] * noise[z, i, j]
                imaginary = level[i, j] * far[other]
                value = np.rint(scale * np.sqrt(real * real + imaginary * imaginary))
                signal[z, i, j] = min(value, 4095.0)


@jit
def turn(volume: Floats, cosine: float, sine: float, out: Floats) -> None:
    """Turn every slice about its middle by cubic interpolation, edges held (square pixels)."""
    slices, rows, columns = volume.shape
    middle_i, middle_j = (rows - 1) / 2, (columns - 1) / 2
    wi, wj = np.empty(4), np.empty(4)
    for i in range(rows):
        for j in range(columns):
            y = middle_i + cosine * (i - middle_i) + sine * (j - middle_j)
            x = middle_j - sine * (i - middle_i) + cosine * (j - middle_j)
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            _cubic(y - y0, wi)
            _cubic(x - x0, wj)
            for z in range(slices):
                total = 0.0
                for a in range(4):
                    source = volume[z, min(max(y0 + a - 1, 0), rows - 1)]
                    along = 0.0
                    for b in range(4):
                        along += wj[b] * source[min(max(x0 + b - 1, 0), columns - 1)]
                    total += wi[a] * along
                out[z, i, j] = total


@jit
def _cubic(t: float, weights: NDArray[np.float64]) -> None:
    """Catmull-Rom weights of the four neighbours at a part of a step."""
    weights[0] = ((2.0 - t) * t - 1.0) * t / 2
    weights[1] = (t * t * (3.0 * t - 5.0) + 2.0) / 2
    weights[2] = ((4.0 - 3.0 * t) * t + 1.0) * t / 2
    weights[3] = (t - 1.0) * t * t / 2


@jit
def vote(
    labels: tuple[Bytes, Bytes],
    bands: tuple[tuple[Places, Floats], tuple[Places, Floats], tuple[Places, Floats]],
    bone: NDArray[np.bool_],
    structure: Bytes,
    body: Bytes,
) -> None:
    """What fills the most of each voxel.

    Args:
        labels: Structure and body on the fine grid.
        bands: Start and weights along slices, rows and columns; weights of a voxel sum to at most
            one, and what is missing counts as background.
        bone: (256,) which structures carry a body's index.
        structure: Written, (slice, row, column).
        body: Written: the body that fills the most of a voxel whose structure is bone.
    """
    (ks, kw), (is_, iw), (js, jw) = bands
    parts = np.zeros(256, dtype=np.float32)
    same = np.empty(labels[0].shape[2], dtype=np.uint8)
    for z in range(len(ks)):
        for i in range(len(is_)):
            slices, rows = (ks[z], kw[z]), (is_[i], iw[i])
            if not _agreement(labels[0], slices, rows, same):
                continue
            for j in range(len(js)):
                columns = (js[j], jw[j])
                winner = _agreed(same, columns)
                if winner == 0:
                    continue
                if winner == MIXED:
                    _count(labels[0], slices, rows, columns, parts)
                    winner = _majority(parts)
                if winner > 0 and bone[winner]:
                    _count(labels[1], slices, rows, columns, parts)
                    body[z, i, j] = _largest(parts)
                    if body[z, i, j] == 0:
                        continue
                structure[z, i, j] = winner


@jit
def _agreement(
    labels: Bytes, slices: tuple[int, Floats], rows: tuple[int, Floats], same: Bytes
) -> bool:
    """Per fine column, the one label that some fine slices and rows have, or MIXED.

    Returns:
        Whether there is any label but background.
    """
    first = True
    for a in range(len(slices[1])):
        for b in range(len(rows[1])):
            if slices[1][a] * rows[1][b] == 0.0:
                continue
            line = labels[slices[0] + a, rows[0] + b]
            if first:
                same[:] = line
                first = False
            else:
                for j in range(len(same)):
                    same[j] = same[j] if same[j] == line[j] else MIXED
    if first:
        return False
    anything = 0
    for value in same:
        anything |= value
    return anything > 0


@jit
def _agreed(same: Bytes, columns: tuple[int, Floats]) -> int:
    """The label that all columns of a voxel have, or MIXED; missing columns count as mixed."""
    label = -1
    total = 0.0
    for c in range(len(columns[1])):
        if columns[1][c] > 0.0:
            total += columns[1][c]
            value = int(same[columns[0] + c])
            if label == -1:
                label = value
            elif label != value:
                return MIXED
    if label <= 0:
        return 0
    return label if total > 0.99 else MIXED


@jit
def _count(
    labels: Bytes,
    slices: tuple[int, Floats],
    rows: tuple[int, Floats],
    columns: tuple[int, Floats],
    parts: Floats,
) -> None:
    for a in range(len(slices[1])):
        for b in range(len(rows[1])):
            weight = slices[1][a] * rows[1][b]
            if weight == 0.0:
                continue
            line = labels[slices[0] + a, rows[0] + b]
            for c in range(len(columns[1])):
                parts[line[columns[0] + c]] += weight * columns[1][c]


@jit
def _majority(parts: Floats) -> int:
    """The label with the largest part, 0 when the rest is at least as large; clears the parts."""
    winner, most, rest = 0, np.float32(0.0), np.float32(1.0)
    for value in range(1, LABELS):
        rest -= parts[value]
        if parts[value] > most + 1e-6:
            winner, most = value, parts[value]
        parts[value] = 0.0
    parts[0] = 0.0
    return winner if rest < most else 0


@jit
def _largest(parts: Floats) -> int:
    """The value above 0 with the largest part; clears the parts."""
    winner, most = 0, np.float32(0.0)
    for value in range(1, LABELS):
        if parts[value] > most:
            winner, most = value, parts[value]
        parts[value] = 0.0
    parts[0] = 0.0
    return winner
