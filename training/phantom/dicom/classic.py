"""MR Image Storage: one file per slice, with the vendor's private blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import MRImageStorage

from training.phantom.dicom.content import SeriesContent, SeriesSheet, Stack
from training.phantom.dicom.files import save
from training.phantom.dicom.identity import STUDY_DATE, Identity, series_time
from training.phantom.dicom.modules import (
    CONTRAST_AGENT,
    GYROMAGNETIC_MHZ_PER_T,
    Person,
    decimal,
    name_instance,
    new_instance,
)
from training.phantom.dicom.pixels import describe_pixels, describe_range, window
from training.phantom.dicom.vendors.header import PrivateValue

PIXEL_BANDWIDTH_HZ: Final = 200.0


def write_classic(
    content: SeriesContent, identity: Identity, person: Person, folder: Path
) -> tuple[tuple[Path, ...], ...]:
    """Write a series as single-frame instances.

    Args:
        content: The series.
        identity: Of the study.
        person: The patient.
        folder: Where; it must exist.

    Returns:
        Per stack its files, in the order of its slices.
    """
    files = []
    number = 0
    for stack in content.stacks:
        dataset = new_instance(identity, person, content.sheet, MRImageStorage)
        describe_stack(dataset, content.sheet, stack)
        written = []
        for index in range(stack.volume.shape[0]):
            number += 1
            uid = stack.volume.sop_instance_uids[index]
            name_instance(dataset, uid, number)
            _describe_slice(dataset, stack, index, signed=content.sheet.pixels.signed)
            path = folder / f"I{number:04d}.dcm"
            save(dataset, stack.pixels.values[index], path, content.sheet.transfer_syntax_uid)
            written.append(path)
        files.append(tuple(written))
    return tuple(files)


def describe_stack(dataset: FileDataset, sheet: SeriesSheet, stack: Stack) -> None:
    """Write what the slices of a stack have in common."""
    dataset.AcquisitionDate = STUDY_DATE
    dataset.AcquisitionTime = series_time(sheet.order)
    dataset.AcquisitionNumber = 1
    if not sheet.habits.body_part:
        dataset.Laterality = ""  # of what is not said to be unpaired (PS3.3 C.7.3.1)
    describe_sequence(dataset, stack)
    if sheet.contrast_agent:
        dataset.ContrastBolusAgent = CONTRAST_AGENT
    _describe_geometry(dataset, stack)
    describe_pixels(dataset, sheet.pixels, (stack.volume.shape[1], stack.volume.shape[2]))
    dataset.WindowCenter, dataset.WindowWidth = window(stack.volume.array)
    if sheet.pixels.slope is not None and sheet.pixels.intercept is not None:
        dataset.RescaleSlope = decimal(sheet.pixels.slope)
        dataset.RescaleIntercept = decimal(sheet.pixels.intercept)
        dataset.RescaleType = "US"
    dataset.LossyImageCompression = "00"
    for keyword in sheet.omitted:
        if keyword == "InversionTime" and keyword in dataset:
            dataset.InversionTime = None  # Type 2C: there without a value
        elif keyword in dataset:
            delattr(dataset, keyword)
    for element in stack.header.private:
        add_private(dataset, element)


def describe_sequence(dataset: Dataset, stack: Stack) -> None:
    """Write the MR Image attributes (PS3.3 C.8.3.1) that say how the contrast was made."""
    header, protocol, sequence = stack.header, stack.protocol, stack.protocol.sequence
    dataset.ImageType = list(header.image_type)
    dataset.ScanningSequence = list(header.scanning_sequence)
    dataset.SequenceVariant = list(header.sequence_variant)
    dataset.ScanOptions = list(header.scan_options)
    dataset.MRAcquisitionType = header.acquisition_type
    if header.sequence_name:
        dataset.SequenceName = header.sequence_name
    dataset.RepetitionTime = decimal(sequence.repetition_ms)
    dataset.EchoTime = decimal(sequence.echo_ms)
    if sequence.inversion_ms is not None:
        dataset.InversionTime = decimal(sequence.inversion_ms)
    dataset.EchoTrainLength = sequence.echo_train_length
    dataset.EchoNumbers = 1
    dataset.FlipAngle = decimal(sequence.flip_deg)
    dataset.MagneticFieldStrength = decimal(sequence.field_t)
    dataset.ImagingFrequency = decimal(sequence.field_t * GYROMAGNETIC_MHZ_PER_T)
    dataset.ImagedNucleus = "1H"
    dataset.NumberOfAverages = 1
    dataset.AngioFlag = "N"
    dataset.PixelBandwidth = decimal(PIXEL_BANDWIDTH_HZ)
    dataset.InPlanePhaseEncodingDirection = "COL" if protocol.phase_axis == 1 else "ROW"


def _describe_geometry(dataset: Dataset, stack: Stack) -> None:
    volume = stack.volume
    spacing = volume.spacing
    along_row = volume.affine[:3, 2] / spacing.column_mm
    along_column = volume.affine[:3, 1] / spacing.row_mm
    dataset.ImageOrientationPatient = [decimal(v) for v in (*along_row, *along_column)]
    dataset.PixelSpacing = [decimal(spacing.row_mm), decimal(spacing.column_mm)]
    dataset.SliceThickness = decimal(stack.protocol.thickness_mm)
    dataset.SpacingBetweenSlices = decimal(spacing.slice_mm)


def _describe_slice(dataset: FileDataset, stack: Stack, index: int, *, signed: bool) -> None:
    affine, values = stack.volume.affine, stack.pixels.values[index]
    position = affine[:3, 0] * index + affine[:3, 3]
    dataset.ImagePositionPatient = [decimal(v) for v in position]
    dataset.SliceLocation = slice_location(stack, index)
    describe_range(dataset, values, signed=signed)


def slice_location(stack: Stack, index: int) -> str:
    """Slice Location: the place of a slice along its normal, mm."""
    affine = stack.volume.affine
    normal = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    return decimal(float((affine[:3, 0] * index + affine[:3, 3]) @ normal))


def add_private(dataset: Dataset, element: PrivateValue) -> None:
    """Write a private element into its creator's block."""
    block = dataset.private_block(element.group, element.creator, create=True)
    block.add_new(element.element, element.vr, element.value)
