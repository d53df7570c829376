"""Crops around vertebral bodies, real and synthetic alike: what the telltale looks at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from training.realism.specimens import Specimen

SIZE: Final = 64
"""Rows and columns of a crop, 1 mm each; the body's centre lies in the middle."""

SLICE_MM: Final = 4.0
"""Slice pitch that synthetic volumes are acquired with for the comparison: the real one."""

OFFSETS_MM: Final = (-8.0, 0.0, 8.0)
"""Slices taken, beside the body's centre."""

JITTER_MM: Final = 2.5
PERCENTILES: Final = (2.0, 98.0)
LEVELS: Final = 64
"""Grey levels kept. Real volumes were stored in 8 bits; both kinds are dithered and rounded alike,
so that the grey levels themselves tell nothing."""

LEAST_INSIDE: Final = 0.97
"""Part of a crop that must lie inside the image."""


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops of one kind of sequence.

    Attributes:
        images: (n, SIZE, SIZE) float32 in about 0..1.
        real: (n,) bool.
        patients: (n,) who each crop is of.
        names: (n,) patient, level and slice offset, for captions.
    """

    images: NDArray[np.float32]
    real: NDArray[np.bool_]
    patients: NDArray[np.str_]
    names: NDArray[np.str_]

    @property
    def count(self) -> int:
        """Number of crops."""
        return len(self.images)


def crops_of(
    specimens: Iterable[tuple[Specimen, bool]], rng: np.random.Generator, blur_mm: float = 0.0
) -> Crops:
    """Cut every whole body out of specimens, each told whether it is real.

    Args:
        specimens: With whether each is real.
        rng: Places crops a little beside the body's centre, and dithers.
        blur_mm: Standard deviation of a blur laid over both kinds, so that the resolution they
            were acquired with tells nothing.

    Raises:
        ValueError: No body lies far enough inside its image.
    """
    images, real, patients, names = [], [], [], []
    for specimen, is_real in specimens:
        pitch = np.array(specimen.volume.spacing.mm)
        for index, level in specimen.levels.items():
            centre = np.argwhere(specimen.body == index).mean(axis=0) * pitch
            for offset in OFFSETS_MM:
                image = _cut(specimen, centre + np.array([offset, 0.0, 0.0]), rng, blur_mm)
                if image is not None:
                    images.append(image)
                    real.append(is_real)
                    patients.append(specimen.patient)
                    names.append(f"{specimen.patient} {level} {offset:+.0f} mm")
    if not images:
        raise ValueError("no body lies far enough inside its image for a crop")
    return Crops(np.stack(images), np.array(real), np.array(patients), np.array(names))


def _cut(
    specimen: Specimen, centre: NDArray[np.float64], rng: np.random.Generator, blur_mm: float
) -> NDArray[np.float32] | None:
    spacing = specimen.volume.spacing
    k = round(centre[0] / spacing.slice_mm)
    if not 0 <= k < specimen.volume.shape[0]:
        return None
    steps = np.arange(SIZE) - (SIZE - 1) / 2
    shift = rng.uniform(-JITTER_MM, JITTER_MM, 2)
    rows = (centre[1] + shift[0] + steps) / spacing.row_mm
    columns = (centre[2] + shift[1] + steps) / spacing.column_mm
    inside = np.outer(_within(rows, specimen, 1), _within(columns, specimen, 2)).mean()
    if inside < LEAST_INSIDE:
        return None
    at = np.meshgrid(np.rint(rows), np.rint(columns), indexing="ij")
    # On the 1 mm grid of both kinds this is a plain crop: nothing is interpolated or smoothed.
    exact = np.allclose((spacing.row_mm, spacing.column_mm), 1.0, atol=1e-3)
    order = 0 if exact else 1
    where = at if exact else np.meshgrid(rows, columns, indexing="ij")
    crop = map_coordinates(specimen.volume.array[k], where, order=order, mode="nearest")
    return normalised(gaussian_filter(crop, blur_mm) if blur_mm else crop, rng)


def _within(positions: NDArray[np.float64], specimen: Specimen, axis: int) -> NDArray[np.bool_]:
    return (positions >= 0) & (positions <= specimen.volume.shape[axis] - 1)


def normalised(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Stretch a crop's percentiles to 0..1, then dither and round it to `LEVELS` grey levels."""
    low, high = np.percentile(crop, PERCENTILES)
    stretched = (crop - low) / max(float(high - low), 1e-6)
    dithered = np.clip(stretched, -0.1, 1.4) + rng.uniform(-0.5, 0.5, crop.shape) / LEVELS
    return np.asarray(np.rint(dithered * LEVELS) / LEVELS, dtype=np.float32)
