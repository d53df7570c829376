"""A synthetic study as the scorer meets it: several series and a localisation that is not perfect.

Bodies come from the truth, blurred and gnawed at like a network's masks, and are measured by the
localiser's own code, so that centroids, axes and heights err the way they will in service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from models.findings import Anchor, Coverage, LevelName, Localisation, StudyVolumes, Vertebra
from models.geometry import Affine
from models.localiser.bodies import chain_directions, measure
from models.scorer.crops import GRADIENT_ECHO_LIMIT
from models.volume import FLUID_SENSITIVE, Role, Volume
from training.phantom.acquisition import acquire, fraction_on, place_slices, truth_on
from training.phantom.conditions import draw_conditions
from training.phantom.physics import DixonPart, Readout
from training.phantom.protocols import Protocol, dixon_part, sample_protocol, sample_site
from training.phantom.tissues import SpineCase, Tissue, TissueGrid

SEQUENCE_SETS: Final = (
    ((Role.STIR, Role.T1, Role.T2), 0.24),
    ((Role.STIR, Role.T1), 0.22),
    ((Role.STIR, Role.T2), 0.05),
    ((Role.T2_FS, Role.T1), 0.15),
    ((Role.T2_FS, Role.T1, Role.T2), 0.06),
    ((Role.DIXON_WATER, Role.DIXON_FAT, Role.T1), 0.18),
    ((Role.DIXON_WATER,), 0.10),
)
"""Series acquired for a study and how often; training drops some of them again."""

FINEST_PIXEL_MM: Final = 0.6
"""Finer matrices are averaged away by the crop; drawing them only costs time."""

EDEMA_LABEL_FREE_WATER: Final = 32
"""Free water from which a voxel is edema for the network: about 1.25 times normal marrow on STIR.
Lower than the phantom's own threshold, because `fainter` dims whole studies."""

DRIED_BY_EDEMA: Final = 0.58
"""Part of marrow fat that full edema has displaced in the phantom; `fainter` gives it back."""

FAINTEST: Final = 0.3
"""Least factor by which a study's edema is dimmed. Real edema often lies at 1.2 to 1.5 times normal
marrow, below most of what the phantom draws."""

ANTERIOR_MARGIN_MM: Final = 24.0
"""Tissue kept in front of the bodies: crops see no further, and the abdomen costs time."""

SMALLEST_BODY_VOXELS: Final = 150
"""A body with fewer voxels on the reference grid is not found."""


@dataclass(frozen=True, slots=True)
class SyntheticStudy:
    """A study, its (imperfect) localisation and its truth.

    Attributes:
        study: Volumes by role.
        localisation: Vertebra `index` equals the truth's index.
        edema: (slice, row, column) float32 edematous part of each reference voxel.
        sequence_set: Roles acquired, joined by "+".
    """

    study: StudyVolumes
    localisation: Localisation
    edema: NDArray[np.float32]
    sequence_set: str


def synthesise(
    case: SpineCase, rng: np.random.Generator, roles: tuple[Role, ...] | None = None
) -> SyntheticStudy:
    """Scan a case and localise it.

    Args:
        case: The synthetic patient.
        rng: Protocols, noise, motion and localisation errors.
        roles: Series to acquire; drawn from `SEQUENCE_SETS` by default.
    """
    roles = roles or _draw_roles(rng)
    dimming = 1.0 if rng.random() < 0.4 else float(rng.uniform(FAINTEST, 1.0))
    case = replace(case, grid=fainter(_without_abdomen(case.grid), dimming))
    volumes = _acquire_all(case, roles, rng)
    reference = next(volumes[role] for role in (*FLUID_SENSITIVE, *roles) if role in volumes)
    wet = case.grid.free_water >= EDEMA_LABEL_FREE_WATER
    wet &= (case.grid.tissue == Tissue.MARROW) | (case.grid.tissue == Tissue.METASTASIS_LYTIC)
    return SyntheticStudy(
        study=StudyVolumes(reference, {role.value: volume for role, volume in volumes.items()}),
        localisation=_localise(case, reference, rng),
        edema=fraction_on(wet, case.grid, reference),
        sequence_set="+".join(role.value for role in roles),
    )


def fainter(grid: TissueGrid, factor: float) -> TissueGrid:
    """The same spine with its marrow edema dimmed: less free water, fat given back in step."""
    if factor >= 1.0:
        return grid
    wet = (grid.tissue == Tissue.MARROW) & (grid.free_water > 0)
    before = grid.free_water[wet] / 255.0
    fat = grid.fat_percent[wet] / (1.0 - DRIED_BY_EDEMA * before)
    water, fat_percent = grid.free_water.copy(), grid.fat_percent.copy()
    water[wet] = np.rint(255.0 * before * factor).astype(np.uint8)
    fat_percent[wet] = np.clip(fat * (1.0 - DRIED_BY_EDEMA * before * factor), 0, 95)
    return replace(grid, free_water=water, fat_percent=fat_percent)


def _without_abdomen(grid: TissueGrid) -> TissueGrid:
    """The grid from a little before the bodies backwards."""
    columns = np.flatnonzero((grid.body > 0).any(axis=(0, 1)))
    margin = ANTERIOR_MARGIN_MM / float(np.linalg.norm(grid.affine[:3, 2]))
    first = max(0, int(columns[0] - margin)) if columns.size else 0
    affine = grid.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    return TissueGrid(
        tissue=grid.tissue[..., first:],
        fat_percent=grid.fat_percent[..., first:],
        free_water=grid.free_water[..., first:],
        structure=grid.structure[..., first:],
        body=grid.body[..., first:],
        affine=affine,
    )


def _draw_roles(rng: np.random.Generator) -> tuple[Role, ...]:
    weights = np.array([weight for _, weight in SEQUENCE_SETS])
    return SEQUENCE_SETS[rng.choice(len(weights), p=weights / weights.sum())][0]


def _acquire_all(
    case: SpineCase, roles: tuple[Role, ...], rng: np.random.Generator
) -> dict[Role, Volume]:
    """Acquire every role at one scanner; Dixon water and fat come from one acquisition."""
    site = sample_site(rng)
    volumes: dict[Role, Volume] = {}
    first = None
    for role in roles:
        if role is Role.DIXON_FAT:
            continue
        protocol = sample_protocol(role, rng, site)
        protocol = replace(protocol, pixel_mm=max(protocol.pixel_mm, FINEST_PIXEL_MM))
        # Patients move between series, not before the first: its grid carries the truth.
        conditions = draw_conditions(protocol, rng, motion_mm=0.0 if first is None else 0.8)
        slices = place_slices(case.grid, protocol, rng)
        parts = [protocol]
        if role is Role.DIXON_WATER and Role.DIXON_FAT in roles:
            parts.append(dixon_part(protocol, DixonPart.FAT))
        for part in parts:
            volume = acquire(case.grid, part, rng, slices=slices, conditions=conditions)
            volumes[part.role] = replace(volume, limits=_limits(part))
        first = first or protocol
    return volumes


def _limits(protocol: Protocol) -> tuple[str, ...]:
    gradient = protocol.sequence.readout is Readout.GRADIENT_ECHO
    return (GRADIENT_ECHO_LIMIT,) if gradient and protocol.role is Role.DIXON_WATER else ()


def _localise(case: SpineCase, reference: Volume, rng: np.random.Generator) -> Localisation:
    """What a localiser would say: masks with errors, measured by the localiser's own code."""
    structure, body = truth_on(case.grid, reference)
    labels = np.zeros_like(body)
    found: list[tuple[int, NDArray[np.float32], Affine]] = []
    bias = float(rng.normal(0.0, 0.06))
    for truth in case.levels:
        if np.count_nonzero(body == truth.index) < SMALLEST_BODY_VOXELS:
            continue
        if rng.random() < 0.02:
            continue
        box = _box_around(body == truth.index)
        occupancy = _with_errors(body[box] == truth.index, reference, bias, rng)
        if np.count_nonzero(occupancy > 0.5) < SMALLEST_BODY_VOXELS:
            continue
        labels[box][occupancy > 0.5] = truth.index
        affine = reference.affine.copy()
        affine[:3, 3] += reference.affine[:3, :3] @ [part.start for part in box]
        found.append((truth.index, occupancy, affine))
    names = {truth.index: truth.level for truth in case.levels}
    return Localisation(
        labels=labels,
        affine=reference.affine,
        vertebrae=_vertebrae(found, names, labels),
        anchor=Anchor.SACRUM,
        structures=structure,
    )


def _vertebrae(
    found: list[tuple[int, NDArray[np.float32], Affine]],
    names: dict[int, str],
    labels: NDArray[np.uint8],
) -> tuple[Vertebra, ...]:
    centres = [
        affine[:3, :3] @ np.argwhere(occupancy > 0.5).mean(axis=0) + affine[:3, 3]
        for _, occupancy, affine in found
    ]
    directions = chain_directions(np.array(centres).reshape(-1, 3))
    border = [0, 1, -2, -1]
    at_edge = {*np.unique(labels[:, border]), *np.unique(labels[..., border])}
    vertebrae = []
    for (index, occupancy, affine), direction in zip(found, directions, strict=True):
        measured = measure(occupancy, affine, direction)
        cut = index in at_edge
        vertebrae.append(
            Vertebra(
                index=index,
                name=LevelName(names[index], 0.95),
                alternatives=(),
                coverage=Coverage.PARTIAL if cut else Coverage.COMPLETE,
                centroid_lps_mm=measured.centroid_lps_mm,
                axes_lps=measured.axes_lps,
                size=None if cut else measured.size,
                confidence=0.95,
            )
        )
    return tuple(vertebrae)


def _box_around(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Bounding box with a margin of 8 pixels in plane, all neighbouring slices by one."""
    voxels = np.argwhere(mask)
    margin = np.array([1, 8, 8])
    low = np.maximum(voxels.min(axis=0) - margin, 0)
    high = np.minimum(voxels.max(axis=0) + margin + 1, mask.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))  # type: ignore[return-value]


def _with_errors(
    mask: NDArray[np.bool_], reference: Volume, bias: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A probability map whose half-level is the mask with a ragged, slightly moved border."""
    pitch = reference.spacing.mm
    softness = rng.uniform(0.6, 1.4)
    soft = gaussian_filter(mask.astype(np.float32), [0.3, softness / pitch[1], softness / pitch[2]])
    rough = gaussian_filter(
        rng.standard_normal(mask.shape, dtype=np.float32), [0.5, 3.0 / pitch[1], 3.0 / pitch[2]]
    )
    rough *= rng.uniform(0.0, 0.12) / max(float(rough.std()), 1e-6)
    return np.asarray(np.clip(soft + rough + bias + rng.normal(0.0, 0.04), 0.0, 1.0))
