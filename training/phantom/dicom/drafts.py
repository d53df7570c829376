"""The images of a study before they are stored: scans, localizer, axial and computed series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.geometry import Plane
from models.volume import Role, Volume
from training.phantom.dicom.extras import (
    ExtraStack,
    axial_t2,
    coronal_reformat,
    localizer,
    phase_header,
    phase_map,
    reformat_header,
    subtraction,
    subtraction_header,
)
from training.phantom.dicom.placement import TissueSource
from training.phantom.dicom.plan import PlannedScan, plan_scans
from training.phantom.dicom.recipe import Storage
from training.phantom.dicom.session import Session
from training.phantom.dicom.vendors.header import Scan, SequenceHeader
from training.phantom.painting.tissues import TissueGrid
from training.phantom.scanner.acquisition import acquire
from training.phantom.scanner.conditions import Conditions
from training.phantom.scanner.placement import place_slices
from training.phantom.scanner.protocols import Protocol
from training.phantom.scanner.sampling import SliceGeometry


@dataclass(frozen=True, slots=True)
class Image:
    """A stack before it is stored.

    Attributes:
        volume: Whole numbers 0..4095.
        protocol: What it was acquired with.
        conditions: Under which; None for looked-up and computed images.
        plane: Of its slices.
        header: What it states, when that is not the vendor's header for the protocol.
    """

    volume: Volume
    protocol: Protocol
    conditions: Conditions | None = None
    plane: Plane = Plane.SAGITTAL
    header: SequenceHeader | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A series, or the parts of a Dixon acquisition, before it is stored.

    Attributes:
        images: One, the parts of a Dixon acquisition, or the planes of a localizer.
        grid: The tissue that scans were made of; None for series that need no truth.
        contrast_agent: Whether contrast agent was given before.
        storage: Other than the study's; workstations write classic objects.
    """

    images: tuple[Image, ...]
    grid: TissueGrid | None = None
    contrast_agent: bool = False
    storage: Storage | None = None


def make_drafts(session: Session, tissue: TissueSource) -> list[Draft]:
    """Acquire all series of a study, in their order."""
    scans = _scans(session, tissue)
    before, after = [], []
    extras, identity, mix = session.recipe.extras, session.identity, session.recipe.mix
    grid = scans[0].grid
    if grid is not None and identity.rng("localizer").random() < extras.localizer:
        rng = identity.rng("localizer", "noise")
        size = max(scans[0].images[0].volume.shape[1:])
        before.append(Draft(_images(localizer(grid, session.site, size, rng, mix))))
    if grid is not None and identity.rng("axial").random() < extras.axial:
        rng = identity.rng("axial", "noise")
        pixel = max(0.8, scans[0].images[0].volume.spacing.row_mm)
        after.append(Draft(_images((axial_t2(grid, session.site, pixel, rng, mix),))))
    return [*before, *scans, *after, *_computed(session, scans)]


def _images(stacks: tuple[ExtraStack, ...]) -> tuple[Image, ...]:
    return tuple(Image(one.volume, one.protocol, plane=one.plane) for one in stacks)


def _scans(session: Session, tissue: TissueSource) -> list[Draft]:
    drafts: list[Draft] = []
    placed: dict[Protocol, SliceGeometry] = {}
    for order, scan in enumerate(plan_scans(session.recipe, session.site, session.identity)):
        rng = session.identity.rng("scan", order)
        slices = _place(session, scan, tissue, placed, order)
        grid = tissue.tissue_for(slices)
        images = tuple(
            Image(
                acquire(grid, protocol, rng, slices=slices, conditions=scan.conditions),
                protocol,
                scan.conditions,
            )
            for protocol in scan.protocols
        )
        drafts.append(Draft(images, grid, scan.contrast_agent))
    return drafts


def _place(
    session: Session,
    scan: PlannedScan,
    tissue: TissueSource,
    placed: dict[Protocol, SliceGeometry],
    order: int,
) -> SliceGeometry:
    """Lay the slices of a scan; a T1 after contrast agent lies where the T1 before it lay."""
    protocol = scan.protocols[0]
    if scan.contrast_agent:
        earlier = [slices for p, slices in placed.items() if p.role is Role.T1]
        if earlier:
            return earlier[0]
    rng = session.identity.rng("place", order)
    turn = session.recipe.angulation_deg if tissue.any_plane else 0.0
    slices = place_slices(tissue.target, protocol, rng, turn_deg=turn)
    placed[protocol] = slices
    return slices


def _computed(session: Session, scans: list[Draft]) -> Iterator[Draft]:
    """Subtraction, coronal reformat and phase image, each with its rate."""
    extras, identity, vendor = session.recipe.extras, session.identity, session.site.vendor
    last, first = scans[-1].images[0], scans[0].images[0]
    plain = next((s.images[0] for s in scans if s.images[0].volume.role is Role.T1), None)
    if (
        scans[-1].contrast_agent
        and plain is not None
        and identity.rng("subtraction").random() < extras.subtraction
    ):
        header = subtraction_header(_header(session, last), vendor)
        volume = subtraction(last.volume, plain.volume)
        image = Image(volume, last.protocol, header=header)
        yield Draft((image,), contrast_agent=True, storage=Storage.CLASSIC)
    if identity.rng("reformat").random() < extras.reformat and first.volume.shape[0] > 1:
        header = reformat_header(_header(session, first), vendor)
        volume = coronal_reformat(first.volume)
        image = Image(volume, first.protocol, plane=Plane.CORONAL, header=header)
        yield Draft((image,), storage=Storage.CLASSIC)
    if identity.rng("phase").random() < extras.phase_map:
        header = phase_header(_header(session, first), vendor)
        volume = phase_map(first.volume, identity.rng("phase", "noise"))
        yield Draft((Image(volume, first.protocol, header=header),))


def _header(session: Session, image: Image) -> SequenceHeader:
    return session.vendor.header(Scan(image.protocol, image.plane, session.scanner))
