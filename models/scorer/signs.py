"""Every measured sign of every level, by name: what reports list, baselines learn and calls face.

The network's answers do not enter here, save that heights are compared with bodies it calls intact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation
from models.scorer.contrast import MarrowContrast
from models.scorer.crops import LevelCrops
from models.scorer.lesion import (
    REPLACED_BELOW,
    SPARED_FROM,
    BrightMarrow,
    bright_marrow,
    peak_ratio,
    shares_of,
)
from models.scorer.measurements import (
    HeightLoss,
    dixon_signs,
    posterior_walls_mm,
    ratio_to_others,
    signal_ratios,
    void_fractions,
)
from models.scorer.surroundings import measure_surroundings

RATIO, FRACTION, MILLIMETRE, PERCENT = "ratio", "fraction", "mm", "%"

UNITS: Final[Mapping[str, str]] = {
    "fluid_ratio_to_neighbours": RATIO,
    "fluid_ratio_to_marrow_field": RATIO,
    "fluid_ratio_to_muscle": RATIO,
    "fluid_peak_ratio": RATIO,
    "bright_fraction": FRACTION,
    "bright_from": RATIO,
    "very_bright_fraction": FRACTION,
    "bright_superior_third": FRACTION,
    "bright_middle_third": FRACTION,
    "bright_inferior_third": FRACTION,
    "bright_posterior_quarter": FRACTION,
    "bright_endplate_distance": MILLIMETRE,
    "bright_band_thickness": MILLIMETRE,
    "bright_across": FRACTION,
    "pedicle_fluid_ratio": RATIO,
    "disc_fluid_ratio": RATIO,
    "disc_fluid_ratio_to_others": RATIO,
    "t1_ratio_to_neighbours": RATIO,
    "t1_ratio_to_muscle": RATIO,
    "t1_ratio_to_discs": RATIO,
    "t1_replaced_fraction": FRACTION,
    "t1_spared_fraction": FRACTION,
    "pedicle_t1_ratio": RATIO,
    "t2_ratio_to_neighbours": RATIO,
    "fat_ratio_to_neighbours": RATIO,
    "fat_fraction": FRACTION,
    "fat_fraction_ratio_to_neighbours": RATIO,
    "opposed_phase_ratio": RATIO,
    "void_fraction": FRACTION,
    "posterior_wall": MILLIMETRE,
    "height_loss_anterior": PERCENT,
    "height_loss_middle": PERCENT,
    "height_loss_posterior": PERCENT,
}
"""Name of a measured sign to its unit, in the order reports list them."""

SHOWN_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "fluid": ("fluid_", "bright_", "very_bright_", "pedicle_fluid_", "disc_fluid_"),
    "t1": ("t1_", "pedicle_t1_"),
    "t2": ("t2_",),
    "dixon_fat": ("fat_", "opposed_"),
}
"""Channel to how the names of the signs begin that cannot be measured without it."""

_OF_CHANNEL: Final = {
    "fluid": "fluid_ratio_to_neighbours",
    "t1": "t1_ratio_to_neighbours",
    "t2": "t2_ratio_to_neighbours",
    "dixon_fat": "fat_ratio_to_neighbours",
}


def measure_signs(
    crops: LevelCrops, localisation: Localisation, contrast: MarrowContrast
) -> dict[str, NDArray[np.float64]]:
    """Measure everything but heights, which need to know which bodies are intact.

    Args:
        crops: Of the study.
        localisation: Of the study.
        contrast: Of `measure_contrast`.

    Returns:
        Names of `UNITS` to (level,) values, NaN where a sign could not be measured.
    """
    count = len(crops.array)
    around = measure_surroundings(crops, localisation)
    dixon = dixon_signs(crops)
    shown = "fluid" in crops.channels
    signs = {_OF_CHANNEL[name]: ratios for name, ratios in signal_ratios(crops).items()}
    return signs | {
        **_of_bright(bright_marrow(contrast, localisation)),
        "bright_fraction": contrast.bright,
        "bright_from": np.full(count, contrast.limit if shown else np.nan),
        "very_bright_fraction": contrast.very_bright,
        "fluid_ratio_to_marrow_field": contrast.ratio,
        "fluid_peak_ratio": peak_ratio(contrast, count),
        "fluid_ratio_to_muscle": around.fluid_to_muscle,
        "pedicle_fluid_ratio": around.arch,
        "disc_fluid_ratio": around.disc,
        "disc_fluid_ratio_to_others": around.disc_to_others,
        "t1_ratio_to_muscle": around.t1_to_muscle,
        "t1_ratio_to_discs": around.t1_to_discs,
        "pedicle_t1_ratio": around.arch_t1,
        "t1_replaced_fraction": shares_of(crops, "t1", below=REPLACED_BELOW),
        "t1_spared_fraction": shares_of(crops, "t1", above=SPARED_FROM),
        "fat_fraction": dixon.fat_fraction,
        "fat_fraction_ratio_to_neighbours": ratio_to_others(dixon.fat_fraction),
        "opposed_phase_ratio": dixon.opposed_ratio,
        "void_fraction": void_fractions(crops.array),
        "posterior_wall": posterior_walls_mm(localisation, crops.boxes),
    }


def _of_bright(bright: BrightMarrow) -> dict[str, NDArray[np.float64]]:
    return {
        "bright_superior_third": bright.superior,
        "bright_middle_third": bright.middle,
        "bright_inferior_third": bright.inferior,
        "bright_posterior_quarter": bright.posterior,
        "bright_endplate_distance": bright.endplate_mm,
        "bright_band_thickness": bright.band_mm,
        "bright_across": bright.across,
    }


def height_signs(losses: Sequence[HeightLoss | None]) -> dict[str, NDArray[np.float64]]:
    """The heights' part of the table, from `height_losses`."""
    return {
        f"height_loss_{part}": np.array(
            [np.nan if loss is None else getattr(loss, part) for loss in losses]
        )
        for part in ("anterior", "middle", "posterior")
    }


def height_loss_percent(losses: Sequence[HeightLoss | None]) -> NDArray[np.float64]:
    """(level,) the largest loss of each body; NaN where it could not be measured."""
    return np.array([np.nan if loss is None else loss.percent for loss in losses])


def of_level(signs: Mapping[str, NDArray[np.float64]], level: int) -> dict[str, float]:
    """The signs of one level that could be measured, in the order of `UNITS`."""
    return {
        name: float(signs[name][level])
        for name in UNITS
        if name in signs and np.isfinite(signs[name][level])
    }
