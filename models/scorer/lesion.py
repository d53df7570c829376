"""How bright and dark marrow lies in a body, measured on the images: a reader's words in numbers.

A fracture's edema is a band along an endplate; degeneration holds to the endplate of a disc; tumour
fills the body and takes its fat. Places are in the body's own frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation
from models.scorer.contrast import MarrowContrast
from models.scorer.crops import CHANNELS, LevelCrops
from models.scorer.distribution import OWN_BODY
from models.scorer.quantiles import quantiles
from models.scorer.surroundings import FEWEST

THIRDS: Final = (1.0 / 3.0, 2.0 / 3.0)
COLUMNS: Final = 8
"""Parts of the depth in which bright marrow is looked for: a band crosses most of them."""

REPLACED_BELOW: Final = float(np.log(0.7))
"""T1 signal over normal marrow, log, below which its fat counts as replaced."""

SPARED_FROM: Final = float(np.log(0.9))
"""T1 signal from which marrow counts as spared (sign G2 of the feature table)."""


@dataclass(frozen=True, slots=True)
class BrightMarrow:
    """Where marrow brighter than the field lies in each body; NaN where none or not measured.

    Attributes:
        superior, middle, inferior: (level,) bright share of each third of the height.
        endplate_mm: (level,) median distance of bright marrow from the nearer endplate.
        band_mm: (level,) thickness along the height that holds 80 % of it.
        across: (level,) part of the depth in which any of it lies.
        posterior: (level,) bright share of the posterior quarter, where the pedicles join.
    """

    superior: NDArray[np.float64]
    middle: NDArray[np.float64]
    inferior: NDArray[np.float64]
    endplate_mm: NDArray[np.float64]
    band_mm: NDArray[np.float64]
    across: NDArray[np.float64]
    posterior: NDArray[np.float64]


def bright_marrow(contrast: MarrowContrast, localisation: Localisation) -> BrightMarrow:
    """Describe the bright marrow of every level that `measure_contrast` measured."""
    found = BrightMarrow(*(np.full(len(localisation.vertebrae), np.nan) for _ in range(7)))
    limit = float(np.log(contrast.limit))
    for level, voxels in contrast.bodies.items():
        vertebra = localisation.vertebrae[level]
        local = (voxels.points_lps_mm - vertebra.centroid_lps_mm) @ vertebra.axes_lps.T
        _describe(found, level, local, voxels.above >= limit)
    return found


def _describe(
    found: BrightMarrow, level: int, local: NDArray[np.float64], bright: NDArray[np.bool_]
) -> None:
    """Fill in one level; `local` is (n, 3) left, back, head mm."""
    head, back = local[:, 2], local[:, 1]
    low, high = quantiles(head, (0.02, 0.98))
    part = (head - low) / max(high - low, 1e-6)
    third = np.digitize(part, THIRDS)
    for values, which in ((found.inferior, 0), (found.middle, 1), (found.superior, 2)):
        if np.any(third == which):
            values[level] = float(bright[third == which].mean())
    front, behind = quantiles(back, (0.02, 0.98))
    depth = (back - front) / max(behind - front, 1e-6)
    if np.any(depth >= 0.75):
        found.posterior[level] = float(bright[depth >= 0.75].mean())
    if bright.sum() < FEWEST:
        return
    heads = head[bright]
    found.endplate_mm[level] = quantiles(np.minimum(high - heads, heads - low), (0.5,))[0]
    first, last = quantiles(heads, (0.1, 0.9))
    found.band_mm[level] = last - first
    column = np.clip((depth * COLUMNS).astype(np.int64), 0, COLUMNS - 1)
    among = [bright[column == number] for number in range(COLUMNS)]
    # A tenth of a column keeps single bright pixels from counting as a crossing.
    found.across[level] = float(np.mean([part.size > 0 and part.mean() >= 0.1 for part in among]))


def shares_of(
    crops: LevelCrops, channel: str, *, below: float | None = None, above: float | None = None
) -> NDArray[np.float64]:
    """(level,) share of each body's voxels below or from a log signal on; NaN where not shown."""
    shares = np.full(len(crops.array), np.nan)
    if channel not in crops.channels:
        return shares
    for level, crop in enumerate(crops.array):
        values = crop[CHANNELS.index(channel)][crop[-2] > OWN_BODY]
        if len(values) >= FEWEST:
            counted = values < below if below is not None else values >= (above or 0.0)
            shares[level] = float(counted.mean())
    return shares


def peak_ratio(contrast: MarrowContrast, count: int) -> NDArray[np.float64]:
    """(count,) 95 % quantile of each body's signal over the field; NaN where not measured."""
    peaks = np.full(count, np.nan)
    for level, voxels in contrast.bodies.items():
        peaks[level] = float(np.exp(quantiles(voxels.above, (0.95,))[0]))
    return peaks
