"""Bring each series to one scale, so that 1.0 is this study's own normal marrow wherever it lies.

A surface coil makes marrow brighter towards the back (up to 16 % per cm) and towards the middle of
the coil. A level is judged against its neighbours, so the field is taken out with what marrow
itself shows: the slope inside bodies, and a smooth trend of the bodies' medians along the spine
from which single bodies may stand out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation
from models.geometry import to_index, to_lps
from models.scorer.boxes import Box, body_voxels
from models.scorer.quantiles import quantiles
from models.scorer.resampling import sample_points
from models.volume import Volume

POINTS_PER_BODY: Final = 600
"""Marrow samples a body gives to the fit; more changes nothing but the time."""

SLOPE_LIMIT: Final = 0.3
"""Steepest in-body slope believed, log signal per cm (measured: up to 0.15 in front-back)."""

TREND_PRIOR_SD: Final = (10.0, 0.03, 0.0025)
"""Prior SD of the trend along the spine: level (free), slope per cm, curvature per cm squared."""

BODY_NOISE_SD: Final = 0.10
"""SD of a body's log signal about the trend that needs no explanation."""

OUTLIER_SCALE: Final = 0.12
"""Distance from the trend (log signal) at which a body counts half."""

DARK: Final = 0.15
"""Added before the logarithm: below this share of marrow, noise is not worth spreading."""

LOG_RANGE: Final = (-2.0, 2.0)
"""Clip of the network's intensities, natural log of multiples of normal marrow."""


@dataclass(frozen=True, slots=True)
class MarrowField:
    """Expected signal of normal marrow anywhere in a series.

    log signal = trend(head-foot) + slope_back * back + slope_left * left, positions in cm relative
    to the line through the bodies' centroids.

    Attributes:
        heights_cm: (n,) cranio-caudal positions of the bodies' centroids, increasing.
        spine_cm: (n, 2) left and back coordinates of the centroids at those heights.
        slopes: (2,) log signal per cm to the left and to the back.
        trend: (3,) constant, per cm, per cm squared.
        centre_cm: Height at which the trend is expanded.
    """

    heights_cm: NDArray[np.float64]
    spine_cm: NDArray[np.float64]
    slopes: NDArray[np.float64]
    trend: NDArray[np.float64]
    centre_cm: float

    def log_at(self, points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log of normal marrow's signal at (..., 3) LPS mm; outside the bodies' range held."""
        cm = points_lps_mm / 10.0
        height = np.clip(cm[..., 2], self.heights_cm[0] - 2.0, self.heights_cm[-1] + 2.0)
        away = np.stack(
            [cm[..., axis] - np.interp(height, self.heights_cm, self.spine_cm[:, axis])
             for axis in (0, 1)],
            axis=-1,
        )  # fmt: skip
        # Beyond the trunk's depth the exponential would run away; nothing there is judged.
        sideways = np.clip(away, -6.0, 6.0) @ self.slopes
        rise = height - self.centre_cm
        return np.asarray(self.trend[0] + self.trend[1] * rise + self.trend[2] * rise**2 + sideways)


def marrow_points(
    localisation: Localisation, boxes: Mapping[int, Box]
) -> dict[int, NDArray[np.float64]]:
    """LPS mm of voxels well inside each body, at most `POINTS_PER_BODY` of each.

    The sacrum is left out: it lies deeper and its marrow differs.

    Args:
        localisation: Of the study.
        boxes: Of `body_boxes` of its labels.

    Returns:
        Index of the vertebra to (n, 3) points; a body too small to erode gives all its voxels.
    """
    points = {}
    for vertebra in localisation.vertebrae:
        if vertebra.level == "S1" or vertebra.index not in boxes:
            continue
        voxels = _inner_voxels(localisation.labels, vertebra.index, boxes[vertebra.index])
        step = max(1, len(voxels) // POINTS_PER_BODY)
        points[vertebra.index] = to_lps(localisation.affine, voxels[::step])
    return points


def _inner_voxels(labels: NDArray[np.uint8], index: int, box: Box) -> NDArray[np.int64]:
    """Voxels of a body whose in-plane neighbours at two steps are of it as well."""
    own = labels[box] == index
    mask = np.pad(own, 2)
    inner = own.copy()
    for axis in np.argsort(mask.shape)[1:]:
        for start in (0, 4):
            window = [slice(2, -2)] * 3
            window[int(axis)] = slice(start, start + own.shape[axis])
            inner &= mask[tuple(window)]
    kept = np.argwhere(inner) + np.array([part.start for part in box])
    return kept if len(kept) >= 20 else body_voxels(labels, index, box)


def fit_marrow_field(
    volume: Volume, points: dict[int, NDArray[np.float64]], quantile: float = 0.5
) -> MarrowField | None:
    """Fit normal marrow's signal to a series.

    Args:
        volume: The series.
        points: Of `marrow_points`.
        quantile: Of a body's log signal that stands for its normal marrow. Where disease is
            bright a lower one, where it is dark a higher one keeps partial disease out.

    Returns:
        The field, or None when no body lies inside the series with signal.
    """
    samples = _log_samples(volume, points)
    if not samples:
        return None
    samples.sort(key=lambda sample: float(sample[0][:, 2].mean()))
    centres = np.array([where.mean(axis=0) for where, _ in samples])
    slopes = _in_body_slopes(samples)
    levels = np.array(
        [
            quantiles(log - (where - centre)[:, :2] @ slopes, (quantile,))[0]
            for (where, log), centre in zip(samples, centres, strict=True)
        ]
    )
    middle = float(centres[:, 2].mean())
    return MarrowField(
        heights_cm=centres[:, 2],
        spine_cm=centres[:, :2],
        slopes=slopes,
        trend=_robust_trend(centres[:, 2] - middle, levels),
        centre_cm=middle,
    )


def _log_samples(
    volume: Volume, points: dict[int, NDArray[np.float64]]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """LPS cm and log signal of each body's points that lie in the series and have signal."""
    if not points:
        return []
    places = np.concatenate(list(points.values()))
    signal, inside = sample_points(volume.array, to_index(volume.affine, places))
    usable = inside & (signal > 0)
    logs = np.log(np.where(usable, signal, 1.0).astype(np.float64))
    samples = []
    ends = np.cumsum([len(where) for where in points.values()])
    for where, end in zip(points.values(), ends, strict=True):
        part = slice(int(end) - len(where), int(end))
        kept = usable[part]
        if kept.sum() >= 10:
            samples.append((where[kept] / 10.0, logs[part][kept]))
    return samples


def _in_body_slopes(
    samples: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    """Median over bodies of the log signal's slope to the left and to the back.

    Head-foot is fitted with them and thrown away: endplate-bound disease lives there. The median
    over bodies keeps a lesion in a minority of them out of the field.
    """
    slopes = []
    for where, log in samples:
        design = np.column_stack([where - where.mean(axis=0), np.ones(len(where))])
        slopes.append(np.linalg.lstsq(design, log, rcond=None)[0][:2])
    return np.asarray(np.clip(np.median(slopes, axis=0), -SLOPE_LIMIT, SLOPE_LIMIT))


def _robust_trend(
    heights_cm: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Level, slope and curvature of the bodies' signal along the spine, outliers downweighted.

    Cauchy weights with a Gaussian prior on slope and curvature: one bright body between normal
    ones is not mistaken for a field, and few bodies give a flat trend.
    """
    design = np.column_stack([np.ones_like(heights_cm), heights_cm, heights_cm**2])
    penalty = np.diag([BODY_NOISE_SD**2 / sd**2 for sd in TREND_PRIOR_SD])
    trend = np.array([np.median(levels), 0.0, 0.0])
    for _ in range(20):
        residual = levels - design @ trend
        weights = 1.0 / (1.0 + (residual / OUTLIER_SCALE) ** 2)
        weighted = design * weights[:, None]
        trend = np.linalg.solve(weighted.T @ design + penalty, weighted.T @ levels)
    return trend


def to_log_ratio(ratio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiples of normal marrow to the network's clipped logarithm (1.0 maps near 0)."""
    logs = np.log(np.maximum(ratio, 0.0) + DARK) - np.float32(np.log(1.0 + DARK))
    return np.clip(logs, *LOG_RANGE).astype(np.float32, copy=False)
