"""A row of the manifest: what one reader says of one level of one study.

The fields of `LabelRow` are the columns, in this order. A change of a name or of a meaning is a new
`MANIFEST_SCHEMA`; a column may be added. `None` always means "not said", never "absent".
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from models.anatomy import LEVELS
from models.findings import Acuity, Call, Etiology, Shape

MANIFEST_SCHEMA: Final = "1"

NOT_SCORED: Final = "S1"
"""The sacrum is located and named; nobody is asked what it shows."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[FiniteFloat, Field(ge=0, le=1)]
Named = Annotated[str, Field(min_length=1)]


class Split(StrEnum):
    """What a patient's studies are used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Labels(BaseModel):
    """What is said of a level.

    Attributes:
        edema: Marrow edema.
        extent: Edematous part of the body, 0 to 1.
        fracture: Fracture deformity, or a fracture without one.
        shape: After Genant.
        genant: Grade 0 to 3.
        height_loss_percent: Largest loss of the anterior, middle and posterior heights.
        acuity: Never a number of days.
        etiology: Asked where there is a fracture or an edema, `not_applicable` elsewhere.
        mimic_modic_1, mimic_schmorl_node, mimic_haemangioma, mimic_discitis, mimic_cement:
            Conditions that look like an unhealed fracture, or replace one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    edema: Call | None = None
    extent: Fraction | None = None
    fracture: Call | None = None
    shape: Shape | None = None
    genant: Annotated[int, Field(ge=0, le=3)] | None = None
    height_loss_percent: Annotated[FiniteFloat, Field(ge=0, le=100)] | None = None
    acuity: Acuity | None = None
    etiology: Etiology | None = None
    mimic_modic_1: bool | None = None
    mimic_schmorl_node: bool | None = None
    mimic_haemangioma: bool | None = None
    mimic_discitis: bool | None = None
    mimic_cement: bool | None = None


LABEL_COLUMNS: Final = tuple(Labels.model_fields)
"""Columns that hold labels."""


class LabelRow(Labels):
    """One row.

    Attributes:
        manifest_schema: Version of this table.
        source: What the labels come from, for example "phantom" or "review".
        patient_key: Stands for the patient; a keyed hash where the source has a patient ID.
        split: Of the patient.
        study_instance_uid: Of the study; made from its name where the source has none.
        series_instance_uid: The series read or masked; "" where the source does not say.
        level: Its name, None where it was not named.
        position: 1, 2, … cranial to caudal among the bodies that were looked at; bodies with
            successive positions are neighbours. None where unknown.
        reader: Who says it.
        study_path: Folder of DICOM files or one image file, relative to the manifest.
        mask_path: Mask of the bodies on the series' grid, relative to the manifest.
        mask_value: The value (segment number in DICOM SEG) of this body in it.
        study_sha256: Over the sorted SHA-256 of the files at `study_path`.
        pixel_sha256: Over the sorted SHA-256 of the decoded images, of the series where it is
            named and of the study elsewhere: equal for a copy under other names and other UIDs.
        mask_sha256: Of the mask's file.
        left_mm, posterior_mm, superior_mm: Centre of the body in patient LPS mm.
        sex: "F", "M", "O".
        age_years: At the study.
        weak_labels: Columns, joined by ";", whose value was inferred from something else than a
            reading of this body, for example from a grade of the disc beside it.
        source_labels: JSON object of what the source says and no column holds; "" for nothing.
    """

    manifest_schema: Literal["1"] = MANIFEST_SCHEMA
    source: Named
    patient_key: Named
    split: Split
    study_instance_uid: Named
    series_instance_uid: str
    level: str | None
    reader: Named
    study_path: Named
    study_sha256: Sha256
    pixel_sha256: Sha256
    position: Annotated[int, Field(ge=1)] | None = None
    mask_path: Named | None = None
    mask_value: Annotated[int, Field(ge=1)] | None = None
    mask_sha256: Sha256 | None = None
    left_mm: FiniteFloat | None = None
    posterior_mm: FiniteFloat | None = None
    superior_mm: FiniteFloat | None = None
    sex: Literal["F", "M", "O"] | None = None
    age_years: Annotated[FiniteFloat, Field(ge=0, le=130)] | None = None
    weak_labels: str = ""
    source_labels: str = ""

    @field_validator("level")
    @classmethod
    def _known_level(cls, level: str | None) -> str | None:
        if level is not None and level not in LEVELS:
            raise ValueError("not a level's name")
        return level

    @field_validator("weak_labels")
    @classmethod
    def _known_labels(cls, names: str) -> str:
        if any(name not in (*LABEL_COLUMNS, "level") for name in names.split(";") if names):
            raise ValueError("not names of label columns")
        return names

    @field_validator("source_labels")
    @classmethod
    def _object(cls, text: str) -> str:
        if text and not isinstance(json.loads(text), dict):
            raise ValueError("not a JSON object")
        return text

    @model_validator(mode="after")
    def _whole(self) -> Self:
        centre = (self.left_mm, self.posterior_mm, self.superior_mm)
        if any(value is None for value in centre) and any(value is not None for value in centre):
            raise ValueError("a centre has three coordinates")
        if (self.mask_path is None) != (self.mask_sha256 is None):
            raise ValueError("a mask has a path and a digest")
        return self

    @property
    def centre_lps_mm(self) -> tuple[float, float, float] | None:
        """Centre of the body, patient LPS mm."""
        if self.left_mm is None or self.posterior_mm is None or self.superior_mm is None:
            return None
        return self.left_mm, self.posterior_mm, self.superior_mm


COLUMNS: Final = (
    *(name for name in LabelRow.model_fields if name not in LABEL_COLUMNS),
    *LABEL_COLUMNS,
)
"""Every column, in the order they are written."""

REQUIRED: Final = tuple(
    name
    for name, field in LabelRow.model_fields.items()
    if field.is_required() or name == "manifest_schema"
)
"""Columns without which a table is no manifest."""
