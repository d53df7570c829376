"""From a header's bytes to an `InstanceRecord`: classic, Enhanced and legacy-converted MR alike.

The values that matter are merged per frame from the general to the particular: the dataset itself,
Unassigned Shared Converted Attributes, the shared functional groups, Unassigned Per-Frame Converted
Attributes, the frame's own groups. A classic instance is the case with one frame and no groups.
Only the macros named here are looked into, because vendors' private groups repeat public
attributes with other values (Philips (2005,140F)).
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Final

from pydicom import uid
from pydicom.config import disable_value_validation
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset

from service.ingest.frame_values import (
    Values,
    decimal_of,
    frame_record,
    integer_of,
    text_of,
    uid_of,
)
from service.ingest.records import OWN_MODEL_NAME, FrameRecord, InstanceRecord, PixelLayout
from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits, check_uid
from service.ingest.structure import PIXEL_DATA, Structure

MULTI_FRAME_CLASSES: Final = frozenset(
    {uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage}
)
MR_CLASSES: Final = MULTI_FRAME_CLASSES | {uid.MRImageStorage}

NATIVE_SYNTAXES: Final = frozenset(
    {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
)
LOSSY_SYNTAXES: Final = frozenset(
    {
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLSNearLossless,
        uid.JPEG2000,
        uid.HTJ2K,
    }
)
LOSSLESS_SYNTAXES: Final = frozenset(
    {
        uid.RLELossless,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
    }
)
READ_SYNTAXES: Final = NATIVE_SYNTAXES | LOSSLESS_SYNTAXES | LOSSY_SYNTAXES

PARSING_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom raises on values that are not what their VR says."""

_INSTANCE_KEYWORDS: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "Modality", "Manufacturer", "ManufacturerModelName",
    "SeriesDescription", "ProtocolName",
    "BodyPartExamined", "SeriesNumber", "InstanceNumber", "NumberOfFrames", "Rows", "Columns",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PhotometricInterpretation", "LossyImageCompression", "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)  # fmt: skip
_FRAME_KEYWORDS: Final = (
    # place (PS3.3 C.7.6.2, C.7.6.16.2.1 to .4)
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "StackID", "TemporalPositionIndex", "TemporalPositionIdentifier",
    "FrameAcquisitionNumber", "AcquisitionNumber", "EchoNumbers",
    # value (C.7.6.16.2.9)
    "RescaleSlope", "RescaleIntercept",
    # acquisition (C.8.3.1, C.8.13.3 to C.8.13.5)
    "ImageType", "FrameType", "ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName",
    "PulseSequenceName", "RepetitionTime", "EchoTime", "EffectiveEchoTime", "InversionTime",
    "InversionTimes", "InversionRecovery", "FlipAngle", "EchoTrainLength", "RFEchoTrainLength",
    "MagneticFieldStrength", "SpectrallySelectedSuppression", "SpectrallySelectedExcitation",
    "AcquisitionContrast", "EchoPulseSequence", "ComplexImageComponent", "ContrastBolusAgent",
    "ContrastBolusAgentSequence", "ContrastBolusAgentAdministered", "DiffusionBValue",
)  # fmt: skip
_MACROS: Final = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence",
    "PixelValueTransformationSequence", "FrameContentSequence", "MRImageFrameTypeSequence",
    "MRTimingAndRelatedParametersSequence", "MREchoSequence", "MRModifierSequence",
    "MRFOVGeometrySequence", "MRImagingModifierSequence", "MRDiffusionSequence",
    "ContrastBolusUsageSequence",
)  # fmt: skip
_SIEMENS_B_VALUE: Final = 0x0019100C
_SHARED: Final = "SharedFunctionalGroupsSequence"
_PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
_UNASSIGNED: Final = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)


def _tags(keywords: Iterable[str]) -> dict[int, str]:
    return {tag: keyword for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None}


_VALUE_TAGS: Final = _tags((*_INSTANCE_KEYWORDS, *_FRAME_KEYWORDS))
_MACRO_TAGS: Final = _tags((*_MACROS, *_UNASSIGNED))
_READ_TAGS: Final = [
    *_VALUE_TAGS, *_tags((_SHARED, _PER_FRAME)), 0x00190010, _SIEMENS_B_VALUE,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file's bytes lie and what it was called."""

    path: Path
    file: str


@dataclass(frozen=True, slots=True)
class PixelExtent:
    """Where the value of Pixel Data lies, measured to its end."""

    offset: int
    length: int


_PYDICOM_SETTINGS = Lock()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from remarking on values that break the rules of their VR.

    Scanners break them every day; what cannot be used shows when it is. The remarks hold the
    values, and a log must not. pydicom's setting and Python's warning filters belong to the whole
    process, so one thread at a time changes them.
    """
    with _PYDICOM_SETTINGS, disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse_dataset(structure: Structure, tags: list[int]) -> Dataset:
    """Parse the elements asked for out of a header that was walked before.

    Raises:
        RefusedError: `malformed`.
    """
    encoding = structure.encoding
    try:
        with quiet_pydicom():
            return read_dataset(
                BytesIO(structure.header),
                encoding.implicit,
                encoding.little_endian,
                specific_tags=list(tags),
            )
    except PARSING_ERRORS as error:
        raise RefusedError("malformed", "the header cannot be parsed") from error


def text_as_written(dataset: Dataset, tag: int) -> str:
    """A value as it was written, without padding; "" where there is none.

    What is asked for is ASCII in every character set, so the bytes need no more than that. Two
    UIDs in one element, with the backslash between them, are none.
    """
    if tag not in dataset:
        return ""
    value = dataset.get_item(tag).value
    return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""


class Header:
    """A parsed header: checked step by step, then written down as a record.

    Raises:
        RefusedError: In every method, with the code of what is wrong.
    """

    def __init__(self, structure: Structure, limits: Limits) -> None:
        self.limits = limits
        self._structure = structure
        self._dataset = parse_dataset(structure, _READ_TAGS)
        with quiet_pydicom():
            self._values = _values_of(self._dataset)

    def check_kind(self) -> None:
        """Let MR images of the three classes pass: `not_an_image`, `no_pixel_data`, …."""
        sop_class = text_of(self._values, "SOPClassUID")
        modality = text_of(self._values, "Modality").upper()
        if not sop_class and not modality and not self._structure.stated:
            raise RefusedError("not_dicom", "the file is not DICOM")
        if text_of(self._values, "ManufacturerModelName") == OWN_MODEL_NAME:
            raise RefusedError("own_object", "a result that this product wrote")
        if self._structure.pixels is None:
            if modality == "MR" or sop_class in MR_CLASSES:
                raise RefusedError("no_pixel_data", "an MR instance without pixels")
            raise RefusedError("not_an_image", "an instance without pixels")
        if modality not in ("MR", ""):
            raise RefusedError("wrong_modality", "an image, but not MR")
        if sop_class not in MR_CLASSES:
            raise RefusedError("unsupported_sop_class", "a kind of image this service cannot use")

    def check_pixels(self) -> None:
        """Compare what the header says of the pixels with the limits, before any is touched."""
        syntax = self._structure.transfer_syntax_uid
        pixels = self._structure.pixels
        compressed = pixels is not None and pixels.length is None
        if syntax not in READ_SYNTAXES or compressed == (syntax in NATIVE_SYNTAXES):
            raise RefusedError("unsupported_transfer_syntax", "an encoding that is not read")
        if pixels is None or pixels.tag != PIXEL_DATA:
            raise RefusedError("unsupported_pixels", "floating-point pixels")
        if self.samples != 1 or self.photometric not in ("MONOCHROME1", "MONOCHROME2"):
            raise RefusedError("not_grayscale", "a colour image")
        self._check_dimensions()
        self._check_bits()

    def _check_dimensions(self) -> None:
        limits = self.limits
        sizes = (self.rows, self.columns, self.frame_count)
        plausible = all(
            0 < size <= most
            for size, most in zip(sizes, (limits.edge, limits.edge, limits.frames), strict=True)
        )
        if not plausible or self.native_bytes > limits.pixel_bytes:
            raise RefusedError("dimensions_implausible", "rows, columns or frames beyond limits")

    def _check_bits(self) -> None:
        stored, high = self._bits_stored, self._high_bit
        if self.bits_allocated not in (8, 16, 32):
            raise RefusedError("unsupported_pixels", "bits allocated is not 8, 16 or 32")
        if not 0 < stored <= high + 1 <= self.bits_allocated:
            raise RefusedError("malformed", "bits stored and high bit contradict bits allocated")

    def check_length(self, length: int) -> None:
        """Compare the bytes of native pixels with what the dimensions need."""
        if length < self.native_bytes:
            raise RefusedError("pixel_length_mismatch", "fewer pixel bytes than the image needs")

    @property
    def rows(self) -> int:
        """Rows, 0 when absent."""
        return integer_of(self._values, "Rows") or 0

    @property
    def columns(self) -> int:
        """Columns, 0 when absent."""
        return integer_of(self._values, "Columns") or 0

    @property
    def frame_count(self) -> int:
        """Number of Frames, 1 when absent; always 1 for MR Image Storage unless stated."""
        stated = integer_of(self._values, "NumberOfFrames")
        return 1 if stated is None else stated

    @property
    def samples(self) -> int:
        """Samples per Pixel, 1 when absent."""
        stated = integer_of(self._values, "SamplesPerPixel")
        return 1 if stated is None else stated

    @property
    def photometric(self) -> str:
        """Photometric Interpretation."""
        return text_of(self._values, "PhotometricInterpretation").upper()

    @property
    def bits_allocated(self) -> int:
        """Bits Allocated, 0 when absent."""
        return integer_of(self._values, "BitsAllocated") or 0

    @property
    def _bits_stored(self) -> int:
        stated = integer_of(self._values, "BitsStored")
        return self.bits_allocated if stated is None else stated

    @property
    def _high_bit(self) -> int:
        stated = integer_of(self._values, "HighBit")
        return self._bits_stored - 1 if stated is None else stated

    @property
    def native_bytes(self) -> int:
        """Bytes of all pixels when not compressed."""
        return self.rows * self.columns * self.frame_count * max(1, self.bits_allocated // 8)

    def record(self, origin: Origin, extent: PixelExtent) -> InstanceRecord:
        """Everything the later stages ask of the header."""
        try:
            with quiet_pydicom():
                return self._record(origin, extent)
        except PARSING_ERRORS as error:
            raise RefusedError(
                "malformed", "the header holds values that cannot be read"
            ) from error

    def _record(self, origin: Origin, extent: PixelExtent) -> InstanceRecord:
        values = self._values
        syntax = self._structure.transfer_syntax_uid
        frame_of_reference = uid_of(values, "FrameOfReferenceUID")
        return InstanceRecord(
            path=origin.path,
            file=origin.file,
            sop_instance_uid=check_uid(uid_of(values, "SOPInstanceUID")),
            sop_class_uid=text_of(values, "SOPClassUID"),
            transfer_syntax_uid=syntax,
            study_instance_uid=check_uid(uid_of(values, "StudyInstanceUID")),
            series_instance_uid=check_uid(uid_of(values, "SeriesInstanceUID")),
            frame_of_reference_uid=check_uid(frame_of_reference) if frame_of_reference else "",
            modality="MR",
            rows=self.rows,
            columns=self.columns,
            samples_per_pixel=self.samples,
            bits_allocated=self.bits_allocated,
            photometric=self.photometric,
            frames=self._frames(),
            manufacturer=text_of(values, "Manufacturer"),
            series_description=text_of(values, "SeriesDescription"),
            protocol_name=text_of(values, "ProtocolName"),
            body_part=text_of(values, "BodyPartExamined").upper(),
            series_number=integer_of(values, "SeriesNumber"),
            instance_number=integer_of(values, "InstanceNumber"),
            lossy=text_of(values, "LossyImageCompression") == "01" or syntax in LOSSY_SYNTAXES,
            layout=PixelLayout(
                offset=extent.offset,
                length=extent.length,
                encapsulated=syntax not in NATIVE_SYNTAXES,
                little_endian=self._structure.encoding.little_endian,
                bits_stored=self._bits_stored,
                high_bit=self._high_bit,
                signed=self._signed,
            ),
        )

    @property
    def _signed(self) -> bool:
        return integer_of(self._values, "PixelRepresentation") == 1

    def _frames(self) -> tuple[FrameRecord, ...]:
        common = self._values
        padding = self._padding()
        if text_of(common, "SOPClassUID") not in MULTI_FRAME_CLASSES:
            # Several frames in MR Image Storage have one position: stacking will refuse them.
            return tuple(
                frame_record(number, common, padding) for number in range(1, self.frame_count + 1)
            )
        shared = common | _group_values(_first_item(self._dataset, _SHARED))
        groups = self._dataset.get(_PER_FRAME) or ()
        if len(groups) not in (0, self.frame_count):
            raise RefusedError("malformed", "not as many functional groups as frames")
        own: list[Values] = [_group_values(item) for item in groups] or [{}] * self.frame_count
        return tuple(
            frame_record(number, shared | values, padding)
            for number, values in enumerate(own, start=1)
        )

    def _padding(self) -> tuple[float, float] | None:
        first = decimal_of(self._values, "PixelPaddingValue")
        if first is None:
            return None
        last = decimal_of(self._values, "PixelPaddingRangeLimit")
        ends = [self._as_stored(end) for end in (first, first if last is None else last)]
        return min(ends), max(ends)

    def _as_stored(self, value: float) -> float:
        """Give a padding value the sign of the pixels: its VR is ambiguous (US or SS)."""
        span = 1 << self.bits_allocated
        if self._signed and value >= span // 2:
            return value - span
        return value + span if value < 0 and not self._signed else value


def _first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    items = dataset.get(keyword)
    return items[0] if items else None


def _values_of(dataset: Dataset) -> Values:
    """The dataset's own values of the keywords that matter; unreadable ones are left out."""
    values: Values = {}
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset converts every element
        keyword = _VALUE_TAGS.get(int(tag))
        if keyword is None:
            continue
        try:
            value = dataset[tag].value
        except PARSING_ERRORS:
            continue
        if value is not None and value != "":
            values[keyword] = value
    if "DiffusionBValue" not in values:
        values |= _siemens_b_value(dataset)
    return values


def _siemens_b_value(dataset: Dataset) -> Values:
    """B_value (0019,100C), IS, of the group that SIEMENS MR HEADER reserves."""
    if _SIEMENS_B_VALUE not in dataset or 0x00190010 not in dataset:
        return {}
    try:
        creator, value = dataset[0x00190010].value, dataset[_SIEMENS_B_VALUE].value
        if isinstance(value, bytes):
            value = value.decode("ascii").strip(" \0")
    except PARSING_ERRORS:
        return {}
    return {"DiffusionBValue": value} if creator == "SIEMENS MR HEADER" else {}


def _group_values(item: Dataset | None) -> Values:
    """The values of one functional-groups item; unassigned converted attributes come first."""
    if item is None:
        return {}
    unassigned: Values = {}
    values: Values = {}
    for tag in item.keys():  # noqa: SIM118 - iterating a Dataset converts every element
        macro = _MACRO_TAGS.get(int(tag))
        if macro is None:
            continue
        first = _first_item(item, macro)
        if first is None:
            continue
        if macro in _UNASSIGNED:
            unassigned |= _values_of(first)
        else:
            values |= _values_of(first)
    return unassigned | values
