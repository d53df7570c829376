"""Enhanced MR Image Storage: one multi-frame object per series (PS3.3 A.36).

What all frames share stands in the shared functional groups, but for the macros that a vendor
repeats in every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage

from training.phantom.dicom.content import SeriesContent, SeriesSheet, Stack
from training.phantom.dicom.files import save
from training.phantom.dicom.functional_groups import (
    Groups,
    acquisition_groups,
    code,
    geometry_groups,
    image_groups,
    image_kind,
    item,
    sequence_of,
    spectral_suppression,
    value_groups,
)
from training.phantom.dicom.identity import STUDY_DATE, Identity, series_time
from training.phantom.dicom.modules import (
    CONTRAST_AGENT,
    Person,
    decimal,
    name_instance,
    new_instance,
)
from training.phantom.dicom.pixels import describe_pixels, describe_range

_REPEATED: Final = frozenset(
    {
        "PixelMeasuresSequence",
        "PlaneOrientationSequence",
        "PixelValueTransformationSequence",
        "FrameVOILUTSequence",
        "MREchoSequence",
        "MRAveragesSequence",
        "MRImageFrameTypeSequence",
    }
)
"""Macros that Siemens and Philips write into every frame although all frames agree."""


def write_enhanced(
    content: SeriesContent, identity: Identity, person: Person, folder: Path
) -> tuple[tuple[Path, ...], ...]:
    """Write a series as one Enhanced MR object.

    Args:
        content: The series; its stacks have the same rows and columns.
        identity: Of the study.
        person: The patient.
        folder: Where; it must exist.

    Returns:
        Per stack the one file, which all share.

    Raises:
        ValueError: Stacks of different rows or columns.
    """
    sheet, stacks = content.sheet, content.stacks
    if len({stack.volume.shape[1:] for stack in stacks}) > 1:
        raise ValueError("frames of one object have the same rows and columns")
    dataset = new_instance(identity, person, sheet, EnhancedMRImageStorage)
    name_instance(dataset, stacks[0].volume.sop_instance_uids[0], 1)
    values = np.concatenate([stack.pixels.values for stack in stacks])
    dataset.NumberOfFrames = len(values)
    _describe_image(dataset, sheet, stacks)
    _describe_pulse_sequence(dataset, stacks[0])
    describe_dimensions(dataset, identity.uid("dimensions", sheet.series_uid), stacks)
    add_groups(dataset, stacks, [_groups(sheet, s) for s in stacks], repeated=_repeated(sheet))
    describe_range(dataset, values, signed=sheet.pixels.signed)
    path = folder / "I0001.dcm"
    save(dataset, values, path, sheet.transfer_syntax_uid)
    return ((path,),) * len(stacks)


def _repeated(sheet: SeriesSheet) -> frozenset[str]:
    return frozenset() if sheet.shared_macros else _REPEATED


def _groups(sheet: SeriesSheet, stack: Stack) -> Groups:
    return (
        acquisition_groups(sheet, stack)
        | geometry_groups(stack)
        | value_groups(sheet, stack)
        | image_groups(stack)
    )


def _describe_image(dataset: FileDataset, sheet: SeriesSheet, stacks: Sequence[Stack]) -> None:
    """Enhanced MR Image, Image Pixel and Acquisition Context (C.8.13.1, C.7.6.3, C.7.6.14)."""
    first = stacks[0]
    types = [stack.header.frame_type for stack in stacks]
    dataset.ImageType = [
        kinds[0] if len(set(kinds)) == 1 else "MIXED" for kinds in zip(*types, strict=True)
    ]
    for keyword, value in image_kind(first).items():
        setattr(dataset, keyword, value)
    dataset.AcquisitionDateTime = STUDY_DATE + series_time(sheet.order)
    dataset.AcquisitionDuration = 180.0
    dataset.AcquisitionNumber = 1
    dataset.ContentQualification = "PRODUCT"
    dataset.ResonantNucleus = "1H"
    dataset.KSpaceFiltering = "NONE"
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.MagneticFieldStrength = decimal(first.protocol.sequence.field_t)
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = sequence_of()
    if sheet.contrast_agent:
        dataset.ContrastBolusAgentSequence = sequence_of(_agent())
    describe_pixels(dataset, sheet.pixels, (first.volume.shape[1], first.volume.shape[2]))


def _agent() -> Dataset:
    """Enhanced Contrast/Bolus (C.7.6.4b)."""
    agent = code("768763008", "SCT", "Gadolinium-containing product")
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = sequence_of(
        code("47625008", "SCT", "Intravenous route")
    )
    agent.ContrastBolusIngredientCodeSequence = sequence_of(code("58281002", "SCT", CONTRAST_AGENT))
    agent.ContrastBolusVolume = "10"
    agent.ContrastBolusIngredientConcentration = 0.5
    return agent


def _describe_pulse_sequence(dataset: FileDataset, stack: Stack) -> None:
    """MR Pulse Sequence (C.8.13.4)."""
    gradient = "GR" in stack.header.scanning_sequence
    dataset.PulseSequenceName = stack.header.pulse_sequence_name
    dataset.MRAcquisitionType = stack.header.acquisition_type
    dataset.EchoPulseSequence = "GRADIENT" if gradient else "SPIN"
    if not gradient:
        dataset.MultipleSpinEcho = "NO"
    dataset.MultiPlanarExcitation = "NO"
    dataset.PhaseContrast = "NO"
    dataset.TimeOfFlightContrast = "NO"
    dataset.SteadyStatePulseSequence = "NONE"
    dataset.EchoPlanarPulseSequence = "NO"
    dataset.SaturationRecovery = "NO"
    dataset.SpectrallySelectedSuppression = spectral_suppression(stack)
    dataset.OversamplingPhase = "NONE"
    dataset.GeometryOfKSpaceTraversal = "RECTILINEAR"
    dataset.RectilinearPhaseEncodeReordering = "LINEAR"
    dataset.SegmentedKSpaceTraversal = "PARTIAL"
    if stack.header.acquisition_type == "3D":
        dataset.CoverageOfKSpace = "FULL"
    dataset.NumberOfKSpaceTrajectories = 1


def describe_dimensions(dataset: FileDataset, uid: str, stacks: Sequence[Stack]) -> None:
    """Multi-frame Dimension (C.7.6.17): stack, place in it, and frame type where that varies."""
    pointers = [
        ("StackID", "FrameContentSequence"),
        ("InStackPositionNumber", "FrameContentSequence"),
    ]
    if _several_types(stacks):
        pointers.append(("FrameType", "MRImageFrameTypeSequence"))
    dataset.DimensionOrganizationSequence = sequence_of(item(DimensionOrganizationUID=uid))
    dataset.DimensionIndexSequence = sequence_of(
        *(
            item(
                DimensionOrganizationUID=uid,
                DimensionIndexPointer=Tag(tag_for_keyword(pointer) or 0),
                FunctionalGroupPointer=Tag(tag_for_keyword(group) or 0),
            )
            for pointer, group in pointers
        )
    )


def _several_types(stacks: Sequence[Stack]) -> bool:
    return len({stack.header.frame_type for stack in stacks}) > 1


def add_groups(
    dataset: FileDataset,
    stacks: Sequence[Stack],
    groups: Sequence[Groups],
    *,
    repeated: frozenset[str],
    of_frame: Callable[[Stack, int], Groups] | None = None,
) -> None:
    """Write the shared and the per-frame functional groups.

    Args:
        dataset: Of the object.
        stacks: In the order of their frames.
        groups: Of each stack.
        repeated: Macros that are written into every frame even when all stacks agree.
        of_frame: Further macros of the frame at an index of a stack.
    """
    shared = {
        macro: value
        for macro, value in groups[0].items()
        if macro not in repeated and all(other.get(macro) == value for other in groups[1:])
    }
    dataset.SharedFunctionalGroupsSequence = sequence_of(
        item(**{macro: sequence_of(value) for macro, value in shared.items()})
    )
    frames = []
    for stack, own, place in zip(stacks, groups, _places(stacks), strict=True):
        common = {macro: value for macro, value in own.items() if macro not in shared}
        for index, frame in enumerate(
            _frames(stack, common, place, dimensions=2 + _several_types(stacks))
        ):
            further = {} if of_frame is None else of_frame(stack, index)
            for macro, value in further.items():
                setattr(frame, macro, sequence_of(value))
            frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = sequence_of(*frames)


def _places(stacks: Sequence[Stack]) -> list[tuple[int, int]]:
    """Per stack its number among the grids and among the frame types of the object, from 1."""
    grids: list[bytes] = []
    types: list[tuple[str, ...]] = []
    places = []
    for stack in stacks:
        grid = stack.volume.affine.tobytes()
        if grid not in grids:
            grids.append(grid)
        if stack.header.frame_type not in types:
            types.append(stack.header.frame_type)
        places.append((grids.index(grid) + 1, types.index(stack.header.frame_type) + 1))
    return places


def _frames(
    stack: Stack, common: Groups, place: tuple[int, int], *, dimensions: int
) -> Iterator[Dataset]:
    affine = stack.volume.affine
    for index in range(stack.volume.shape[0]):
        position = affine[:3, 0] * index + affine[:3, 3]
        moment = f"{STUDY_DATE}08{index // 60 % 60:02d}{index % 60:02d}"
        content = item(
            FrameAcquisitionDateTime=moment,
            FrameReferenceDateTime=moment,
            FrameAcquisitionDuration=180000.0,
            FrameAcquisitionNumber=1,
            StackID=str(place[0]),
            InStackPositionNumber=index + 1,
            TemporalPositionIndex=1,
            DimensionIndexValues=[place[0], index + 1, place[1]][:dimensions],
        )
        own = {
            "FrameContentSequence": content,
            "PlanePositionSequence": item(ImagePositionPatient=[decimal(v) for v in position]),
        }
        yield item(**{macro: sequence_of(value) for macro, value in (own | common).items()})
