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

_MIXED: Final = np.uint8(MIXED)

LABELS: Final = 40
"""Structures and bodies are numbered below this."""


@jit
def mix_slices(
    maps: tuple[Bytes, Bytes, Bytes], tables: Floats, start: Places, weights: Floats, out: Floats
) -> None:
    """Signals of slices before in-plane resampling, each fine voxel looked up once.

    Args:
        maps: Tissue, fat percent and free water, (fine slice, row, column).
        tables: (signals, tissues, fat levels, water levels).
        start: (slices,) first fine slice of each slice.
        weights: (slices, taps) of the fine slices from there on.
        out: (signal, slice, row, column), zero; the sums are added to it.
    """
    tissue, fat, water = maps
    count, fats, waters = tables.shape[0], tables.shape[2], tables.shape[3]
    flat = tables.reshape(count, tables.shape[1] * fats * waters)
    rows, columns = tissue.shape[1], tissue.shape[2]
    entry = np.empty(columns, dtype=np.uint32)
    line = np.empty(columns, dtype=np.float32)
    taps = weights.shape[1]
    for k in range(start.min(), min(start.max() + taps, tissue.shape[0])):
        for i in range(rows):
            for j in range(columns):
                place = np.uint32(tissue[k, i, j]) * fats + np.uint32(fat[k, i, j])
                entry[j] = place * waters + np.uint32(water[k, i, j] >> 3)
            for n in range(count):
                for j in range(columns):
                    line[j] = flat[n, entry[j]]
                for z in range(len(start)):
                    tap = k - start[z]
                    if 0 <= tap < taps:
                        weight = weights[z, tap]
                        if weight != 0.0:
                            for j in range(columns):
                                out[n, z, i, j] += weight * line[j]


@jit
def add_shifted(
    signal: Floats, source: Floats, first: int, distance: int, along_rows: bool, share: float
) -> None:
    """Add a share of a part of the image moved along an axis; what leaves comes back in.

    Args:
        signal: (slice, row, column), changed in place.
        source: (slice, row, some columns): what is moved.
        first: Column of the signal where the source begins.
        distance: In rows or columns.
        along_rows: Whether it moves from row to row.
        share: Factor.
    """
    slices, rows, columns = source.shape
    width = signal.shape[2]
    weight = np.float32(share)
    for z in range(slices):
        for i in range(rows):
            row = (i + distance) % rows if along_rows else i
            shift = (first if along_rows else first + distance) % width
            # Two runs without a remainder in the inner loop: so they are summed several at a time.
            whole = min(columns, width - shift)
            target, line = signal[z, row], source[z, i]
            for j in range(whole):
                target[shift + j] += weight * line[j]
            for j in range(whole, columns):
                target[shift + j - width] += weight * line[j]


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
        noise: (half as many slices, row, column), of unit standard deviation. Every second slice
            takes that of the one before it upside down and moved, and the copy from `roll` rows
            and columns away serves as the imaginary channel: no two meet in one voxel.
        level: (row, column) standard deviation.
        scale: Stored value of a signal of one.
        roll: Rows and columns between the two channels.
    """
    slices, rows, columns = signal.shape
    whole = columns - roll[1]
    for z in range(slices):
        for i in range(rows):
            row = i if z % 2 == 0 else (2 * rows - 1 - i - rows // 3) % rows
            own, far = noise[z // 2, row], noise[z // 2, (row + roll[0]) % rows]
            target, spread = signal[z, i], level[i]
            _rician(target[:whole], own[:whole], far[roll[1] :], spread[:whole], scale)
            _rician(target[whole:], own[whole:], far[: roll[1]], spread[whole:], scale)


@jit
def _rician(signal: Floats, noise: Floats, far: Floats, level: Floats, scale: float) -> None:
    """Magnitude of one run of voxels; both channels run along memory."""
    for j in range(len(signal)):
        real = signal[j] + level[j] * noise[j]
        imaginary = level[j] * far[j]
        value = np.rint(scale * np.sqrt(real * real + imaginary * imaginary))
        signal[j] = min(value, 4095.0)


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
    slices, rows, columns = _trimmed(bands[0]), _trimmed(bands[1]), _trimmed(bands[2])
    parts = np.zeros(256, dtype=np.float32)
    width = labels[0].shape[2]
    same, whose = np.zeros(width, dtype=np.uint8), np.zeros(width, dtype=np.uint8)
    used = _labelled_columns(labels[0])
    lines = np.zeros((bands[0][1].shape[1] * bands[1][1].shape[1], 2), dtype=np.int64)
    weights = np.zeros(len(lines), dtype=np.float32)
    # Made once: numba counts references each time a tuple of arrays is put together.
    seen, what = (columns, same, whose), (labels, bands[2], lines, weights, parts)
    for z in range(slices.shape[0]):
        for i in range(rows.shape[0]):
            block = (slices[z, 0], slices[z, 1], rows[i, 0], rows[i, 1])
            if block[0] >= block[1] or block[2] >= block[3]:
                continue
            if not _agreement(labels[0], block, used, same):
                continue
            _agreement(labels[1], block, used, whose)
            count = _weigh(block, (bands[0], bands[1]), (z, i), lines, weights)
            _decide_row((z, i, *used, count), seen, what, bone, (structure, body))


@jit
def _weigh(
    block: tuple[int, int, int, int],
    bands: tuple[tuple[Places, Floats], tuple[Places, Floats]],
    at: tuple[int, int],
    lines: Places,
    weights: Floats,
) -> int:
    """Fine slice and row of every line that a row of voxels is made of, and its weight."""
    (slices, along), (rows, down) = bands
    n = 0
    for k in range(block[0], block[1]):
        for row in range(block[2], block[3]):
            lines[n, 0], lines[n, 1] = k, row
            weights[n] = along[at[0], k - slices[at[0]]] * down[at[1], row - rows[at[1]]]
            n += 1
    return n


@jit
def _decide_row(
    row: tuple[int, int, int, int, int, int],
    seen: tuple[Places, Bytes, Bytes],
    what: tuple[tuple[Bytes, Bytes], tuple[Places, Floats], Places, Floats, Floats],
    bone: NDArray[np.bool_],
    written: tuple[Bytes, Bytes],
) -> None:
    """Write one row of voxels, counting parts where fine voxels disagree."""
    (columns, same, whose), (labels, (start, across), lines, weights, parts) = seen, what
    structures, bodies = labels
    structure, body = written
    z, i, first, last, labels_used, count = row
    for j in range(columns.shape[0]):
        place = (columns[j, 0], columns[j, 1], columns[j, 2])
        if place[0] >= last or place[1] <= first:
            continue
        winner = _agreed(same, place)
        here = (j, place[0], place[1], start[j], count)
        if winner == MIXED:
            _count(structures, here, across, lines, weights, parts)
            winner = _majority(parts, labels_used)
        if winner > 0 and bone[winner]:
            index = _agreed(whose, place)
            if index == MIXED:
                _count(bodies, here, across, lines, weights, parts)
                index = _largest(parts)
            body[z, i, j] = index
            if index == 0:
                continue
        structure[z, i, j] = winner


@jit
def _trimmed(band: tuple[Places, Floats]) -> Places:
    """Per output: first and last+1 input with any weight, and 1 where the weights sum to one."""
    start, weights = band
    out = np.zeros((len(start), 3), dtype=np.int64)
    for n in range(len(start)):
        first, last, total = weights.shape[1], 0, 0.0
        for tap in range(weights.shape[1]):
            if weights[n, tap] > 0.0:
                first, last = min(first, tap), tap + 1
                total += weights[n, tap]
        out[n, 0], out[n, 1] = start[n] + first, start[n] + last
        out[n, 2] = 1 if total > 0.99 else 0
    return out


@jit
def _labelled_columns(labels: Bytes) -> tuple[int, int, int]:
    """First and last+1 column that has any label, and a number that all labels are below.

    A spine fills few of an image's columns.
    """
    slices, rows, columns = labels.shape
    any_label = np.zeros(columns, dtype=np.uint8)
    for k in range(slices):
        for i in range(rows):
            line = labels[k, i]
            for j in range(columns):
                any_label[j] |= line[j]
    first, last, bits = columns, 0, np.uint8(0)
    for j in range(columns):
        bits |= any_label[j]
        if any_label[j] > 0:
            first, last = min(first, j), j + 1
    return first, last, min(int(bits) + 1, LABELS)


@jit
def _agreement(
    labels: Bytes, block: tuple[int, int, int, int], used: tuple[int, int, int], same: Bytes
) -> bool:
    """Per fine column, the one label that the slices and rows of a block have, or MIXED.

    Returns:
        Whether there is any label but background.
    """
    # Views that begin at 0: an index that might be negative is checked each time.
    out = same[used[0] : used[1]]
    out[:] = labels[block[0], block[2], used[0] : used[1]]
    anything = np.uint8(0)
    for j in range(len(out)):
        anything |= out[j]
    for k in range(block[0], block[1]):
        for i in range(block[2], block[3]):
            line = labels[k, i, used[0] : used[1]]
            for j in range(len(out)):
                anything |= line[j]
                out[j] = out[j] if out[j] == line[j] else _MIXED
    return bool(anything > 0)


@jit
def _agreed(same: Bytes, columns: tuple[int, int, int]) -> int:
    """The label that all columns of a voxel have, or MIXED; also where some lie off the grid."""
    if columns[2] == 0:
        return MIXED
    label = same[columns[0]]
    for j in range(columns[0] + 1, columns[1]):
        if same[j] != label:
            return MIXED
    return int(label)


@jit
def _count(
    labels: Bytes,
    place: tuple[int, int, int, int, int],
    across: Floats,
    lines: Places,
    weights: Floats,
    parts: Floats,
) -> None:
    """Add up which part of a voxel each label fills."""
    j, first, last, start, count = place
    label, part = labels[lines[0, 0], lines[0, 1], first], np.float32(0.0)
    for n in range(count):
        k, row, weight = np.uint64(lines[n, 0]), np.uint64(lines[n, 1]), weights[n]
        for column in range(np.uint64(first), np.uint64(last)):
            # The sum of a run of one label stays in a register.
            if labels[k, row, column] != label:
                parts[label] = part
                label = labels[k, row, column]
                part = parts[label]
            part += weight * across[j, column - np.uint64(start)]
    parts[label] = part


@jit
def _majority(parts: Floats, labels: int) -> int:
    """The label with the largest part, 0 when the rest is at least as large; clears the parts."""
    winner, most, rest = 0, np.float32(0.0), np.float32(1.0)
    for value in range(1, labels):
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
