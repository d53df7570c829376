"""Figures of a crop that a person could name: what tells a phantom, in words."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, uniform_filter
from scipy.stats import kurtosis, skew

from training.realism.crops import SIZE
from training.realism.intensity import LAPLACIAN

Image = NDArray[np.float64]

MIDDLE: Final = SIZE // 2
MARROW: Final = slice(MIDDLE - 6, MIDDLE + 6)
"""Rows and columns that are marrow in every crop."""

BANDS_PER_MM: Final = (0.02, 0.05, 0.1, 0.16, 0.24, 0.34, 0.5)
"""Edges of the bands of spatial frequency, cycles per mm."""


def feature_table(images: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float64]]:
    """Names and (n, names) values of the features of (n, SIZE, SIZE) crops."""
    rows = [features_of(image.astype(np.float64)) for image in images]
    names = list(rows[0])
    return names, np.array([[row[name] for name in names] for row in rows])


def features_of(image: Image) -> dict[str, float]:
    """Features of one crop, by name."""
    return {
        **_histogram(image),
        **_marrow(image),
        **_spectrum(image),
        **_edges(image),
        **_regions(image),
    }


def _histogram(image: Image) -> dict[str, float]:
    flat = image.ravel()
    found = {f"histogram p{q}": float(np.percentile(flat, q)) for q in (10, 25, 50, 75, 90)}
    counts = np.histogram(flat, bins=32, range=(-0.1, 1.2))[0] / flat.size
    filled = counts[counts > 0]
    found["histogram entropy"] = float(-(filled * np.log(filled)).sum())
    found["histogram skew"] = float(skew(flat))
    return found


def _marrow(image: Image) -> dict[str, float]:
    marrow = image[MARROW, MARROW]
    level = float(np.median(marrow))
    y, x = np.mgrid[: len(marrow), : len(marrow)]
    design = np.column_stack([np.ones(marrow.size), y.ravel(), x.ravel()])
    fit = np.linalg.lstsq(design, marrow.ravel(), rcond=None)[0]
    rest = (marrow.ravel() - design @ fit).reshape(marrow.shape)
    scale = max(abs(level), 0.05)
    power = max(float((rest**2).mean()), 1e-9)
    lags = {
        lag: float(
            0.5 * ((rest[lag:] * rest[:-lag]).mean() + (rest[:, lag:] * rest[:, :-lag]).mean())
        )
        / power
        for lag in (1, 2, 4)
    }
    return {
        "marrow level": level,
        "marrow variation": float(rest.std()) / scale,
        "marrow AP slope": float(fit[2]) / scale,
        "marrow vertical slope": float(fit[1]) / scale,
        "marrow skew": float(skew(rest.ravel())),
        "marrow noise": float(np.abs(convolve(marrow, LAPLACIAN)[1:-1, 1:-1]).mean()) / scale,
        **{f"marrow ACF {lag} mm": value for lag, value in lags.items()},
    }


def _spectrum(image: Image) -> dict[str, float]:
    window = np.hanning(SIZE)[:, None] * np.hanning(SIZE)[None, :]
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    down, across = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    radius = np.hypot(down, across)
    total = power[radius < BANDS_PER_MM[-1]].sum()
    found = {}
    for low, high in pairwise(BANDS_PER_MM):
        share = power[(radius >= low) & (radius < high)].sum() / total
        found[f"spectrum {low}-{high} /mm"] = float(np.log10(share + 1e-12))
    fine = radius > 0.2
    upright = power[fine & (np.abs(down) > np.abs(across))].sum()
    found["fine detail, rows over columns"] = float(np.log10(upright / power[fine].sum() + 1e-12))
    return found


def _edges(image: Image) -> dict[str, float]:
    """Endplates above and below and the posterior wall: how sharp, and how dark the line there."""
    level = float(np.median(image[MARROW, MARROW]))
    band = image[:, MIDDLE - 5 : MIDDLE + 5].mean(axis=1)
    wall = image[MIDDLE - 4 : MIDDLE + 4].mean(axis=0)
    found = {}
    for name, line in (
        ("endplate", band[MIDDLE::-1][:24]),
        ("lower endplate", band[MIDDLE:][:24]),
        ("posterior wall", wall[MIDDLE:][:26]),
        ("anterior wall", wall[MIDDLE::-1][:26]),
    ):
        outside = line[8:]
        steps = np.abs(np.diff(outside))
        found[f"{name} steepness"] = float(steps.max()) / max(abs(level), 0.05)
        found[f"{name} darkest"] = float(outside.min()) - level
        found[f"{name} width mm"] = float(
            (outside.max() - outside.min()) / max(float(steps.max()), 1e-3)
        )
    return found


def _regions(image: Image) -> dict[str, float]:
    mean = uniform_filter(image, 3)
    local = np.sqrt(np.clip(uniform_filter(image**2, 3) - mean**2, 0.0, None))
    gradient = np.hypot(*np.gradient(mean))
    found = {
        "flat share": float((local < 0.02).mean()),
        "busy share": float((local > 0.12).mean()),
        "gradient p95": float(np.percentile(gradient, 95)),
        "gradient peakedness": float(kurtosis(gradient.ravel())),
        "dark share": float((image < 0.06).mean()),
        "bright share": float((image > 0.94).mean()),
    }
    for name, columns in (
        ("prevertebral", slice(0, 12)),
        ("canal", slice(MIDDLE + 16, MIDDLE + 26)),
        ("dorsal", slice(SIZE - 6, SIZE)),
    ):
        part = image[:, columns]
        found[f"{name} level"] = float(part.mean())
        found[f"{name} variation"] = float(part.std())
        found[f"{name} local detail"] = float(local[:, columns].mean())
    return found
