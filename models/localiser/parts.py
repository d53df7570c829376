"""Connected parts of labels, from runs of equal voxels along the rows of an array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest_parts(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep of every label its largest part that is connected by voxel faces; of equals the first.

    Args:
        labels: (slices, rows, columns), contiguous.

    Returns:
        The same labels, 0 where a smaller part was.
    """
    flat = np.flatnonzero(labels > 0)
    if not len(flat):
        return labels.copy()
    values = labels.ravel()[flat]
    follows = (np.diff(flat) == 1) & (values[1:] == values[:-1]) & (flat[1:] % labels.shape[2] > 0)
    begins = np.concatenate(([True], ~follows))
    run = np.cumsum(begins) - 1
    sizes = np.bincount(run)
    part = _joined(len(sizes), *_touching(labels, flat, run))
    kept = np.zeros_like(labels)
    kept.ravel()[flat] = np.where(_largest(values[begins], part, sizes)[run], values, 0)
    return kept


def _touching(
    labels: NDArray[np.uint8], flat: NDArray[np.intp], run: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Runs of one label that touch in the next row or slice, as pairs."""
    run_at = np.zeros(labels.size, np.int32)
    run_at[flat] = run
    pairs = []
    for axis in (0, 1):
        step = labels.strides[axis]
        here = flat[np.unravel_index(flat, labels.shape)[axis] + 1 < labels.shape[axis]]
        here = here[labels.ravel()[here] == labels.ravel()[here + step]]
        pairs.append(np.stack([run_at[here], run_at[here + step]]))
    both = np.concatenate(pairs, axis=1).astype(np.intp)
    # Two runs touch along many voxels, one after the other: once is enough.
    new = np.ones(both.shape[1], bool)
    new[1:] = (both[:, 1:] != both[:, :-1]).any(axis=0)
    return both[0, new], both[1, new]


def _joined(count: int, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
    """(count,) lowest run of the part that each run belongs to."""
    part = np.arange(count)
    while len(one):
        low, high = np.minimum(part[one], part[other]), np.maximum(part[one], part[other])
        apart = low != high
        one, other = one[apart], other[apart]
        np.minimum.at(part, high[apart], low[apart])
        while (part[part] != part).any():
            part = part[part]
    return part


def _largest(
    label: NDArray[np.uint8], part: NDArray[np.intp], sizes: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(runs,) whether a run is of the largest part of its label."""
    volume = np.bincount(part, weights=sizes, minlength=len(part))
    heads = np.flatnonzero(part == np.arange(len(part)))
    order = heads[np.lexsort((heads, -volume[heads], label[heads]))]
    first = np.ones(len(order), bool)
    first[1:] = label[order[1:]] != label[order[:-1]]
    best = np.zeros(256, np.intp)
    best[label[order[first]]] = order[first]
    return np.asarray(part == best[label])
