"""From images to series as they will be written: numbers, names, stored values, flaws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from models.volume import Volume
from training.phantom.dicom.content import SeriesContent, SeriesSheet, Stack
from training.phantom.dicom.drafts import Draft, Image
from training.phantom.dicom.names import SeriesNames, draw_names
from training.phantom.dicom.pixels import PixelStyle, store
from training.phantom.dicom.recipe import HeaderFlaws, Storage
from training.phantom.dicom.session import Session
from training.phantom.dicom.vendors.header import Scan, SequenceHeader
from training.phantom.painting.tissues import TissueGrid

_FIRST_SCAN: Final = 2
"""Series number of the first scan; the localizer has number 1, made or not kept."""

_ODD_VALUES: Final = ("MFSPLIT", "FM", "RETRO", "FILTERED")


def numbered_series(
    session: Session, drafts: Sequence[Draft]
) -> Iterator[tuple[SeriesContent, TissueGrid | None]]:
    """Every series of a study, ready to be written, with the tissue it was made of."""
    number = _FIRST_SCAN - (len(drafts[0].images) > 1 and drafts[0].grid is None)
    order = 0
    for draft in drafts:
        storage = draft.storage or session.storage
        together = draft.grid is None or storage in session.vendor.one_dixon_series
        for images in (draft.images,) if together else tuple((one,) for one in draft.images):
            yield _content(session, draft, images, number, order), draft.grid
            number, order = number + 1, order + 1


def _content(
    session: Session, draft: Draft, images: tuple[Image, ...], number: int, order: int
) -> SeriesContent:
    rng = session.identity.rng("sheet", order)
    storage = draft.storage or session.storage
    uid = session.identity.uid("series", order)
    style = session.recipe.pixels or _drawn(session.vendor.pixels, rng)
    first = _scan(session, images[0])
    header = images[0].header or session.vendor.header(first)
    names = draw_names(first, header, session.habits, session.recipe.flaws, rng)
    flaws = session.recipe.flaws
    stacks = tuple(
        _stack(session, image, storage, style, (uid, index)) for index, image in enumerate(images)
    )
    if flaws is not None and storage is not Storage.ENHANCED:
        stacks = _with_odd_types(stacks, flaws, rng)
    # Parts in one series share its name; in series of their own the console adds the part.
    if len(images) == 1 and names.description:
        names = replace(names, description=header.affix.format(names.description))
    repeated = flaws is not None and order > 0 and rng.random() < flaws.series_number_repeated
    sheet = SeriesSheet(
        series_uid=uid,
        number=_vendor_number(session.site.vendor, number - 1 if repeated else number),
        order=order,
        names=SeriesNames(names.description, names.protocol_name),
        habits=session.habits,
        scanner=session.scanner,
        storage=storage,
        pixels=style,
        # A workstation sends native pixels, whatever the scanner's route compresses to.
        transfer_syntax_uid=ExplicitVRLittleEndian
        if draft.storage
        else session.recipe.transfer_syntax_uid,
        shared_macros=session.vendor.shared_macros,
        contrast_agent=draft.contrast_agent,
        omitted=_omitted(session, images[0], storage, rng),
    )
    return SeriesContent(sheet, stacks)


def _drawn(styles: tuple[PixelStyle, ...], rng: np.random.Generator) -> PixelStyle:
    return styles[int(rng.integers(len(styles)))]


def _scan(session: Session, image: Image) -> Scan:
    return Scan(image.protocol, image.plane, session.scanner)


def _stack(
    session: Session,
    image: Image,
    storage: Storage,
    style: PixelStyle,
    place: tuple[str, int],
) -> Stack:
    header = image.header or session.vendor.header(_scan(session, image))
    pixels = store(_identified(session, image.volume, storage, place), style)
    return Stack(pixels, image.protocol, image.conditions, image.plane, header)


def _identified(
    session: Session, volume: Volume, storage: Storage, place: tuple[str, int]
) -> Volume:
    """A volume that knows the instances and frames its slices will lie in."""
    series_uid, stack = place
    count = volume.shape[0]
    uid = session.identity.uid
    match storage:
        case Storage.CLASSIC:
            instances = tuple(uid(series_uid, stack, index) for index in range(count))
            frames = (1,) * count
        case Storage.LEGACY:
            instances = (uid(series_uid, stack),) * count
            frames = tuple(range(1, count + 1))
        case Storage.ENHANCED:
            instances = (uid(series_uid, "object"),) * count
            frames = tuple(range(stack * count + 1, (stack + 1) * count + 1))
    return replace(
        volume,
        series_instance_uid=series_uid,
        frame_of_reference_uid=session.identity.frame_uid,
        sop_instance_uids=instances,
        frame_numbers=frames,
    )


def _with_odd_types(
    stacks: tuple[Stack, ...], flaws: HeaderFlaws, rng: np.random.Generator
) -> tuple[Stack, ...]:
    if rng.random() >= flaws.image_type_odd:
        return stacks
    value = _ODD_VALUES[int(rng.integers(len(_ODD_VALUES)))]

    def odd(header: SequenceHeader) -> SequenceHeader:
        return replace(header, image_type=(*header.image_type, value))

    return tuple(replace(stack, header=odd(stack.header)) for stack in stacks)


def _omitted(
    session: Session, image: Image, storage: Storage, rng: np.random.Generator
) -> frozenset[str]:
    """Attributes that a header lacks; Enhanced MR makes all of them mandatory."""
    flaws = session.recipe.flaws
    if flaws is None or storage is Storage.ENHANCED:
        return frozenset()
    inverted = image.protocol.sequence.inversion_ms is not None
    rates = {
        "InversionTime": inverted * flaws.inversion_time_missing.get(session.site.vendor, 0.0),
        "SpacingBetweenSlices": flaws.spacing_missing,
        "ContrastBolusAgent": flaws.contrast_agent_missing,
    }
    return frozenset(keyword for keyword, rate in rates.items() if rng.random() < rate)


def _vendor_number(vendor: str, number: int) -> int:
    """Philips numbers its series in hundreds, the reconstruction behind."""
    return 100 * number + 1 if vendor == "philips" else number
