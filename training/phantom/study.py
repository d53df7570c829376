"""Write a synthetic patient as a DICOM study: several series as a scanner stores them, and truth.

The patient is plainly synthetic in name and identifier. The same case, recipe and seed give the
same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from models.anatomy import LABEL_VALUES
from models.volume import Role, Volume
from training.phantom.acquisition import acquire, place_slices, truth_on
from training.phantom.conditions import Conditions, draw_conditions
from training.phantom.headers import (
    MANUFACTURERS,
    SequenceHeader,
    sample_description,
    sequence_header,
)
from training.phantom.physics import DixonPart
from training.phantom.protocols import (
    Protocol,
    Site,
    dixon_part,
    sample_protocol,
    sample_site,
)
from training.phantom.tissues import LevelTruth, SpineCase

TRUTH_SCHEMA: Final = "phantom-truth/1"
_IMPLEMENTATION_UID: Final = UID("2.25.180113355436012331216353871935418541893")
_DATE: Final = "20200101"
_PIXEL_BANDWIDTH_HZ: Final = 200.0
_DIXON_PARTS: Final = (
    DixonPart.WATER,
    DixonPart.FAT,
    DixonPart.IN_PHASE,
    DixonPart.OUT_OF_PHASE,
)


@dataclass(frozen=True, slots=True)
class StudyRecipe:
    """What is scanned and how it is stored.

    Attributes:
        roles: Series in the order of acquisition. `Role.DIXON_WATER` stands for the whole Dixon
            acquisition and is written as one series per part.
        site: The scanner; drawn when None.
        dixon_parts: Which images of a Dixon acquisition are stored.
        gradient_echo_dixon: A gradient-echo Dixon in place of a T2 turbo spin echo.
        pixel_mm, thickness_mm, slices: Fixed for all series when given.
        fov_mm: Fixed (rows, columns) field of view when given.
        motion_mm: Standard deviation of the patient's shift between series.
        misleading_share: Part of the series with a useless or wrong description.
        transfer_syntax_uid: Of the stored instances.
        clean: No ghosts, failing suppression or saturation bands: for demonstrations.
    """

    roles: tuple[Role, ...]
    site: Site | None = None
    dixon_parts: tuple[DixonPart, ...] = _DIXON_PARTS
    gradient_echo_dixon: bool = False
    pixel_mm: float | None = None
    thickness_mm: float | None = None
    slices: int | None = None
    fov_mm: tuple[float, float] | None = None
    motion_mm: float = 0.6
    misleading_share: float = 0.0
    transfer_syntax_uid: str = ExplicitVRLittleEndian
    clean: bool = False


@dataclass(frozen=True, slots=True)
class WrittenSeries:
    """One series on disk."""

    volume: Volume
    protocol: Protocol
    description: str
    series_number: int
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class WrittenStudy:
    """A study on disk: its UID, its series and its truth file."""

    study_instance_uid: str
    series: tuple[WrittenSeries, ...]
    truth: Path


@dataclass(frozen=True, slots=True)
class _Identity:
    """Deterministic identifiers of one study."""

    case: SpineCase
    key: str
    study_uid: str = field(init=False)
    frame_uid: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "study_uid", self.uid("study"))
        object.__setattr__(self, "frame_uid", self.uid("frame"))

    def uid(self, *parts: object) -> str:
        """A UID under 2.25 that depends on nothing but the case, the recipe and the parts."""
        text = "/".join(map(str, (self.case.seed, self.key, *parts)))
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        return f"2.25.{number}"


def write_study(
    case: SpineCase, directory: Path, recipe: StudyRecipe, rng: np.random.Generator
) -> WrittenStudy:
    """Scan a case by a recipe and write `dicom/`, `truth.json` and `truth.nii.gz`.

    Args:
        case: The patient.
        directory: Created when missing; existing files of the same names are replaced.
        recipe: What is scanned.
        rng: Everything left open by the recipe.

    Returns:
        What was written. `truth.nii.gz` is a label map (`LABEL_VALUES`) on the first series' grid.
    """
    site = recipe.site or sample_site(rng)
    identity = _Identity(case, f"{recipe.roles}/{site}/{rng.integers(2**32)}")
    written: list[WrittenSeries] = []
    for protocol, conditions in _plan(recipe, site, rng):
        number = len(written) + 2
        volume = _scan(case, protocol, conditions, written, rng)
        volume = replace(
            volume,
            series_instance_uid=identity.uid("series", number),
            frame_of_reference_uid=identity.frame_uid,
        )
        description = sample_description(protocol, rng, misleading_share=recipe.misleading_share)
        series = WrittenSeries(volume, protocol, description, number, ())
        files = _write_series(series, identity, directory / "dicom", recipe.transfer_syntax_uid)
        written.append(replace(series, files=files))
    truth = _write_truth(case, identity, written, directory)
    return WrittenStudy(identity.study_uid, tuple(written), truth)


def _plan(
    recipe: StudyRecipe, site: Site, rng: np.random.Generator
) -> list[tuple[Protocol, Conditions]]:
    """Every image to be made, with the conditions it shares with others of its acquisition."""
    planned: list[tuple[Protocol, Conditions]] = []
    for role in recipe.roles:
        sampled = sample_protocol(role, rng, site, gradient_echo=recipe.gradient_echo_dixon)
        protocol = _fixed_by(recipe, sampled)
        motion = recipe.motion_mm if planned else 0.0
        conditions = draw_conditions(protocol, rng, motion_mm=motion)
        if recipe.clean:
            conditions = replace(
                conditions, failure=None, saturation=None, csf_ghost=0.0, breathing_ghost=0.0
            )
        if role is Role.DIXON_WATER:
            parts = [dixon_part(protocol, part) for part in recipe.dixon_parts]
            planned += [(part, conditions) for part in parts]
        else:
            planned.append((protocol, conditions))
    return planned


def _fixed_by(recipe: StudyRecipe, protocol: Protocol) -> Protocol:
    """A protocol with what the recipe fixes; the gap stays the protocol's part of the thickness."""
    thickness = recipe.thickness_mm or protocol.thickness_mm
    return replace(
        protocol,
        fov_mm=recipe.fov_mm or protocol.fov_mm,
        pixel_mm=recipe.pixel_mm or protocol.pixel_mm,
        thickness_mm=thickness,
        gap_mm=round(protocol.gap_mm * thickness / protocol.thickness_mm, 2),
        slices=recipe.slices or protocol.slices,
    )


def _scan(
    case: SpineCase,
    protocol: Protocol,
    conditions: Conditions,
    written: SequenceOf[WrittenSeries],
    rng: np.random.Generator,
) -> Volume:
    """Acquire; images of one Dixon acquisition lie where its first image lies."""
    before = written[-1] if written else None
    slices = place_slices(case.grid, protocol, rng)
    if before is not None and protocol.sequence.dixon_part is not None:
        same = replace(before.protocol.sequence, dixon_part=protocol.sequence.dixon_part)
        if same == protocol.sequence:
            slices = replace(slices, shape=before.volume.shape, affine=before.volume.affine)
    return acquire(case.grid, protocol, rng, slices=slices, conditions=conditions)


def _write_series(
    series: WrittenSeries, identity: _Identity, directory: Path, transfer_syntax: str
) -> tuple[Path, ...]:
    folder = directory / f"S{series.series_number:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    scale = _window(series.volume.array)
    files = []
    for index, plane in enumerate(series.volume.array):
        dataset = _instance(series, identity, index, plane.astype(np.uint16), scale)
        if transfer_syntax != ExplicitVRLittleEndian:
            dataset.compress(transfer_syntax, generate_instance_uid=False)
        path = folder / f"I{index + 1:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        files.append(path)
    return tuple(files)


def _instance(
    series: WrittenSeries,
    identity: _Identity,
    index: int,
    plane: NDArray[np.uint16],
    window: tuple[int, int],
) -> FileDataset:
    uid = identity.uid("series", series.series_number, "instance", index)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_UID
    meta.ImplementationVersionName = "ACUITY_PHANTOM"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = uid
    _describe_patient(dataset, identity)
    _describe_series(dataset, series, identity)
    _describe_sequence(dataset, series.protocol, sequence_header(series.protocol))
    _describe_plane(dataset, series, index)
    _describe_pixels(dataset, plane, window)
    return dataset


def _describe_patient(dataset: Dataset, identity: _Identity) -> None:
    case = identity.case
    dataset.PatientName = f"SYNTHETIC^PHANTOM {case.seed}"
    dataset.PatientID = f"SYNTHETIC-{case.seed}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = {"female": "F", "male": "M", "F": "F", "M": "M"}.get(case.sex, "O")
    dataset.PatientAge = f"{round(case.age_years):03d}Y"
    dataset.StudyInstanceUID = identity.study_uid
    dataset.StudyDate = _DATE
    dataset.StudyTime = "080000"
    dataset.StudyID = "1"
    dataset.StudyDescription = "SYNTHETIC SPINE MR"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""


def _describe_series(dataset: Dataset, series: WrittenSeries, identity: _Identity) -> None:
    time = f"08{series.series_number * 4 % 60:02d}00"
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = series.volume.series_instance_uid
    dataset.SeriesNumber = series.series_number
    dataset.SeriesDescription = series.description
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = _DATE
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = time
    dataset.ProtocolName = series.description.strip()
    dataset.BodyPartExamined = "LSPINE"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = identity.frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = MANUFACTURERS[series.protocol.vendor]
    dataset.ManufacturerModelName = "Synthetic spine phantom"
    dataset.SoftwareVersions = "vertebral-acuity phantom"
    dataset.ImageComments = "Synthetic image, no patient"


def _describe_sequence(dataset: Dataset, protocol: Protocol, header: SequenceHeader) -> None:
    sequence = protocol.sequence
    dataset.ImageType = list(header.image_type)
    dataset.ScanningSequence = list(header.scanning_sequence)
    dataset.SequenceVariant = list(header.sequence_variant)
    dataset.ScanOptions = list(header.scan_options)
    dataset.MRAcquisitionType = "2D"
    if header.sequence_name:
        dataset.SequenceName = header.sequence_name
    if header.internal_name:
        private = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
        private.add_new(0x9C, "LO", header.internal_name)
    dataset.RepetitionTime = _decimal(sequence.repetition_ms)
    dataset.EchoTime = _decimal(sequence.echo_ms)
    if sequence.inversion_ms is not None:
        dataset.InversionTime = _decimal(sequence.inversion_ms)
    dataset.EchoTrainLength = sequence.echo_train_length
    dataset.EchoNumbers = 1
    dataset.FlipAngle = _decimal(sequence.flip_deg)
    dataset.MagneticFieldStrength = _decimal(sequence.field_t)
    dataset.ImagingFrequency = _decimal(sequence.field_t * 42.577)
    dataset.ImagedNucleus = "1H"
    dataset.NumberOfAverages = 1
    dataset.PixelBandwidth = _decimal(_PIXEL_BANDWIDTH_HZ)
    dataset.InPlanePhaseEncodingDirection = "COL" if protocol.phase_axis == 1 else "ROW"


def _describe_plane(dataset: Dataset, series: WrittenSeries, index: int) -> None:
    volume = series.volume
    spacing = volume.spacing
    along_row = volume.affine[:3, 2] / spacing.column_mm
    along_column = volume.affine[:3, 1] / spacing.row_mm
    position = volume.affine[:3, 0] * index + volume.affine[:3, 3]
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*along_row, *along_column)]
    dataset.ImagePositionPatient = [_decimal(v) for v in position]
    dataset.PixelSpacing = [_decimal(spacing.row_mm), _decimal(spacing.column_mm)]
    dataset.SliceThickness = _decimal(series.protocol.thickness_mm)
    dataset.SpacingBetweenSlices = _decimal(spacing.slice_mm)
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = index + 1


def _describe_pixels(dataset: Dataset, plane: NDArray[np.uint16], window: tuple[int, int]) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.SmallestImagePixelValue = int(plane.min())
    dataset.LargestImagePixelValue = int(plane.max())
    dataset.WindowCenter, dataset.WindowWidth = window
    dataset.LossyImageCompression = "00"
    dataset.PixelData = np.ascontiguousarray(plane).tobytes()


def _window(array: NDArray[np.float32]) -> tuple[int, int]:
    """Window centre and width from dark to the 99th percentile."""
    top = max(2, int(np.percentile(array, 99)))
    return top // 2, top


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters (PS3.5 6.2)."""
    for digits in range(10, 3, -1):
        text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
        if len(text) <= 16:
            return "0" if text == "-0" else text
    raise ValueError("number does not fit a decimal string")


def _write_truth(
    case: SpineCase, identity: _Identity, written: SequenceOf[WrittenSeries], directory: Path
) -> Path:
    labels, reference = _label_map(case, written[0].volume)
    SimpleITK.WriteImage(labels, str(directory / "truth.nii.gz"), useCompression=True)
    document = {
        "schema": TRUTH_SCHEMA,
        "synthetic": True,
        "study_instance_uid": identity.study_uid,
        "seed": case.seed,
        "sex": case.sex,
        "age_years": round(case.age_years, 1),
        "numbering": case.numbering,
        "truth_nifti": {"file": "truth.nii.gz", "series_instance_uid": reference},
        "series": [_series_truth(series) for series in written],
        "levels": [_level_truth(level) for level in case.levels if level.visible != "outside"],
    }
    path = directory / "truth.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def _label_map(case: SpineCase, volume: Volume) -> tuple[SimpleITK.Image, str]:
    """Level labels as an image on the grid of a volume, and that volume's series."""
    _, body = truth_on(case.grid, volume)
    names = np.zeros(256, dtype=np.uint8)
    for level in case.levels:
        names[level.index] = LABEL_VALUES[level.level]
    image = SimpleITK.GetImageFromArray(names[body])
    spacing = volume.spacing
    directions = volume.affine[:3, :3] / np.asarray(spacing.mm)
    image.SetSpacing((spacing.column_mm, spacing.row_mm, spacing.slice_mm))
    image.SetOrigin(tuple(float(v) for v in volume.affine[:3, 3]))
    image.SetDirection([float(v) for v in directions[:, ::-1].ravel()])
    return image, volume.series_instance_uid


def _series_truth(series: WrittenSeries) -> dict[str, object]:
    return {
        "series_instance_uid": series.volume.series_instance_uid,
        "series_number": series.series_number,
        "role": series.protocol.role.value,
        "description": series.description,
        "vendor": series.protocol.vendor,
        "shape": list(series.volume.shape),
        "spacing_mm": [round(mm, 4) for mm in series.volume.spacing.mm],
    }


def _level_truth(level: LevelTruth) -> dict[str, object]:
    acuity = "no_fracture"
    if level.has_fracture:
        acuity = "unhealed" if level.unhealed else "healed"
    return {
        "level": level.level,
        "index": level.index,
        "visible": level.visible,
        "centroid_lps_mm": [round(float(v), 2) for v in level.centroid_lps_mm],
        "heights_mm": [round(mm, 1) for mm in level.heights_mm],
        "intact_heights_mm": [round(mm, 1) for mm in level.intact_heights_mm],
        "depth_mm": round(level.depth_mm, 1),
        "width_mm": round(level.width_mm, 1),
        "fracture": level.fracture,
        "stage": level.stage,
        "height_loss_percent": round(level.height_loss_percent, 1),
        "edema_fraction": round(level.edema_fraction, 3),
        "acuity": acuity,
        "etiology": level.etiology,
        "signs": dict(level.signs),
        "mimics": list(level.mimics),
    }
