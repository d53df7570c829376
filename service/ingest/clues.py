"""What the role rules look at: echo family, fat saturation, inversion, Dixon part, contrast agent.

Each reading returns its evidence, so that a role can show what it rests on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from service.ingest.records import FramePhysics
from service.ingest.series_text import Word

_FAT_SATURATION_OPTIONS: Final = frozenset({"FS", "SFS", "FATSAT", "FAT_SAT", "SPIR", "SPAIR"})
_INVERSION_OPTIONS: Final = frozenset({"IR", "IR_GEMS"})

_SPIN_NAMES: Final = re.compile(
    r"TSE|FSE|TIR|SPC|SPACE|CUBE|VISTA|HASTE|FASE|SE2D|SE3D|SE_MC|BLADE"
)
_GRADIENT_NAMES: Final = re.compile(
    r"FL2D|FL3D|TFL|FFE|TFE|GRE|GRASS|GR$|ME2D|ME3D|MEDIC|EFGRE|^\*?FM\d"
)
_STEADY_NAMES: Final = re.compile(r"TFI|TRUFI|FIESTA|CISS|CI3D|B-?FFE|BTFE|TRUE ?SSFP")

_DIXON_IMAGE_TYPES: Final[dict[str, Word]] = {
    "WATER": Word.WATER, "W": Word.WATER, "FAT": Word.FAT, "F": Word.FAT,
    "IN_PHASE": Word.IN_PHASE, "INPHASE": Word.IN_PHASE, "IP": Word.IN_PHASE, "IN": Word.IN_PHASE,
    "OUT_PHASE": Word.OPPOSED_PHASE, "OUT_OF_PHASE": Word.OPPOSED_PHASE,
    "OPP_PHASE": Word.OPPOSED_PHASE, "OPPOSED_PHASE": Word.OPPOSED_PHASE,
    "OP": Word.OPPOSED_PHASE, "OUTPHASE": Word.OPPOSED_PHASE,
}  # fmt: skip
_DIXON_PARTS: Final = (Word.OPPOSED_PHASE, Word.IN_PHASE, Word.WATER, Word.FAT)


@dataclass(frozen=True, slots=True)
class Clues:
    """What the rules look at: physics, words, and what both say at first sight."""

    physics: FramePhysics
    words: frozenset[Word]
    slices: int
    planes: int
    family: str = field(init=False)
    fat_saturated: tuple[str, ...] = field(init=False)
    contrast: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", _echo_family(self.physics))
        object.__setattr__(self, "fat_saturated", _fat_saturation(self.physics, self.words))
        object.__setattr__(self, "contrast", _contrast_agent(self.physics, self.words))


def number_text(value: float) -> str:
    """A number as evidence shows it: no trailing zeros."""
    return f"{value:g}"


def times_of(physics: FramePhysics) -> tuple[str, ...]:
    """Echo and repetition time as evidence."""
    named = (
        ("echo_time_ms", physics.echo_time_ms),
        ("repetition_time_ms", physics.repetition_time_ms),
    )
    return tuple(f"{name}={number_text(value)}" for name, value in named if value is not None)


def _echo_family(physics: FramePhysics) -> str:
    """spin, gradient, steady_state, epi, or "" when nothing tells."""
    name = f"{physics.sequence_name} {physics.pulse_sequence_name}".upper()
    scanning = physics.scanning_sequence
    if "EP" in scanning or re.search(r"(?<![A-Z])\*?EP(?:SE|FI|I|2D)|EPI", name):
        return "epi"
    if _STEADY_NAMES.search(name):
        return "steady_state"
    stated = {"SPIN": "spin", "GRADIENT": "gradient", "BOTH": "gradient_and_spin"}
    if physics.echo_pulse_sequence in stated:
        return stated[physics.echo_pulse_sequence]
    if "GR" in scanning:
        return "gradient_and_spin" if "SE" in scanning else "gradient"
    if "SE" in scanning:
        return "spin"
    return _family_by_name_or_flip(physics, name)


def _family_by_name_or_flip(physics: FramePhysics, name: str) -> str:
    # Gradient names first: GE's EFGRE and Philips' T1TFE also hold letters of spin-echo names.
    if _GRADIENT_NAMES.search(name):
        return "gradient"
    if _SPIN_NAMES.search(name):
        return "spin"
    flip = physics.flip_angle_deg
    if flip is not None and flip > 0:
        # Spin echo excites by about 90 degrees or states its refocusing angle of 100 to 180.
        return "gradient" if flip < 45 else "spin"
    repetition = physics.repetition_time_ms
    return "gradient" if repetition is not None and repetition < 100 else ""


def _fat_saturation(physics: FramePhysics, words: frozenset[Word]) -> tuple[str, ...]:
    """Evidence that the fat signal is suppressed spectrally; empty when there is none."""
    evidence = []
    if physics.suppression in ("FAT", "FAT_AND_WATER"):
        evidence.append(f"spectral_suppression={physics.suppression}")
    if physics.excitation == "WATER":
        evidence.append("spectral_excitation=WATER")
    options = sorted(_FAT_SATURATION_OPTIONS & set(physics.scan_options))
    evidence += [f"scan_options={option}" for option in options]
    # An enhanced object states its suppression: a name can't add one.
    if not evidence and not physics.suppression and Word.FAT_SATURATION in words:
        evidence.append("series_name=fat_saturation")
    return tuple(evidence)


def _contrast_agent(physics: FramePhysics, words: frozenset[Word]) -> tuple[str, ...]:
    if physics.contrast_agent:
        return ("contrast_agent",)
    return ("series_name=post_contrast",) if Word.POST_CONTRAST in words else ()


def dixon_part(clues: Clues) -> tuple[Word | None, tuple[str, ...]]:
    """Which of the four Dixon images a stack is, with its evidence."""
    for value in clues.physics.image_type[2:]:
        if value in _DIXON_IMAGE_TYPES:
            return _DIXON_IMAGE_TYPES[value], (f"image_type={value}",)
    dixon = "DIXON" in clues.physics.image_type
    if dixon or Word.DIXON in clues.words:
        # "WFST2_SAG(W/F)" names both: then the pixels are not told apart by name.
        named = [part for part in _DIXON_PARTS if part in clues.words]
        if len(named) == 1:
            source = ("image_type=DIXON",) if dixon else ()
            return named[0], (*source, f"series_name={named[0].value}")
    return None, ()


def inversion_evidence(clues: Clues) -> tuple[str, ...]:
    """Facts that say the magnetisation is inverted; empty for a spectrally selective pulse.

    SPAIR and SPIR invert fat alone: Inversion Time may then hold a small value without the IR
    code, and the series is a fat-saturated one.
    """
    physics = clues.physics
    if physics.inversion_recovery is False:
        return ()
    evidence = []
    if physics.inversion_recovery:
        evidence.append("inversion_recovery=YES")
    if "IR" in physics.scanning_sequence:
        evidence.append("scanning_sequence=IR")
    evidence += [
        f"scan_options={o}" for o in sorted(_INVERSION_OPTIONS & set(physics.scan_options))
    ]
    if re.search(r"TIR(?:M|2D|3D)?|IR2D|IRSE|FSEIR|IRFSE|FIR", physics.sequence_name.upper()):
        evidence.append("sequence_name=ir")
    if physics.acquisition_contrast in ("STIR", "FLUID_ATTENUATED"):
        evidence.append(f"acquisition_contrast={physics.acquisition_contrast}")
    if not evidence and physics.inversion_time_ms and not clues.fat_saturated:
        evidence.append("inversion_time_without_code")
    return tuple(evidence)
