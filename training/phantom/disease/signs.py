"""How often each sign is drawn in benign and in pathological fractures.

Sources (clinical notes, section 2.1): B1 Uetani 2004 70/94 %; B2 21 of 29 against 0 of 23, and
edema of the pedicle in acute benign fractures (specificity 94 % to 41 % over studies); B3 80/100;
B5 16 of 29 against 0 of 23; B6 20 of 27 against 1 of 14; B7 5 of 7 against 0 of 13; B9 13 of 29;
B10 and B11 Schmeel 2018 and opposed-phase ratio 93.6/88.5; G1 93 % and G2 85 % of benign (Jung
2003, incomplete replacement in 13 of 14); G3 16/100; G4 Baur 2002 40/94; G7 20 of 23; G8 13 of 13.
None of n is no proof of never: there 1 / (2 n + 2) is drawn (Jeffreys), and a share that no study
gives is set low and not to zero, so that no sign decides alone. Benign masses are haematomas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np


class Rate(NamedTuple):
    """Share of deformed acute fractures of either kind."""

    benign: float
    pathological: float


RATES: Final[Mapping[str, Rate]] = {
    "B1": Rate(0.06, 0.70),
    "B2": Rate(0.22, 0.72),
    "B3": Rate(0.02, 0.80),
    "B5": Rate(0.02, 0.55),
    "B6": Rate(0.07, 0.74),
    "B7": Rate(0.035, 0.71),
    "B9": Rate(0.05, 0.45),
    "B10": Rate(0.10, 0.94),
    "B11": Rate(0.10, 0.94),
    "G1": Rate(0.93, 0.12),
    "G2": Rate(0.85, 0.26),
    "G3": Rate(0.16, 0.01),
    "G4": Rate(0.40, 0.06),
    "G5": Rate(0.08, 0.01),
    "G7": Rate(0.87, 0.40),
    "G8": Rate(0.965, 0.29),
}

"""The margin (B7 ill-defined, G8 sharp) is that of fractures that spare a part of the marrow: one
that changes the whole body has none."""

SHAPES: Final[Mapping[str, Rate]] = {
    "wedge": Rate(0.50, 0.40),
    "biconcave": Rate(0.29, 0.28),
    "crush": Rate(0.16, 0.32),
    "pincer": Rate(0.05, 0.0),
}
"""Shares of the shapes; a pincer fracture is a split by force, not a body that gave way."""

ENCASING: Final = Rate(0.10, 0.45)
"""Share of epidural masses that wrap more than half of the sac (B4)."""

UNDEFORMED_SCALE: Final = 0.4
"""Signs of spread outside the body are rarer while it stands."""

HAEMATOMA: Final = 0.45
"""Share of acute deformed bodies with a rim of blood, whatever broke them, where no paraspinal mass
takes its place."""


def drawn(rng: np.random.Generator, code: str, *, pathological: bool, scale: float = 1.0) -> bool:
    """Whether a sign is drawn, at `scale` times its published rate."""
    rate = RATES[code].pathological if pathological else RATES[code].benign
    return bool(rng.random() < scale * rate)


def either(
    rng: np.random.Generator, first: str, second: str, *, pathological: bool, scale: float = 1.0
) -> set[str]:
    """One of two signs that exclude each other, or neither, at `scale` times their rates."""
    rates = (RATES[first], RATES[second])
    shares = [scale * (rate.pathological if pathological else rate.benign) for rate in rates]
    chance = float(rng.random())
    if chance < shares[0]:
        return {first}
    return {second} if chance < sum(shares) else set()


def sample_shape(rng: np.random.Generator, *, pathological: bool) -> str:
    """The shape of a deformed body."""
    shares = [rate.pathological if pathological else rate.benign for rate in SHAPES.values()]
    return str(rng.choice(list(SHAPES), p=shares))


def endplate_sign(rng: np.random.Generator, shape: str, *, pathological: bool) -> set[str]:
    """The angled (B9) or the concave endplate (G7), which exclude each other, or neither.

    A biconcave body has one of them; a pincer fracture has neither. Those of wedged and crushed
    bodies make up the rest of the published rates.

    Args:
        rng: Source.
        shape: Of the deformed body.
        pathological: Which rates hold.
    """
    if shape == "pincer":
        return set()
    angled, concave, biconcave, split = (
        rate.pathological if pathological else rate.benign
        for rate in (RATES["B9"], RATES["G7"], SHAPES["biconcave"], SHAPES["pincer"])
    )
    angled /= 1.0 - split
    concave = (concave - biconcave * (1.0 - angled)) / (1.0 - biconcave - split)
    chance = float(rng.random())
    if chance < angled:
        return {"B9"}
    return {"G7"} if shape == "biconcave" or chance < angled + concave else set()
