"""Bring what the network says of a crop's voxels home to the bodies on the reference grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation
from models.geometry import to_lps
from models.scorer.boxes import body_voxels
from models.scorer.crops import LevelCrops
from models.scorer.resampling import sample_points

SHARPEST: Final = 0.98
"""Quantile of a body's evidence, by size, that is drawn as 1: single voxels do not set the scale.
"""


def values_in_bodies(
    localisation: Localisation,
    crops: LevelCrops,
    maps: NDArray[np.float32],
    levels: Collection[int],
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Sample each crop's maps in its own body.

    Args:
        localisation: Of the study.
        crops: Of the study.
        maps: (level, slice, row / 2, column / 2), or with one axis more: of several maps.
        levels: Which to sample; one without voxels is left out.

    Returns:
        Level to its (n, 3) voxels on the reference grid and their (n,) or (n, map) values, 0
        outside the crop.
    """
    halving = np.diag([1.0, 0.5, 0.5, 1.0])
    halving[1:3, 3] = -0.25
    found = {}
    for level in levels:
        index = localisation.vertebrae[level].index
        if index not in crops.boxes:
            continue
        voxels = body_voxels(localisation.labels, index, crops.boxes[index])
        to_map = halving @ np.linalg.inv(crops.affines[level]) @ localisation.affine
        value, inside = sample_points(maps[level], to_lps(to_map, voxels))
        value[~inside] = 0.0
        found[level] = (voxels, value)
    return found


def painted(
    shape: tuple[int, ...],
    values: Mapping[int, tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> NDArray[np.float32]:
    """(slice, row, column) float32 of all bodies' values, zero outside bodies."""
    whole = np.zeros(shape, dtype=np.float32)
    for voxels, value in values.values():
        whole[tuple(voxels.T)] = value
    return whole


def to_own_scale(
    values: Mapping[int, tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Signed evidence of each body over its own strongest, clipped to [-1, 1]."""
    scaled = {}
    for level, (voxels, value) in values.items():
        most = float(np.quantile(np.abs(value), SHARPEST)) if value.size else 0.0
        scaled[level] = (voxels, np.clip(value / max(most, 1e-9), -1.0, 1.0).astype(np.float32))
    return scaled
