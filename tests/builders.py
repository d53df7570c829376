"""DICOM built in memory, for every test that needs some. No blob is committed.

`classic_stack` gives single-frame MR, `enhanced_instance` one multi-frame MR, `legacy_converted`
the converted kind; all take an array of stored values (slice, row, column) and a `Grid` for its
place in the patient. `compressed` re-encodes a dataset, `to_bytes` and `write_all` serialise.

Vocabulary: `physics` is a mapping of DICOM keywords to values, laid over `STIR`, `T1`, `T2`, …
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
"""Rows run to the back, columns to the feet."""

NATIVE_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
LOSSLESS_SYNTAXES = (RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)

STIR: Mapping[str, Any] = {
    "ScanningSequence": ["SE", "IR"],
    "SequenceVariant": ["SK", "SP"],
    "ScanOptions": "IR",
    "RepetitionTime": 4500.0,
    "EchoTime": 60.0,
    "InversionTime": 160.0,
    "SequenceName": "*tir2d1_16",
}
T1: Mapping[str, Any] = {
    "ScanningSequence": "SE",
    "SequenceVariant": ["SK", "SP"],
    "RepetitionTime": 550.0,
    "EchoTime": 10.0,
    "SequenceName": "*tse2d1_3",
}
T2: Mapping[str, Any] = {
    "ScanningSequence": "SE",
    "SequenceVariant": ["SK", "SP"],
    "RepetitionTime": 3500.0,
    "EchoTime": 95.0,
    "SequenceName": "*tse2d1_17",
}


def uid(*parts: object) -> str:
    """A UID that is always the same for the same parts."""
    return str(generate_uid(entropy_srcs=["builders", *map(str, parts)]))


@dataclass(frozen=True)
class Grid:
    """Place of a stack: six cosines, (slice, row, column) pitch in mm, centre of the first voxel.

    Slices follow along row x column direction; `tilt_mm` adds a shift per slice, so that the
    stack is sheared.
    """

    orientation: tuple[float, ...] = SAGITTAL
    spacing: tuple[float, float, float] = (4.4, 0.9, 0.7)
    origin: tuple[float, float, float] = (-30.0, -80.0, 120.0)
    tilt_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    frame_of_reference: str = uid("frame of reference")

    def position(self, index: float) -> list[float]:
        """LPS mm of the first voxel of slice `index`."""
        row, column = np.reshape(self.orientation, (2, 3))
        step = np.cross(row, column) * self.spacing[0] + np.asarray(self.tilt_mm)
        return [float(value) for value in np.asarray(self.origin) + index * step]


def oblique(degrees: Sequence[float], base: Sequence[float] = SAGITTAL) -> tuple[float, ...]:
    """Six cosines of `base` turned about the x, y and z axes by the angles given."""
    turned = np.reshape(base, (2, 3)).astype(float)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turned = turned @ turn.T
    return tuple(float(value) for value in turned.ravel())


def ramp(slices: int, rows: int, columns: int) -> NDArray[np.uint16]:
    """(slice, row, column) stored values in which no two voxels nearby are alike."""
    index = np.arange(slices * rows * columns, dtype=np.uint32).reshape(slices, rows, columns)
    return ((index * 7 + index // 5) % 4001).astype(np.uint16)


def _short(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2, VR DS)."""
    return f"{value:.10f}"[:16]


def _empty_file(sop_class: str, sop_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)


def _file(sop_class: str, sop_uid: str) -> FileDataset:
    dataset = _empty_file(sop_class, sop_uid)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = sop_uid
    dataset.PatientName = "Built^Patient"
    dataset.PatientID = "BUILT"
    dataset.Modality = "MR"
    dataset.Manufacturer = "SIEMENS"
    dataset.MagneticFieldStrength = 1.5
    return dataset


def set_pixels(dataset: Dataset, pixels: NDArray[Any]) -> None:
    """Store an array, (row, column) or (frame, row, column), with its own type and all its bits."""
    bits = pixels.dtype.itemsize * 8
    signed = pixels.dtype.kind == "i"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = bits
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(signed)
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def classic_stack(
    pixels: NDArray[Any],
    grid: Grid | None = None,
    physics: Mapping[str, Any] = STIR,
    *,
    study: str = "study",
    series: str = "series",
) -> list[FileDataset]:
    """One MR Image Storage instance per slice of (slice, row, column) stored values."""
    return [
        _classic_slice(plane, index, grid or Grid(), physics, (study, series))
        for index, plane in enumerate(pixels)
    ]


def _classic_slice(
    plane: NDArray[Any], index: int, grid: Grid, physics: Mapping[str, Any], names: tuple[str, str]
) -> FileDataset:
    study, series = names
    dataset = _file(MRImageStorage, uid(study, series, index))
    dataset.StudyInstanceUID = uid(study)
    dataset.SeriesInstanceUID = uid(study, series)
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = index + 1
    dataset.FrameOfReferenceUID = grid.frame_of_reference
    dataset.SeriesDescription = series
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.ImagePositionPatient = [_short(value) for value in grid.position(index)]
    dataset.ImageOrientationPatient = [_short(value) for value in grid.orientation]
    dataset.PixelSpacing = [_short(value) for value in grid.spacing[1:]]
    dataset.SliceThickness = _short(grid.spacing[0])
    dataset.SpacingBetweenSlices = _short(grid.spacing[0])
    set_pixels(dataset, plane)
    for keyword, value in physics.items():
        setattr(dataset, keyword, value)
    return dataset


def _item(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced_instance(
    pixels: NDArray[Any],
    grid: Grid | None = None,
    *,
    study: str = "study",
    series: str = "series",
    inversion_times: Sequence[float] = (160.0,),
    echo_times: Sequence[float] = (60.0,),
) -> FileDataset:
    """One Enhanced MR instance; physics shared, position and echo time per frame.

    Args:
        pixels: (frame, row, column) stored values.
        grid: Of the stack; frames of several echoes lie on the same positions.
        study, series: Names the UIDs are made of.
        inversion_times: Inversion Times; none for no inversion recovery.
        echo_times: With several, frames are all positions of the first echo, then of the second.
    """
    grid = grid or Grid()
    dataset = _file(EnhancedMRImageStorage, uid(study, series, "enhanced"))
    dataset.StudyInstanceUID = uid(study)
    dataset.SeriesInstanceUID = uid(study, series)
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.FrameOfReferenceUID = grid.frame_of_reference
    dataset.SeriesDescription = series
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    dataset.EchoPulseSequence = "SPIN"
    dataset.NumberOfFrames = len(pixels)
    set_pixels(dataset, pixels)
    modifier = _item(InversionRecovery="YES" if inversion_times else "NO")
    if inversion_times:
        modifier.InversionTimes = list(inversion_times)
    modifier.SpectrallySelectedSuppression = modifier.SpectrallySelectedExcitation = "NONE"
    timing = _item(RepetitionTime=4500.0, FlipAngle=150.0, EchoTrainLength=16)
    measures = _item(
        PixelSpacing=[_short(value) for value in grid.spacing[1:]],
        SliceThickness=_short(grid.spacing[0]),
    )
    plane = _item(ImageOrientationPatient=[_short(value) for value in grid.orientation])
    dataset.SharedFunctionalGroupsSequence = [
        _item(
            MRModifierSequence=[modifier],
            MRTimingAndRelatedParametersSequence=[timing],
            PixelMeasuresSequence=[measures],
            PlaneOrientationSequence=[plane],
        )
    ]
    slices = len(pixels) // len(echo_times)
    dataset.PerFrameFunctionalGroupsSequence = [
        _enhanced_frame(grid, index % slices, echo_times[index // slices])
        for index in range(len(pixels))
    ]
    return dataset


def _enhanced_frame(grid: Grid, index: int, echo_time: float) -> Dataset:
    position = _item(ImagePositionPatient=[_short(value) for value in grid.position(index)])
    content = _item(StackID="1", InStackPositionNumber=index + 1, TemporalPositionIndex=1)
    frame_type = _item(
        FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"],
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="STIR",
    )
    rescale = _item(RescaleIntercept=0.0, RescaleSlope=1.0, RescaleType="US")
    return _item(
        FrameContentSequence=[content],
        PlanePositionSequence=[position],
        MREchoSequence=[_item(EffectiveEchoTime=echo_time)],
        MRImageFrameTypeSequence=[frame_type],
        PixelValueTransformationSequence=[rescale],
    )


def legacy_converted(instances: Sequence[Dataset]) -> FileDataset:
    """The multi-frame that a converter makes of a classic stack (PS3.3 A.70).

    What the functional groups of this class do not hold stays in Unassigned Shared Converted
    Attributes, as the converter found it.
    """
    first = instances[0]
    pixels = np.stack([instance.pixel_array for instance in instances])
    dataset = _file(LegacyConvertedEnhancedMRImageStorage, uid(first.SOPInstanceUID, "legacy"))
    for keyword in (
        "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
        "FrameOfReferenceUID", "SeriesDescription", "ImageType",
    ):  # fmt: skip
        setattr(dataset, keyword, getattr(first, keyword))
    dataset.NumberOfFrames = len(pixels)
    set_pixels(dataset, pixels)
    unassigned = _item()
    for keyword in (
        "ScanningSequence", "SequenceVariant", "ScanOptions", "RepetitionTime", "EchoTime",
        "InversionTime", "SequenceName",
    ):  # fmt: skip
        if keyword in first:
            setattr(unassigned, keyword, getattr(first, keyword))
    dataset.SharedFunctionalGroupsSequence = [
        _item(UnassignedSharedConvertedAttributesSequence=[unassigned])
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[
                _item(PixelSpacing=one.PixelSpacing, SliceThickness=one.SliceThickness)
            ],
            PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=one.ImageOrientationPatient)],
        )
        for one in instances
    ]
    return dataset


def to_bytes(dataset: FileDataset, transfer_syntax: str | None = None) -> bytes:
    """Part 10 bytes, in another native or the deflated syntax where one is given."""
    syntax = transfer_syntax or dataset.file_meta.TransferSyntaxUID
    if syntax == DeflatedExplicitVRLittleEndian or syntax in NATIVE_SYNTAXES:
        dataset = _with_syntax(dataset, syntax)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _with_syntax(dataset: FileDataset, syntax: str) -> FileDataset:
    clone = deepcopy(dataset)
    clone.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == ExplicitVRBigEndian and clone.BitsAllocated > 8:
        # dcmwrite swaps everything but Pixel Data.
        stored = np.frombuffer(clone.PixelData, f"<u{clone.BitsAllocated // 8}")
        clone.PixelData = stored.byteswap().tobytes()
        clone["PixelData"].VR = "OW"
    return clone


def compressed(dataset: FileDataset, transfer_syntax: str) -> FileDataset:
    """A copy with its pixels in one of the compressed syntaxes (JPEG 2000: 32 x 32 or more)."""
    clone = _with_syntax(dataset, ExplicitVRLittleEndian)
    if transfer_syntax in (JPEGBaseline8Bit, JPEGLosslessSV1):
        planes = clone.pixel_array.reshape(-1, clone.Rows, clone.Columns)
        frames = [_jpeg(plane, transfer_syntax) for plane in planes]
        clone.PixelData = encapsulate(frames)
        clone["PixelData"].is_undefined_length = True
        clone["PixelData"].VR = "OB"
        clone.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    else:
        clone.compress(transfer_syntax, generate_instance_uid=False)
    return clone


def _jpeg(plane: NDArray[Any], transfer_syntax: str) -> bytes:
    """One JPEG codestream: baseline by Pillow, lossless by GDCM."""
    if transfer_syntax == JPEGBaseline8Bit:
        from PIL import Image

        buffer = BytesIO()
        Image.fromarray(plane).save(buffer, "JPEG", quality=95)
        return buffer.getvalue()
    return _jpeg_lossless(plane)


def _jpeg_lossless(plane: NDArray[Any]) -> bytes:
    import gdcm

    rows, columns = plane.shape
    bits = plane.dtype.itemsize * 8
    writer = gdcm.ImageWriter()  # owns the image, so it must outlive it
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetPixelFormat(gdcm.PixelFormat(1, bits, bits, bits - 1, int(plane.dtype.kind == "i")))
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ImplicitVRLittleEndian))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(np.ascontiguousarray(plane).tobytes())
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    if not change.Change():
        raise ValueError("GDCM did not encode JPEG Lossless")
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    encoded: str = fragments.GetFragment(0).GetByteValue().GetBuffer()
    return encoded.encode("utf-8", "surrogateescape")


def write_all(
    datasets: Iterable[FileDataset], folder: Path, transfer_syntax: str | None = None
) -> list[Path]:
    """Write Part 10 files `0000.dcm`, `0001.dcm`, … and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, dataset in enumerate(datasets):
        path = folder / f"{index:04d}.dcm"
        path.write_bytes(to_bytes(dataset, transfer_syntax))
        paths.append(path)
    return paths


def dicomdir(folder: Path, references: Iterable[Sequence[str]]) -> Path:
    """Write a DICOMDIR whose image records refer to files by their path components."""
    directory = _empty_file(MediaStorageDirectoryStorage, uid("dicomdir"))
    directory.FileSetID = "BUILT"
    path = folder / "DICOMDIR"
    with disable_value_validation():  # names that no medium may have are what tests want
        directory.DirectoryRecordSequence = [
            _item(DirectoryRecordType="IMAGE", ReferencedFileID=list(parts)) for parts in references
        ]
        path.write_bytes(to_bytes(directory))
    return path
