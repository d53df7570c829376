"""Roles by physics, vendor by vendor; values as in published headers and protocols."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.volume import Role
from service.ingest.records import FramePhysics
from service.ingest.sequences import GRADIENT_ECHO_WATER, SeriesRole, role_of
from service.ingest.series_text import words_of

TSE = FramePhysics(
    image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
    scanning_sequence=("SE",),
    sequence_variant=("SK", "SP"),
    flip_angle_deg=150,
    field_strength_t=1.5,
)
T1 = replace(TSE, repetition_time_ms=550, echo_time_ms=10, sequence_name="*tse2d1_3")
T2 = replace(TSE, repetition_time_ms=3500, echo_time_ms=95, sequence_name="*tse2d1_17")
STIR = replace(
    TSE,
    scanning_sequence=("SE", "IR"),
    scan_options=("IR", "SAT1"),
    sequence_name="*tir2d1_16",
    repetition_time_ms=4500,
    echo_time_ms=60,
    inversion_time_ms=160,
)
VIBE = FramePhysics(
    image_type=("ORIGINAL", "PRIMARY", "M"),
    scanning_sequence=("GR",),
    repetition_time_ms=11,
    echo_time_ms=1.4,
    flip_angle_deg=3,
    field_strength_t=3,
)


def role(physics: FramePhysics, *names: str, slices: int = 15, planes: int = 1) -> SeriesRole:
    return role_of(physics, words_of(*names), slices, planes)


CASES: dict[str, tuple[FramePhysics, tuple[str, ...], Role]] = {
    "siemens stir": (STIR, ("sag 4",), Role.STIR),
    "siemens stir named flair": (STIR, ("t2_flair_sag",), Role.STIR),
    "siemens flair has the same sequence name": (
        replace(STIR, inversion_time_ms=2500, repetition_time_ms=9000, echo_time_ms=100),
        ("t2_tirm_sag",),
        Role.FLAIR,
    ),
    "siemens t1": (T1, ("t1_tse_sag",), Role.T1),
    "siemens t2 named stir": (T2, ("SAG STIR",), Role.T2),
    "siemens t2 named t1": (T2, ("t1_tse_sag",), Role.T2),
    "siemens restore t2": (replace(T2, sequence_name="*tseR2d1rr19"), ("",), Role.T2),
    "siemens t2 fat saturated": (replace(T2, scan_options=("FS",)), ("t2_fs",), Role.T2_FS),
    "siemens t1 fat saturated": (replace(T1, scan_options=("FS",)), ("t1_fs",), Role.T1_FS),
    "siemens 3d space t2": (
        replace(T2, sequence_name="*spcR3d1rr", repetition_time_ms=1500, echo_time_ms=120),
        ("",),
        Role.T2,
    ),
    "siemens xa stir": (
        FramePhysics(
            image_type=("ORIGINAL", "PRIMARY", "M", "NONE"),
            pulse_sequence_name="*tir2d1_16",
            echo_pulse_sequence="SPIN",
            inversion_recovery=True,
            inversion_time_ms=220,
            repetition_time_ms=4000,
            echo_time_ms=50,
            field_strength_t=3,
            suppression="NONE",
        ),
        ("",),
        Role.STIR,
    ),
    "ge stir": (
        replace(STIR, sequence_name="", scanning_sequence=("SE", "IR"), scan_options=("IR_GEMS",)),
        ("OSag STIR",),
        Role.STIR,
    ),
    "ge spatial saturation is no fat saturation": (
        replace(T2, sequence_name="", scan_options=("SAT_GEMS", "EDR_GEMS", "FAST_GEMS")),
        ("Sag T2 FRFSE",),
        Role.T2,
    ),
    "ge t1 flair at 3 t": (
        replace(
            STIR,
            sequence_name="",
            field_strength_t=3,
            inversion_time_ms=860,
            repetition_time_ms=2400,
            echo_time_ms=20,
        ),
        ("Sag T1 FLAIR",),
        Role.T1,
    ),
    "ge mp-rage": (
        FramePhysics(
            image_type=("ORIGINAL", "PRIMARY", "OTHER"),
            scanning_sequence=("RM", "IR"),
            scan_options=("IR_GEMS", "FSA_GEMS"),
            inversion_time_ms=1000,
            repetition_time_ms=2217,
            echo_time_ms=3.2,
            flip_angle_deg=8,
            field_strength_t=3,
        ),
        ("3D T1 MP-RAGE",),
        Role.T1,
    ),
    "gradient echo with the inversion time of a stir": (
        FramePhysics(
            scanning_sequence=("GR", "IR"),
            inversion_time_ms=160,
            repetition_time_ms=2000,
            echo_time_ms=3,
            flip_angle_deg=10,
        ),
        ("",),
        Role.T1,
    ),
    "ge fat saturated epi": (
        FramePhysics(
            image_type=("ORIGINAL", "PRIMARY", "EPI", "NONE"),
            scanning_sequence=("EP", "GR"),
            scan_options=("SAT_GEMS", "EPI_GEMS", "FS"),
            repetition_time_ms=2000,
            echo_time_ms=30,
        ),
        ("Sag STIR",),
        Role.OTHER,
    ),
    "ge ideal water": (
        replace(T2, image_type=("DERIVED", "PRIMARY", "DIXON", "WATER"), sequence_name=""),
        ("WATER: Sag T2 IDEAL",),
        Role.DIXON_WATER,
    ),
    "ge flex fat by name": (
        replace(T2, image_type=("DERIVED", "PRIMARY", "OTHER"), sequence_name=""),
        ("FAT: Sag T2 FLEX",),
        Role.DIXON_FAT,
    ),
    "siemens t2 dixon water": (
        replace(T2, image_type=("ORIGINAL", "PRIMARY", "M", "ND", "DIXON", "WATER")),
        ("t2_tse_dixon_sag_320_W",),
        Role.DIXON_WATER,
    ),
    "siemens t2 dixon in phase is a t2": (
        replace(T2, image_type=("ORIGINAL", "PRIMARY", "M", "ND", "DIXON", "IN_PHASE")),
        ("t2_tse_dixon_sag_320_in",),
        Role.T2,
    ),
    "siemens t2 dixon opposed phase": (
        replace(T2, image_type=("ORIGINAL", "PRIMARY", "M", "ND", "DIXON", "OPP_PHASE")),
        ("t2_tse_dixon_sag_320_opp",),
        Role.OTHER,
    ),
    "siemens dixon part by suffix": (
        replace(T2, image_type=("ORIGINAL", "PRIMARY", "M", "ND", "DIXON")),
        ("t2_tse_dixon_sag_320_F",),
        Role.DIXON_FAT,
    ),
    "t1 dixon water shows no edema": (
        replace(T1, image_type=("ORIGINAL", "PRIMARY", "M", "DIXON", "WATER")),
        ("",),
        Role.T1_FS,
    ),
    "philips gradient-echo water": (
        replace(VIBE, image_type=("ORIGINAL", "PRIMARY", "W", "W", "FFE")),
        ("Sag STIR",),
        Role.DIXON_WATER,
    ),
    "philips opposed phase": (
        replace(VIBE, image_type=("ORIGINAL", "PRIMARY", "OP", "OP", "FFE")),
        ("mDIXON",),
        Role.OTHER,
    ),
    "philips ir only": (
        FramePhysics(
            scanning_sequence=("IR",),
            sequence_variant=("SK",),
            pulse_sequence_name="TIR",
            inversion_time_ms=165,
            repetition_time_ms=3000,
            echo_time_ms=60,
            flip_angle_deg=90,
        ),
        ("STIR_longTE",),
        Role.STIR,
    ),
    "philips spair with a small inversion time": (
        replace(
            T2,
            sequence_name="",
            scan_options=("FS",),
            inversion_time_ms=110,
        ),
        ("T2W_SPAIR",),
        Role.T2_FS,
    ),
    "enhanced spair": (
        replace(T2, inversion_recovery=False, inversion_time_ms=110, suppression="FAT"),
        ("",),
        Role.T2_FS,
    ),
    "enhanced contrast with nothing else": (
        FramePhysics(acquisition_contrast="STIR"),
        ("",),
        Role.STIR,
    ),
    "canon fastir": (
        replace(STIR, sequence_name="FIR", scan_options=(), scanning_sequence=("IR", "SE")),
        ("OSag FIR (fat suppr",),
        Role.STIR,
    ),
    "canon fat-saturated t2 by name": (replace(T2, sequence_name=""), ("FST2_SAGc",), Role.T2_FS),
    "hitachi low-field stir": (
        replace(STIR, sequence_name="", field_strength_t=0.3, inversion_time_ms=75),
        ("",),
        Role.STIR,
    ),
    "hitachi dual echo t2": (
        replace(T2, sequence_name="FSE", echo_time_ms=125, field_strength_t=0.3),
        ("T2 DE SAG",),
        Role.T2,
    ),
    "tianchi style name": (
        replace(STIR, sequence_name="", echo_time_ms=90, inversion_time_ms=123),
        ("IRFSE 4000/90/123 5mmS",),
        Role.STIR,
    ),
    "proton density": (replace(T2, echo_time_ms=35), ("PD sag",), Role.PD),
    "proton density fat saturated": (
        replace(T2, echo_time_ms=40, scan_options=("FS",)),
        ("",),
        Role.T2_FS,
    ),
    "post contrast by tag": (replace(T1, contrast_agent=True), ("t1_tse_sag",), Role.T1_POST),
    "post contrast by name": (T1, ("t1_tse_sag KM",), Role.T1_POST),
    "post contrast fat saturated": (
        replace(T1, contrast_agent=True, scan_options=("FS",)),
        ("",),
        Role.T1_POST,
    ),
    "without contrast is no contrast": (T1, ("T1 SAG W/O CONTRAST",), Role.T1),
    "localizer by image type": (
        replace(VIBE, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER", "M")),
        ("",),
        Role.LOCALIZER,
    ),
    "localizer by name of a gradient echo": (VIBE, ("3-pl Loc GRE",), Role.LOCALIZER),
    "survey in the name of a full t2": (T2, ("T2 spine survey",), Role.T2),
    "mosaic": (replace(T2, mosaic=True), ("",), Role.OTHER),
    "diffusion": (replace(T2, diffusion_b_value=800), ("",), Role.OTHER),
    "adc": (
        replace(T2, image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC")),
        ("",),
        Role.OTHER,
    ),
    "phase image": (replace(VIBE, complex_component="PHASE"), ("",), Role.OTHER),
    "subtraction": (
        replace(T1, image_type=("DERIVED", "SECONDARY", "M", "SUB")),
        ("T1 SUB",),
        Role.OTHER,
    ),
    "names alone": (FramePhysics(), ("Sag Sitr",), Role.STIR),
    "nothing at all": (FramePhysics(), ("??T?",), Role.OTHER),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_role(case: str) -> None:
    physics, names, expected = CASES[case]
    found = role(physics, *names)
    assert found.role is expected, found
    assert found.evidence


@pytest.mark.parametrize("time_ms", [80, 140, 165, 200, 260])
def test_stir_by_inversion_time(time_ms: float) -> None:
    found = role(replace(STIR, inversion_time_ms=time_ms), "t2_flair")
    assert found.role is Role.STIR
    assert found.evidence[0] == f"inversion_time_ms={time_ms}"


@pytest.mark.parametrize("time_ms", [1500, 2000, 2500, 3000])
@pytest.mark.parametrize("name", ["STIR sag", "t2_tirm_sag", ""])
def test_long_inversion_time_is_never_stir(time_ms: float, name: str) -> None:
    found = role(replace(STIR, inversion_time_ms=time_ms, repetition_time_ms=9000), name)
    assert found.role is Role.FLAIR


@pytest.mark.parametrize(("field_t", "time_ms"), [(3.0, 110), (1.5, 240), (0.3, 170)])
def test_inversion_time_outside_the_field_window_warns(field_t: float, time_ms: float) -> None:
    found = role(replace(STIR, field_strength_t=field_t, inversion_time_ms=time_ms))
    assert found.role is Role.STIR
    assert "inversion_time_unusual_for_field" in found.warnings
    assert found.confidence < role(STIR).confidence


def test_unexplained_inversion_time_is_no_role() -> None:
    found = role(replace(STIR, inversion_time_ms=380))
    assert found.role is Role.OTHER
    assert "inversion_time_unexplained" in found.warnings


def test_inversion_without_time_is_decided_by_names_at_low_confidence() -> None:
    untimed = replace(STIR, inversion_time_ms=None)
    assert role(untimed, "STIR").role is Role.STIR
    assert role(untimed, "FLAIR").role is Role.FLAIR
    assert role(replace(untimed, repetition_time_ms=9000)).role is Role.FLAIR
    assert role(untimed).confidence <= 0.6
    assert "inversion_time_missing" in role(untimed).warnings


def test_gradient_echo_water_is_limited() -> None:
    water = replace(VIBE, image_type=("ORIGINAL", "PRIMARY", "W", "W", "FFE"))
    assert role(water).limits == (GRADIENT_ECHO_WATER,)
    turbo_spin_echo = replace(T2, image_type=("ORIGINAL", "PRIMARY", "W", "W", "TSE"))
    assert role(turbo_spin_echo).limits == ()


def test_gradient_echo_water_after_contrast_is_not_fluid_sensitive() -> None:
    water = replace(VIBE, image_type=("ORIGINAL", "PRIMARY", "W", "W", "FFE"), contrast_agent=True)
    assert role(water).role is Role.T1_POST


def test_suspected_contrast_agent_is_said() -> None:
    found = role(replace(T1, scan_options=("FS",)))
    assert "post_contrast_suspected" in found.warnings


def test_stir_after_contrast_agent_is_limited() -> None:
    found = role(replace(STIR, contrast_agent=True))
    assert found.role is Role.STIR
    assert found.limits == ("after_contrast_agent",)


def test_name_that_contradicts_physics_warns() -> None:
    assert "name_says_stir_physics_does_not" in role(T2, "SAG STIR").warnings


def test_three_planes_of_few_slices_are_a_localizer() -> None:
    assert role(VIBE, slices=3, planes=3).role is Role.LOCALIZER
    assert role(T2, slices=15, planes=3).role is Role.T2


@pytest.mark.parametrize(
    ("physics", "code"),
    [
        (replace(T2, mosaic=True), "mosaic"),
        (replace(T2, image_type=("DERIVED", "SECONDARY", "MPR", "CSA MPR")), "derived"),
        (replace(T2, image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC")), "diffusion"),
        (replace(T2, scanning_sequence=("EP",)), "echo_planar"),
    ],
)
def test_refused_pictures(physics: FramePhysics, code: str) -> None:
    refusal = role(physics).refusal
    assert refusal is not None
    assert refusal.code == code


def test_evidence_never_quotes_a_name() -> None:
    found = role(FramePhysics(), "Doe John STIR sag")
    assert not any("Doe" in fact or "DOE" in fact for fact in found.evidence)
