"""What the values of published vertebra masks mean.

Sources: the VerSe challenge (Sekuboyina et al. 2021, label ids of the data repository);
TotalSpineSeg's list of classes (README, releases since 2024-11) and the list of its first releases
("totalspineseg_2024"); SPIDER (van der Graaf et al. 2024, Sci Data 11:264). The same number means
another vertebra in each of them, so a scheme is always named and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.anatomy import CERVICAL, LABEL_VALUES, LUMBAR, SNOMED_VERTEBRA, THORACIC
from training.datasets.errors import MaskError

_UPWARD: Final = tuple(reversed((*CERVICAL, *THORACIC, *LUMBAR)))

VERSE: Final = {value: level for level, value in LABEL_VALUES.items()}
"""C1..C7 = 1..7, T1..T12 = 8..19, L1..L5 = 20..24, L6 = 25, sacrum = 26, T13 = 28 (27: coccyx)."""

TOTALSPINESEG: Final = {
    **{11 + i: level for i, level in enumerate(CERVICAL)},
    **{21 + i: level for i, level in enumerate(THORACIC)},
    **{41 + i: level for i, level in enumerate(LUMBAR)},
    50: "S1",
}
"""C1..C7 = 11..17, T1..T12 = 21..32, L1..L5 = 41..45, sacrum = 50; cord, canal and discs beside."""

TOTALSPINESEG_2024: Final = {**{18 + i: level for i, level in enumerate(_UPWARD)}, 92: "S1"}
"""From L5 = 18 upward to C1 = 41, sacrum = 92."""

SPIDER: Final = {1 + i: level for i, level in enumerate(_UPWARD[:9])}
"""Counted upward from the lowest lumbar body = 1, which is called L5 whatever the spine has."""

SCHEMES: Final[Mapping[str, Mapping[int, str]]] = {
    "verse": VERSE,
    "totalspineseg": TOTALSPINESEG,
    "totalspineseg_2024": TOTALSPINESEG_2024,
    "spider": SPIDER,
}
"""Name of a scheme to what its values mean; values it does not hold are no vertebrae."""

_NEVER: Final = {
    "verse": range(29, 256),
    "totalspineseg": (
        *range(3, 11), *range(18, 21), *range(33, 41), *range(46, 50), *range(51, 63),
    ),
    "totalspineseg_2024": (*range(1, 18), *range(42, 92), *range(93, 200)),
}  # fmt: skip
"""Values that a mask of a scheme does not have: with one of them it is of another scheme."""

_LEVEL_OF_CODE: Final = {code: level for level, code in SNOMED_VERTEBRA.items()}


def levels_of(values: frozenset[int], scheme: str) -> dict[int, str]:
    """Name the vertebrae among the values of a mask.

    Args:
        values: Those that occur, 0 left out.
        scheme: A key of `SCHEMES`.

    Returns:
        Value to level.

    Raises:
        MaskError: The scheme is not known, none of the values is a vertebra in it, or one of them
            never occurs in it.
    """
    if scheme not in SCHEMES:
        raise MaskError(f"label scheme {scheme!r} is not known; they are {', '.join(SCHEMES)}")
    foreign = sorted(values & frozenset(_NEVER.get(scheme, ())))
    if foreign:
        raise MaskError(f"value {foreign[0]} does not occur in scheme {scheme}")
    known = {value: level for value, level in SCHEMES[scheme].items() if value in values}
    if not known:
        raise MaskError(f"no value of the mask is a vertebra in scheme {scheme}")
    return known


def level_of_code(snomed: str) -> str | None:
    """The level of a SNOMED CT code of CID 7603, None for another code."""
    return _LEVEL_OF_CODE.get(snomed)
