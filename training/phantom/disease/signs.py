"""How often each sign is drawn in benign and in pathological fractures.

Sources (clinical notes, section 2.1): B1 Uetani 2004 70/94 %; B2 21 of 29 against 0 of 23, and
edema of the pedicle in acute benign fractures (specificity 94 % to 41 % over studies); B3 80/100;
B5 16 of 29 against 0 of 23; B6 20 of 27 against 1 of 14; B7 5 of 7 against 0 of 13; B9 13 of 29;
B10 and B11 Schmeel 2018 and opposed-phase ratio 93.6/88.5; G1 93 % and G2 85 % of benign (Jung
2003, incomplete replacement in 13 of 14); G3 16/100; G4 Baur 2002 40/94; G7 20 of 23; G8 13 of 13.
A share that no study gives is set low and not to zero, so that no sign decides alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np


class Rate(NamedTuple):
    """Share of deformed acute fractures with a sign."""

    benign: float
    pathological: float


RATES: Final[Mapping[str, Rate]] = {
    "B1": Rate(0.06, 0.70),
    "B2": Rate(0.22, 0.72),
    "B3": Rate(0.01, 0.80),
    "B5": Rate(0.01, 0.55),
    "B6": Rate(0.07, 0.74),
    "B7": Rate(0.03, 0.71),
    "B9": Rate(0.05, 0.45),
    "B10": Rate(0.10, 0.94),
    "B11": Rate(0.10, 0.94),
    "G1": Rate(0.93, 0.12),
    "G2": Rate(0.85, 0.26),
    "G3": Rate(0.16, 0.01),
    "G4": Rate(0.40, 0.06),
    "G5": Rate(0.08, 0.01),
    "G7": Rate(0.87, 0.40),
    "G8": Rate(0.97, 0.29),
}

ENCASING: Final = 0.45
"""Share of epidural masses that wrap more than half of the sac (B4)."""


def drawn(rng: np.random.Generator, code: str, *, pathological: bool, scale: float = 1.0) -> bool:
    """Whether a sign is drawn, at `scale` times its published rate."""
    rate = RATES[code].pathological if pathological else RATES[code].benign
    return bool(rng.random() < scale * rate)


def endplate_sign(rng: np.random.Generator, *, pathological: bool) -> set[str]:
    """The angled (B9) or the concave endplate (G7), which exclude each other, or neither."""
    chance = float(rng.random())
    angled, concave = RATES["B9"], RATES["G7"]
    first = angled.pathological if pathological else angled.benign
    second = concave.pathological if pathological else concave.benign
    if chance < first:
        return {"B9"}
    return {"G7"} if chance < first + second else set()
