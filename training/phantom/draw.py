"""Images straight from a scene: planned, painted under their own slices, acquired, and labelled.

Nothing is kept on disk: a training loader draws as many as it wants from a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.volume import Role, Volume
from training.phantom.painting.grid import (
    COARSEST_IN_PLANE_MM,
    FINE_IN_PLANE_MM,
    FINEST_IN_PLANE_MM,
    FineGrid,
    fine_grid,
)
from training.phantom.painting.tissues import TissueGrid
from training.phantom.scanner.acquisition import acquire, with_spacing
from training.phantom.scanner.conditions import draw_conditions
from training.phantom.scanner.contrast import random_contrast
from training.phantom.scanner.mix import TRAIN, AcquisitionMix
from training.phantom.scanner.physics import DixonPart, SignalTable
from training.phantom.scanner.placement import StackTarget, place_slices
from training.phantom.scanner.protocols import Protocol, dixon_part, sample_protocol, sample_role
from training.phantom.scanner.sampling import FINEST, SliceGeometry
from training.phantom.scanner.truth import truth_on
from training.phantom.scene import Scene, paint

SERIES_SETS: Final = (
    ((Role.STIR, Role.T1, Role.T2), 0.24),
    ((Role.STIR, Role.T1), 0.22),
    ((Role.STIR, Role.T2), 0.05),
    ((Role.T2_FS, Role.T1), 0.15),
    ((Role.T2_FS, Role.T1, Role.T2), 0.06),
    ((Role.DIXON_WATER, Role.DIXON_FAT, Role.T1), 0.18),
    ((Role.DIXON_WATER,), 0.10),
)
"""Series acquired for a study and how often. Dixon fat comes with the water image."""

IN_OPPOSED_SHARE: Final = 0.25
"""Part of the water images drawn without a role wanted that become in- or opposed-phase images."""

EXTENT_MM: Final = (110.0, 340.0, 260.0)
"""Largest stack that is planned on a scene: across, along and through the back."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One image with everything it came from.

    Attributes:
        volume: As acquired.
        structure: (slice, row, column) uint8 `Structure` truth on its grid; `body` the indices.
        body: See above.
        protocol: It was acquired with.
        tissue: What was painted under its slices.
    """

    volume: Volume
    structure: NDArray[np.uint8]
    body: NDArray[np.uint8]
    protocol: Protocol
    tissue: TissueGrid


def draw_roles(rng: np.random.Generator) -> tuple[Role, ...]:
    """The series of one study."""
    weights = np.array([weight for _, weight in SERIES_SETS])
    return SERIES_SETS[rng.choice(len(weights), p=weights / weights.sum())][0]


def target_of(scene: Scene, extent_mm: tuple[float, float, float] = EXTENT_MM) -> StackTarget:
    """What a stack over the scene's region is planned on."""
    axes = scene.aim.axes
    return StackTarget(scene.aim.middle, np.stack([axes[0], -axes[2], axes[1]]), extent_mm)


def grid_under(slices: SliceGeometry, acquired_mm: tuple[float, float] | None = None) -> FineGrid:
    """The fine grid to paint for a stack of slices.

    Args:
        slices: Where the acquired voxels lie.
        acquired_mm: (rows, columns) true resolution of the scan: painting much finer than it is
            blurred away. None paints at the usual pitch.
    """
    pitch = (FINE_IN_PLANE_MM, FINE_IN_PLANE_MM)
    if acquired_mm is not None:
        rows, columns = np.clip(
            np.divide(acquired_mm, FINEST), FINEST_IN_PLANE_MM, COARSEST_IN_PLANE_MM
        )
        pitch = (float(rows), float(columns))
    return fine_grid(slices.affine, slices.shape, slices.thickness_mm, in_plane_mm=pitch)


def draw_image(
    scene: Scene,
    rng: np.random.Generator,
    *,
    role: Role | None = None,
    in_plane_mm: float | None = None,
    slice_mm: float | None = None,
    mix: AcquisitionMix = TRAIN,
) -> Drawn:
    """One random image of a scene.

    Args:
        scene: The patient.
        rng: Protocol, planning, faults and noise.
        role: What to acquire; by default any contrast (`draw_contrast`).
        in_plane_mm: Pitch of rows and columns; the protocol's own when None.
        slice_mm: Slice pitch (thickness and gap); the protocol's own when None.
        mix: What scanners, protocols and faults are drawn from.
    """
    protocol, table = (
        draw_contrast(rng, mix) if role is None else (sample_protocol(role, rng, mix=mix), None)
    )
    protocol = with_spacing(protocol, in_plane_mm, slice_mm)
    return draw_series(scene, protocol, rng, mix=mix, table=table)


def draw_contrast(
    rng: np.random.Generator, mix: AcquisitionMix = TRAIN
) -> tuple[Protocol, SignalTable | None]:
    """A protocol of any kind that a network may meet, and signals when these are no scanner's.

    In-phase and opposed-phase images are among them, and a share has a contrast that no scanner
    makes, with the role "other".
    """
    protocol = sample_protocol(sample_role(rng), rng, mix=mix)
    if protocol.role is Role.DIXON_WATER and rng.random() < IN_OPPOSED_SHARE:
        parts = (DixonPart.IN_PHASE, DixonPart.OUT_OF_PHASE)
        protocol = dixon_part(protocol, parts[int(rng.integers(len(parts)))])
    if rng.random() >= mix.random_contrast_share:
        return protocol, None
    return replace(protocol, role=Role.OTHER), random_contrast(rng)


def draw_series(
    scene: Scene,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    mix: AcquisitionMix = TRAIN,
    table: SignalTable | None = None,
) -> Drawn:
    """A series of a scene with a given protocol.

    Args:
        scene: The patient.
        protocol: What the scanner is told to do.
        rng: Planning, faults and noise.
        mix: How often and how strongly things go wrong.
        table: Signals; those of the protocol's sequence by default.
    """
    conditions = draw_conditions(protocol, rng, mix=mix)
    slices = place_slices(target_of(scene), protocol, rng)
    tissue = paint(scene, grid_under(slices, protocol.acquired_mm)).finish()
    volume = acquire(tissue, protocol, rng, slices=slices, conditions=conditions, table=table)
    structure, body = truth_on(tissue, volume)
    return Drawn(volume, structure, body, protocol, tissue)
