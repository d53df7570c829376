"""Soft tissue beside a body: tumour, pus, and the blood of a fracture."""

from __future__ import annotations

import numpy as np

from training.phantom.disease.parts import Ball, Mass, Rim
from training.phantom.painting.kernels import sample_texture
from training.phantom.painting.tissues import Tissue


def epidural_mass(rng: np.random.Generator, *, encasing: bool, fat: float = 2.0) -> Mass:
    """Tumour or blood behind the posterior wall: two lobes, and more around the sac if encasing."""
    thick = float(rng.uniform(2.5, 6.5))
    tall = float(rng.uniform(7.0, 16.0))
    lean = float(rng.normal(0.0, 0.08))
    side = [
        Ball(lean + s * 0.24, 1.0, 0.0, float(rng.uniform(5.5, 9.0)), thick, tall)
        for s in (-1.0, 1.0)
    ]
    if encasing:
        side += [
            Ball(s * 0.52, 1.45, 0.0, float(rng.uniform(3.0, 5.0)), 9.0, 0.8 * tall)
            for s in (-1.0, 1.0)
        ]
    return Mass(tuple(side), 1, int(Tissue.SOFT_MASS), fat, 0.5, sample_texture(rng, 6.0))


def paraspinal_mass(rng: np.random.Generator, tissue: Tissue, fat: float = 2.0) -> Mass:
    """A lobulated mass beside or before the body."""
    side = float(rng.choice((-1.0, 1.0)))
    at = np.array([side * rng.uniform(0.5, 1.1), -rng.uniform(0.3, 1.0), rng.normal(0.0, 0.3)])
    at *= max(1.0, 1.15 / float(np.hypot(at[0], at[1])))
    size = float(rng.uniform(6.0, 14.0))
    balls = []
    for _ in range(3):
        shift = rng.normal(0.0, (0.18, 0.18, 0.35))
        wide = size * rng.uniform(0.6, 1.0, 3)
        balls.append(Ball(*(float(v) for v in (*(at + shift), *wide))))
    return Mass(tuple(balls), 0, int(tissue), fat, 0.9, sample_texture(rng, 6.0))


def haematoma_rim(rng: np.random.Generator) -> Rim:
    """A thin even rim of blood and edema around a broken body."""
    return Rim(
        thickness=float(rng.uniform(1.2, 4.0)),
        back=float(rng.uniform(0.0, 0.6)),
        tissue=int(Tissue.SOFT_MASS),
        fat=float(rng.uniform(25.0, 60.0)),
        rough=sample_texture(rng, 7.0),
    )


def haematomas(rng: np.random.Generator, signs: frozenset[str]) -> tuple[Mass, ...]:
    """Blood of a benign fracture in the epidural (B3, B4) and the paraspinal space (B5).

    Blood seeps into fat, where tumour replaces it.
    """
    masses: list[Mass] = []
    if "B3" in signs:
        fat = float(rng.uniform(2.0, 20.0))
        masses.append(epidural_mass(rng, encasing="B4" in signs, fat=fat))
    if "B5" in signs:
        masses.append(paraspinal_mass(rng, Tissue.SOFT_MASS, float(rng.uniform(2.0, 20.0))))
    return tuple(masses)
