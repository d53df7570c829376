"""What is known of a file before any pixel is decoded: the values ingest stages hand on.

One `InstanceRecord` per DICOM instance, one `FrameRecord` per image in it (a classic instance has
exactly one). Shared and per-frame functional groups of enhanced objects are already merged, so
later stages never ask whether an object was classic or enhanced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.findings import Abstention, StudyVolumes
from models.geometry import Plane
from models.volume import Role

if TYPE_CHECKING:  # the API process reads reports and never pydicom's datasets
    from pydicom.dataset import Dataset

OWN_MODEL_NAME: Final = "vertebral-acuity"
"""Manufacturer's Model Name of every object this product writes. They come back with the study
they were stored in and must not start work again."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file, a series or a study is not used. `code` is stable; `reason` holds no PHI."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that was given and is not used.

    Attributes:
        file: Path relative to the input given (inside a zip: the member's name).
        refusal: Why.
    """

    file: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class FramePhysics:
    """Acquisition attributes of one frame, classic and enhanced alike; None where absent.

    Multi-valued code strings are upper-case tuples. Times in ms, field strength in tesla.
    """

    image_type: tuple[str, ...] = ()
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    scan_options: tuple[str, ...] = ()
    sequence_name: str = ""
    pulse_sequence_name: str = ""
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    echo_train_length: int | None = None
    field_strength_t: float | None = None
    inversion_recovery: bool | None = None
    suppression: str = ""  # Spectrally Selected Suppression (0018,9025)
    excitation: str = ""  # Spectrally Selected Excitation (0018,9026)
    acquisition_contrast: str = ""  # (0008,9209)
    echo_pulse_sequence: str = ""  # (0018,9008): SPIN, GRADIENT, BOTH
    complex_component: str = ""  # (0008,9208): MAGNITUDE, PHASE, REAL, IMAGINARY, MIXED
    contrast_agent: bool = False
    diffusion_b_value: float | None = None
    mosaic: bool = False


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One image of an instance, without its pixels.

    Attributes:
        number: Frame number inside the instance, counted from 1.
        position: Image Position (Patient), LPS mm, or None.
        orientation: Image Orientation (Patient), six cosines, along a row first, or None.
        pixel_spacing: (between rows, between columns) mm, or None.
        slice_thickness_mm: Slice Thickness.
        spacing_between_slices_mm: Spacing Between Slices as stated (never used as the pitch, only
            to find missing end slices).
        rescale: (slope, intercept), (1, 0) when absent.
        padding: Pixel Padding Value (or (low, high) range) in stored values, or None.
        echo_number: Echo Number(s).
        stack_id: Stack ID of enhanced objects, "" otherwise.
        temporal_position: Temporal position or acquisition number, for repeats.
        physics: Acquisition attributes.
    """

    number: int
    position: tuple[float, float, float] | None
    orientation: tuple[float, float, float, float, float, float] | None
    pixel_spacing: tuple[float, float] | None
    slice_thickness_mm: float | None = None
    spacing_between_slices_mm: float | None = None
    rescale: tuple[float, float] = (1.0, 0.0)
    padding: tuple[float, float] | None = None
    echo_number: int | None = None
    stack_id: str = ""
    temporal_position: int | None = None
    physics: FramePhysics = field(default_factory=FramePhysics)


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where an instance's pixels lie in its file and how a stored value is packed.

    Attributes:
        offset: Of the value of Pixel Data in the file at `InstanceRecord.path`, in bytes.
        length: Of that value, in bytes; of an encapsulated one up to its end of sequence.
        encapsulated: Whether it is a sequence of compressed fragments.
        little_endian: Byte order of native pixels.
        bits_stored, high_bit: PS3.5 8.1.1.
        signed: Pixel Representation is two's complement.
    """

    offset: int
    length: int
    encapsulated: bool
    little_endian: bool
    bits_stored: int
    high_bit: int
    signed: bool


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One DICOM instance, header only.

    Attributes:
        path: Where its bytes lie (zip members are spooled to disk first).
        file: Its name relative to the input given, for the report.
        series_description: Series Description and Protocol Name; names only break ties and are
            never logged.
        body_part: Body Part Examined as stated, upper case, "" when absent; never trusted alone.
        lossy: Lossy Image Compression happened.
        instance_number: Instance Number; only used to say that slices may be missing.
        layout: Where the pixels lie; None only in records that no file stands behind.
    """

    path: Path
    file: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    modality: str
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    photometric: str
    frames: tuple[FrameRecord, ...]
    manufacturer: str = ""
    series_description: str = ""
    protocol_name: str = ""
    body_part: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    lossy: bool = False
    layout: PixelLayout | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every file given is in exactly one of the two fields."""

    records: tuple[InstanceRecord, ...]
    refused: tuple[RefusedFile, ...]


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """What became of one stack of a series (a series of several stacks has several outcomes).

    Attributes:
        role: By physics, then pixels, then names.
        confidence: Of the role, in [0, 1].
        evidence: Facts the role rests on, such as "inversion_time_ms=160".
        used: Whether its volume was chosen.
        refused: Why not, when not used.
        plane, slices, spacing_mm: Geometry where known; spacing (slice, row, column).
        findings: Codes of geometry checks that warned or were repaired.
    """

    series_instance_uid: str
    role: Role
    confidence: float
    evidence: tuple[str, ...]
    used: bool
    refused: Refusal | None
    plane: Plane | None = None
    slices: int = 0
    spacing_mm: tuple[float, float, float] | None = None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ingested:
    """A study as read: what was chosen, and an answer for everything that was given.

    Attributes:
        study_instance_uid: Of the study that was read; "" when no DICOM was found.
        files_used: How many files' pixels are in the chosen volumes.
        volumes: None when no sagittal spine MR series is usable; `abstentions` then says why.
        headers: SOP Instance UID to the header of every instance whose pixels are used, for the
            DICOM objects that refer to it. They hold the patient's identity: never logged.
    """

    study_instance_uid: str
    series: tuple[SeriesOutcome, ...]
    files_used: int
    refused_files: tuple[RefusedFile, ...]
    volumes: StudyVolumes | None
    abstentions: tuple[Abstention, ...]
    headers: Mapping[str, Dataset] = field(default_factory=dict, repr=False)
