"""What the slices of a study are cut from: one painted grid, or a scene painted for each series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.phantom.painting.grid import fine_grid
from training.phantom.painting.tissues import TissueGrid
from training.phantom.scanner.placement import StackTarget
from training.phantom.scanner.sampling import SliceGeometry
from training.phantom.scene import Scene, paint


class TissueSource(Protocol):
    """Tissue that slices can be cut from."""

    @property
    def target(self) -> StackTarget:
        """What sagittal stacks are planned on."""

    @property
    def any_plane(self) -> bool:
        """Whether slices may have any orientation; a painted grid has its own axes only."""

    def tissue_for(self, slices: SliceGeometry) -> TissueGrid:
        """Tissue under a stack of slices, its axes along theirs."""


@dataclass(frozen=True, slots=True)
class FixedGrid:
    """A case that was painted once: every series is cut from the same grid."""

    grid: TissueGrid

    @property
    def target(self) -> StackTarget:
        """The grid's own box."""
        return StackTarget.of_grid(self.grid)

    @property
    def any_plane(self) -> bool:
        """Never: a painted grid has its own axes only."""
        return False

    def tissue_for(self, slices: SliceGeometry) -> TissueGrid:  # noqa: ARG002 - the same for all
        """The one grid."""
        return self.grid


@dataclass(frozen=True, slots=True)
class PaintedScene:
    """A scene that is painted anew under the slices of every series.

    Attributes:
        scene: The patient. Truth comes from the case given to `write_study`: it must be painted
            over all of `extent_mm`, or what lies beyond it counts as free of edema.
        extent_mm: (slices, rows, columns) that may be scanned around the scene's aim.
    """

    scene: Scene
    extent_mm: tuple[float, float, float]

    @property
    def target(self) -> StackTarget:
        """The scene's aim."""
        left, back, head = self.scene.aim.axes
        return StackTarget(self.scene.aim.middle, np.stack([left, -head, back]), self.extent_mm)

    @property
    def any_plane(self) -> bool:
        """Always: solids are continuous."""
        return True

    def tissue_for(self, slices: SliceGeometry) -> TissueGrid:
        """The scene on a fine grid along the slices."""
        return paint(
            self.scene, fine_grid(slices.affine, slices.shape, slices.thickness_mm)
        ).finish()
