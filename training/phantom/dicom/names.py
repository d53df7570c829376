"""What people call series and studies: vendor names, five languages, and names that say nothing.

Descriptions in the site's own language use the character set that its scanners write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.geometry import Plane
from models.volume import Role
from training.phantom.dicom.recipe import HeaderFlaws
from training.phantom.dicom.vendors.header import Scan, SequenceHeader

LATIN_1: Final = ("ISO_IR 100",)

_USELESS: Final = ("SAG", "sag 4", "LSPINE", "????", "??", "Series", "LWS", "copy")
_WRONG: Final = ("SAG T2 STIR", "Sag Sitr", "SAG T1", "SAG T2", "T2_STIR")
_WRONG_PARTS: Final = ("SPINE", "ABDOMEN", "HEAD", "")


@dataclass(frozen=True, slots=True)
class _Language:
    """Names in one language by what a series is, and the character sets used for them."""

    character_sets: tuple[tuple[str, ...], ...]
    study: str
    series: Mapping[str, str]


_LANGUAGES: Final[Mapping[str, _Language]] = {
    "german": _Language(
        (("ISO_IR 100",), ("ISO_IR 192",)),
        "MRT Lendenwirbelsäule",
        {
            "stir": "STIR sagittal LWS",
            "t1": "T1 TSE sagittal nativ",
            "t2": "T2 TSE sagittal LWS",
            "t2_fs": "T2 sagittal fettgesättigt FS",
            "t1_post": "T1 sagittal nach KM",
            "localizer": "Übersicht Localizer",
            "axial": "T2 transversal Bandscheiben",
        },
    ),
    "french": _Language(
        (("ISO_IR 100",), ("ISO_IR 192",)),
        "IRM rachis lombaire",
        {
            "stir": "SAG STIR rachis",
            "t1": "SAG T1 sans injection",
            "t2": "SAG T2 rachis lombaire",
            "t2_fs": "SAG T2 FAT SAT",
            "t1_post": "SAG T1 GADO",
            "localizer": "Repérage 3 plans LOC",
            "axial": "AX T2 étages",
        },
    ),
    "spanish": _Language(
        (("ISO_IR 100",), ("ISO_IR 192",)),
        "RM columna lumbar",
        {
            "stir": "SAG STIR columna",
            "t1": "SAG T1 sin contraste",
            "t2": "SAG T2 columna",
            "t2_fs": "SAG T2 FS supresión de grasa",
            "t1_post": "SAG T1 contraste GD",
            "localizer": "Localizador LOC",
            "axial": "AXIAL T2 discos L1-S1",
        },
    ),
    "polish": _Language(
        (("ISO_IR 101",), ("ISO_IR 192",)),
        "MR kręgosłupa lędźwiowego",
        {
            "stir": "STIR strzałkowa",
            "t1": "T1 strzałkowa",
            "t2": "T2 strzałkowa",
            "t2_fs": "T2 FS strzałkowa",
            "t1_post": "T1 strzałkowa +C",
            "localizer": "Lokalizacja LOC",
            "axial": "T2 poprzeczna",
        },
    ),
    "japanese": _Language(
        (("", "ISO 2022 IR 87"), ("ISO_IR 192",)),
        "腰椎MRI",
        {
            "stir": "STIR 矢状断",
            "t1": "T1 矢状断",
            "t2": "T2 矢状断",
            "t2_fs": "脂肪抑制T2 矢状断",
            "t1_post": "造影T1 矢状断",
            "localizer": "位置決め",
            "axial": "T2 横断 腰椎",
        },
    ),
}


@dataclass(frozen=True, slots=True)
class SiteHabits:
    """What holds for all series of a study.

    Attributes:
        language: Key of the language names are in, "" for the vendors' own names.
        character_sets: Specific Character Set.
        study_description: "" leaves it out.
        body_part: Body Part Examined, "" leaves it out.
    """

    language: str = ""
    character_sets: tuple[str, ...] = LATIN_1
    study_description: str = "SYNTHETIC SPINE MR"
    body_part: str = "LSPINE"


@dataclass(frozen=True, slots=True)
class SeriesNames:
    """Series Description and Protocol Name; "" leaves one out."""

    description: str
    protocol_name: str


def draw_habits(flaws: HeaderFlaws | None, rng: np.random.Generator) -> SiteHabits:
    """How a site names its studies."""
    if flaws is None:
        return SiteHabits()
    habits = SiteHabits()
    language, sets, study = "", habits.character_sets, habits.study_description
    if rng.random() < flaws.foreign_site:
        language = tuple(_LANGUAGES)[int(rng.integers(len(_LANGUAGES)))]
        choices = _LANGUAGES[language].character_sets
        sets = choices[int(rng.integers(len(choices)))]
        study = f"SYNTHETIC {_LANGUAGES[language].study}"
    if rng.random() < flaws.study_description_missing:
        study = ""
    part = habits.body_part
    if rng.random() < flaws.body_part_wrong:
        part = _WRONG_PARTS[int(rng.integers(len(_WRONG_PARTS)))]
    return SiteHabits(language, sets, study, part)


def draw_names(
    scan: Scan,
    header: SequenceHeader,
    habits: SiteHabits,
    flaws: HeaderFlaws | None,
    rng: np.random.Generator,
) -> SeriesNames:
    """Names of a series, before what the console adds for the part of a Dixon acquisition.

    Without flaws the vendor's most usual name stands in both places.
    """
    if flaws is None:
        return SeriesNames(header.descriptions[0], header.descriptions[0])
    usual = header.descriptions[int(rng.integers(len(header.descriptions)))]
    if habits.language:
        usual = _LANGUAGES[habits.language].series.get(_kind(scan), usual)
    named, protocol_named = rng.random(2)
    protocol = "" if protocol_named < flaws.protocol_name_missing else usual
    return SeriesNames(_flawed(usual, float(named), flaws, rng), protocol)


def _flawed(usual: str, chance: float, flaws: HeaderFlaws, rng: np.random.Generator) -> str:
    """The usual name, or with the rates of the flaws none, a useless one or a wrong one."""
    if chance < flaws.description_missing:
        return ""
    chance -= flaws.description_missing
    for rate, names in ((flaws.description_useless, _USELESS), (flaws.description_wrong, _WRONG)):
        if chance < rate:
            return names[int(rng.integers(len(names)))]
        chance -= rate
    return usual


def _kind(scan: Scan) -> str:
    """What a site calls the series for; "" where it keeps the vendor's name."""
    role = scan.protocol.role
    if role is Role.LOCALIZER:
        return "localizer"
    if scan.dixon_part is not None:
        return ""
    if scan.plane is Plane.AXIAL:
        return "axial"
    return role.value
