"""Where the slices of a series lie: planned on the spine, before anything is painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError
from models.geometry import to_lps
from training.phantom.painting.tissues import TissueGrid
from training.phantom.scanner.protocols import Protocol
from training.phantom.scanner.sampling import SliceGeometry


@dataclass(frozen=True, slots=True)
class StackTarget:
    """What a sagittal stack is planned on.

    Attributes:
        middle_lps_mm: (3,) middle of the stack.
        axes_lps: (3, 3) unit rows: across the slices to the left, down the rows, back along the
            columns.
        extent_mm: How much there is to scan along each axis; the stack is cut to it.
    """

    middle_lps_mm: NDArray[np.float64]
    axes_lps: NDArray[np.float64]
    extent_mm: tuple[float, float, float]

    @classmethod
    def of_grid(cls, grid: TissueGrid) -> StackTarget:
        """The whole of a painted grid."""
        pitch = np.linalg.norm(grid.affine[:3, :3], axis=0)
        shape = np.asarray(grid.tissue.shape)
        extent = shape * pitch
        return cls(
            to_lps(grid.affine, (shape - 1) / 2),
            (grid.affine[:3, :3] / pitch).T,
            (float(extent[0]), float(extent[1]), float(extent[2])),
        )


def place_slices(
    target: StackTarget | TissueGrid,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    turn_deg: float = 0.0,
) -> SliceGeometry:
    """Lay a protocol's slices over the spine, centred with a little scatter.

    The field of view is cut to the target's extent, so that no image edge shows tissue ending in
    nothing.

    Args:
        target: What is planned on; a painted grid stands for all of itself.
        protocol: Slices, field of view and pixels.
        rng: Scatter of the planning.
        turn_deg: Standard deviation of the angulation about each axis, for a target from which any
            geometry can be cut. A painted grid can only be cut along its axes.

    Raises:
        GeometryError: A painted grid is to be cut at an angle, or a size is not positive.
    """
    _check_sizes(protocol)
    if isinstance(target, TissueGrid):
        if turn_deg > 0.0:
            raise GeometryError("a painted grid can only be cut along its own axes")
        target = StackTarget.of_grid(target)
    extent = np.asarray(target.extent_mm)
    steps = np.array([protocol.pitch_mm, protocol.pixel_mm, protocol.pixel_mm])
    fits = int((extent[0] - protocol.thickness_mm) / protocol.pitch_mm) + 1
    shape = (
        max(1, min(protocol.slices, fits)),
        max(8, int(min(protocol.fov_mm[0], extent[1]) / protocol.pixel_mm)),
        max(8, int(min(protocol.fov_mm[1], extent[2]) / protocol.pixel_mm)),
    )
    spare = np.clip(extent - np.asarray(shape) * steps, 0.0, None)
    # The spine is planned to the middle slice; up and down the planning scatters more.
    scatter = np.array([rng.normal(0.0, 0.15), rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)])
    middle = target.middle_lps_mm + (spare * np.clip(scatter, -0.5, 0.5)) @ target.axes_lps
    axes = target.axes_lps
    if turn_deg > 0.0:
        axes = _turned(axes, rng.normal(0.0, turn_deg, 3))
    affine = np.eye(4)
    affine[:3, :3] = axes.T * steps
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return SliceGeometry(shape, affine, protocol.thickness_mm)


def _check_sizes(protocol: Protocol) -> None:
    sizes = (
        *(protocol.pitch_mm, protocol.thickness_mm, protocol.pixel_mm, protocol.slices),
        *(*protocol.fov_mm, *protocol.acquired_mm),
    )
    if not np.all(np.isfinite(sizes)) or min(sizes) <= 0:
        raise GeometryError("a slice, a voxel or a field of view is not of positive size")


def _turned(axes: NDArray[np.float64], degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axes turned about themselves, one after the other; rows stay orthonormal."""
    turned = axes
    for axis, angle in enumerate(np.radians(degrees)):
        rotation = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        rotation[first, first] = rotation[second, second] = np.cos(angle)
        rotation[first, second] = -np.sin(angle)
        rotation[second, first] = np.sin(angle)
        turned = rotation @ turned
    return np.asarray(turned)
