"""Ranges of measured signs in bodies with and without a finding, for the flag of disagreement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import BodySize, Coverage, LevelName, Vertebra
from models.scorer.agreement import PAIRS
from models.scorer.heads import HEADS
from models.scorer.measurements import HeightLoss, height_losses
from training.scorer.pool import LevelPool

INNER: Final = (0.05, 0.95)
"""Quantiles between which a sign is usual."""

FEWEST: Final = 25
"""Bodies of either kind that a range needs."""


def fit_agreements(
    held_out: LevelPool, heights_mm: Mapping[str, list[float]]
) -> dict[str, dict[str, list[float]]]:
    """The bundle's `agreements` section: "question/sign" to the two ranges.

    Args:
        held_out: Calibration cases.
        heights_mm: Of `reference_heights`.
    """
    losses = measured_losses(held_out, {k: (v[0], v[1], v[2]) for k, v in heights_mm.items()})
    found = {}
    for question, sign in PAIRS:
        truth = _truth(held_out, question)
        values = _values(held_out, sign, losses)
        known = np.isfinite(truth) & np.isfinite(values)
        sides = {"with": values[known & (truth > 0.5)], "without": values[known & (truth <= 0.5)]}
        if min(len(side) for side in sides.values()) >= FEWEST:
            found[f"{question}/{sign}"] = {
                name: [round(float(v), 4) for v in np.quantile(side, INNER)]
                for name, side in sides.items()
            }
    return found


def _truth(pool: LevelPool, question: str) -> NDArray[np.float64]:
    name = question if question in HEADS else f"sign_{question}"
    return np.stack(pool.targets)[:, HEADS.index(name)].astype(np.float64)


def _values(pool: LevelPool, sign: str, losses: list[HeightLoss | None]) -> NDArray[np.float64]:
    if sign == "height_loss":
        return np.array([np.nan if loss is None else loss.percent for loss in losses])
    return np.array([about.get("measured", {}).get(sign, np.nan) for about in pool.about])


def measured_losses(
    pool: LevelPool,
    reference_mm: Mapping[str, tuple[float, float, float]],
    intact: NDArray[np.bool_] | None = None,
) -> list[HeightLoss | None]:
    """Height loss of every level as measured within its study.

    Args:
        pool: Levels.
        reference_mm: Of the bundle.
        intact: (level,) which bodies heights are compared with; those without a fracture, as the
            truth has it, by default. What a program learns from must not know the truth.
    """
    if intact is None:
        intact = np.array([about["fracture"] == "none" for about in pool.about], dtype=bool)
    studies: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, about in enumerate(pool.about):
        studies[about["case"], about["sequence_set"]].append(number)
    losses: list[HeightLoss | None] = [None] * len(pool.about)
    for numbers in studies.values():
        levels = [pool.about[number] for number in numbers]
        vertebrae = [_vertebra(place, about) for place, about in enumerate(levels, start=1)]
        found = height_losses(vertebrae, intact[numbers].tolist(), reference_mm)
        for number, loss in zip(numbers, found, strict=True):
            losses[number] = loss
    return losses


def _vertebra(index: int, about: dict[str, Any]) -> Vertebra:
    heights = about["heights"]
    size = BodySize(0.0, 0.0, 0.0, *heights) if heights else None
    return Vertebra(
        index=index,
        name=LevelName(about["level"], 1.0),
        alternatives=(),
        coverage=Coverage.COMPLETE,
        centroid_lps_mm=np.zeros(3),
        axes_lps=np.eye(3),
        size=size,
        confidence=1.0,
    )
