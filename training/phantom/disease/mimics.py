"""What looks like a fracture or a tumour and is neither: variants and marrow patterns."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from training.phantom.disease.fracture import solid_fill
from training.phantom.disease.marrow import halo, lognormal, plain, texture_cut
from training.phantom.disease.model import DiscDisease, Disease
from training.phantom.disease.parts import (
    BALL,
    BAND,
    PATCHES,
    WHOLE_BODY,
    Arch,
    Ball,
    Bite,
    Blob,
    Change,
    Cut,
    Mass,
)
from training.phantom.numbers import held
from training.phantom.painting.kernels import sample_texture
from training.phantom.painting.tissues import Tissue

RED_MARROW: Final = ("diffuse", "band", "islands", "reconversion")


def _ball(rng: np.random.Generator, size: float, spread: float) -> Ball:
    place = rng.uniform((-0.6, -0.5, -0.5), (0.6, 0.5, 0.5))
    wide = size * rng.uniform(1.0 - spread, 1.0 + spread, 3)
    return Ball(*(float(v) for v in (*place, *wide)))


def sample_haemangioma(rng: np.random.Generator, *, atypical: bool) -> Disease:
    """Round or filling the body, with thickened vertical trabeculae; atypical ones lack fat."""
    whole = rng.random() < 0.15
    ball = WHOLE_BODY if whole else _ball(rng, float(rng.uniform(4.5, 12.0)), 0.2)
    fill = solid_fill(rng, Tissue.HAEMANGIOMA)._replace(
        fat=float(rng.uniform(14.0, 36.0) if atypical else rng.uniform(64.0, 88.0)),
        fat_spread=4.0,
        rough_mm=0.0 if whole else 0.8,
        stripe_mm=float(rng.uniform(3.4, 5.0)),
    )
    masses: tuple[Mass, ...] = ()
    if atypical and rng.random() < 0.2:  # aggressive: a part in front of the sac
        wide = rng.uniform((6.0, 2.0, 5.0), (9.0, 4.0, 9.0))
        lobe = Ball(0.0, 1.0, 0.0, *(float(v) for v in wide))
        masses = (Mass((lobe,), 1, int(Tissue.HAEMANGIOMA), 20.0, 0.4, sample_texture(rng, 6.0)),)
    name = "haemangioma_atypical" if atypical else "haemangioma"
    return Disease(mimics=(name,), blobs=(Blob((ball,), fill),), masses=masses)


def sample_bone_island(rng: np.random.Generator) -> Disease:
    """Compact bone in the marrow: dark on everything, with a spiculated edge."""
    ball = _ball(rng, float(rng.uniform(2.2, 6.0)), 0.25)
    fill = solid_fill(rng, Tissue.CORTEX)._replace(
        rough_mm=0.7, rough=sample_texture(rng, 3.0), other=int(Tissue.SCLEROSIS), split=0.5
    )
    return Disease(mimics=("bone_island",), blobs=(Blob((ball,), fill),))


def sample_limbus(rng: np.random.Generator) -> Disease:
    """An anterior corner cut off by disc that grew under the rim, mostly the upper one."""
    cut = Cut(
        superior=int(rng.random() < 0.75),
        back=-float(rng.uniform(0.25, 0.6)),
        down=float(rng.uniform(5.0, 10.0)),
        half_thickness=float(rng.uniform(0.9, 1.9)),
    )
    return Disease(mimics=("limbus",), cuts=(cut,))


def sample_scheuermann(rng: np.random.Generator, severity: float) -> Disease:
    """One level of a Scheuermann spine: wedged 5-12 degrees, ragged endplates, small nodes."""
    bites = [
        Bite(
            superior=superior,
            x=float(rng.normal(0.0, 0.3)),
            y=float(rng.uniform(-0.6, 0.4)),
            radius=float(rng.uniform(2.0, 5.0)),
            flat=float(rng.uniform(1.0, 1.7)),
            erosion=0.0,
            ragged=0.6,
            rim_mm=float(rng.uniform(0.4, 1.1)),
            tissue=int(Tissue.NUCLEUS),
            fat=0.0,
            water=float(rng.uniform(40.0, 140.0)),
            rough=sample_texture(rng, 4.0),
        )
        for superior in (0, 1)
        for _ in range(int(rng.integers(1, 4)))
    ]
    wedge = held(rng.normal(0.14, 0.04) * severity, 0.04, 0.28)
    disc = DiscDisease(
        hydration=(0.0, float(rng.uniform(0.2, 0.6))), height_factor=float(rng.uniform(0.5, 0.85))
    )
    return Disease(mimics=("scheuermann",), wedge=wedge, bites=tuple(bites), disc=disc)


def sample_post_radiation(rng: np.random.Generator, fat: float) -> Disease:
    """Marrow turned to fat inside a field, evenly."""
    change = plain(rng, PATCHES)._replace(
        fat_target=held(fat + rng.normal(0.0, 1.5), 70.0, 96.0), grain=0.03
    )
    return Disease(mimics=("post_radiation",), changes=(change,))


class RedMarrow(NamedTuple):
    """How a spine's red marrow lies: pattern, fat left of what was, and part of the marrow."""

    pattern: str
    fat_ratio: float
    part: float


def sample_red_marrow_pattern(rng: np.random.Generator, pattern: str | None = None) -> RedMarrow:
    """Diffuse, band-like, islands, or reconversion (anaemia, smoking, endurance sport)."""
    pattern = pattern or str(rng.choice(RED_MARROW, p=(0.25, 0.3, 0.3, 0.15)))
    low, high = (0.4, 0.6) if pattern == "reconversion" else (0.5, 0.82)
    return RedMarrow(pattern, float(rng.uniform(low, high)), float(rng.uniform(0.25, 0.6)))


def sample_red_marrow(rng: np.random.Generator, spine: RedMarrow) -> Disease:
    """One level of such a spine: cells instead of fat, hardly any free water."""
    ratio = held(spine.fat_ratio + rng.normal(0.0, 0.06), 0.35, 0.92)
    water = float(rng.uniform(0.0, 16.0))
    changes: tuple[Change, ...]
    if spine.pattern == "band":
        band = plain(rng, BAND)._replace(
            superior=0.5 * spine.part * float(rng.uniform(0.6, 1.2)),
            inferior=0.5 * spine.part * float(rng.uniform(0.6, 1.2)),
            softness=3.0,
            wander=1.6,
        )
        changes = (band,)
    elif spine.pattern == "islands":
        rough = sample_texture(rng, float(rng.uniform(4.5, 8.0)))
        islands = plain(rng, PATCHES)._replace(cut=texture_cut(spine.part), rough=rough)
        changes = (islands,)
    else:
        changes = (plain(rng, PATCHES)._replace(grain=0.2),)
    changes = tuple(c._replace(water=water, fat_ratio=ratio) for c in changes)
    return Disease(mimics=("red_marrow",), changes=changes)


def sample_facet_edema(rng: np.random.Generator) -> Disease:
    """Wet marrow of the facets and the pedicle's root, the body spared."""
    arch = Arch(
        side=int(rng.choice((-1, 0, 1), p=(0.3, 0.4, 0.3))),
        behind=float(rng.uniform(22.0, 34.0)),
        low=float(rng.uniform(-1.0, -0.2)),
        tall=float(rng.uniform(9.0, 15.0)),
        front=float(rng.uniform(4.0, 10.0)),
        tissue=int(Tissue.MARROW),
        water=held(lognormal(rng, 80.0, 0.4), 45.0, 220.0),
        fat_ratio=float(rng.uniform(0.5, 0.9)),
        rough=sample_texture(rng, 7.0),
    )
    return Disease(mimics=("facet_edema",), arches=(arch,))


def sample_spot(rng: np.random.Generator, *, fatty: bool) -> Disease:
    """A focus of fat, or of red marrow, in healthy marrow: no truth names it."""
    ball = _ball(rng, float(rng.uniform(2.5, 7.0)), 0.3)
    if fatty:
        spot = plain(rng, BALL)._replace(ball=ball, fat_target=float(rng.uniform(65.0, 88.0)))
    else:
        spot = halo(rng, ball, 2.0, float(rng.uniform(4.0, 24.0)), float(rng.uniform(0.55, 0.85)))
        spot = spot._replace(grain=0.1)
    return Disease(changes=(spot,))
