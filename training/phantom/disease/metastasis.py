"""Infiltrated marrow: metastases with or without a fracture, and diffuse marrow disease."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from training.phantom.disease.fracture import (
    cleft,
    fracture_line,
    fragment,
    sample_loss,
    solid_fill,
)
from training.phantom.disease.marrow import halo, lognormal, plain, wet_patches
from training.phantom.disease.masses import epidural_mass, haematoma_rim, paraspinal_mass
from training.phantom.disease.model import Disease, Edema, Lesion
from training.phantom.disease.parts import (
    PATCHES,
    WHOLE_BODY,
    Arch,
    Ball,
    Blob,
    Change,
    Fill,
    Mass,
)
from training.phantom.disease.signs import (
    ENCASING,
    HAEMATOMA,
    RATES,
    UNDEFORMED_SCALE,
    drawn,
    either,
    endplate_sign,
    sample_shape,
)
from training.phantom.numbers import held
from training.phantom.painting.kernels import sample_texture
from training.phantom.painting.tissues import Tissue

KIND_SHARES: Final = {"lytic": 0.66, "blastic": 0.14, "mixed": 0.20}


def sample_metastasis(
    rng: np.random.Generator, kind: str | None = None, *, fractured: bool | None = None
) -> Disease:
    """A metastasis, six in ten with a pathological fracture.

    Args:
        rng: Source.
        kind: "lytic", "blastic" or "mixed"; sampled by default.
        fractured: Sampled by default.
    """
    fractured = bool(rng.random() < 0.6) if fractured is None else fractured
    kind = kind or str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
    complete = bool(rng.random() < (RATES["B6"].pathological if fractured else 0.25))
    extent = float(rng.uniform(0.92, 1.0) if complete else rng.uniform(0.12, 0.65))
    # What fat is left in the lesion, of the neighbours' (Schmeel 2018: 9 +- 9 %).
    fat_ratio = held(rng.normal(0.10, 0.12), 0.02, 0.5)
    signs = _sample_signs(rng, fractured=fractured, complete=complete)
    if complete:
        signs.add("B6")
        signs.discard("G2")
    else:
        signs.add("G2")
    if fat_ratio < 0.3:
        signs |= {"B10", "B11"}
    if extent > 0.5:
        signs.add("B12")
    lesion = Lesion(kind, extent, "B7" in signs)
    disease = Disease(etiology="pathological", lesion=lesion, signs=frozenset(signs))
    if fractured:
        disease = _fractured(rng, disease)
    changes, blobs = lesion_parts(rng, lesion, fat_ratio)
    if disease.edema is not None:
        changes = (*_reactive(rng, disease.edema), *changes)
    return _with_spread(rng, replace(disease, changes=changes, blobs=blobs))


def sample_sacral_metastasis(rng: np.random.Generator, kind: str) -> Disease:
    """A metastasis in S1, which has neither pedicles nor a wall that bulges on its own."""
    disease = sample_metastasis(rng, kind, fractured=False)
    signs = disease.signs - {"B1", "B2"}
    return replace(disease, signs=signs, arches=())


def _sample_signs(rng: np.random.Generator, *, fractured: bool, complete: bool) -> set[str]:
    scale = 1.0 if fractured else UNDEFORMED_SCALE
    signs = {
        code
        for code in ("B1", "B2", "B3", "B5")
        if drawn(rng, code, pathological=True, scale=scale)
    }
    if "B3" in signs and rng.random() < ENCASING.pathological:
        signs.add("B4")
    if not complete:
        signs |= either(rng, "B7", "G8", pathological=True)
    if not fractured:
        return signs
    signs |= {code for code in ("G1", "G3") if drawn(rng, code, pathological=True)}
    return signs | either(rng, "G5", "G4", pathological=True)


def _fractured(rng: np.random.Generator, disease: Disease) -> Disease:
    shape = sample_shape(rng, pathological=True)
    stage = str(rng.choice(("acute", "subacute"), p=(0.75, 0.25)))
    edema = None
    if disease.lesion is not None and disease.lesion.extent < 0.8:
        intensity = held(lognormal(rng, 0.26, 0.4), 0.19, 0.8)
        edema = Edema("diffuse", 0.9, intensity, float(rng.uniform(0.5, 0.9)))
    superior = bool(rng.random() < 0.75)
    sheets = []
    if "G1" in disease.signs:
        sheets.append(fracture_line(rng, superior=superior))
    if disease.signs & {"G4", "G5"}:
        sheets += cleft(rng, superior=superior, gas="G5" in disease.signs)
    bleeds = stage == "acute" and "B5" not in disease.signs and rng.random() < HAEMATOMA
    return replace(
        disease,
        stage=stage,
        fracture=shape,
        endplate="superior" if superior else "inferior",
        loss=sample_loss(rng, "subacute"),
        edema=edema,
        signs=disease.signs | endplate_sign(rng, shape, pathological=True),
        sheets=tuple(sheets),
        rims=(haematoma_rim(rng),) if bleeds else (),
        fragments=(fragment(rng, edema),) if "G3" in disease.signs else (),
    )


def _reactive(rng: np.random.Generator, edema: Edema) -> tuple[Change, ...]:
    """Edema of the fracture in the marrow that the lesion has spared."""
    return (wet_patches(rng, edema.extent, 255.0 * edema.intensity, edema.fat_ratio),)


def lesion_parts(
    rng: np.random.Generator, lesion: Lesion, fat_ratio: float
) -> tuple[tuple[Change, ...], tuple[Blob, ...]]:
    """The replaced marrow of a lesion, and the halo around it."""
    fill = lesion_fill(rng, lesion.kind, fat_ratio)
    if lesion.extent > 0.9:
        return (), (Blob((WHOLE_BODY,), fill._replace(rough_mm=0.0)),)
    balls = lesion_balls(rng, lesion.extent)
    blob = Blob(balls, fill)
    if not lesion.ill_defined:
        return (), (blob._replace(fill=fill._replace(rough_mm=1.3)),)
    water = float(rng.uniform(45.0, 120.0))
    reach = float(rng.uniform(5.0, 12.0))
    ratio = float(rng.uniform(0.4, 0.8))
    edges = tuple(halo(rng, ball, reach, water, ratio) for ball in balls[:2])
    return edges, (blob,)


def lesion_balls(rng: np.random.Generator, extent: float) -> tuple[Ball, ...]:
    """One to three foci that fill about `extent` of a body; they begin at the back more often."""
    count = int(rng.integers(1, 4)) if extent < 0.4 else 1
    # A usual body has 24 ml; a ball near its wall loses a part outside of it.
    volume = 26000.0 * extent * (1.0 + 0.7 * extent) / count
    balls = []
    for _ in range(count):
        stretch = rng.uniform(0.8, 1.25, 3)
        radius = (volume / 4.19 / float(np.prod(stretch))) ** (1 / 3)
        wide = radius * stretch
        place = rng.uniform((-0.6, -0.5, -0.5), (0.6, 0.8, 0.5))
        balls.append(Ball(*(float(v) for v in (*place, *wide))))
    return tuple(balls)


def lesion_fill(rng: np.random.Generator, kind: str, fat_ratio: float) -> Fill:
    """Lytic, blastic or mixed tumour."""
    lytic = solid_fill(rng, Tissue.METASTASIS_LYTIC)._replace(
        other=int(Tissue.METASTASIS_BLASTIC),
        fat=50.0 * fat_ratio,
        fat_spread=3.0,
        water=185.0,
        water_spread=40.0,
        rough_mm=float(rng.uniform(1.2, 2.4)),
    )
    if kind == "lytic":
        return lytic
    return lytic._replace(split=0.3 if kind == "mixed" else -1.1)


def _with_spread(rng: np.random.Generator, disease: Disease) -> Disease:
    """Pedicle, epidural and paraspinal disease, where the signs say so."""
    masses: list[Mass] = []
    if "B3" in disease.signs:
        masses.append(epidural_mass(rng, encasing="B4" in disease.signs))
    if "B5" in disease.signs:
        masses.append(paraspinal_mass(rng, Tissue.SOFT_MASS))
    arches = (_eaten_pedicle(rng, disease.lesion),) if "B2" in disease.signs else ()
    return replace(disease, masses=tuple(masses), arches=arches)


def _eaten_pedicle(rng: np.random.Generator, lesion: Lesion | None) -> Arch:
    blastic = lesion is not None and lesion.kind == "blastic"
    tissue = Tissue.METASTASIS_BLASTIC if blastic else Tissue.METASTASIS_LYTIC
    return Arch(
        side=int(rng.choice((-1, 0, 1), p=(0.36, 0.28, 0.36))),
        behind=float(rng.uniform(6.0, 28.0)),
        low=0.2,
        tall=float(rng.uniform(9.0, 16.0)),
        front=-8.0,
        tissue=int(tissue),
        water=180.0,
        fat_ratio=0.08,
        rough=sample_texture(rng, 8.0),
    )


class MarrowPattern(NamedTuple):
    """Diffuse marrow disease of a whole spine: pattern, fat left of what was, free water 0..255."""

    pattern: str
    fat_ratio: float
    water: float


def sample_marrow_pattern(rng: np.random.Generator) -> MarrowPattern:
    """Myeloma, lymphoma or leukaemia: even, "salt and pepper", or focal on a changed ground."""
    pattern = str(rng.choice(("even", "salt_and_pepper", "focal"), p=(0.4, 0.35, 0.25)))
    water = held(lognormal(rng, 70.0, 0.4), 44.0, 190.0)
    return MarrowPattern(pattern, float(rng.uniform(0.08, 0.4)), water)


def sample_marrow_disease(
    rng: np.random.Generator, spine: MarrowPattern, *, may_break: bool = True
) -> Disease:
    """One level of a spine with diffuse marrow disease; one in eight of those that may breaks."""
    pattern, ratio, water = spine
    ratio = held(ratio * rng.normal(1.0, 0.1), 0.04, 0.5)
    extent = {"even": 1.0, "salt_and_pepper": 0.5, "focal": 0.3}[pattern]
    signs = {"B12"}
    if pattern == "even":
        signs |= {"B6"} | ({"B10", "B11"} if ratio < 0.3 else set())
    else:
        signs.add("B7")
    lesion = Lesion("diffuse", extent, ill_defined=True)
    disease = Disease(etiology="pathological", lesion=lesion, signs=frozenset(signs))
    if rng.random() < 0.12 and may_break:
        disease = replace(_fractured(rng, disease), edema=None)
    changes, blobs = _marrow_parts(rng, pattern, ratio, water)
    return replace(disease, changes=changes, blobs=blobs)


def _marrow_parts(
    rng: np.random.Generator, pattern: str, ratio: float, water: float
) -> tuple[tuple[Change, ...], tuple[Blob, ...]]:
    even = plain(rng, PATCHES)._replace(water=water, fat_ratio=ratio, grain=0.15)
    if pattern == "even":
        return (even,), ()
    nodules = lesion_fill(rng, "lytic", 0.5 * ratio)._replace(rough_mm=0.0, fat_spread=2.0)
    if pattern == "salt_and_pepper":
        fine = sample_texture(rng, float(rng.uniform(2.6, 4.2)))
        speckle = nodules._replace(sparse=float(rng.uniform(0.1, 0.7)), fine=fine)
        return (), (Blob((WHOLE_BODY,), speckle),)
    ground = even._replace(water=0.4 * water, fat_ratio=0.5 + 0.5 * ratio)
    balls = tuple(
        Ball(*(float(v) for v in (*rng.uniform(-0.8, 0.8, 3), *rng.uniform(2.0, 5.5, 3))))
        for _ in range(int(rng.integers(2, 7)))
    )
    return (ground,), (Blob(balls, nodules),)
