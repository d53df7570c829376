"""Brightness of marrow edema on fluid-sensitive images, against the normal marrow beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.realism.intensity import inner_marrow
from training.realism.specimens import Specimen

QUANTILES: Final = (5, 25, 50, 75, 95)
SMALLEST_ML: Final = 0.05
"""Lesions smaller than this are not counted, as in the measured set."""

BESIDE: Final = 2
"""Healthy bodies that edema is compared with, the nearest ones."""


@dataclass(frozen=True, slots=True)
class EdemaRatios:
    """Edema over normal marrow in one patient.

    Attributes:
        lesions: Mean ratio of each body with edema.
        variations: Coefficient of variation inside each of them.
        voxels: Ratios of all edematous voxels, for quantiles.
    """

    lesions: list[float]
    variations: list[float]
    voxels: NDArray[np.float32]


def edema_ratios(specimen: Specimen) -> EdemaRatios:
    """Measure a patient's edematous bodies; empty when none, or no normal marrow is in view."""
    inner = inner_marrow(specimen)
    normal = np.isin(inner, sorted(specimen.healthy & set(specimen.levels)))
    if specimen.edema is None or not normal.any():
        return EdemaRatios([], [], np.empty(0, np.float32))
    wet = specimen.edema >= 0.5
    least = SMALLEST_ML / specimen.volume.spacing.voxel_ml
    lesions, variations, voxels = [], [], [np.empty(0, np.float32)]
    for index in specimen.levels:
        values = specimen.volume.array[(specimen.body == index) & wet]
        if len(values) >= max(least, 5):
            values = values / _marrow_beside(specimen, inner, index)
            lesions.append(float(values.mean()))
            variations.append(float(values.std() / values.mean()))
            voxels.append(values)
    return EdemaRatios(lesions, variations, np.concatenate(voxels))


def _marrow_beside(specimen: Specimen, inner: NDArray[np.uint8], index: int) -> float:
    """Median marrow of the nearest healthy bodies: the coil shades those far away differently.

    The measured set, sacroiliac joints, has its normal marrow within a few centimetres too.
    """
    healthy = [n for n in specimen.healthy & set(specimen.levels) if (inner == n).any()]
    nearest = sorted(healthy, key=lambda n: abs(n - index))[:BESIDE]
    return float(np.median(specimen.volume.array[np.isin(inner, nearest)]))


def voxel_quantiles(patients: list[EdemaRatios]) -> list[float]:
    """`QUANTILES` of the voxel ratios, every patient weighted equally."""
    each = [np.percentile(p.voxels, QUANTILES) for p in patients if len(p.voxels)]
    return [float(v) for v in np.mean(each, axis=0)] if each else [float("nan")] * len(QUANTILES)
