"""What the ordering system knows of the patient: a closed, strict schema.

Every field may be absent or null, which means not known and is never taken as normal. Numbers have
units in their names or descriptions; nothing is converted or guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from models.anatomy import LEVELS
from service.planning.errors import ClinicalInputError, FieldProblem

CLINICAL_SCHEMA: Final = "clinical/1"

MAX_NAME: Final = 60
"""A field that does not exist is named by no more of what was sent."""


def _sequence(value: object) -> object:
    # Strict mode wants a tuple, JSON has lists.
    return tuple(value) if isinstance(value, list) else value


def _level_name(value: str) -> str:
    if value not in LEVELS:
        raise ValueError("not the name of a level, such as T12 or L1")
    return value


def _unique(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(value), key=LEVELS.index))


Levels = Annotated[
    tuple[Annotated[str, AfterValidator(_level_name)], ...],
    BeforeValidator(_sequence),
    AfterValidator(_unique),
]
"""Names of levels, cranial to caudal, each once; an empty list says that there is none."""

_WEEKS: Final = {"unit": "weeks"}


class ClinicalInput(BaseModel):
    """What is known of a patient; None is not known.

    Field titles are the words a reader sees. Choices are stable codes.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, title="ClinicalInput"
    )

    schema_version: Literal["clinical/1"] = CLINICAL_SCHEMA

    age_years: Annotated[
        float | None, Field(title="Age", ge=0, le=130, json_schema_extra={"unit": "years"})
    ] = None
    pain_present: Annotated[bool | None, Field(title="Back pain present")] = None
    pain_severity: Annotated[
        Literal["mild", "moderate", "severe"] | None, Field(title="Severity of the pain")
    ] = None
    symptoms_improving: Annotated[
        bool | None, Field(title="Symptoms clearly improving without the procedure")
    ] = None
    pain_levels_confirmed: Annotated[
        Levels | None, Field(title="Levels where examination confirms the pain")
    ] = None
    symptom_weeks: Annotated[
        float | None,
        Field(title="Time since onset of symptoms", ge=0, le=5200, json_schema_extra=_WEEKS),
    ] = None
    fracture_cause: Annotated[
        Literal["osteoporotic", "cancer_related", "traumatic", "other"] | None,
        Field(title="Cause of the fracture as known clinically"),
    ] = None

    height_loss_progressing: Annotated[
        bool | None, Field(title="Height loss progressing on earlier images")
    ] = None

    medical_therapy_weeks: Annotated[
        float | None,
        Field(title="Duration of medical therapy", ge=0, le=5200, json_schema_extra=_WEEKS),
    ] = None
    medical_therapy: Annotated[
        tuple[
            Literal[
                "analgesics",
                "opioids",
                "brace",
                "physiotherapy",
                "bed_rest",
                "bone_medication",
                "other",
            ],
            ...,
        ]
        | None,
        BeforeValidator(_sequence),
        Field(title="Kind of medical therapy"),
    ] = None
    analgesia_hours: Annotated[
        float | None,
        Field(title="Time on analgesia", ge=0, le=900_000, json_schema_extra={"unit": "hours"}),
    ] = None
    analgesia_appropriate: Annotated[
        bool | None, Field(title="Analgesia judged appropriate by the treating clinician")
    ] = None
    analgesic_side_effects: Annotated[
        Literal["none", "tolerable", "significant"] | None,
        Field(title="Side effects of the analgesic doses needed"),
    ] = None
    ambulation: Annotated[
        Literal["unlimited", "limited_by_pain", "prevented_by_pain"] | None,
        Field(title="Walking"),
    ] = None
    physiotherapy_tolerated: Annotated[
        bool | None, Field(title="Physiotherapy tolerated despite the pain")
    ] = None

    active_systemic_infection: Annotated[bool | None, Field(title="Active systemic infection")] = (
        None
    )
    active_spinal_infection: Annotated[bool | None, Field(title="Active spinal infection")] = None
    imaging_infection_cleared: Annotated[
        bool | None,
        Field(title="Infection suspected on images and excluded by a clinician"),
    ] = None
    inr: Annotated[float | None, Field(title="INR", ge=0.1, le=30)] = None
    platelets_10e9_per_l: Annotated[
        float | None,
        Field(title="Platelets", ge=0, le=5000, json_schema_extra={"unit": "10^9/L"}),
    ] = None
    bleeding_disorder: Annotated[
        Literal["none", "correctable", "uncorrectable"] | None, Field(title="Bleeding disorder")
    ] = None
    anticoagulation: Annotated[
        Literal["none", "held", "can_be_held", "cannot_be_held"] | None,
        Field(title="Anticoagulant or antiplatelet drug"),
    ] = None
    allergy_pmma: Annotated[bool | None, Field(title="Allergy to PMMA")] = None
    allergy_contrast: Annotated[bool | None, Field(title="Allergy to contrast medium")] = None
    allergy_local_anaesthetic: Annotated[
        bool | None, Field(title="Allergy to local anesthetic")
    ] = None
    anaesthesia_fitness: Annotated[
        Literal["sedation", "general_anaesthesia_only", "unfit"] | None,
        Field(title="Fitness for sedation or anesthesia"),
    ] = None
    airway_risk: Annotated[
        bool | None, Field(title="High risk of airway or respiratory complications")
    ] = None

    radiculopathy: Annotated[
        Literal["none", "present", "dominant"] | None,
        Field(title="Radiculopathy (dominant: exceeds the local pain)"),
    ] = None
    stenosis_symptoms: Annotated[bool | None, Field(title="Symptoms of spinal canal stenosis")] = (
        None
    )
    myelopathy: Annotated[bool | None, Field(title="Signs of myelopathy")] = None
    cancer_history: Annotated[
        Literal["none", "past", "active"] | None, Field(title="Cancer history")
    ] = None
    pregnancy: Annotated[
        Literal["no", "yes", "not_applicable"] | None, Field(title="Pregnancy")
    ] = None
    prior_cement_levels: Annotated[
        Levels | None, Field(title="Levels treated with cement before")
    ] = None

    radiographs_available: Annotated[bool | None, Field(title="Radiographs available")] = None
    ct_available: Annotated[bool | None, Field(title="Thin-slice CT of the level available")] = None
    ct_posterior_wall_intact_levels: Annotated[
        Levels | None, Field(title="Levels whose posterior wall is intact on CT")
    ] = None
    ct_posterior_wall_broken_levels: Annotated[
        Levels | None, Field(title="Levels whose posterior wall is broken on CT")
    ] = None


def read_clinical(mapping: object) -> ClinicalInput:
    """Read clinical input as it comes from JSON.

    Args:
        mapping: Field name to value; an absent field and null both mean not known.

    Raises:
        ClinicalInputError: A field is unknown, of the wrong type, out of range or contradicts
            another; each is named.
    """
    if not isinstance(mapping, Mapping):
        raise ClinicalInputError((FieldProblem("", "an object of fields is needed"),))
    try:
        given = ClinicalInput.model_validate(dict(mapping))
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        raise ClinicalInputError(
            tuple(
                FieldProblem(".".join(str(part) for part in item["loc"])[:MAX_NAME], item["msg"])
                for item in problems
            )
        ) from None
    intact = given.ct_posterior_wall_intact_levels or ()
    if not set(intact).isdisjoint(given.ct_posterior_wall_broken_levels or ()):
        raise ClinicalInputError(
            (FieldProblem("ct_posterior_wall_broken_levels", "a level is intact and broken"),)
        )
    return given
