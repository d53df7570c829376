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
from training.phantom.draw import draw_roles, grid_under, target_of
from training.phantom.painting.tissues import EDEMA_FREE_WATER, LevelTruth, Tissue, TissueGrid
from training.phantom.patient import level_truths
from training.phantom.scanner.acquisition import acquire
from training.phantom.scanner.conditions import draw_conditions
from training.phantom.scanner.mix import TRAIN, AcquisitionMix
from training.phantom.scanner.physics import DixonPart, Readout
from training.phantom.scanner.placement import place_slices
from training.phantom.scanner.protocols import (
    Protocol,
    Site,
    dixon_part,
    sample_protocol,
    sample_site,
)
from training.phantom.scanner.truth import fraction_on, truth_on
from training.phantom.scene import Scene, paint

FINEST_PIXEL_MM: Final = 0.6
"""Finer matrices are averaged away by the crop; drawing them only costs time."""

FIELD_MM: Final = (110.0, 340.0, 170.0)
"""Largest stack: crops see little of the abdomen, and painting it costs time."""

FIELD_BACK_MM: Final = 20.0
"""Its middle lies this far behind the bodies, so that the skin of the back stays in view."""

TURN_DEG: Final = 1.5
"""Standard deviation of the angle between two series of a study."""

SMALLEST_BODY_VOXELS: Final = 150
"""A body with fewer voxels on the reference grid is not found."""


@dataclass(frozen=True, slots=True)
class SyntheticStudy:
    """A study, its (imperfect) localisation and its truth.

    Attributes:
        study: Volumes by role.
        localisation: Vertebra `index` equals the truth's index.
        levels: Truth of every level on the reference series.
        edema: (slice, row, column) float32 edematous part of each reference voxel.
        sequence_set: Roles acquired, joined by "+".
        field_t: Field strength of the scanner, tesla.
    """

    study: StudyVolumes
    localisation: Localisation
    levels: tuple[LevelTruth, ...]
    edema: NDArray[np.float32]
    sequence_set: str
    field_t: float


def synthesise(
    scene: Scene,
    rng: np.random.Generator,
    *,
    roles: tuple[Role, ...] | None = None,
    mix: AcquisitionMix = TRAIN,
) -> SyntheticStudy:
    """Scan a patient and localise the bones.

    Args:
        scene: The synthetic patient.
        rng: Protocols, noise, motion and localisation errors.
        roles: Series to acquire; drawn by default.
        mix: What scanners, protocols and faults are drawn from.
    """
    roles = roles or draw_roles(rng)
    site = sample_site(rng, mix)
    volumes, tissues = _acquire_all(scene, roles, rng, mix, site)
    role = next(role for role in (*FLUID_SENSITIVE, *roles) if role in volumes)
    reference, tissue = volumes[role], tissues[role]
    wet = tissue.free_water >= EDEMA_FREE_WATER
    wet &= (tissue.tissue == Tissue.MARROW) | (tissue.tissue == Tissue.METASTASIS_LYTIC)
    levels = level_truths(scene, tissue)
    return SyntheticStudy(
        study=StudyVolumes(reference, {role.value: volume for role, volume in volumes.items()}),
        localisation=_localise(levels, tissue, reference, rng),
        levels=levels,
        edema=fraction_on(wet, tissue, reference),
        sequence_set="+".join(role.value for role in roles),
        field_t=site.field_t,
    )


def _acquire_all(
    scene: Scene,
    roles: tuple[Role, ...],
    rng: np.random.Generator,
    mix: AcquisitionMix,
    site: Site,
) -> tuple[dict[Role, Volume], dict[Role, TissueGrid]]:
    """Acquire every role at one scanner; Dixon water and fat come from one acquisition."""
    target = target_of(scene, FIELD_MM)
    target = replace(target, middle_lps_mm=target.middle_lps_mm + FIELD_BACK_MM * scene.aim.axes[1])
    volumes: dict[Role, Volume] = {}
    tissues: dict[Role, TissueGrid] = {}
    for role in roles:
        if role is Role.DIXON_FAT:
            continue
        protocol = sample_protocol(role, rng, site, mix=mix)
        protocol = replace(protocol, pixel_mm=max(protocol.pixel_mm, FINEST_PIXEL_MM))
        # Patients move between series, not before the first: its grid carries the truth.
        motion = 0.8 if volumes else 0.0
        conditions = draw_conditions(protocol, rng, motion_mm=motion, mix=mix)
        slices = place_slices(target, protocol, rng, turn_deg=TURN_DEG if volumes else 0.0)
        tissue = paint(scene, grid_under(slices)).finish()
        parts = [protocol]
        if role is Role.DIXON_WATER and Role.DIXON_FAT in roles:
            parts.append(dixon_part(protocol, DixonPart.FAT))
        for part in parts:
            volume = acquire(tissue, part, rng, slices=slices, conditions=conditions)
            volumes[part.role] = replace(volume, limits=_limits(part))
            tissues[part.role] = tissue
    return volumes, tissues


def _limits(protocol: Protocol) -> tuple[str, ...]:
    gradient = protocol.sequence.readout is Readout.GRADIENT_ECHO
    return (GRADIENT_ECHO_LIMIT,) if gradient and protocol.role is Role.DIXON_WATER else ()


def _localise(
    levels: tuple[LevelTruth, ...], tissue: TissueGrid, reference: Volume, rng: np.random.Generator
) -> Localisation:
    """What a localiser would say: masks with errors, measured by the localiser's own code."""
    structure, body = truth_on(tissue, reference)
    labels = np.zeros_like(body)
    found: list[tuple[int, NDArray[np.float32], Affine]] = []
    bias = float(rng.normal(0.0, 0.06))
    for truth in levels:
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
    names = {truth.index: truth.level for truth in levels}
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
