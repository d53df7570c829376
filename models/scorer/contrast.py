"""The measured sign of edema: marrow that outshines what the study's own marrow lets one expect.

A smooth field is fitted to all bodies of the fluid-sensitive series at once, robustly, so that
affected bodies do not pull it towards them. What is then clearly brighter than the field is
counted. A call of edema needs this sign beside the network's answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine, to_lps
from models.scorer.crops import CHANNELS, LevelCrops
from models.scorer.distribution import OWN_BODY
from models.scorer.normalisation import DARK
from models.scorer.quantiles import quantiles
from models.volume import Role

FEWEST_VOXELS: Final = 20
"""A body with fewer inner voxels in its crop is not measured."""

FEWEST_BODIES: Final = (2, 3, 5)
"""Bodies needed for anything to be measured, for a trend along the spine, and for its curvature."""

FIT_VOXELS: Final = 400
"""Voxels a body gives to the fit; its share is counted over all."""

DOUBT: Final = (0.12, 0.084)
"""Distance from the field, log signal, at which a voxel counts half in the fit: darker, brighter.
Less above than below, because edema is bright."""

PRIOR_SD: Final = (0.1, 0.1, 0.03, 0.0025)
"""Prior SD of the field's slopes to the left, to the back and to the head (log signal per cm) and
of its curvature along the spine (per cm squared)."""

BODY_SD: Final = 0.1
"""SD of a body's log signal about the field that needs no explanation."""

START: Final = 0.3
"""Quantile of all marrow where the fit begins: it finds the normal bodies even where half are
bright."""

ROUNDS: Final = 25
"""Reweightings of the fit; the field then moves by less than 0.001."""

VERY_BRIGHT: Final = 1.5
"""Multiple of the field that is counted beside the rule's own limit."""

DARKEST: Final = 0.05
"""Multiple of the marrow field under which nothing is told apart any more."""


@dataclass(frozen=True, slots=True)
class ContrastRule:
    """From when on measured contrast counts; a bundle may carry its own.

    Attributes:
        bright_ratio: Multiple of the field from which a voxel is bright.
        spread_factor: By role, how many SD of the marrow of this study's calmer bodies a voxel must
            lie above the field as well. Patches of red marrow between fat stand out in a water
            image without edema; 0 where it is not asked.
        agrees_from: Bright share of a body from which the measurement supports edema.
        clear_from: Bright share from which an answer of "absent" is flagged.
        chosen_on: The sets, in words.
    """

    bright_ratio: float = 1.3
    spread_factor: Mapping[str, float] = field(
        default_factory=lambda: {Role.DIXON_WATER.value: 2.5}
    )
    agrees_from: float = 0.08
    clear_from: float = 0.25
    chosen_on: str = (
        "held-out synthetic cases, both halves; checked on 26 real studies, which were looked at "
        "while it was chosen"
    )

    def limit(self, role: str, spread: float) -> float:
        """Log signal above the field from which a voxel is bright."""
        return max(float(np.log(self.bright_ratio)), self.spread_factor.get(role, 0.0) * spread)


@dataclass(frozen=True, slots=True)
class MarrowVoxels:
    """Inner voxels of a body.

    Attributes:
        points_lps_mm: (n, 3).
        above: (n,) log signal over the field.
    """

    points_lps_mm: NDArray[np.float64]
    above: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MarrowContrast:
    """How each body stands against the field; NaN where it was not measured.

    Attributes:
        bright: (level,) share of the body's inner voxels from `limit` on.
        very_bright: (level,) share from `VERY_BRIGHT` on.
        ratio: (level,) median signal over the field.
        limit: Multiple of the field from which a voxel was counted as bright.
        bodies: By level, for the levels that were measured, where its inner voxels lie and how
            far they are above the field.
    """

    bright: NDArray[np.float64]
    very_bright: NDArray[np.float64]
    ratio: NDArray[np.float64]
    limit: float
    bodies: Mapping[int, MarrowVoxels] = field(default_factory=dict)


def measure_contrast(
    crops: LevelCrops, judged: Sequence[bool], rule: ContrastRule
) -> MarrowContrast:
    """Measure a study's fluid-sensitive series.

    Args:
        crops: Of the study.
        judged: Per level, whether it takes part: the sacrum lies deeper and its marrow differs.
        rule: What counts as bright.

    Returns:
        All NaN without a fluid-sensitive series.
    """
    if "fluid" not in crops.channels:
        return _unmeasured(len(crops.array), rule)
    role = crops.channels["fluid"].volume.role.value
    image = crops.array[:, CHANNELS.index("fluid")]
    own = crops.array[:, -2] > OWN_BODY
    own[~np.asarray(judged, dtype=bool)] = False
    return contrast_of(image, own, crops.affines, role, rule)


def _unmeasured(count: int, rule: ContrastRule) -> MarrowContrast:
    nothing = np.full(count, np.nan)
    return MarrowContrast(nothing, nothing.copy(), nothing.copy(), rule.bright_ratio)


def contrast_of(
    log_ratio: NDArray[np.float32],
    own: NDArray[np.bool_],
    affines: NDArray[np.float64],
    role: str,
    rule: ContrastRule,
) -> MarrowContrast:
    """Measure crops given as arrays; see `measure_contrast`.

    Args:
        log_ratio: (level, slice, row, column) as in the fluid channel of a crop.
        own: Of the same shape, each crop's own body.
        affines: (level, 4, 4) crop index to LPS mm.
        role: Of the series.
        rule: What counts as bright.
    """
    count = len(log_ratio)
    points, signals, levels = [], [], []
    for level in range(count):
        where, signal = _inner_marrow(log_ratio[level], own[level], affines[level])
        if len(signal) >= FEWEST_VOXELS:
            points.append(where)
            signals.append(signal)
            levels.append(level)
    contrast = _unmeasured(count, rule)
    if len(levels) < FEWEST_BODIES[0]:
        return contrast
    above = _above_field(points, signals)
    limit = rule.limit(role, _calm_spread(above))
    bodies = {}
    for level, where, residual in zip(levels, points, above, strict=True):
        bodies[level] = MarrowVoxels(10.0 * where, residual)
        contrast.bright[level] = float((residual >= limit).mean())
        contrast.very_bright[level] = float((residual >= np.log(VERY_BRIGHT)).mean())
        contrast.ratio[level] = float(np.exp(quantiles(residual, (0.5,))[0]))
    return MarrowContrast(
        contrast.bright, contrast.very_bright, contrast.ratio, float(np.exp(limit)), bodies
    )


def _inner_marrow(
    log_ratio: NDArray[np.float32], own: NDArray[np.bool_], affine: Affine
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LPS cm and log signal of a body's voxels that have no neighbour outside it in plane.

    The signal is the mean of 3 x 3 pixels: edema covers millimetres, single pixels are noise.
    """
    voxels = np.argwhere(own)
    if not len(voxels):
        return np.zeros((0, 3)), np.zeros(0)
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    inner = _in_plane_sum(own[box].astype(np.float64)) > 8.5
    ratio = np.exp(log_ratio[box].astype(np.float64)) * (1.0 + DARK) - DARK
    logs = np.where(inner, np.log(np.maximum(ratio, DARKEST)), 0.0)
    near = _in_plane_sum(inner.astype(np.float64))
    kept = np.argwhere(inner)
    place = kept + low
    mean = _in_plane_sum(logs)[tuple(kept.T)] / near[tuple(kept.T)]
    return to_lps(affine, place) / 10.0, mean


def _in_plane_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over 3 x 3 pixels; outside the array there is nothing."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray(rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:])


def _above_field(
    points: Sequence[NDArray[np.float64]], signals: Sequence[NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Log signal over the robust field, per body.

    Field: log-linear in position, quadratic along the spine, with priors; every body weighs the
    same. Few bodies do not support a trend along the spine and get none.
    """
    centre = np.mean([where.mean(axis=0) for where in points], axis=0)
    terms = 3 + sum(len(points) >= fewest for fewest in FEWEST_BODIES[1:])
    designs = [_design(where - centre)[:, :terms] for where in points]
    steps = [max(1, len(signal) // FIT_VOXELS) for signal in signals]
    design = np.concatenate([d[::step] for d, step in zip(designs, steps, strict=True)])
    signal = np.concatenate([s[::step] for s, step in zip(signals, steps, strict=True)])
    share = np.concatenate(
        [
            np.full(len(s[::step]), 1.0 / len(s[::step]))
            for s, step in zip(signals, steps, strict=True)
        ]
    )
    penalty = np.diag([0.0, *((BODY_SD / sd) ** 2 for sd in PRIOR_SD)])[:terms, :terms]
    found = np.zeros(terms)
    found[0] = quantiles(signal, (START,))[0]
    for _ in range(ROUNDS):
        residual = signal - design @ found
        doubt = np.where(residual > 0, DOUBT[1], DOUBT[0])
        weighted = design * (share / (1.0 + (residual / doubt) ** 2))[:, None]
        found = np.linalg.solve(weighted.T @ design + penalty, weighted.T @ signal)
    return [s - d @ found for s, d in zip(signals, designs, strict=True)]


def _design(away_cm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 5): constant, left, back, head, head squared."""
    return np.column_stack([np.ones(len(away_cm)), away_cm, away_cm[:, 2] ** 2])


def _calm_spread(above: Sequence[NDArray[np.float64]]) -> float:
    """SD of the marrow of the calmer bodies, by quartiles: edema in the others widens theirs."""
    spreads = []
    for part in above:
        low, high = quantiles(part, (0.25, 0.75))
        spreads.append((high - low) / 1.349)
    return quantiles(np.array(spreads), (0.25,))[0]
