"""The localiser's maps in sagittal order, and what their voxels can resolve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation
from models.geometry import Affine, sagittal_order, spacing_of, to_lps
from models.localiser.preprocess import PIXEL_MM, SLICE_MM, THIN_SLICE_MM
from models.volume import reorder

_EDGE_95: Final = 1.96 / np.sqrt(12.0)
"""95 % half-width, in voxels, of an edge that may lie anywhere in its voxel."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Finest detail of the maps in mm; stored voxels finer than the network's grid add none.

    Attributes:
        pixel_mm: In the slice.
        slice_mm: Across slices.
    """

    pixel_mm: float
    slice_mm: float

    @property
    def edge_mm(self) -> float:
        """Uncertainty of one edge in the slice."""
        return float(_EDGE_95 * self.pixel_mm)

    @property
    def span_mm(self) -> float:
        """Uncertainty of a distance between two edges in the slice."""
        return float(np.sqrt(2.0) * self.edge_mm)

    @property
    def across_mm(self) -> float:
        """Uncertainty of a distance between two edges across slices."""
        return float(np.sqrt(2.0) * _EDGE_95 * self.slice_mm)


@dataclass(frozen=True, slots=True)
class SpineMaps:
    """Label and structure map with slices to the left, rows to the feet, columns to the back.

    Attributes:
        labels: (slice, row, column) as `Localisation.labels`.
        structures: (slice, row, column) as `Localisation.structures`.
        affine: Index to LPS mm.
        inverse: LPS mm to index.
        resolution: What the voxels can resolve.
    """

    labels: NDArray[np.uint8]
    structures: NDArray[np.uint8]
    affine: Affine
    inverse: Affine
    resolution: Resolution

    def cut_sideways(self, index: int) -> bool:
        """Whether a body goes on beyond the first or the last slice, so that its middle is off."""
        return bool((self.labels[0] == index).any() or (self.labels[-1] == index).any())

    @classmethod
    def of(cls, localisation: Localisation) -> SpineMaps:
        """Turn the maps of a study; no voxel is copied.

        Raises:
            GeometryError: The grid's axes do not follow three patient axes.
        """
        axes, flips = sagittal_order(localisation.affine)
        shape = localisation.labels.shape
        start = np.zeros(3)
        affine = np.eye(4)
        for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
            start[old] = shape[old] - 1 if flip else 0
            affine[:3, new] = localisation.affine[:3, old] * (-1.0 if flip else 1.0)
        affine[:3, 3] = to_lps(localisation.affine, start)
        spacing = spacing_of(affine)
        slice_mm = SLICE_MM if spacing.slice_mm < THIN_SLICE_MM else spacing.slice_mm
        pixel_mm = max(spacing.row_mm, spacing.column_mm, PIXEL_MM)
        return cls(
            labels=reorder(localisation.labels, axes, flips),
            structures=reorder(localisation.structures, axes, flips),
            affine=affine,
            inverse=np.asarray(np.linalg.inv(affine)),
            resolution=Resolution(pixel_mm, slice_mm),
        )
