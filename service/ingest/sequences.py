"""Role of a series by physics: inversion, suppression, Dixon part, echo and repetition time.

Rules run in order and the first that is decided wins; every fact used is kept as evidence. Names
of series break ties only. Thresholds are those of published recognition rules and vendors'
protocols; each is named here with its reason. Pixels have the last word in `contrast.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from models.volume import Role
from service.ingest.clues import Clues, dixon_part, inversion_evidence, number_text, times_of
from service.ingest.records import FramePhysics, Refusal
from service.ingest.series_text import Word

STIR_TI_MS: Final = (80.0, 260.0)
"""Inversion times that null fat at clinical field strengths: T1 of fat x ln 2."""
LOW_FIELD_STIR_TI_MS: Final = (60.0, 180.0)
T1_FLAIR_TI_MS: Final = (500.0, 1100.0)
FLAIR_TI_MS: Final = (1500.0, 3000.0)
T1_MAX_TE_MS: Final = 30.0
T1_MAX_TR_MS: Final = 1200.0
T2_MIN_TE_MS: Final = 60.0
LONG_TR_MS: Final = 1800.0
T2_3D_MIN_TR_MS: Final = 1000.0
"""3D spin echo with variable flip angles (SPACE, CUBE, VISTA) is T2-weighted at short TR."""
FS_MIN_TE_MS: Final = 30.0
"""With fat saturation and long TR, an intermediate echo time already shows edema bright."""
LOCALIZER_MAX_SLICES: Final = 6
GRADIENT_ECHO_WATER: Final = "gradient_echo_water_image"

# (from tesla, expected inversion times): outside them a STIR is accepted with a warning.
_EXPECTED_TI: Final = (
    (2.5, (150.0, 260.0)),
    (1.2, (80.0, 200.0)),
    (0.6, (80.0, 180.0)),
    (0.0, (60.0, 140.0)),
)

# Values of Image Type that say the picture is computed, or not an anatomical magnitude image.
_COMPUTED_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "diffusion": ("ADC", "EADC", "FA", "TRACE", "TRACEW", "DIFFUSION", "TENSOR", "DTI"),
    "perfusion": ("PERFUSION", "ASL", "CBF", "TTP", "RELCBF", "FMRI"),
    "field_map": ("B0", "B0 MAP", "B1 MAP", "FIELD MAP", "FIELD_MAP"),
    "phase_image": (
        "P", "PHASE", "PHASE MAP", "PHASE_MAP", "R_PHASE", "VELOCITY", "VELOCITY MAP",
        "I", "IMAGINARY",
    ),
    "reformatted": ("MPR", "CSA MPR", "CSAPARALLEL", "CSARESAMPLED", "REFORMATTED"),
    "projection": ("PROJECTION IMAGE", "MIP", "MIN_IP", "MINIP", "MAX_IP", "CSAMIP"),
    "subtraction": ("SUB", "SUBTRACT", "SUBTRACTION"),
    "parameter_map": (
        "FAT_FRACTION", "FF", "PDFF", "T1 MAP", "T1_MAP", "T2 MAP", "T2_MAP", "T2_STAR",
        "T2STAR MAP", "R2_STAR", "R2STAR", "R2STAR MAP", "SCREEN SAVE",
    ),
}  # fmt: skip
_COMPUTED: Final = {value: kind for kind, values in _COMPUTED_KINDS.items() for value in values}

_COMPLEX_REFUSED: Final = frozenset({"PHASE", "IMAGINARY"})


@dataclass(frozen=True, slots=True)
class SeriesRole:
    """Role of a stack with what it rests on.

    Attributes:
        role: What the stack is.
        confidence: In [0, 1], of the role.
        evidence: Facts it rests on, most decisive first.
        warnings: Codes a reader should see.
        limits: Codes that bound what may be concluded from the volume.
        refusal: Why its pixels must not be read as an anatomical image, or None.
    """

    role: Role
    confidence: float
    evidence: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    refusal: Refusal | None = None


def role_of(
    physics: FramePhysics, words: frozenset[Word], slices: int = 0, planes: int = 1
) -> SeriesRole:
    """Tell what a stack is, without its pixels.

    Args:
        physics: Of its frames (one stack has one physics).
        words: Of its names, from `series_text.words_of`.
        slices: How many positions it has; 0 when unknown.
        planes: How many orientations its series has: three make a localizer of few slices.
    """
    clues = Clues(physics, words, slices, planes)
    for rule in _RULES:
        found = rule(clues)
        if found is not None:
            return _after_contrast_agent(clues, found)
    return SeriesRole(Role.OTHER, 0.5, ("physics_not_recognised",))


def _other(confidence: float, *evidence: str, refusal: str = "") -> SeriesRole:
    reason = Refusal(refusal, _REASONS[refusal]) if refusal else None
    return SeriesRole(Role.OTHER, confidence, evidence, refusal=reason)


_REASONS: Final = {
    "mosaic": "All slices are tiled into one picture.",
    "derived": "The picture is computed from others, or is not a magnitude image.",
    "diffusion": "Diffusion-weighted or diffusion-derived.",
    "field_map": "A map of the magnetic field or its source images.",
    "echo_planar": "Echo-planar images are distorted and not used.",
}


def _computed(clues: Clues) -> SeriesRole | None:
    """Mosaics, maps, phase images, reformats, projections."""
    physics = clues.physics
    if physics.mosaic or "MOSAIC" in physics.image_type:
        return _other(0.99, "image_type=MOSAIC", refusal="mosaic")
    # The first two values say original or derived; what was computed stands behind them.
    for value in physics.image_type[2:]:
        if value in _COMPUTED:
            kind = _COMPUTED[value]
            code = "diffusion" if kind == "diffusion" else "derived"
            return _other(0.97, f"image_type={value}", kind, refusal=code)
    if physics.complex_component in _COMPLEX_REFUSED:
        component = f"complex_component={physics.complex_component}"
        return _other(0.97, component, "phase_image", refusal="derived")
    if Word.DERIVED in clues.words and "DERIVED" in physics.image_type:
        return _other(0.8, "image_type=DERIVED", "series_name=derived", refusal="derived")
    return None


def _unsuited(clues: Clues) -> SeriesRole | None:
    """Acquisitions that are no anatomical image: diffusion, echo-planar, field maps."""
    physics = clues.physics
    if physics.diffusion_b_value is not None or physics.acquisition_contrast == "DIFFUSION":
        return _other(0.97, "diffusion", refusal="diffusion")
    if clues.family == "epi":
        return _other(0.97, "scanning_sequence=EP", refusal="echo_planar")
    if Word.FIELD_MAP in clues.words and clues.family != "spin":
        return _other(0.9, "series_name=field_map", refusal="field_map")
    return None


def _localizer(clues: Clues) -> SeriesRole | None:
    if "LOCALIZER" in clues.physics.image_type:
        return SeriesRole(Role.LOCALIZER, 0.98, ("image_type=LOCALIZER",))
    few = 0 < clues.slices <= LOCALIZER_MAX_SLICES
    if few and clues.planes >= 3:
        return SeriesRole(Role.LOCALIZER, 0.9, (f"planes={clues.planes}", f"slices={clues.slices}"))
    # A name alone can't turn a full spin-echo stack into a localizer.
    if Word.LOCALIZER in clues.words and (few or clues.family != "spin"):
        return SeriesRole(Role.LOCALIZER, 0.8, ("series_name=localizer",))
    return None


def _dixon(clues: Clues) -> SeriesRole | None:
    part, evidence = dixon_part(clues)
    if part is None:
        return None
    if part is Word.OPPOSED_PHASE:
        return _other(0.95, *evidence, "opposed_phase")
    if part is Word.FAT:
        return SeriesRole(Role.DIXON_FAT, 0.97, evidence)
    if part is Word.IN_PHASE:
        base = _inversion(clues) or _weighting(clues)
        return replace(base, evidence=(*evidence, *base.evidence))
    return _dixon_water(clues, evidence)


def _dixon_water(clues: Clues, evidence: tuple[str, ...]) -> SeriesRole:
    """A water image shows edema only if its own weighting does."""
    if clues.family in ("gradient", "gradient_and_spin", "steady_state"):
        evidence = (*evidence, f"echo={clues.family}", *times_of(clues.physics))
        return SeriesRole(Role.DIXON_WATER, 0.9, evidence, limits=(GRADIENT_ECHO_WATER,))
    base = _weighting(clues, fat_saturated=True)
    evidence = (*evidence, *base.evidence)
    if base.role is Role.T1_FS:
        return replace(base, evidence=evidence)
    if base.role is Role.T2_FS:
        return replace(base, role=Role.DIXON_WATER, evidence=evidence)
    return SeriesRole(Role.DIXON_WATER, 0.6, evidence, warnings=("weighting_unknown",))


def _inversion(clues: Clues) -> SeriesRole | None:
    """Classes of inversion recovery by inversion time; names of it are no guide to the class."""
    evidence = inversion_evidence(clues)
    if not evidence:
        return None
    time_ms = clues.physics.inversion_time_ms
    if not time_ms:
        return _inversion_without_time(clues, evidence)
    evidence = (f"inversion_time_ms={number_text(time_ms)}", *evidence, *times_of(clues.physics))
    if clues.family in ("gradient", "gradient_and_spin"):
        role = Role.T1_FS if clues.fat_saturated else Role.T1
        return SeriesRole(role, 0.6, (*evidence, "echo=gradient"), limits=("gradient_echo_t1",))
    return _inversion_class(clues, time_ms, evidence)


def _inversion_class(clues: Clues, time_ms: float, evidence: tuple[str, ...]) -> SeriesRole:
    field_t = clues.physics.field_strength_t
    low_field = field_t is not None and field_t < 0.6
    low, high = LOW_FIELD_STIR_TI_MS if low_field else STIR_TI_MS
    if low <= time_ms <= high:
        return _stir(clues, time_ms, evidence)
    if T1_FLAIR_TI_MS[0] <= time_ms <= T1_FLAIR_TI_MS[1]:
        role = Role.T1_FS if clues.fat_saturated else Role.T1
        echo = clues.physics.echo_time_ms
        sure = echo is not None and echo <= T1_MAX_TE_MS
        return SeriesRole(role, 0.9 if sure else 0.5, (*evidence, *clues.fat_saturated))
    if FLAIR_TI_MS[0] <= time_ms <= FLAIR_TI_MS[1]:
        return SeriesRole(Role.FLAIR, 0.95, evidence)
    return replace(_other(0.6, *evidence), warnings=("inversion_time_unexplained",))


def _stir(clues: Clues, time_ms: float, evidence: tuple[str, ...]) -> SeriesRole:
    field_t = clues.physics.field_strength_t
    warnings: tuple[str, ...] = ()
    confidence = 0.97
    if field_t:
        evidence = (*evidence, f"field_strength_t={number_text(round(field_t, 2))}")
        low, high = next(window for tesla, window in _EXPECTED_TI if field_t >= tesla)
        if not low <= time_ms <= high:
            warnings, confidence = ("inversion_time_unusual_for_field",), 0.8
    if clues.physics.echo_time_ms is not None and clues.physics.echo_time_ms < 15:
        # With TE this short fluid gains little over marrow: still fat-nulled, less sensitive.
        warnings, confidence = (*warnings, "short_echo_time"), min(confidence, 0.8)
    return SeriesRole(Role.STIR, confidence, evidence, warnings)


def _inversion_without_time(clues: Clues, evidence: tuple[str, ...]) -> SeriesRole:
    """Inversion is stated, its time is not: contrast, echo times and names break the tie."""
    physics = clues.physics
    echo, repetition = physics.echo_time_ms or 0.0, physics.repetition_time_ms or 0.0
    # First that holds. A TR of several TI is needed to null fluid, whose TI is 2 s and more.
    ties = (
        (clues.family.startswith("gradient"), Role.T1, 0.4, "echo=gradient"),
        (physics.acquisition_contrast == "STIR", Role.STIR, 0.85, ""),
        (physics.acquisition_contrast == "FLUID_ATTENUATED", Role.FLAIR, 0.85, ""),
        (0 < echo <= 25, Role.T1, 0.5, ""),
        (Word.FLAIR in clues.words, Role.FLAIR, 0.7, "series_name=flair"),
        (Word.STIR in clues.words, Role.STIR, 0.7, "series_name=stir"),
        (repetition >= 6500, Role.FLAIR, 0.5, ""),
        (True, Role.STIR, 0.5, ""),
    )
    role, confidence, extra = next((r, c, e) for holds, r, c, e in ties if holds)
    evidence = (
        *evidence,
        "inversion_time_missing",
        *times_of(physics),
        *((extra,) if extra else ()),
    )
    limits = ("gradient_echo_t1",) if extra == "echo=gradient" else ()
    return SeriesRole(role, confidence, evidence, ("inversion_time_missing",), limits)


def _weighting(clues: Clues, *, fat_saturated: bool = False) -> SeriesRole:
    """T1, T2 or PD by echo and repetition time, with or without fat saturation."""
    physics = clues.physics
    suppressed = fat_saturated or bool(clues.fat_saturated)
    echo, repetition = physics.echo_time_ms, physics.repetition_time_ms
    evidence = (*clues.fat_saturated, *times_of(physics))
    if clues.family in ("gradient", "gradient_and_spin", "steady_state"):
        return _gradient_echo(clues, evidence)
    if not echo or not repetition:
        return _weighting_by_name(clues, evidence, suppressed=suppressed)
    role, confidence = _spin_echo_weighting(echo, repetition)
    if suppressed:
        role, confidence = _suppressed(role, echo, repetition, confidence)
        only_named = clues.fat_saturated == ("series_name=fat_saturation",)
        if only_named and not fat_saturated:
            confidence = min(confidence, 0.6)
    warnings: tuple[str, ...] = ()
    if Word.STIR in clues.words and role in (Role.T1, Role.T2, Role.PD):
        warnings = ("name_says_stir_physics_does_not",)
    if role is Role.T1_FS and echo <= 15 and not clues.contrast:
        warnings = (*warnings, "post_contrast_suspected")
    if role is Role.T2_FS and echo < T2_MIN_TE_MS:
        warnings = (*warnings, "intermediate_echo_time")
    if not clues.family:
        confidence = min(confidence, 0.85)
    return SeriesRole(role, confidence, evidence, warnings)


def _spin_echo_weighting(echo: float, repetition: float) -> tuple[Role, float]:
    if echo <= T1_MAX_TE_MS and repetition <= T1_MAX_TR_MS:
        return Role.T1, 0.97
    if echo >= T2_MIN_TE_MS and repetition >= LONG_TR_MS:
        return Role.T2, 0.97
    if echo >= T2_MIN_TE_MS and repetition >= T2_3D_MIN_TR_MS:
        return Role.T2, 0.8
    if echo <= T1_MAX_TE_MS and repetition < LONG_TR_MS:
        return Role.T1, 0.6
    return (Role.PD, 0.9) if repetition >= LONG_TR_MS else (Role.OTHER, 0.5)


def _suppressed(
    role: Role, echo: float, repetition: float, confidence: float
) -> tuple[Role, float]:
    """The fat-saturated counterpart of a weighting."""
    if role is Role.T1:
        return Role.T1_FS, confidence
    if role is Role.T2:
        return Role.T2_FS, min(confidence, 0.95)
    if role is Role.PD and echo >= FS_MIN_TE_MS and repetition >= LONG_TR_MS:
        return Role.T2_FS, 0.8
    return role, confidence


def _gradient_echo(clues: Clues, evidence: tuple[str, ...]) -> SeriesRole:
    """Gradient echoes mix T2* and chemical shift into marrow: T1 with a limit, or nothing."""
    physics = clues.physics
    evidence = (f"echo={clues.family}", *evidence)
    echo, repetition, flip = (
        physics.echo_time_ms or 0.0,
        physics.repetition_time_ms or 0.0,
        physics.flip_angle_deg or 0.0,
    )
    # Spoiled, short echo, and an angle well above the Ernst angle of marrow at that TR.
    spoiled_t1 = 0 < echo <= 8 and ((repetition <= 50 and flip >= 9) or flip >= 50)
    if clues.family != "gradient" or not spoiled_t1:
        return _other(0.8, *evidence)
    role = Role.T1_FS if clues.fat_saturated else Role.T1
    return SeriesRole(role, 0.5, evidence, limits=("gradient_echo_t1",))


_NAMED_WEIGHTINGS: Final = (
    (Word.STIR, Role.STIR, Role.STIR),
    (Word.FLAIR, Role.FLAIR, Role.FLAIR),
    (Word.T2, Role.T2, Role.T2_FS),
    (Word.T1, Role.T1, Role.T1_FS),
    (Word.PROTON_DENSITY, Role.PD, Role.T2_FS),
)
_CONTRAST_WEIGHTINGS: Final = {
    "T1": (Role.T1, Role.T1_FS),
    "T2": (Role.T2, Role.T2_FS),
    "PROTON_DENSITY": (Role.PD, Role.T2_FS),
}


def _weighting_by_name(clues: Clues, evidence: tuple[str, ...], *, suppressed: bool) -> SeriesRole:
    """No echo or repetition time: the stated contrast, then names, at low confidence."""
    stated = clues.physics.acquisition_contrast
    warnings = ("physics_missing",)
    if stated in _CONTRAST_WEIGHTINGS:
        role = _CONTRAST_WEIGHTINGS[stated][int(suppressed)]
        return SeriesRole(role, 0.6, (f"acquisition_contrast={stated}", *evidence), warnings)
    for word, plain, fat_saturated in _NAMED_WEIGHTINGS:
        if word in clues.words:
            role = fat_saturated if suppressed else plain
            return SeriesRole(role, 0.4, (f"series_name={word.value}", *evidence), warnings)
    return replace(_other(0.3, *evidence, "physics_missing"), warnings=warnings)


_FLUID_SUPPRESSED: Final = (Role.STIR, Role.T2_FS, Role.DIXON_WATER)


def _after_contrast_agent(clues: Clues, found: SeriesRole) -> SeriesRole:
    """Post-contrast images never pass for plain T1; fat-suppressed ones are limited.

    STIR nulls enhancing lesions with fat, whose T1 they then share; a T1-weighted water image
    shows enhancement bright like edema.
    """
    if not clues.contrast:
        return found
    sure = clues.physics.contrast_agent
    if found.role in (Role.T1, Role.T1_FS):
        confidence = found.confidence if sure else min(found.confidence, 0.7)
        evidence = (*clues.contrast, *found.evidence)
        return replace(found, role=Role.T1_POST, confidence=confidence, evidence=evidence)
    if found.role is Role.DIXON_WATER and GRADIENT_ECHO_WATER in found.limits and sure:
        return replace(found, role=Role.T1_POST, evidence=(*clues.contrast, *found.evidence))
    if found.role in _FLUID_SUPPRESSED:
        return replace(
            found,
            evidence=(*found.evidence, *clues.contrast),
            warnings=(*found.warnings, "after_contrast_agent"),
            limits=(*found.limits, "after_contrast_agent"),
        )
    return found


_RULES: Final[tuple[Callable[[Clues], SeriesRole | None], ...]] = (
    _computed,
    _unsuited,
    _localizer,
    _dixon,
    _inversion,
    _weighting,
)
