"""What a reader says of a report, as it is sent and as it is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from models.anatomy import LEVELS
from models.findings import Acuity, Call

LEAST_LABEL: Final = 1
MOST_LABEL: Final = 255

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\\^=][^\x00-\x1f\\=]{0,63}$")]
"""One line of text that fits a DICOM PN or LO."""


class Decision(StrEnum):
    """What a reader makes of a report."""

    VERIFY = "verify"
    REJECT = "reject"


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reader(_Given):
    """Who read it; `name` as DICOM writes names, `Family^Given`."""

    name: Line
    organization: Line


class FractureCorrection(_Given):
    """What the reader sees of a fracture; what is left out stays as it was.

    A fracture without deformity (OF1) has the shape `none`.
    """

    call: Call
    shape: Literal["none", "wedge", "biconcave", "crush"] | None = None
    genant_grade: Annotated[int, Field(ge=0, le=3)] | None = None


class LevelCorrection(_Given):
    """What the reader sees otherwise in one body, told by its `label_value` in the report."""

    label_value: Annotated[int, Field(ge=LEAST_LABEL, le=MOST_LABEL)]
    level: str | None = None
    edema: Call | None = None
    fracture: FractureCorrection | None = None
    acuity: Acuity | None = None
    etiology: Literal["benign", "pathological", "indeterminate"] | None = None

    @field_validator("level")
    @classmethod
    def _is_a_level(cls, level: str | None) -> str | None:
        if level is not None and level not in LEVELS:
            raise ValueError("the level is not one of C1 to S1")
        return level


class Review(_Given):
    """What a reader says of a report.

    Attributes:
        report: Id of the job whose report was read.
    """

    report: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    decision: Decision = Decision.VERIFY
    reader: Reader
    levels: Annotated[tuple[LevelCorrection, ...], Field(max_length=40)] = ()
    comment: Annotated[str, Field(max_length=2000)] = ""


class ReviewRecord(Review):
    """A review as it is kept.

    Attributes:
        review_id: Of the job that writes the verified report.
        job_id: Of the job whose report was read.
        reviewed_at: UTC.
    """

    schema_version: Literal["1.0"] = "1.0"
    review_id: str
    job_id: str
    study_instance_uid: str
    reviewed_at: datetime

    @classmethod
    def of(
        cls, review: Review, *, review_id: str, job_id: str, study_instance_uid: str
    ) -> ReviewRecord:
        """Of a review that came now."""
        return cls(
            **dict(review),
            review_id=review_id,
            job_id=job_id,
            study_instance_uid=study_instance_uid,
            reviewed_at=datetime.now(UTC),
        )
