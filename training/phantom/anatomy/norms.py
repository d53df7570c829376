"""Mean sizes of every level, and which levels a numbering variant has.

Posterior heights of T1-T11 after Panjabi 1991 scaled to living subjects; T12-L5, depths, discs,
segment angles and dishes from T11 down after the masks measured in the product's simulator
statistics; widths between Panjabi 1991/1992 and the same masks. Cervical sizes after Panjabi 1991.
Lumbar canals after Panjabi 1992, shallowest at L3 (Griffith 2016); thoracic ones 15.5 to 18 mm deep
and 17 to 22 mm wide, narrowest from T4 to T9. An adult man of average stature, mm and degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.errors import GeometryError


@dataclass(frozen=True, slots=True)
class LevelNorm:
    """Mean size of a level.

    Attributes:
        height: Posterior height of the body.
        wedge: Anterior over posterior height.
        depth, width: Of the body at mid height.
        disc: Mean height of the disc below, rim to rim.
        angle: Supine angle from the superior endplate of the level below to this one's superior
            endplate; lordosis is positive.
    """

    height: float
    wedge: float
    depth: float
    width: float
    disc: float
    angle: float
    shear: float
    dish_superior: float
    dish_inferior: float


NORMS: Final[dict[str, LevelNorm]] = {
    "C2": LevelNorm(18.5, 1.00, 15.5, 17.0, 4.6, 2.2, 0.8, 0.8, 1.3),
    "C3": LevelNorm(13.8, 0.98, 16.0, 17.5, 4.9, 2.2, 0.8, 0.8, 1.3),
    "C4": LevelNorm(13.4, 0.97, 16.2, 18.2, 5.0, 2.2, 0.8, 0.8, 1.3),
    "C5": LevelNorm(13.1, 0.96, 16.4, 19.0, 5.1, 2.2, 0.8, 0.8, 1.3),
    "C6": LevelNorm(13.3, 0.96, 16.8, 20.4, 5.4, 2.4, 0.8, 0.8, 1.3),
    "C7": LevelNorm(14.8, 0.97, 17.2, 22.8, 4.9, 1.5, 0.8, 0.8, 1.3),
    "T1": LevelNorm(17.0, 0.95, 18.0, 25.0, 4.2, -1.0, 1.0, 1.9, 2.4),
    "T2": LevelNorm(18.3, 0.94, 19.2, 25.0, 3.8, -1.5, 1.0, 1.9, 2.4),
    "T3": LevelNorm(18.8, 0.94, 21.3, 24.8, 3.6, -2.0, 1.0, 1.9, 2.4),
    "T4": LevelNorm(19.3, 0.94, 22.6, 25.0, 3.5, -3.0, 1.0, 1.9, 2.4),
    "T5": LevelNorm(19.7, 0.93, 23.8, 25.8, 3.5, -4.0, 1.0, 1.9, 2.4),
    "T6": LevelNorm(20.8, 0.92, 25.2, 27.0, 3.7, -4.5, 1.0, 1.9, 2.4),
    "T7": LevelNorm(21.8, 0.92, 26.6, 28.2, 4.1, -4.5, 1.0, 1.9, 2.4),
    "T8": LevelNorm(22.8, 0.92, 27.6, 29.6, 4.4, -4.0, 1.0, 1.9, 2.4),
    "T9": LevelNorm(23.9, 0.93, 28.6, 31.4, 4.3, -3.2, 1.0, 1.9, 2.4),
    "T10": LevelNorm(25.4, 0.93, 29.4, 33.4, 4.6, -3.0, 1.2, 1.9, 2.4),
    "T11": LevelNorm(28.1, 0.87, 32.0, 38.0, 3.6, -2.8, 1.1, 1.9, 2.2),
    "T12": LevelNorm(30.0, 0.92, 32.0, 42.4, 4.2, -0.4, 1.2, 2.3, 2.2),
    "T13": LevelNorm(30.3, 0.93, 31.2, 44.0, 4.9, -0.2, 1.6, 1.8, 2.1),
    "L1": LevelNorm(31.5, 0.94, 31.6, 46.0, 5.6, 0.4, 1.1, 1.6, 2.5),
    "L2": LevelNorm(31.9, 0.97, 33.4, 48.2, 6.7, 4.2, 2.5, 2.3, 3.0),
    "L3": LevelNorm(32.0, 1.01, 34.2, 50.2, 8.0, 9.3, 2.3, 2.7, 3.1),
    "L4": LevelNorm(31.1, 1.03, 34.4, 52.0, 8.3, 14.2, 2.8, 2.2, 3.0),
    "L5": LevelNorm(29.1, 1.16, 33.4, 53.6, 8.2, 18.0, 3.3, 2.0, 3.5),
    "L6": LevelNorm(28.2, 1.17, 33.0, 54.0, 7.2, 15.0, 3.3, 2.0, 3.4),
}

CANAL: Final[dict[str, tuple[float, float]]] = {
    "T1": (0.96, 0.90),
    "T2": (0.95, 0.82),
    **dict.fromkeys(("T3", "T10"), (0.94, 0.77)),
    **dict.fromkeys(("T4", "T5", "T6", "T7", "T8", "T9"), (0.94, 0.73)),
    "T11": (0.96, 0.82),
    "T12": (0.98, 0.90),
    "T13": (1.00, 0.93),
    "L1": (1.02, 0.95),
    "L2": (0.98, 0.96),
    "L3": (0.94, 0.98),
    "L4": (1.00, 1.02),
    "L5": (1.06, 1.09),
    "L6": (1.06, 1.10),
}
"""Depth and width of the canal, of the means of the lumbar canal."""


@dataclass(frozen=True, slots=True)
class SacralNorm:
    """Mean size of a sacral or coccygeal piece.

    Attributes:
        height: Anterior height before its wedge.
        wedge: Anterior over mean height.
        depth_top, depth_bottom, width_top, width_bottom: Of the piece.
        gap: Remnant disc above it.
        turn: How its axis turns against the piece above, degrees, forward positive.
    """

    height: float
    wedge: float
    depth_top: float
    depth_bottom: float
    width_top: float
    width_bottom: float
    gap: float
    turn: float


SACRAL: Final[dict[str, SacralNorm]] = {
    "S1": SacralNorm(30.0, 1.10, 33.0, 22.5, 50.0, 33.0, 0.0, 0.0),
    "S2": SacralNorm(25.0, 1.05, 21.5, 16.5, 32.0, 26.0, 3.4, -9.0),
    "S3": SacralNorm(20.5, 1.00, 16.0, 13.0, 26.0, 22.0, 2.0, 6.0),
    "S4": SacralNorm(17.5, 0.98, 12.5, 10.5, 22.0, 19.0, 1.4, 17.0),
    "S5": SacralNorm(15.0, 0.96, 10.0, 8.5, 19.0, 15.0, 1.2, 18.0),
    "Co1": SacralNorm(12.0, 1.00, 8.0, 7.0, 14.0, 10.0, 2.4, 18.0),
    "Co2": SacralNorm(9.0, 1.00, 6.5, 6.0, 9.0, 8.0, 1.6, 12.0),
}

NUMBERINGS: Final[dict[str, float]] = {
    "usual": 0.86,
    "T11": 0.01,
    "T13": 0.01,
    "L4": 0.03,
    "L6": 0.04,
    "lumbarised": 0.025,
    "sacralised": 0.025,
}
"""Numbering variants and how often they are drawn."""

CASTELLVI: Final = ("none", "Ia", "Ib", "IIa", "IIb", "IIIa", "IIIb", "IV")
"""Transitional types (Castellvi 1984): I broad transverse process, II joint with the ala, III
fusion with it; a on one side, b on both; IV a joint on one side and fusion on the other."""


def level_names(numbering: str) -> tuple[str, ...]:
    """Presacral levels of a numbering variant, from C2 down.

    Raises:
        GeometryError: No such variant.
    """
    if numbering not in NUMBERINGS:
        raise GeometryError(f"numbering is none of {', '.join(NUMBERINGS)}")
    thoracic = {"T11": 11, "T13": 13}.get(numbering, 12)
    lumbar = {"L4": 4, "L6": 6}.get(numbering, 5)
    names = [f"C{i}" for i in range(2, 8)]
    names += [f"T{i}" for i in range(1, thoracic + 1)]
    names += [f"L{i}" for i in range(1, lumbar + 1)]
    return tuple(names)


def norm_of(level: str) -> LevelNorm:
    """Mean size of a presacral level.

    Raises:
        GeometryError: No such level.
    """
    if level not in NORMS:
        raise GeometryError("no presacral level of that name")
    return NORMS[level]


def joined_sides(castellvi: str, *, left: bool) -> tuple[int, int]:
    """How the transitional vertebra meets the sacrum on its left and right side.

    Args:
        castellvi: One of `CASTELLVI`.
        left: For a one-sided type, whether that side is the left (of IV: whether the fused one is).

    Returns:
        Left and right: 0 free, 1 broad process, 2 joint, 3 fusion.

    Raises:
        GeometryError: No such type.
    """
    if castellvi not in CASTELLVI:
        raise GeometryError(f"Castellvi type is none of {', '.join(CASTELLVI)}")
    if castellvi == "none":
        return 0, 0
    if castellvi == "IV":
        return (3, 2) if left else (2, 3)
    kind = castellvi.count("I")
    if castellvi.endswith("b"):
        return kind, kind
    return (kind, 0) if left else (0, kind)
