"""What the network is to answer for a level, from the truth of its synthetic spine."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.heads import BINARY_HEADS, HEADS, MIMICS, NEEDS_FLUID, SHAPES, SIGNS
from training.phantom.painting.tissues import LevelTruth

EDEMA_PRESENT: Final = 0.05
EDEMA_ABSENT: Final = 0.005
"""Edematous part of the body from which edema is present, and below which it is absent; between
the two the question is not asked."""

UNKNOWN: Final = np.float32(np.nan)
"""A target that does not apply; the loss leaves it out."""

_TRUTH_OF_MIMIC: Final = {"haemangioma": ("haemangioma", "haemangioma_atypical")}


def level_targets(truth: LevelTruth, edema_fraction: float) -> NDArray[np.float32]:
    """Targets in the order of `HEADS`.

    Args:
        truth: Of the level.
        edema_fraction: Edematous part of the body as acquired.

    Returns:
        (len(HEADS),) float32 of 0, 1 and `UNKNOWN`; `height_loss` as a fraction.
    """
    edema = UNKNOWN
    if edema_fraction >= EDEMA_PRESENT:
        edema = np.float32(1.0)
    elif edema_fraction <= EDEMA_ABSENT:
        edema = np.float32(0.0)
    answers: dict[str, float | np.float32] = {
        "edema": edema,
        "fracture": truth.has_fracture,
        # Edema too faint to be seen cannot make a fracture unhealed for a reader either.
        "unhealed": UNKNOWN if truth.unhealed and edema != 1.0 else truth.unhealed,
        "pathological": _pathological(truth, edema_fraction),
        "height_loss": truth.height_loss_percent / 100.0,
    }
    for mimic in MIMICS:
        names = _TRUTH_OF_MIMIC.get(mimic, (mimic,))
        drawn = any(name in truth.mimics for name in names)
        answers[f"mimic_{mimic}"] = drawn or (mimic == "cement" and truth.stage == "cemented")
    for sign, code in SIGNS.items():
        answers[f"sign_{sign}"] = truth.signs.get(code, False)
    if not (truth.has_fracture and edema_fraction >= EDEMA_PRESENT):
        answers["sign_spared_marrow"] = UNKNOWN
    for shape in SHAPES:
        answers[f"shape_{shape}"] = truth.fracture == shape
    return np.array([answers[name] for name in HEADS], dtype=np.float32)


def _pathological(truth: LevelTruth, edema_fraction: float) -> float | np.float32:
    """Etiology is asked only where a fracture or an edema is there to be explained."""
    if truth.etiology == "pathological":
        return 1.0
    asked = truth.has_fracture or edema_fraction >= EDEMA_PRESENT
    return 0.0 if asked else UNKNOWN


def without_fluid(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Targets when no fluid-sensitive series is shown: what only such a series tells is dropped."""
    kept = targets.copy()
    for column, name in enumerate(HEADS):
        if name in BINARY_HEADS and name in NEEDS_FLUID:
            kept[..., column] = UNKNOWN
    return kept
