"""Truth on the grid of an acquired volume: labels by majority, and fractions."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from models.volume import Volume
from training.phantom.painting.tissues import TissueGrid
from training.phantom.scanner.kernels import vote
from training.phantom.scanner.sampling import SliceGeometry, label_sampler

_BONE: Final = np.isin(np.arange(256), (Structure.BODY, Structure.SACRUM_S1))


def truth_on(grid: TissueGrid, volume: Volume) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Structure and body labels on a volume's grid: what fills the most of each voxel.

    Args:
        grid: The truth.
        volume: A volume whose axes follow the grid's.

    Returns:
        (structure, body), both (slice, row, column) uint8. A voxel has a body's index exactly
        where its structure is a body or S1.

    Raises:
        GeometryError: The axes differ.
    """
    sampler = label_sampler(grid.affine, grid.tissue.shape, _geometry_of(volume))
    structure = np.zeros(volume.shape, dtype=np.uint8)
    body = np.zeros(volume.shape, dtype=np.uint8)
    bands = (sampler.slices.parts, sampler.rows.parts, sampler.columns.parts)
    labels = (np.ascontiguousarray(grid.structure), np.ascontiguousarray(grid.body))
    vote(labels, bands, _BONE, structure, body)
    return structure, body


def fraction_on(fine: NDArray[np.generic], grid: TissueGrid, volume: Volume) -> NDArray[np.float32]:
    """Mean of a fine map over each voxel of a volume, such as the edematous fraction.

    Args:
        fine: (slice, row, column) map on the fine grid, for example `free_water > 64` in marrow.
        grid: The fine grid.
        volume: A volume whose axes follow the grid's.
    """
    return label_sampler(grid.affine, grid.tissue.shape, _geometry_of(volume))(fine)


def _geometry_of(volume: Volume) -> SliceGeometry:
    return SliceGeometry(volume.shape, volume.affine, volume.spacing.slice_mm)
