"""Changes of marrow drawn for many diseases: bands, patches, halos and faint unrest.

Free water and fat together set the contrast. In marrow of 50 % fat, STIR protocols show free water
of 40 with all fat left at 1.2 times normal marrow, 64 at 1.3, 128 at 1.55 (medians); losing a third
of the fat multiplies that by 1.12. Measured lesions have 0.99, 1.23, 1.54, 1.96 and 2.55 times
normal marrow at the 5th to 95th percentile (simulator statistics, section 1): faint ones are the
rule.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

import numpy as np

from training.phantom.disease.parts import (
    BALL,
    BAND,
    EVERYWHERE,
    PATCHES,
    UNCHANGED,
    WHOLE_BODY,
    Ball,
    Change,
)
from training.phantom.numbers import held
from training.phantom.painting.kernels import sample_texture

TEXTURE_SD: Final = 0.86
"""Measured standard deviation of `grain` over a body."""


def lognormal(rng: np.random.Generator, median: float, spread: float) -> float:
    """A positive number with a median and a standard deviation of its logarithm."""
    return float(median * np.exp(spread * rng.normal()))


def texture_cut(part: float) -> float:
    """The texture value that `part` of the marrow lies above."""
    if part >= 0.999:
        return EVERYWHERE
    return TEXTURE_SD * NormalDist().inv_cdf(1.0 - max(part, 1e-3))


def plain(rng: np.random.Generator, form: int) -> Change:
    """A change of a form without water or loss of fat: fill in the rest."""
    return Change(
        form=form,
        superior=0.0,
        inferior=0.0,
        lean=0.0,
        cut=EVERYWHERE,
        ball=WHOLE_BODY,
        softness=float(rng.uniform(1.0, 3.5)),
        slope=0.0,
        wander=0.0,
        grain=float(rng.uniform(0.10, 0.28)),
        water=0.0,
        fat_ratio=1.0,
        fat_target=UNCHANGED,
        rough=sample_texture(rng, float(rng.uniform(6.0, 9.0))),
        fine=sample_texture(rng, float(rng.uniform(2.5, 5.0))),
    )


def wet_band(
    rng: np.random.Generator, extent: float, water: float, fat_ratio: float, endplate: str
) -> Change:
    """Edema along one or both endplates, strongest there, filling `extent` of the height."""
    upper = {"superior": 1.0, "inferior": 0.0}.get(endplate, float(rng.uniform(0.35, 0.65)))
    return plain(rng, BAND)._replace(
        superior=extent * upper,
        inferior=extent * (1.0 - upper),
        lean=held(rng.normal(-0.1, 0.25), -0.6, 0.6),
        softness=float(rng.uniform(1.2, 4.5)),
        slope=float(rng.uniform(0.1, 0.6)),
        wander=float(rng.uniform(0.8, 2.4)),
        water=water,
        fat_ratio=fat_ratio,
    )


def wet_patches(rng: np.random.Generator, extent: float, water: float, fat_ratio: float) -> Change:
    """Edema in patches that fill `extent` of the marrow."""
    return plain(rng, PATCHES)._replace(cut=texture_cut(extent), water=water, fat_ratio=fat_ratio)


def halo(
    rng: np.random.Generator, ball: Ball, reach_mm: float, water: float, fat_ratio: float
) -> Change:
    """Edema around a ball, fading over about `reach_mm`."""
    wide = Ball(*ball[:3], *(half + 0.5 * reach_mm for half in ball[3:]))
    return plain(rng, BALL)._replace(
        ball=wide,
        softness=max(1.0, 0.6 * reach_mm),
        wander=0.15 * reach_mm,
        water=water,
        fat_ratio=fat_ratio,
    )


def faint(rng: np.random.Generator) -> Change:
    """Unrest of healthy marrow: too little free water to count as edema in any truth."""
    kind = str(rng.choice(["endplate", "patch", "spot"], p=[0.5, 0.3, 0.2]))
    water = float(rng.uniform(8.0, 27.0))
    ratio = float(rng.uniform(0.85, 1.0))
    if kind == "endplate":
        endplate = str(rng.choice(["superior", "inferior", "both"]))
        change = wet_band(rng, float(rng.uniform(0.1, 0.4)), water, ratio, endplate)
    elif kind == "patch":
        change = wet_patches(rng, float(rng.uniform(0.15, 0.5)), water, ratio)
    else:
        size = rng.uniform(3.0, 8.0, 3)
        place = rng.uniform(-0.7, 0.7, 3)
        spot = Ball(*(float(value) for value in (*place, *size)))
        change = halo(rng, spot, float(rng.uniform(2.0, 5.0)), water, ratio)
    # Peaks of the grain must stay below the threshold too.
    return change._replace(grain=0.1, slope=min(change.slope, 0.2))


def corner_ball(rng: np.random.Generator, *, superior: bool, anterior: bool) -> Ball:
    """Where a corner lesion lies: at a rim, wide along it."""
    return Ball(
        x=float(rng.normal(0.0, 0.25)),
        y=-0.88 if anterior else 0.85,
        z=0.88 if superior else -0.88,
        half_x=float(rng.uniform(9.0, 18.0)),
        half_y=float(rng.uniform(5.0, 11.0)),
        half_z=float(rng.uniform(5.0, 10.0)),
    )
