"""Legacy Converted Enhanced MR Image Storage: a classic series as an archive converts it.

Attributes of the classic headers that no functional group holds travel in the Unassigned Shared
Converted Attributes (PS3.3 A.70, C.7.6.16.2.26).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import LegacyConvertedEnhancedMRImageStorage, MRImageStorage

from training.phantom.dicom.classic import add_private, describe_sequence, slice_location
from training.phantom.dicom.content import SeriesContent, SeriesSheet, Stack
from training.phantom.dicom.enhanced import add_groups, describe_dimensions
from training.phantom.dicom.files import save
from training.phantom.dicom.functional_groups import (
    Groups,
    geometry_groups,
    image_kind,
    item,
    sequence_of,
    value_groups,
)
from training.phantom.dicom.identity import STUDY_DATE, Identity, series_time
from training.phantom.dicom.modules import CONTRAST_AGENT, Person, name_instance, new_instance
from training.phantom.dicom.pixels import describe_pixels, describe_range


def write_legacy(
    content: SeriesContent, identity: Identity, person: Person, folder: Path
) -> tuple[tuple[Path, ...], ...]:
    """Write each stack of a series as one Legacy Converted Enhanced MR object.

    Args:
        content: The series.
        identity: Of the study.
        person: The patient.
        folder: Where; it must exist.

    Returns:
        Per stack its one file.
    """
    files = []
    for number, stack in enumerate(content.stacks, start=1):
        dataset = _converted(content.sheet, stack, identity, person)
        name_instance(dataset, stack.volume.sop_instance_uids[0], number)
        path = folder / f"I{number:04d}.dcm"
        save(dataset, stack.pixels.values, path, content.sheet.transfer_syntax_uid)
        files.append((path,))
    return tuple(files)


def _converted(sheet: SeriesSheet, stack: Stack, identity: Identity, person: Person) -> FileDataset:
    volume = stack.volume
    dataset = new_instance(identity, person, sheet, LegacyConvertedEnhancedMRImageStorage)
    kind = stack.header.image_type
    dataset.ImageType = [*kind[:3], *(kind[3:4] or ("NONE",))]
    for keyword, value in image_kind(stack).items():
        if keyword != "AcquisitionContrast":
            setattr(dataset, keyword, value)
    dataset.NumberOfFrames = volume.shape[0]
    dataset.AcquisitionDateTime = STUDY_DATE + series_time(sheet.order)
    dataset.AcquisitionNumber = 1
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = sequence_of()
    if sheet.contrast_agent:
        dataset.ContrastBolusAgent = CONTRAST_AGENT
    dataset.ContributingEquipmentSequence = sequence_of(_converter())
    describe_pixels(dataset, sheet.pixels, (volume.shape[1], volume.shape[2]))
    describe_dimensions(dataset, identity.uid("dimensions", volume.sop_instance_uids[0]), [stack])
    add_groups(
        dataset,
        [stack],
        [_groups(sheet, stack)],
        repeated=frozenset(),
        of_frame=partial(_groups_of_frame, identity),
    )
    describe_range(dataset, stack.pixels.values, signed=sheet.pixels.signed)
    return dataset


def _converter() -> Dataset:
    return item(
        Manufacturer="SYNTHETIC",
        PurposeOfReferenceCodeSequence=sequence_of(
            item(
                CodeValue="109106",
                CodingSchemeDesignator="DCM",
                CodeMeaning="Enhanced Multi-frame Conversion Equipment",
            )
        ),
    )


def _groups(sheet: SeriesSheet, stack: Stack) -> Groups:
    unassigned = Dataset()
    describe_sequence(unassigned, stack)
    # Image Type has a place of its own in the converted object.
    for keyword in ("ImageType", *sheet.omitted):
        if keyword in unassigned:
            delattr(unassigned, keyword)
    for element in stack.header.private:
        add_private(unassigned, element)
    kind = {k: v for k, v in image_kind(stack).items() if k != "AcquisitionContrast"}
    frame_type = [*stack.header.image_type[:3], *(stack.header.image_type[3:4] or ("NONE",))]
    return (
        geometry_groups(stack)
        | value_groups(sheet, stack)
        | {
            "MRImageFrameTypeSequence": item(FrameType=frame_type, **kind),
            "UnassignedSharedConvertedAttributesSequence": unassigned,
        }
    )


def _groups_of_frame(identity: Identity, stack: Stack, index: int) -> Groups:
    """Which classic instance a frame was, and what else differed from instance to instance."""
    uid = identity.uid("converted", stack.volume.sop_instance_uids[0], index)
    return {
        "ConversionSourceAttributesSequence": item(
            ReferencedSOPClassUID=MRImageStorage, ReferencedSOPInstanceUID=uid
        ),
        "UnassignedPerFrameConvertedAttributesSequence": item(
            InstanceNumber=index + 1, SliceLocation=slice_location(stack, index)
        ),
    }
