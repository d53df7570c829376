"""Labels of the fine grid on a series' grid: what fills the most of a voxel that is half filled.

A voxel is looked at in a few points, spread over slice pitch and pixel; fine voxels are not
much smaller than they are apart. Only the box around each label is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.volume import Volume
from training.phantom.painting.tissues import EDEMA_FREE_WATER, LevelTruth, Mark, Tissue, TissueGrid
from training.phantom.scanner.sampling import axis_positions

LESION_CLASSES: Final = {
    "edema": 1,
    "metastasis_lytic": 2,
    "metastasis_blastic": 3,
    "fracture_line": 4,
    "cleft": 5,
    "cement": 6,
    "haemangioma": 7,
    "infection": 8,
    "soft_mass": 9,
    "sclerosis": 10,
    "fatty_marrow": 11,
    "schmorl_node": 12,
    "erosion": 13,
    "limbus": 14,
}
"""Values of a lesion map; 0 is everything else. Dense bone is a fracture line in a body with an
unhealed fracture and sclerosis (Modic 3, bone island, condensation) in any other; fatty marrow is
marrow turned to fat in one place (Modic 2, fatty corner), not where a whole spine is fatty."""

_BY_TISSUE: Final = {
    Tissue.METASTASIS_LYTIC: "metastasis_lytic",
    Tissue.METASTASIS_BLASTIC: "metastasis_blastic",
    Tissue.CEMENT: "cement",
    Tissue.HAEMANGIOMA: "haemangioma",
    Tissue.PUS: "infection",
    Tissue.SOFT_MASS: "soft_mass",
}
_BY_MARK: Final = {
    Mark.FATTY: ("fatty_marrow", (Tissue.MARROW,)),
    Mark.NODE: ("schmorl_node", (Tissue.NUCLEUS,)),
    Mark.EROSION: ("erosion", (Tissue.NUCLEUS, Tissue.SOFT_ORGAN)),
    Mark.LIMBUS: ("limbus", (Tissue.NUCLEUS,)),
}
"""Class of what is marked, where it still is the tissue that was marked."""

_POINTS: Final = ((-1 / 3, 0.0, 1 / 3), (-0.25, 0.25), (-0.25, 0.25))
"""Where along slices, rows and columns a voxel is looked at, in parts of its size."""

_Box = tuple[slice, slice, slice]


def labels_on(fine: NDArray[np.uint8], grid: TissueGrid, volume: Volume) -> NDArray[np.uint8]:
    """Labels on a volume's grid.

    Args:
        fine: (slice, row, column) labels on the fine grid; 0 is none.
        grid: The fine grid.
        volume: A volume whose axes follow the grid's.

    Returns:
        (slice, row, column) uint8: the label with most points in each voxel, where labels
        together have half of them or more.

    Raises:
        GeometryError: The axes differ.
    """
    at = _fine_indices(grid, volume)
    labels = np.zeros(volume.shape, dtype=np.uint8)
    most = np.zeros(volume.shape, dtype=np.uint8)
    total = np.zeros(volume.shape, dtype=np.uint8)
    for value, found in enumerate(ndimage.find_objects(fine), start=1):
        box = None if found is None else _seen(found, at)
        if box is None:
            continue
        votes = _votes(fine, value, at, box)
        total[box] += votes
        wins = votes > most[box]
        labels[box][wins] = value
        np.copyto(most[box], votes, where=wins)
    points = int(np.prod([len(offsets) for offsets in _POINTS]))
    labels[total < points / 2] = 0
    return labels


def lesion_labels(grid: TissueGrid, levels: Sequence[LevelTruth]) -> NDArray[np.uint8]:
    """`LESION_CLASSES` of every fine voxel."""
    values = np.zeros(256, dtype=np.uint8)
    for tissue, name in _BY_TISSUE.items():
        values[tissue] = LESION_CLASSES[name]
    labels = values[grid.tissue]
    if grid.mark is not None:
        for mark, (name, tissues) in _BY_MARK.items():
            labels[(grid.mark == mark) & np.isin(grid.tissue, tissues)] = LESION_CLASSES[name]
    wet = grid.free_water >= EDEMA_FREE_WATER
    labels[wet & (grid.tissue == Tissue.MARROW)] = LESION_CLASSES["edema"]
    bodies = np.zeros(256, dtype=np.uint8)
    bodies[1:] = LESION_CLASSES["sclerosis"]
    bodies[[level.index for level in levels if level.unhealed]] = LESION_CLASSES["fracture_line"]
    for box in ndimage.find_objects((grid.body > 0).astype(np.uint8)):
        tissue, body, inner = grid.tissue[box], grid.body[box], labels[box]
        hollow = (body > 0) & ((tissue == Tissue.FLUID) | (tissue == Tissue.GAS))
        inner[hollow] = LESION_CLASSES["cleft"]
        dense = tissue == Tissue.SCLEROSIS
        inner[dense] = bodies[body[dense]]
    return labels


def _fine_indices(grid: TissueGrid, volume: Volume) -> list[list[NDArray[np.int64]]]:
    """Per axis and point, the fine index of each voxel along the axis; -1 outside the grid."""
    positions = axis_positions(grid.affine, volume.affine, volume.shape)
    pitch = np.linalg.norm(grid.affine[:3, :3], axis=0)
    size = np.array(volume.spacing.mm) / pitch
    at = []
    for axis, offsets in enumerate(_POINTS):
        count = grid.tissue.shape[axis]
        indices = [np.rint(positions[axis] + offset * size[axis]) for offset in offsets]
        at.append([np.where((i >= 0) & (i < count), i, -1).astype(np.int64) for i in indices])
    return at


def _seen(found: _Box, at: list[list[NDArray[np.int64]]]) -> _Box | None:
    """The voxels any point of which lies in a fine box, as a box; None without any."""
    ranges = []
    for fine, indices in zip(found, at, strict=True):
        inside = np.any([(i >= fine.start) & (i < fine.stop) for i in indices], axis=0)
        places = np.flatnonzero(inside)
        if not places.size:
            return None
        ranges.append(slice(int(places[0]), int(places[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]


def _votes(
    fine: NDArray[np.uint8], value: int, at: list[list[NDArray[np.int64]]], box: _Box
) -> NDArray[np.uint8]:
    shape = tuple(part.stop - part.start for part in box)
    votes = np.zeros(shape, dtype=np.uint8)
    for points in _points(at, box):
        slices, rows, columns = (point >= 0 for point in points)
        hit = fine[np.ix_(*points)] == value
        hit &= slices[:, None, None] & rows[:, None] & columns
        votes += hit
    return votes


def _points(
    at: list[list[NDArray[np.int64]]], box: _Box
) -> Iterator[tuple[NDArray[np.int64], ...]]:
    inner = [[index[part] for index in indices] for indices, part in zip(at, box, strict=True)]
    yield from product(*inner)
