"""One frame's merged attributes, as pydicom gives them, written down as a `FrameRecord`.

Every function takes `Values`; what is absent or cannot be read is None, "" or (), never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from pydicom.multival import MultiValue

from service.ingest.records import FramePhysics, FrameRecord
from service.ingest.refusals import RefusedError

Values = dict[str, Any]
"""Keyword to value as pydicom gives it; only keywords that have a value."""


NO_AGENT: Final = frozenset({"", "NO", "NONE", "N", "N/A", "NA", "NOT GIVEN", "WITHOUT", "0"})
"""Contrast/Bolus Agent texts with which sites say that none was given."""

_RESCALE_LEAST: Final = 1e-12
_RESCALE_MOST: Final = 1e12


def frame_record(number: int, values: Values, padding: tuple[float, float] | None) -> FrameRecord:
    """Write down one frame.

    Args:
        number: Of the frame in its instance, from 1.
        values: Merged from the instance and its functional groups.
        padding: (low, high) in stored values.

    Raises:
        RefusedError: `invalid_rescale`.
    """
    position = _numbers(values, "ImagePositionPatient", 3)
    orientation = _numbers(values, "ImageOrientationPatient", 6)
    spacing = _numbers(values, "PixelSpacing", 2)
    return FrameRecord(
        number=number,
        position=(position[0], position[1], position[2]) if position else None,
        orientation=(
            orientation[0], orientation[1], orientation[2],
            orientation[3], orientation[4], orientation[5],
        ) if orientation else None,
        pixel_spacing=(spacing[0], spacing[1]) if spacing else None,
        slice_thickness_mm=decimal_of(values, "SliceThickness"),
        spacing_between_slices_mm=decimal_of(values, "SpacingBetweenSlices"),
        rescale=_rescale(values),
        padding=padding,
        echo_number=integer_of(values, "EchoNumbers"),
        stack_id=text_of(values, "StackID"),
        temporal_position=_first_integer(
            values,
            "TemporalPositionIndex",
            "TemporalPositionIdentifier",
            "FrameAcquisitionNumber",
            "AcquisitionNumber",
        ),
        physics=_physics(values),
    )  # fmt: skip


def _rescale(values: Values) -> tuple[float, float]:
    slope = decimal_of(values, "RescaleSlope") if "RescaleSlope" in values else 1.0
    intercept = decimal_of(values, "RescaleIntercept") if "RescaleIntercept" in values else 0.0
    if (
        slope is None
        or intercept is None
        or not _RESCALE_LEAST <= abs(slope) <= _RESCALE_MOST
        or abs(intercept) > _RESCALE_MOST
    ):
        raise RefusedError("invalid_rescale", "rescale slope or intercept is not usable")
    return slope, intercept


def _physics(values: Values) -> FramePhysics:
    image_type = _codes(values, "FrameType") or _codes(values, "ImageType")
    recovery = text_of(values, "InversionRecovery").upper()
    return FramePhysics(
        image_type=image_type,
        scanning_sequence=_codes(values, "ScanningSequence"),
        sequence_variant=_codes(values, "SequenceVariant"),
        scan_options=_codes(values, "ScanOptions"),
        sequence_name=text_of(values, "SequenceName"),
        pulse_sequence_name=text_of(values, "PulseSequenceName"),
        repetition_time_ms=decimal_of(values, "RepetitionTime"),
        echo_time_ms=_first_number(values, "EffectiveEchoTime", "EchoTime"),
        inversion_time_ms=_first_number(values, "InversionTimes", "InversionTime"),
        flip_angle_deg=decimal_of(values, "FlipAngle"),
        echo_train_length=_first_integer(values, "RFEchoTrainLength", "EchoTrainLength"),
        field_strength_t=decimal_of(values, "MagneticFieldStrength"),
        inversion_recovery={"YES": True, "NO": False}.get(recovery),
        suppression=text_of(values, "SpectrallySelectedSuppression").upper(),
        excitation=text_of(values, "SpectrallySelectedExcitation").upper(),
        acquisition_contrast=text_of(values, "AcquisitionContrast").upper(),
        echo_pulse_sequence=text_of(values, "EchoPulseSequence").upper(),
        complex_component=text_of(values, "ComplexImageComponent").upper(),
        contrast_agent=_contrast_agent(values),
        diffusion_b_value=decimal_of(values, "DiffusionBValue"),
        mosaic="MOSAIC" in image_type,
    )


def _contrast_agent(values: Values) -> bool:
    """Whether contrast was given, as far as the header says.

    Enhanced objects say per frame whether an agent was administered, which is more than that one
    is listed (PS3.3 C.7.6.16.2.12).
    """
    administered = text_of(values, "ContrastBolusAgentAdministered").upper()
    if administered:
        return administered == "YES"
    if values.get("ContrastBolusAgentSequence"):
        return True
    return text_of(values, "ContrastBolusAgent").upper() not in NO_AGENT


def _all(values: Mapping[str, Any], keyword: str) -> tuple[Any, ...]:
    value = values.get(keyword)
    if value is None:
        return ()
    return tuple(value) if isinstance(value, MultiValue | list | tuple) else (value,)


def text_of(values: Mapping[str, Any], keyword: str) -> str:
    """The first value as text, without padding."""
    return next((str(value).strip(" \0") for value in _all(values, keyword)), "")


def uid_of(values: Mapping[str, Any], keyword: str) -> str:
    """The value as text; several of them make a text that is no UID."""
    return "\\".join(str(value).strip(" \0") for value in _all(values, keyword))


def _codes(values: Mapping[str, Any], keyword: str) -> tuple[str, ...]:
    stripped = (str(value).strip(" \0").upper() for value in _all(values, keyword))
    return tuple(code for code in stripped if code)


def _finite(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _numbers(values: Mapping[str, Any], keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None."""
    given = [_finite(value) for value in _all(values, keyword)]
    finite = tuple(number for number in given if number is not None)
    return finite if len(finite) == len(given) == count else None


def decimal_of(values: Mapping[str, Any], keyword: str) -> float | None:
    """The first value as a finite number."""
    return next((_finite(value) for value in _all(values, keyword)), None)


def integer_of(values: Mapping[str, Any], keyword: str) -> int | None:
    """The first value as an integer; a fraction is cut off."""
    number = decimal_of(values, keyword)
    return None if number is None else int(number)


def _first_number(values: Mapping[str, Any], *keywords: str) -> float | None:
    found = (decimal_of(values, keyword) for keyword in keywords)
    return next((number for number in found if number is not None), None)


def _first_integer(values: Mapping[str, Any], *keywords: str) -> int | None:
    number = _first_number(values, *keywords)
    return None if number is None else int(number)
