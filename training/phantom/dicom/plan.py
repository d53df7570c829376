"""Which scans a study consists of: protocols and conditions, drawn before anything is acquired."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np

from models.volume import Role
from training.phantom.dicom.identity import Identity
from training.phantom.dicom.recipe import StudyRecipe
from training.phantom.painting.tissues import Tissue
from training.phantom.scanner.conditions import Conditions, draw_conditions
from training.phantom.scanner.physics import DixonPart, Readout, Suppression
from training.phantom.scanner.protocols import Protocol, Site, dixon_part, sample_protocol

Value = TypeVar("Value")

ENHANCEMENT: Final = {
    Tissue.SLOW_BLOOD: 2.0,
    Tissue.FLOWING_BLOOD: 2.0,
    Tissue.METASTASIS_LYTIC: 1.6,
    Tissue.SOFT_MASS: 1.7,
    Tissue.HAEMANGIOMA: 1.3,
    Tissue.LIVER: 1.4,
    Tissue.KIDNEY: 1.8,
    Tissue.SOFT_ORGAN: 1.4,
    Tissue.MUSCLE: 1.12,
    Tissue.MARROW: 1.08,
}
"""T1 signal after gadolinium over that before, by tissue; by judgement, for a series that is only
there to be passed over. Enhancement of edema is not told from that of other marrow."""

_ENHANCED_FAT_SATURATED: Final = 0.5


@dataclass(frozen=True, slots=True)
class PlannedScan:
    """One acquisition and the images made of it.

    Attributes:
        protocols: One, or one per part of a Dixon acquisition.
        conditions: Which all images of the acquisition share.
        contrast_agent: Whether contrast agent was given before.
    """

    protocols: tuple[Protocol, ...]
    conditions: Conditions
    contrast_agent: bool = False


def plan_scans(recipe: StudyRecipe, site: Site, identity: Identity) -> list[PlannedScan]:
    """The acquisitions of a study in their order, a repeat of T1 after contrast agent last."""
    scans: list[PlannedScan] = []
    for order, role in enumerate(recipe.roles):
        rng = identity.rng("plan", order)
        sampled = sample_protocol(
            role, rng, site, gradient_echo=recipe.gradient_echo_dixon, mix=recipe.mix
        )
        protocol = _fixed_by(recipe, sampled)
        conditions = _conditions(recipe, protocol, rng, moved=order > 0)
        protocols: tuple[Protocol, ...] = (protocol,)
        if role is Role.DIXON_WATER:
            protocols = tuple(_part(protocol, part) for part in recipe.dixon_parts)
        scans.append(PlannedScan(protocols, conditions))
    rng = identity.rng("plan", "post_contrast")
    if rng.random() < recipe.extras.post_contrast:
        scans.append(_after_contrast(recipe, site, scans, rng))
    return scans


def _fixed_by(recipe: StudyRecipe, protocol: Protocol) -> Protocol:
    """A protocol with what the recipe fixes; the gap stays the protocol's part of the thickness."""
    thickness = _first(recipe.thickness_mm, protocol.thickness_mm)
    return replace(
        protocol,
        fov_mm=_first(recipe.fov_mm, protocol.fov_mm),
        pixel_mm=_first(recipe.pixel_mm, protocol.pixel_mm),
        thickness_mm=thickness,
        gap_mm=round(protocol.gap_mm * thickness / protocol.thickness_mm, 2),
        slices=_first(recipe.slices, protocol.slices),
    )


def _first(fixed: Value | None, drawn: Value) -> Value:
    return drawn if fixed is None else fixed


def _conditions(
    recipe: StudyRecipe, protocol: Protocol, rng: np.random.Generator, *, moved: bool
) -> Conditions:
    motion = recipe.motion_mm if moved else 0.0
    drawn = draw_conditions(protocol, rng, motion_mm=motion, mix=recipe.mix)
    if not recipe.clean:
        return drawn
    return replace(
        drawn,
        static_field=None,
        saturation=None,
        swapped=0.0,
        inversion_loss=0.0,
        csf_ghost=0.0,
        breathing_ghost=0.0,
        vessel_ghost=0.0,
        wrap=0.0,
        blur_mm=0.0,
    )


def _part(protocol: Protocol, part: DixonPart) -> Protocol:
    image = dixon_part(protocol, part)
    gradient = protocol.sequence.readout is Readout.GRADIENT_ECHO
    # In phase, a spin echo is a plain T2; a gradient echo of a small flip angle is nothing that
    # is read.
    return replace(image, role=Role.OTHER) if gradient and part is DixonPart.IN_PHASE else image


def _after_contrast(
    recipe: StudyRecipe, site: Site, scans: list[PlannedScan], rng: np.random.Generator
) -> PlannedScan:
    """T1 again after contrast agent, as the T1 of the study was done if there is one."""
    before = next((s for s in scans if s.protocols[0].role is Role.T1), None)
    if before is None:
        protocol = _fixed_by(recipe, sample_protocol(Role.T1, rng, site, mix=recipe.mix))
        conditions = _conditions(recipe, protocol, rng, moved=True)
    else:
        protocol, conditions = before.protocols[0], before.conditions
    sequence = protocol.sequence
    if sequence.inversion_ms is None and rng.random() < _ENHANCED_FAT_SATURATED:
        sequence = replace(sequence, suppression=Suppression.CHESS, fat_residual=0.1)
    gain = np.array(conditions.tissue_gain, dtype=np.float64)
    for tissue, factor in ENHANCEMENT.items():
        gain[tissue] *= factor
    protocol = replace(protocol, role=Role.T1_POST, sequence=sequence)
    return PlannedScan((protocol,), replace(conditions, tissue_gain=gain), contrast_agent=True)
