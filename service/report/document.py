"""The study report: one closed, versioned document that every writer renders.

Names, nesting and meaning are public. A field may be added; a change of a name or of a meaning is
a new `schema_version`. Millimetres are patient LPS, probabilities calibrated values in [0, 1].
Numbers are rounded here, once, so that equal findings give equal bytes whoever writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
)

from models.findings import Acuity, Anchor, Call, Coverage, Etiology, Shape
from models.geometry import Plane
from models.morphometry.result import Missing, WallReference
from models.volume import Role

SCHEMA_VERSION: Final = "1.0"


def _rounded(digits: int) -> AfterValidator:
    # Adding 0.0 turns -0.0 into 0.0, which would be another byte sequence for the same value.
    return AfterValidator(lambda value: round(value, digits) + 0.0)


Millimetres = Annotated[FiniteFloat, _rounded(1)]
"""To 0.1 mm: below what a voxel supports, above what a reader needs."""

Pitch = Annotated[FiniteFloat, Field(gt=0), _rounded(4)]
"""A voxel pitch in mm, which is multiplied by hundreds and so keeps more digits."""

Millilitres = Annotated[FiniteFloat, Field(ge=0), _rounded(1)]
Percent = Annotated[FiniteFloat, _rounded(1)]
Milliseconds = Annotated[FiniteFloat, Field(ge=0), _rounded(1)]

Probability = Annotated[FiniteFloat, Field(ge=0, le=1), _rounded(4)]
"""A calibrated value in [0, 1]; also used for fractions."""

Measured = Annotated[FiniteFloat, _rounded(3)]

Degrees = Annotated[FiniteFloat, _rounded(1)]


def _listed(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


Point = Annotated[tuple[Millimetres, Millimetres, Millimetres], BeforeValidator(_listed)]
"""LPS mm."""

Points = Annotated[
    tuple[tuple[Millimetres, Millimetres, Millimetres], ...], BeforeValidator(_listed)
]
"""LPS mm, each."""

UnitVector = Annotated[tuple[Measured, Measured, Measured], BeforeValidator(_listed)]
"""LPS."""


class Status(StrEnum):
    """What standing a report has; only a reader verifies."""

    PRELIMINARY = "preliminary"
    VERIFIED = "verified"
    SUPERSEDED = "superseded"


class ExtentBin(StrEnum):
    """How much of a body is edematous, in the bins that predicted benefit (Radiology 2006)."""

    NONE = "none"
    UNDER_HALF = "under_half"
    HALF_OR_MORE = "half_or_more"


class _Part(BaseModel):
    # The findings of `models` carry the same field names, so they are read as they are.
    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class StudyReference(_Part):
    """The study that was read; the UID is empty when no DICOM was found."""

    study_instance_uid: str


class RefusalReport(_Part):
    """Why something is not used; `code` is stable."""

    code: str
    reason: str


class SeriesReport(_Part):
    """What became of one stack; a series of several stacks has several entries."""

    series_instance_uid: str
    role: Role
    used: bool
    confidence: Probability
    evidence: tuple[str, ...]
    refused: RefusalReport | None
    plane: Plane | None = None
    slices: int = 0
    spacing_mm: tuple[Pitch, Pitch, Pitch] | None = None
    findings: tuple[str, ...] = ()


class RefusedFileReport(_Part):
    """A file that was given and is not used."""

    file: str
    code: str
    reason: str


class FilesReport(_Part):
    """An answer for every file given."""

    used: int
    refused: tuple[RefusedFileReport, ...]


class AlternativeReport(_Part):
    """Another possible name of a level."""

    level: str
    confidence: Probability


class BodyReport(_Part):
    """Measured size of a vertebral body."""

    volume_ml: Millilitres
    depth_mm: Millimetres
    width_mm: Millimetres
    height_anterior_mm: Millimetres
    height_middle_mm: Millimetres
    height_posterior_mm: Millimetres


class EdemaReport(_Part):
    """Marrow edema of one body."""

    probability: Probability
    call: Call
    extent_fraction: Probability
    extent_bin: ExtentBin
    limited_by: tuple[str, ...]
    extent_interval: tuple[Probability, Probability] | None = None


class FractureReport(_Part):
    """Fracture deformity of one body."""

    probability: Probability
    call: Call
    height_loss_percent: Percent | None
    genant_grade: Annotated[int, Field(ge=0, le=3)] | None
    shape: Shape


class AcuityReport(_Part):
    """Whether a fracture is unhealed, never its age; with the set that a conformal bound allows."""

    call: Acuity
    probability_unhealed: Probability
    prediction_set: tuple[Acuity, ...] = ()


class EtiologyReport(_Part):
    """Benign against pathological, with the set that a conformal bound allows."""

    call: Etiology
    pathological_probability: Probability | None
    prediction_set: tuple[Etiology, ...]
    limited_by: tuple[str, ...]


class FeatureReport(_Part):
    """A sign: learned probability, measured value with its unit, or both."""

    probability: Probability | None = None
    value: Measured | None = None
    unit: str = ""


class PosteriorWallReport(_Part):
    """`models.morphometry.result.PosteriorWall`."""

    points_lps_mm: Points
    convexity_mm: Millimetres
    retropulsion_mm: Millimetres
    reference: WallReference
    uncertainty_mm: Millimetres
    integrity: Literal["not_assessable_on_mri"]


class CanalReport(_Part):
    """`models.morphometry.result.Canal`."""

    ap_body_mm: Millimetres
    ap_disc_above_mm: Millimetres | None
    ap_disc_below_mm: Millimetres | None
    ap_minimum_mm: Millimetres
    minimum_line_lps_mm: Points
    compromise_percent: Percent | None
    uncertainty_mm: Millimetres
    compromise_uncertainty_percent: Percent | None


class PedicleReport(_Part):
    """`models.morphometry.result.Pedicle`."""

    slices: int
    height_mm: Millimetres
    height_uncertainty_mm: Millimetres
    width_mm: Millimetres | None
    width_uncertainty_mm: Millimetres | None
    centre_lps_mm: Point


class BodyVolumeReport(_Part):
    """`models.morphometry.result.BodyVolume`."""

    body_ml: Millilitres
    uncertainty_ml: Millilitres
    fifteen_percent_ml: Millilitres
    twenty_four_percent_ml: Millilitres


class HeightsReport(_Part):
    """`models.morphometry.result.Heights`."""

    anterior_mm: Millimetres
    middle_mm: Millimetres
    posterior_mm: Millimetres
    uncertainty_mm: Millimetres


class AnglesReport(_Part):
    """`models.morphometry.result.Angles`."""

    wedge_deg: Degrees
    kyphosis_deg: Degrees | None
    uncertainty_deg: Degrees


class ApproachReport(_Part):
    """`models.morphometry.result.Approach`: a line for drawing, never a safe trajectory."""

    through_lps_mm: Point
    direction_lps: UnitVector
    medial_deg: Degrees
    caudal_deg: Degrees
    length_mm: Millimetres


class TargetReport(_Part):
    """`models.morphometry.result.Target`; diagrammatic."""

    point_lps_mm: Point
    depth_fraction: Probability
    to_anterior_cortex_mm: Millimetres
    to_posterior_wall_mm: Millimetres
    to_superior_endplate_mm: Millimetres
    to_inferior_endplate_mm: Millimetres
    to_basivertebral_vein_mm: Millimetres
    uncertainty_lps_mm: Point
    left: ApproachReport | None
    right: ApproachReport | None
    limited_by: tuple[str, ...]
    diagrammatic: Literal[True]


class GeometryReport(_Part):
    """What a plan needs of a body's geometry; `reasons` says why a part is null.

    Attributes:
        adjacent_fractures: `label_value` of direct neighbours that are called fractured.
        reasons: "canal" or "canal.compromise_percent", for example, to a code.
    """

    posterior_wall: PosteriorWallReport | None
    canal: CanalReport | None
    pedicle_left: PedicleReport | None
    pedicle_right: PedicleReport | None
    volume: BodyVolumeReport | None
    heights: HeightsReport | None
    angles: AnglesReport | None
    target: TargetReport | None
    adjacent_fractures: tuple[int, ...]
    reasons: Mapping[str, Missing]


class LevelReport(_Part):
    """Everything said of one vertebral body.

    Attributes:
        label_value: The value that the body has in `vertebrae.nii.gz`.
        geometry: For planning; null for the sacrum.
        distribution_score: How far the images of this body lie from the middle of what the
            networks were trained on, 1 at the edge; null where it could not be measured.
        disagreements: Calls that a measured sign contradicts, "<question>_against_<sign>".
        safety: Findings that make a procedure dangerous, as codes.
        body_sd: Standard deviations of what `body` holds, in the same units; null where the bundle
            does not say how exact it is.
    """

    level: str | None
    level_confidence: Probability | None
    alternatives: tuple[AlternativeReport, ...]
    coverage: Coverage
    centroid_lps_mm: tuple[Millimetres, Millimetres, Millimetres]
    body: BodyReport | None
    edema: EdemaReport | None
    fracture: FractureReport | None
    acuity: AcuityReport | None
    etiology: EtiologyReport | None
    features: Mapping[str, FeatureReport]
    mimics: Mapping[str, Probability]
    in_distribution: bool
    label_value: int
    geometry: GeometryReport | None = None
    distribution_score: Measured | None = None
    disagreements: tuple[str, ...] = ()
    safety: tuple[str, ...] = ()
    body_sd: BodyReport | None = None


class AbstentionReport(_Part):
    """A refusal to say something, with its reason."""

    code: str
    scope: str
    reason: str


class BundleReport(_Part):
    """A model bundle that was used."""

    name: str
    version: str
    sha256: str


class ProvenanceReport(_Part):
    """What made this report. The timings are the only part that differs from run to run."""

    software: str
    bundles: tuple[BundleReport, ...]
    device: str
    timings_ms: Mapping[str, Milliseconds] = Field(default_factory=dict)


class CorrectionReport(_Part):
    """One thing that a reader sees otherwise.

    Attributes:
        body: Counted from 1, cranial to caudal.
        level: What the body is called now.
        field: "level", "edema.call", "fracture.shape", for example.
    """

    body: int
    level: str | None
    field: str
    before: str | int | None
    after: str | int | None


class ReviewReport(_Part):
    """The word of a reader that a verified report rests on.

    Attributes:
        job_id: Of the job whose report was read.
    """

    decision: Literal["verify", "reject"]
    reader: str
    organization: str
    reviewed_at: datetime
    job_id: str
    comment: str = ""
    corrections: tuple[CorrectionReport, ...] = ()


class StudyReport(_Part):
    """The report of one study; levels run from cranial to caudal.

    Attributes:
        reference_series_uid: The series whose grid `vertebrae.nii.gz` has; None when no series
            was usable.
        review: What a reader said of it; None while nobody has.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    study: StudyReference
    status: Status
    series: tuple[SeriesReport, ...]
    files: FilesReport
    reference_series_uid: str | None
    anchor: Anchor
    levels: tuple[LevelReport, ...]
    abstentions: tuple[AbstentionReport, ...]
    provenance: ProvenanceReport
    review: ReviewReport | None = None
