"""Level names, their order and their codes: the one table every other module reads.

Label values are those of the published spine label maps (VerSe, TotalSpineSeg): C1..C7 = 1..7,
T1..T12 = 8..19, L1..L5 = 20..24, L6 = 25, S1 = 26, T13 = 28. A body without a name has 101, 102, …
from cranial to caudal. Codes: SNOMED CT in CID 7603; it has none for S1, L6 and T13.
"""

from __future__ import annotations

from typing import Final

CERVICAL: Final = tuple(f"C{i}" for i in range(1, 8))
THORACIC: Final = tuple(f"T{i}" for i in range(1, 13))
LUMBAR: Final = tuple(f"L{i}" for i in range(1, 6))

LEVELS: Final = (*CERVICAL, *THORACIC, "T13", *LUMBAR, "L6", "S1")
"""Every level name this product may write, cranial to caudal."""

LABEL_VALUES: Final[dict[str, int]] = {
    **{name: i + 1 for i, name in enumerate(CERVICAL)},
    **{name: i + 8 for i, name in enumerate(THORACIC)},
    **{name: i + 20 for i, name in enumerate(LUMBAR)},
    "L6": 25,
    "S1": 26,
    "T13": 28,
}
"""Level name to the value it has in `vertebrae.nii.gz`."""

FIRST_UNNAMED_LABEL: Final = 101
"""Value of the most cranial body in a study whose levels cannot be named."""

SNOMED_VERTEBRA: Final[dict[str, str]] = {
    "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002",
    "C5": "36978003", "C6": "36054005", "C7": "87391001",
    "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006",
    "T5": "56401006", "T6": "45296009", "T7": "62487009", "T8": "11068009",
    "T9": "82687006", "T10": "7610001", "T11": "12989004", "T12": "23215003",
    "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
}  # fmt: skip
"""Level name to its SNOMED CT code (CID 7603, as in pydicom 3.0.2)."""


def chain_upward(last: str, count: int) -> tuple[str, ...]:
    """Name `count` successive levels that end caudally at `last`, with the usual 12 + 5.

    Args:
        last: The most caudal level's name, for example "S1" or "L5".
        count: How many levels, `last` included.

    Returns:
        Names cranial to caudal; shorter than `count` when the neck ends at C1.
    """
    usual = (*CERVICAL, *THORACIC, *LUMBAR, "S1")
    end = usual.index(last) + 1
    return usual[max(0, end - count) : end]
