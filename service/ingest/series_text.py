"""What a series is called, read for known words only; raw names never leave this module.

Names lie (CLINICAL: a T2 called "SAG STIR", a water image called "T1 FFE"), so they break ties
and raise warnings, and never overrule physics.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Word(StrEnum):
    """A known word of a Series Description or Protocol Name."""

    STIR = "stir"
    FLAIR = "flair"
    FAT_SATURATION = "fat_saturation"
    T1 = "t1"
    T2 = "t2"
    PROTON_DENSITY = "pd"
    POST_CONTRAST = "post_contrast"
    LOCALIZER = "localizer"
    DIXON = "dixon"
    WATER = "water"
    FAT = "fat"
    IN_PHASE = "in_phase"
    OPPOSED_PHASE = "opposed_phase"
    DIFFUSION = "diffusion"
    DERIVED = "derived"
    FIELD_MAP = "field_map"


def _alone(words: str) -> str:
    """A pattern for words that no letter or digit touches."""
    return rf"(?<![A-Z0-9])(?:{words})(?![A-Z0-9])"


_PATTERNS: Final[dict[Word, re.Pattern[str]]] = {
    word: re.compile(pattern)
    for word, pattern in {
        # "Sitr" is a typing error seen in archives; FIR and IRFSE are Canon's and GE's names.
        Word.STIR: r"STIR|SITR|TIRM|" + _alone("FIR") + r"|IR[-_ ]?FSE|FSE[-_ ]?IR",
        Word.FLAIR: r"FLAIR|DARK[-_ ]?FLUID",
        # "T2 FSE" is no fat saturation, "respiratory" no SPIR.
        Word.FAT_SATURATION: r"SPAIR|FAT[-_ ]?SAT|FAT[-_ ]?SUP|(?<!W)FST[12]|CHESS"
        + r"|T[12]W?[-_ ]?FS(?![A-Z])|(?<![A-Z])SPIR(?![A-Z])|"
        + _alone("FS|SFS"),
        Word.T1: r"T1(?!\d)",
        Word.T2: r"T2(?!\d)",
        Word.PROTON_DENSITY: _alone("PDW?|DP") + r"|PROTON",
        Word.POST_CONTRAST: _alone("GAD|GADO|GD|KM|CE|POST|POSTGD|POSTGAD|CONTRAST")
        + r"|\+ ?(?:C|GD|KM|GAD)(?![A-Z])|(?<![A-Z])C\+|GADOVIST|DOTAREM|GADOLINIUM",
        Word.LOCALIZER: r"LOCALI[SZ]ER|SCOUT|SURVEY|SCANO|SHIM|"
        + _alone("LOC")
        + r"|(?:3|THREE)[-_ ]?PL(?:ANE)?(?![A-Z])",
        Word.DIXON: r"DIXON|IDEAL|WFI(?![A-Z])|WFS|FLEX(?![A-Z])"
        + r"|(?:WATER|FAT|IN-?PHASE|OUT-?PHASE):",
        Word.WATER: r"(?<![A-Z])WATER(?![A-Z])|[-_ (]W\)?$|\(W\)",
        Word.FAT: r"(?<![A-Z])FAT:|[-_ (]F\)?$|\(F\)|" + _alone("FAT ONLY|FATONLY"),
        Word.IN_PHASE: r"IN[-_ ]?PHASE|[-_ (]IN\)?$|[-_ ]IP$",
        Word.OPPOSED_PHASE: r"(?:OUT|OPP|OPPOSED)(?:[-_ ]?OF)?[-_ ]?PHASE|[-_ (]OPP\)?$|[-_ ]OP$",
        Word.DIFFUSION: _alone("DWI|DTI|ADC|DIFF|EP2D|RESOLVE") + r"|DIFFUSION|TRACEW",
        Word.DERIVED: _alone("MIP|SUB|MPR") + r"|SUBTRACT",
        Word.FIELD_MAP: r"FIELD[-_ ]?MAP|" + _alone("B0|B1|FMAP"),
    }.items()
}

# "T1 without contrast", "ohne KM", "pre Gd": the word for contrast is there to deny it.
_DENIED_CONTRAST: Final = re.compile(
    r"(?:W/?O|WITHOUT|OHNE|NON?|PRE|SANS|SIN|NATIV\w*)[-_ ]*(?:CONTRAST|KM|GAD\w*|GD|C)(?![A-Z])"
)


def words_of(*names: str) -> frozenset[Word]:
    """The known words in the names of a series (Series Description, Protocol Name)."""
    found: set[Word] = set()
    for name in names:
        text = name.strip().upper()
        found.update(word for word, pattern in _PATTERNS.items() if pattern.search(text))
        if Word.POST_CONTRAST in found and _DENIED_CONTRAST.search(text):
            found.discard(Word.POST_CONTRAST)
    return frozenset(found)
