"""The largest connected part of every label, against a flood fill."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.localiser.parts import largest_parts


def flooded(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same by the slowest way: fill from each voxel, keep the first of the largest."""
    seen = np.zeros(labels.shape, bool)
    largest: dict[int, tuple[list[tuple[int, ...]], int]] = {}
    for start in np.argwhere(labels):
        if seen[tuple(start)]:
            continue
        label, part, edge = labels[tuple(start)], [], [tuple(start)]
        seen[tuple(start)] = True
        while edge:
            voxel = edge.pop()
            part.append(voxel)
            for axis, step in [(0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1)]:
                near = (*voxel[:axis], voxel[axis] + step, *voxel[axis + 1 :])
                within = all(0 <= n < size for n, size in zip(near, labels.shape, strict=True))
                if within and labels[near] == label and not seen[near]:
                    seen[near] = True
                    edge.append(near)
        if len(part) > largest.get(int(label), ([], 0))[1]:
            largest[int(label)] = (part, len(part))
    kept = np.zeros_like(labels)
    for label, (part, _) in largest.items():
        for voxel in part:
            kept[voxel] = label
    return kept


@pytest.mark.parametrize("seed", range(30))
def test_keeps_what_a_flood_fill_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, [5, 12, 12])
    filled = rng.random(shape) < rng.uniform(0.1, 0.9)
    labels = (rng.integers(1, 4, shape) * filled).astype(np.uint8)
    assert np.array_equal(largest_parts(labels), flooded(labels))


def test_parts_that_meet_only_across_a_row_s_end_are_apart() -> None:
    labels = np.zeros((1, 2, 4), np.uint8)
    labels[0, 0, 2:] = 1
    labels[0, 1, :1] = 1
    assert largest_parts(labels).sum() == 2


def test_nothing_stays_nothing() -> None:
    assert not largest_parts(np.zeros((2, 3, 4), np.uint8)).any()
