"""Disease of a disc and of both endplates beside it: Modic changes, spondyloarthritis, infection.

Faint edema of facing endplates without any fracture is what real scans show most; a scorer must
not call it a fracture or a tumour.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.phantom.disease.marrow import corner_ball, faint, halo, lognormal, plain, wet_band
from training.phantom.disease.masses import paraspinal_mass
from training.phantom.disease.model import DiscDisease, Disease
from training.phantom.disease.parts import (
    BALL,
    BAND,
    Ball,
    Bite,
    Change,
    Mass,
    Rim,
    Sheet,
)
from training.phantom.numbers import held
from training.phantom.painting.kernels import LATTICE, sample_texture
from training.phantom.painting.tissues import Mark, Tissue

_FATTY = int(Mark.FATTY)

Pair = tuple[Disease, Disease]
"""What a disc's disease does to the level above it and to the level below."""


def _place(rng: np.random.Generator) -> tuple[float, float, float]:
    x, y, z = rng.uniform(0.0, LATTICE, 3)
    return float(x), float(y), float(z)


def _one_plate(change: Change, *, superior: bool, extent: float) -> Change:
    upper = extent if superior else 0.0
    return change._replace(superior=upper, inferior=extent - upper)


def sample_modic(rng: np.random.Generator, kind: int, *, mild: bool | None = None) -> Pair:
    """Modic change of type 1, 2 or 3 on both endplates of a narrowed disc.

    Args:
        rng: Source.
        kind: 1 edema, 2 fat, 3 sclerosis; type 1 often has some of type 2 beside it.
        mild: Faint and shallow; half of them by default.
    """
    mild = bool(rng.random() < 0.5) if mild is None else mild
    depth = float(rng.uniform(0.10, 0.25) if mild else rng.uniform(0.22, 0.48))
    lean = float(rng.choice((-0.6, 0.4, 0.0), p=(0.45, 0.2, 0.35)))
    water = held(lognormal(rng, 64.0 if mild else 125.0, 0.36), 36.0, 230.0)
    ratio = held(rng.normal(0.9 if mild else 0.72, 0.12), 0.35, 1.0)
    target = float(rng.uniform(78.0, 94.0))
    both = []
    for superior in (False, True):  # the level above the disc has its inferior endplate there
        own = depth * float(rng.uniform(0.6, 1.3))
        band = wet_band(rng, own, 0.0, 1.0, "superior" if superior else "inferior")
        band = band._replace(lean=lean, slope=0.2)
        changes: tuple[Change, ...] = ()
        sheets: tuple[Sheet, ...] = ()
        if kind == 1:
            changes = (
                band._replace(water=water * float(rng.uniform(0.75, 1.25)), fat_ratio=ratio),
            )
            if rng.random() < 0.25:
                fatty = _one_plate(band, superior=superior, extent=0.5 * own)
                changes = (*changes, fatty._replace(fat_target=target, cut=0.2, mark=_FATTY))
        elif kind == 2:
            changes = (band._replace(fat_target=target, grain=0.08, mark=_FATTY),)
        else:
            sheets = (_sclerosis(rng, superior=superior, thick=18.0 * own),)
        both.append(Disease(mimics=(f"modic_{kind}",), changes=changes, sheets=sheets))
    disc = DiscDisease(
        hydration=(0.0, float(rng.uniform(0.08, 0.4))),
        height_factor=float(rng.uniform(0.4, 0.85)),
        vacuum=float(rng.uniform(0.6, 1.4)) if rng.random() < 0.1 else 0.0,
        place=_place(rng),
    )
    return replace(both[0], disc=disc), both[1]


def _sclerosis(rng: np.random.Generator, *, superior: bool, thick: float) -> Sheet:
    half = max(1.5, 0.5 * thick)
    return Sheet(
        superior=int(superior),
        depth=half,
        half_thickness=half,
        wander=float(rng.uniform(0.4, 1.0)),
        front=-1.1,
        back=float(rng.uniform(0.2, 1.1)),
        side=1.0,
        lens=0,
        sparse=float(rng.uniform(-1.5, -0.5)),
        tissue=int(Tissue.SCLEROSIS),
        fat=10.0,
        water=0.0,
        rough=sample_texture(rng, 8.0),
        fine=sample_texture(rng, 2.5),
    )


def sample_unrest(rng: np.random.Generator) -> Pair:
    """Both endplates of an aging disc a little wet, below what counts as edema."""
    both = []
    for superior in (False, True):
        change = faint(rng)._replace(form=BAND)
        extent = float(rng.uniform(0.08, 0.3))
        both.append(Disease(changes=(_one_plate(change, superior=superior, extent=extent),)))
    return both[0], both[1]


def sample_corners(
    rng: np.random.Generator, *, fatty: bool | None = None, mild: bool | None = None
) -> Disease:
    """Inflamed (Romanus) or, later, fatty corners of one body: anterior ones more often.

    Args:
        rng: Source.
        fatty: Two in five by default.
        mild: Faint, if inflamed; half of them by default.
    """
    mild = bool(rng.random() < 0.5) if mild is None else mild
    fatty = bool(rng.random() < 0.4) if fatty is None else fatty
    water = held(lognormal(rng, 46.0 if mild else 100.0, 0.35), 34.0, 220.0)
    ratio = held(rng.normal(0.9 if mild else 0.72, 0.12), 0.4, 1.0)
    target = float(rng.uniform(75.0, 90.0))
    places = [(s, a) for s in (True, False) for a in (True, False)]
    chosen = [at for at in places if rng.random() < (0.6 if at[1] else 0.2)] or [(True, True)]
    changes = []
    for superior, anterior in chosen:
        ball = corner_ball(rng, superior=superior, anterior=anterior)
        change = plain(rng, BALL)._replace(ball=ball, wander=0.8)
        if fatty:
            change = change._replace(fat_target=target, mark=_FATTY)
        else:
            change = change._replace(water=water, fat_ratio=ratio)
        changes.append(change)
    name = "fatty_corner" if fatty else "inflammatory_corner"
    return Disease(mimics=(name,), changes=tuple(changes))


def sample_andersson(rng: np.random.Generator) -> Pair:
    """Aseptic spondylodiscitis: edema and small erosions on both sides, a nearly normal disc."""
    water = held(lognormal(rng, 72.0, 0.45), 36.0, 220.0)
    ratio = held(rng.normal(0.78, 0.15), 0.35, 1.0)
    both = []
    for superior in (False, True):
        extent = float(rng.uniform(0.12, 0.4))
        band = wet_band(rng, extent, water, ratio, "superior" if superior else "inferior")
        bite = _erosion(rng, superior=superior, depth=float(rng.uniform(0.2, 0.9)))
        bite = bite._replace(tissue=int(Tissue.SOFT_ORGAN))
        sheets = (_sclerosis(rng, superior=superior, thick=3.0),) if rng.random() < 0.4 else ()
        both.append(Disease(mimics=("andersson",), changes=(band,), bites=(bite,), sheets=sheets))
    disc = DiscDisease(pus=float(rng.uniform(0.0, 0.12)), place=_place(rng))
    return replace(both[0], disc=disc), both[1]


def _erosion(rng: np.random.Generator, *, superior: bool, depth: float) -> Bite:
    return Bite(
        superior=int(superior),
        x=0.0,
        y=0.0,
        radius=0.0,
        flat=1.0,
        erosion=depth,
        ragged=float(rng.uniform(0.5, 1.4)),
        rim_mm=0.0,
        tissue=int(Tissue.PUS),
        fat=0.0,
        water=0.0,
        rough=sample_texture(rng, 5.0),
    )


def sample_discitis(rng: np.random.Generator, course: str | None = None) -> Pair:
    """Infection of a disc and both bodies.

    Args:
        rng: Source.
        course: "full" (wet disc, eaten endplates, often an abscess), "early" (little disc signal,
            faint edema) or "anterior" (tuberculosis: under the anterior ligament, disc spared);
            sampled by default.
    """
    course = course or str(rng.choice(("full", "early", "anterior"), p=(0.5, 0.35, 0.15)))
    median = {"full": 125.0, "early": 52.0, "anterior": 95.0}[course]
    water = held(lognormal(rng, median, 0.35), 44.0, 230.0)
    mean = 0.82 if course == "early" else 0.58
    ratio = held(rng.normal(mean, 0.16), 0.2, 0.98)
    low, high = (0.35, 1.0) if course == "full" else (0.15, 0.5)
    both = []
    for superior in (False, True):
        extent = float(rng.uniform(low, high))
        band = wet_band(rng, extent, water, ratio, "superior" if superior else "inferior")
        if course == "anterior":
            band = band._replace(lean=-0.8)
        deep = {"full": (0.8, 3.0), "early": (0.0, 0.6), "anterior": (0.0, 0.4)}[course]
        depth = float(rng.uniform(*deep))
        bite = _erosion(rng, superior=superior, depth=depth)
        if course != "full":
            bite = bite._replace(tissue=int(Tissue.SOFT_ORGAN))
        bites = (bite,) if depth > 0.15 else ()
        both.append(Disease(mimics=("discitis",), changes=(band,), bites=bites))
    masses, rims = _abscesses(rng, course)
    disc = {
        "full": DiscDisease(float(rng.uniform(0.55, 1.0)), 0.0, (0.6, 1.0), 0.7, _place(rng)),
        "early": DiscDisease(float(rng.uniform(0.05, 0.3)), 0.0, (0.0, 0.8), 1.0, _place(rng)),
        "anterior": DiscDisease(place=_place(rng)),
    }[course]
    upper = replace(both[0], disc=disc, masses=masses, rims=rims)
    lower = replace(both[1], rims=rims) if course == "anterior" else both[1]
    return upper, lower


def _abscesses(rng: np.random.Generator, course: str) -> tuple[tuple[Mass, ...], tuple[Rim, ...]]:
    """Paravertebral and epidural pus at the height of the disc below the upper level."""
    masses: list[Mass] = []
    rims: tuple[Rim, ...] = ()
    if rng.random() < {"full": 0.6, "early": 0.25, "anterior": 1.0}[course]:
        thick = float(rng.uniform(1.5, 4.5))
        fat = float(rng.uniform(10.0, 45.0))
        rims = (Rim(thick, 0.3, int(Tissue.SOFT_MASS), fat, sample_texture(rng, 7.0)),)
    if rng.random() < {"full": 0.4, "early": 0.05, "anterior": 0.6}[course]:
        mass = paraspinal_mass(rng, Tissue.PUS)
        masses.append(mass._replace(balls=tuple(b._replace(z=b.z - 0.8) for b in mass.balls)))
    if rng.random() < {"full": 0.35, "early": 0.05, "anterior": 0.15}[course]:
        size = rng.uniform((5.0, 2.0, 8.0), (9.0, 4.0, 18.0))
        ball = Ball(0.0, 1.02, -1.0, *(float(v) for v in size))
        masses.append(Mass((ball,), 1, int(Tissue.PUS), 2.0, 0.4, sample_texture(rng, 6.0)))
    return tuple(masses), rims


def sample_schmorl(rng: np.random.Generator, *, acute: bool) -> Disease:
    """Disc pressed through an endplate: old with a dense rim, acute with a halo of edema."""
    superior = bool(rng.random() < 0.45)
    radius = float(rng.uniform(2.8, 6.5))
    x, y = float(rng.normal(0.0, 0.25)), float(rng.uniform(-0.4, 0.5))
    bite = Bite(
        superior=int(superior),
        x=x,
        y=y,
        radius=radius,
        flat=float(rng.uniform(0.85, 1.4)),
        erosion=0.0,
        ragged=0.4,
        rim_mm=float(rng.uniform(0.5, 1.0) if acute else rng.uniform(0.8, 1.9)),
        tissue=int(Tissue.NUCLEUS),
        fat=0.0,
        water=float(rng.uniform(50.0, 200.0)),
        rough=sample_texture(rng, 4.0),
    )
    changes: tuple[Change, ...] = ()
    node = Ball(x, y, 0.78 if superior else -0.78, radius, radius, radius)
    if acute:
        water = held(lognormal(rng, 100.0, 0.45), 45.0, 240.0)
        ratio = float(rng.uniform(0.6, 0.95))
        changes = (halo(rng, node, float(rng.uniform(3.0, 9.0)), water, ratio),)
    elif rng.random() < 0.35:  # old nodes often have fat around them
        ring = halo(rng, node, float(rng.uniform(2.0, 5.0)), 0.0, 1.0)
        changes = (ring._replace(fat_target=float(rng.uniform(70.0, 88.0)), mark=_FATTY),)
    names = ("schmorl_node", "schmorl_node_acute") if acute else ("schmorl_node",)
    return Disease(mimics=names, changes=changes, bites=(bite,))
