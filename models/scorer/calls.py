"""Rules that turn calibrated probabilities into findings, and say what is missing for them.

Thresholds are the bundle's. What is fixed here is logic: an unhealed fracture needs a fracture and
edema, etiology is asked only where there is something to explain, and a contradiction between
heads, or between the network and what was measured, is told as indeterminate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isnan
from typing import Final

from models.findings import (
    Abstention,
    Acuity,
    AcuityFinding,
    Call,
    Edema,
    Etiology,
    EtiologyFinding,
    Fracture,
    Shape,
)
from models.scorer.calibration import OperatingPoint, ScorerCalibration
from models.scorer.contrast import ContrastRule
from models.scorer.extent import Extent
from models.scorer.measurements import genant_grade

NO_FLUID: Final = tuple(
    Abstention(
        "no_fluid_sensitive_series",
        scope,
        "No STIR, fat-suppressed T2 or Dixon water series: marrow edema cannot be judged.",
    )
    for scope in ("edema", "acuity", "etiology")
)
"""What is withheld without a fluid-sensitive series."""

ROLES_CONTRADICTED: Final = tuple(
    Abstention(
        "roles_contradicted",
        scope,
        "Cerebrospinal fluid is darker on the series taken for fluid-sensitive than on the one "
        "taken for T1: one of them is not what its header says, and neither was used.",
    )
    for scope in ("edema", "acuity", "etiology")
)
"""What is withheld where pixels contradict the roles of the series."""

T1_MISSING: Final = Abstention(
    "t1_missing",
    "etiology",
    "Neither T1 nor a Dixon fat image: benign and pathological marrow look alike without them.",
)
"""Said of a study whose etiology calls are limited."""

SACRUM_NOT_SCORED: Final = Abstention(
    "sacrum_not_scored", "S1", "The sacrum is located for numbering; it is not scored."
)
"""Said where S1 is among the levels."""

LIMIT_T1_MISSING: Final = "t1_missing"
LIMIT_PARTLY_COVERED: Final = "body_partly_covered"
LIMIT_NO_CONTRAST: Final = "no_measured_contrast"
LIMIT_NOT_MEASURED: Final = "contrast_not_measured"
LIMIT_UNEXPLAINED: Final = "unexplained_measured_contrast"
LIMIT_CEMENT: Final = "cement"

CEMENTED: Final = 0.2
"""Probability of cement from which a body may have been treated. Edema stays beside cement for a
year in 29 % (Voormolen, AJNR 2006;27:983), so that it does not tell of an unhealed fracture there.
Chosen on the calibration half of held-out synthetic cases, where it costs hardly an unhealed
fracture its call."""

UNSUPPORTED: Final = frozenset({LIMIT_NO_CONTRAST, LIMIT_NOT_MEASURED})
"""Limits of an edema that the network sees and the measured signal does not."""

_NOT_UNHEALED: Final = UNSUPPORTED | {LIMIT_CEMENT}
"""Limits of an edema on which no unhealed fracture rests."""


SAFETY_DISCITIS: Final = "possible_spondylodiscitis"
"""Infection is an absolute contraindication: said from the first doubt on."""


def call_edema(
    probability: float,
    extent: Extent,
    point: OperatingPoint,
    limits: tuple[str, ...],
) -> Edema:
    """Edema finding of the network alone; what is too unlikely to be one has no extent.

    A body cut by the edge of the image is never called: the coil's end is there, and what is seen
    is not the body.
    """
    seen = point.call(probability)
    call = Call.INDETERMINATE if LIMIT_PARTLY_COVERED in limits else seen
    if seen is Call.ABSENT:
        return Edema(probability, call, 0.0, limits)
    return Edema(probability, call, extent.fraction, limits, extent.interval)


def weigh_contrast(edema: Edema, bright_fraction: float, rule: ContrastRule) -> Edema:
    """Hold the network's edema against the measured contrast.

    Args:
        edema: Of `call_edema`.
        bright_fraction: Measured share of the body that outshines normal marrow; NaN where it
            could not be measured.
        rule: Of the bundle.

    Returns:
        A present edema that the measurement does not support becomes indeterminate, never absent;
        an absent one stays so and is flagged where contrast is clear, since hemangiomas and islands
        of red marrow are bright as well. `limited_by` says which.
    """
    if edema.call is Call.PRESENT and not bright_fraction >= rule.agrees_from:
        reason = LIMIT_NOT_MEASURED if isnan(bright_fraction) else LIMIT_NO_CONTRAST
        return replace(edema, call=Call.INDETERMINATE, limited_by=(*edema.limited_by, reason))
    if edema.call is Call.ABSENT and bright_fraction >= rule.clear_from:
        return replace(edema, limited_by=(*edema.limited_by, LIMIT_UNEXPLAINED))
    return edema


def call_fracture(
    probability: float,
    shapes: Mapping[Shape, float],
    loss_percent: float | None,
    point: OperatingPoint,
) -> Fracture:
    """Fracture finding.

    Args:
        probability: Calibrated; an edematous fracture without deformity (OF1) counts.
        shapes: Score of each shape; only their order matters.
        loss_percent: Height lost against the neighbours, None where it could not be measured.
        point: Thresholds.

    Returns:
        Grade and shape are those of no deformity unless the fracture is called present.
    """
    call = point.call(probability)
    percent = None if loss_percent is None else round(loss_percent, 1)
    if call is not Call.PRESENT:
        return Fracture(probability, call, percent, None if percent is None else 0, Shape.NONE)
    shape = max(shapes, key=lambda name: shapes[name])
    return Fracture(
        probability, call, percent, None if percent is None else genant_grade(percent), shape
    )


def call_acuity(
    probability_unhealed: float,
    edema: Edema,
    fracture: Fracture,
    point: OperatingPoint,
    members: tuple[Acuity, ...] = (),
) -> AcuityFinding:
    """Unhealed, healed, no fracture, or indeterminate where the answers do not agree.

    Args:
        probability_unhealed: Calibrated.
        edema: Of the level.
        fracture: Of the level.
        point: Thresholds.
        members: The conformal set, passed on; it bounds the answer and does not make it.
    """
    unhealed = point.call(probability_unhealed)
    call = _acuity(unhealed, edema.call, fracture.call)
    # The network's word alone is not enough for an edema, nor for what rests on one; and cement
    # keeps an edema that tells nothing.
    if call is Acuity.UNHEALED and _NOT_UNHEALED.intersection(edema.limited_by):
        call = Acuity.INDETERMINATE
    return AcuityFinding(call, probability_unhealed, members)


def _acuity(unhealed: Call, edema: Call, fracture: Call) -> Acuity:
    if fracture is Call.ABSENT:
        return Acuity.INDETERMINATE if unhealed is Call.PRESENT else Acuity.NO_FRACTURE
    if unhealed is Call.PRESENT and edema is not Call.ABSENT:
        return Acuity.UNHEALED
    if fracture is Call.PRESENT and unhealed is Call.ABSENT:
        return Acuity.HEALED
    return Acuity.INDETERMINATE


def surer(one: Call, other: Call) -> Call:
    """Of two calls the one that says more of being present."""
    calls = (one, other)
    return next(call for call in (Call.PRESENT, Call.INDETERMINATE, Call.ABSENT) if call in calls)


def call_etiology(
    probability: float,
    sequence_set: str,
    calibration: ScorerCalibration,
    limits: tuple[str, ...],
    *,
    asked: Call,
) -> EtiologyFinding:
    """Benign or pathological where there is something to explain.

    Args:
        probability: Calibrated probability of a pathological cause.
        sequence_set: Conformal group of the level.
        calibration: Of the bundle.
        limits: Codes that bound the answer.
        asked: Whether there is a fracture or an edema: the surer of both calls.

    Returns:
        A call only where the conformal set holds one etiology and the threshold agrees. Where
        fracture and edema are themselves in doubt, none is definite; it is in doubt as well where
        the probability does not speak against a pathological cause: tumours lie there.
    """
    call = calibration.operating_points["pathological"].call(probability)
    if asked is Call.ABSENT or (asked is Call.INDETERMINATE and call is Call.ABSENT):
        return EtiologyFinding(Etiology.NOT_APPLICABLE, None, (), limits)
    members = calibration.etiology_set(probability, sequence_set)
    if asked is Call.INDETERMINATE:
        return EtiologyFinding(Etiology.INDETERMINATE, probability, members, limits)
    answer = {
        Call.PRESENT: Etiology.PATHOLOGICAL,
        Call.ABSENT: Etiology.BENIGN,
        Call.INDETERMINATE: Etiology.INDETERMINATE,
    }[call]
    if members != (answer,):
        answer = Etiology.INDETERMINATE
    return EtiologyFinding(answer, probability, members, limits)
