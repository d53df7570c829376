"""From network output to probability, call and prediction set, all by numbers the bundle carries.

Nothing here is a constant of the code: slopes, thresholds and quantiles are fitted on held-out
synthetic cases by `training.scorer` and travel in the bundle's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import BundleError
from models.findings import Acuity, Call, Etiology
from models.scorer.agreement import Agreement, read_agreements
from models.scorer.combination import Combination, read_combination
from models.scorer.contrast import ContrastRule
from models.scorer.crops import PRESENCE
from models.scorer.extent import LINES, ExtentModel, read_extent_model
from models.scorer.heads import BINARY_HEADS, HEADS

SECTION: Final = "vertebral_acuity"
"""Where in a bundle's metadata the numbers of this product lie."""

FAT_CONTRAST: Final = ("t1", "dixon_fat")
"""Channels without which benign and pathological look alike."""

FLUID_ONLY: Final = "fluid_only"
SEQUENCE_SETS: Final = ("fat_contrast", FLUID_ONLY)
"""Groups of levels that prediction sets are calibrated in, each by itself."""


@dataclass(frozen=True, slots=True)
class Platt:
    """Logistic recalibration of one head: probability = sigmoid(scale * logit + bias)."""

    scale: float
    bias: float

    def probability(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities of logits, same shape."""
        steepened = self.scale * logits.astype(np.float64) + self.bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(steepened, -40.0, 40.0))))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Two thresholds with what they were worth where they were chosen.

    Attributes:
        low: Below it the answer is absent.
        high: From it on the answer is present.
        sensitivity, specificity: Of `high` and of `low`'s complement on `chosen_on`: the share of
            positives called present, and of negatives called absent.
        chosen_on: The set, in words.
    """

    low: float
    high: float
    sensitivity: float
    specificity: float
    chosen_on: str

    def call(self, probability: float) -> Call:
        """Threshold a calibrated probability."""
        if probability >= self.high:
            return Call.PRESENT
        return Call.ABSENT if probability < self.low else Call.INDETERMINATE


@dataclass(frozen=True, slots=True)
class ScorerCalibration:
    """Everything the bundle says about turning outputs into findings.

    Attributes:
        platt: By head name.
        operating_points: "edema", "fracture", "unhealed", "pathological" and, in newer bundles,
            "discitis".
        etiology_quantile: Split-conformal quantile by sequence set: a class joins the set when
            1 - its probability is at most that.
        map_threshold: Probability from which a voxel of the edema map counts to the extent.
        reference_heights_mm: Level to its mean (anterior, middle, posterior) height; only ratios
            between levels are used.
        bounds: Statistic name to the (low, high) range seen in training.
        contrast: When measured contrast supports a call of edema.
        acuity_quantile: As `etiology_quantile`, of `acuity_chances`; empty for a bundle without.
        extent: Gives extents their interval; None for a bundle without.
        agreements: Ranges of measured signs that calls are held against.
        combination: Weighs answers and measured signs together; None for a bundle without.
    """

    platt: Mapping[str, Platt]
    operating_points: Mapping[str, OperatingPoint]
    etiology_quantile: Mapping[str, float]
    map_threshold: float
    reference_heights_mm: Mapping[str, tuple[float, float, float]]
    bounds: Mapping[str, tuple[float, float]]
    contrast: ContrastRule = field(default_factory=ContrastRule)
    acuity_quantile: Mapping[str, float] = field(default_factory=dict)
    extent: ExtentModel | None = None
    agreements: tuple[Agreement, ...] = ()
    combination: Combination | None = None

    def is_intact(self, heads: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(level,) whether the network alone, by its (level, len(HEADS)) output, sees no fracture.

        Heights are compared with such bodies; what is measured of them is then weighed.
        """
        logit = heads[:, HEADS.index("fracture")]
        if self.combination is not None:
            return np.asarray(logit < self.combination.intact_below)
        chance = self.platt["fracture"].probability(logit)
        return np.asarray(chance < self.operating_points["fracture"].low)

    def probabilities(self, heads: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Calibrated probabilities by head name of (level, len(HEADS)) answers.

        Where the bundle has a combination, they are those that it gave.
        """
        return {
            name: self.platt[name].probability(heads[:, HEADS.index(name)]) for name in BINARY_HEADS
        }

    def etiology_set(
        self, pathological_probability: float, sequence_set: str
    ) -> tuple[Etiology, ...]:
        """Split-conformal set of etiologies; never empty."""
        of_class = {
            Etiology.BENIGN: 1.0 - pathological_probability,
            Etiology.PATHOLOGICAL: pathological_probability,
        }
        return conformal_set(of_class, self.etiology_quantile[sequence_set])

    def acuity_set(self, unhealed: float, fracture: float, sequence_set: str) -> tuple[Acuity, ...]:
        """Split-conformal set of acuities; empty for a bundle that carries no quantile."""
        if sequence_set not in self.acuity_quantile:
            return ()
        chances = acuity_chances(unhealed, fracture)
        return conformal_set(chances, self.acuity_quantile[sequence_set])


Class = TypeVar("Class")


def conformal_set(chances: Mapping[Class, float], quantile: float) -> tuple[Class, ...]:
    """The classes whose missing probability is at most the quantile; the likeliest at least."""
    members = tuple(name for name, value in chances.items() if 1.0 - value <= quantile)
    return members or (max(chances, key=lambda name: chances[name]),)


def acuity_chances(unhealed: float, fracture: float) -> dict[Acuity, float]:
    """Probability of each acuity from those of two heads, brought to a sum of 1."""
    fractured = max(fracture, unhealed)
    return {
        Acuity.UNHEALED: unhealed,
        Acuity.HEALED: fractured - unhealed,
        Acuity.NO_FRACTURE: 1.0 - fractured,
    }


def sequence_set(presence: NDArray[np.float32]) -> str:
    """Which of `SEQUENCE_SETS` a level belongs to."""
    there = any(presence[PRESENCE.index(name)] > 0 for name in FAT_CONTRAST)
    return "fat_contrast" if there else FLUID_ONLY


def read_calibration(metadata: Mapping[str, Any]) -> ScorerCalibration:
    """Read the scorer's numbers from a bundle's metadata.

    Args:
        metadata: The whole metadata document.

    Raises:
        BundleError: Something is missing, or the heads are not those of this code.
    """
    try:
        section = metadata[SECTION]
        calibration, points = section["calibration"], section["operating_points"]
        if tuple(calibration["heads"]) != HEADS:
            raise BundleError("the scorer bundle has other heads than this version reads")
        found = ScorerCalibration(
            platt={
                name: Platt(float(pair["scale"]), float(pair["bias"]))
                for name, pair in calibration["platt"].items()
            },
            operating_points={
                name: OperatingPoint(
                    low=float(point["low"]),
                    high=float(point["high"]),
                    sensitivity=float(point["sensitivity"]),
                    specificity=float(point["specificity"]),
                    chosen_on=str(point["chosen_on"]),
                )
                for name, point in points.items()
            },
            etiology_quantile=_quantiles(calibration["etiology_quantile"]),
            map_threshold=float(calibration["map_threshold"]),
            reference_heights_mm={
                level: (float(heights[0]), float(heights[1]), float(heights[2]))
                for level, heights in calibration["reference_heights_mm"].items()
            },
            bounds={
                name: (float(pair[0]), float(pair[1]))
                for name, pair in calibration["bounds"].items()
            },
            contrast=_contrast_rule(calibration.get("contrast", {})),
            acuity_quantile=_quantiles(calibration.get("acuity_quantile", {})),
            extent=read_extent_model(calibration.get("extent")),
            agreements=read_agreements(calibration.get("agreements")),
            combination=read_combination(calibration.get("combination"), LINES),
        )
        _check_lines(found)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BundleError("the scorer bundle's calibration is incomplete") from error
    return found


def _check_lines(found: ScorerCalibration) -> None:
    """Refuse a bundle whose extent has its regressions in two places, or in none.

    One without any extent reads it off the map by a threshold.
    """
    model = found.extent
    if model is not None and (model.weights is None) != (found.combination is not None):
        raise ValueError("either the combination or the extent holds the regressions")


def _quantiles(stored: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in stored.items()}


def _contrast_rule(stored: Mapping[str, Any]) -> ContrastRule:
    """The bundle's rule of measured contrast; what it does not say is as in `ContrastRule`."""
    usual = ContrastRule()
    return ContrastRule(
        bright_ratio=float(stored.get("bright_ratio", usual.bright_ratio)),
        spread_factor={
            str(role): float(factor)
            for role, factor in stored.get("spread_factor", usual.spread_factor).items()
        },
        agrees_from=float(stored.get("agrees_from", usual.agrees_from)),
        clear_from=float(stored.get("clear_from", usual.clear_from)),
        chosen_on=str(stored.get("chosen_on", usual.chosen_on)),
    )
