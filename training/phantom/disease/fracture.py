"""Osteoporotic fractures at every stage, with their edema, lines, clefts, fragments and cement."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from training.phantom.disease.marrow import lognormal, plain, wet_band, wet_patches
from training.phantom.disease.masses import haematoma_rim, haematomas
from training.phantom.disease.model import Disease, Edema
from training.phantom.disease.parts import (
    BAND,
    EVERYWHERE,
    PATCHES,
    Arch,
    Ball,
    Blob,
    Change,
    Fill,
    Fragment,
    Mass,
    Rim,
    Sheet,
)
from training.phantom.disease.signs import (
    ENCASING,
    HAEMATOMA,
    UNDEFORMED_SCALE,
    drawn,
    either,
    endplate_sign,
    sample_shape,
)
from training.phantom.numbers import held
from training.phantom.painting.kernels import sample_texture
from training.phantom.painting.tissues import EDEMA_FREE_WATER, Tissue

STAGE_SHARES: Final = {
    "acute": 0.34,
    "subacute": 0.18,
    "unhealed_cleft": 0.09,
    "healed": 0.26,
    "refractured": 0.06,
    "cemented": 0.07,
}
UNDEFORMED: Final = 0.18
"""Share of fresh fractures without deformity (OF1), seen by their edema only."""

_BRIGHTNESS: Final = {
    "acute": (0.40, 0.50, 1.0),
    "subacute": (0.33, 0.36, 0.85),
    "unhealed_cleft": (0.31, 0.32, 0.7),
    "refractured": (0.38, 0.42, 0.95),
    "cemented": (0.24, 0.28, 0.5),
}
"""Median, spread of the logarithm, and most of the edema's free water, by stage."""

FAINTEST: Final = (EDEMA_FREE_WATER + 5) / 255
"""An unhealed fracture is edematous in the truth, however faint."""

WHOLE_EXTENT: Final = 0.94
"""Edema of more of the marrow than this spares none of it, and has no margin."""

SEAM_SD: Final = 0.35
"""Width of a step of ill-defined patches, in standard deviations of their texture."""

_PATTERNS: Final = {
    "acute": (0.47, 0.18, 0.35),
    "subacute": (0.62, 0.28, 0.10),
    "unhealed_cleft": (0.70, 0.20, 0.10),
    "refractured": (0.65, 0.25, 0.10),
    "cemented": (0.40, 0.60, 0.0),
}
"""Shares of band, patchy and diffuse edema (acute: band 35, globular 14, diffuse 26 of 75)."""


def sample_edema(rng: np.random.Generator, stage: str, loss: float) -> Edema:
    """Edema of a fracture: bright and wide when acute, fainter and narrower later."""
    pattern = str(rng.choice(("band", "patchy", "diffuse"), p=_PATTERNS[stage]))
    median, spread, most = _BRIGHTNESS[stage]
    intensity = held(lognormal(rng, median, spread), FAINTEST, most)
    low, high = {"band": (0.18, 0.62), "patchy": (0.28, 0.7), "diffuse": (0.86, 1.0)}[pattern]
    extent = float(rng.uniform(low, high))
    if stage in ("subacute", "refractured", "cemented") and pattern != "diffuse":
        extent *= 0.8
    if loss > 0.4 and pattern == "band":
        extent = held(extent + 0.2, 0.0, 0.8)
    # Fat falls as water comes: 49 % of the neighbour's is left on average in acute fractures.
    ratio = held(rng.normal(0.79 - 0.5 * intensity, 0.21), 0.12, 0.98)
    return Edema(pattern, extent, intensity, ratio)


def edema_parts(rng: np.random.Generator, edema: Edema, endplate: str) -> tuple[Change, ...]:
    """The changes of marrow that draw an edema."""
    water = 255.0 * edema.intensity
    if edema.pattern == "band":
        return (wet_band(rng, edema.extent, water, edema.fat_ratio, endplate),)
    patches = wet_patches(rng, edema.extent, water, edema.fat_ratio)
    if edema.pattern == "patchy":
        return (patches,)
    # Diffuse edema is still brighter under the broken endplate.
    top = wet_band(rng, 0.4, min(255.0, 1.3 * water), edema.fat_ratio, endplate)
    return (patches, top._replace(fat_ratio=1.0, softness=4.5))


def sample_fracture(
    rng: np.random.Generator, stage: str | None = None, shape: str | None = None
) -> Disease:
    """An osteoporotic fracture.

    Args:
        rng: Source.
        stage: One of `STAGE_SHARES`; sampled by those shares by default.
        shape: Of the deformity, "none" for OF1; sampled by default.
    """
    stage = stage or str(rng.choice(list(STAGE_SHARES), p=list(STAGE_SHARES.values())))
    shape = shape or _sample_shape(rng, stage)
    loss = 0.0 if shape == "none" else sample_loss(rng, stage)
    endplate = str(rng.choice(("superior", "inferior", "both"), p=(0.64, 0.18, 0.18)))
    if shape == "pincer":
        endplate = "both"
    edema = _sample_stage_edema(rng, stage, loss)
    signs = _sample_signs(rng, stage, shape, edema)
    disease = Disease(
        stage=stage,
        fracture=shape,
        endplate=endplate,
        loss=loss,
        etiology="benign",
        edema=edema,
        signs=signs,
        changes=() if edema is None else edema_parts(rng, edema, endplate),
    )
    return _with_stage_parts(rng, disease)


def _sample_shape(rng: np.random.Generator, stage: str) -> str:
    if stage in ("acute", "subacute") and rng.random() < UNDEFORMED:
        return "none"
    return sample_shape(rng, pathological=False)


def sample_loss(rng: np.random.Generator, stage: str) -> float:
    """Height loss: early fractures have lost little (15 % within two weeks), late ones more."""
    start = 0.06 if stage == "acute" else 0.12
    return held(start + rng.gamma(1.6, 0.11), 0.07, 0.75)


def _sample_stage_edema(rng: np.random.Generator, stage: str, loss: float) -> Edema | None:
    if stage == "healed" or (stage == "cemented" and rng.random() >= 0.30):
        return None  # edema persists a year after vertebroplasty in 29 %
    return sample_edema(rng, stage, loss)


def _sample_signs(
    rng: np.random.Generator, stage: str, shape: str, edema: Edema | None
) -> frozenset[str]:
    signs: set[str] = set()
    if shape != "none":
        signs |= endplate_sign(rng, shape, pathological=False)
        if drawn(rng, "B1", pathological=False):
            signs.add("B1")
    if edema is not None and stage != "cemented":
        signs |= _edema_signs(rng, edema, deformed=shape != "none", fresh=stage == "acute")
    elif shape != "none" and rng.random() < 0.12:
        signs.add("G3")
    if stage == "unhealed_cleft" and not signs & {"G4", "G5"}:
        signs.add(str(rng.choice(("G4", "G5"), p=(0.7, 0.3))))
    return frozenset(signs)


def _edema_signs(
    rng: np.random.Generator, edema: Edema, *, deformed: bool, fresh: bool
) -> set[str]:
    scale = 1.0 if fresh else 0.6
    outside = scale if deformed else scale * UNDEFORMED_SCALE
    signs = {"G1"} if drawn(rng, "G1", pathological=False) else set()
    if drawn(rng, "B2", pathological=False, scale=scale):
        signs.add("B2")
    signs |= {c for c in ("B3", "B5") if drawn(rng, c, pathological=False, scale=outside)}
    if "B3" in signs and rng.random() < ENCASING.benign:
        signs.add("B4")
    if deformed:
        if drawn(rng, "G3", pathological=False, scale=scale):
            signs.add("G3")
        signs |= either(rng, "G5", "G4", pathological=False, scale=scale)
    if edema.extent < WHOLE_EXTENT:
        signs |= {"G2"} | either(rng, "B7", "G8", pathological=False)
    elif edema.fat_ratio < 0.45:
        signs.add("B6")
    if edema.fat_ratio < 0.3:
        signs |= {"B10", "B11"}
    if edema.fat_ratio < 0.4 and edema.extent > 0.5:
        signs.add("B12")
    return signs


def _with_stage_parts(rng: np.random.Generator, disease: Disease) -> Disease:
    """The sheets, clefts, cement and surroundings that go with stage and signs."""
    sheets: list[Sheet] = []
    changes = list(disease.changes)
    superior = disease.endplate != "inferior"
    if "G8" in disease.signs:
        changes[0] = changes[0]._replace(softness=min(changes[0].softness, 2.2))
    if "B7" in disease.signs:
        changes[:1] = ill_defined(changes[0])
    if "G1" in disease.signs:
        sheets.append(fracture_line(rng, superior=superior))
    if disease.stage in ("healed", "refractured", "cemented") and rng.random() < 0.5:
        sheets.append(condensation(rng, superior=superior))
    if disease.stage in ("healed", "refractured"):
        changes.insert(0, _healed_marrow(rng))
    blobs: tuple[Blob, ...] = ()
    masses: tuple[Mass, ...] = ()
    if disease.stage == "cemented":
        blobs, masses = cement(rng)
    if disease.signs & {"G4", "G5"}:
        sheets += cleft(rng, superior=superior, gas="G5" in disease.signs)
    return replace(
        disease,
        changes=tuple(changes),
        sheets=tuple(sheets),
        blobs=blobs,
        masses=masses + haematomas(rng, disease.signs),
        arches=_wet_pedicles(rng) if "B2" in disease.signs else (),
        rims=_haematoma(rng, disease),
        fragments=(fragment(rng, disease.edema),) if "G3" in disease.signs else (),
    )


def ill_defined(edema: Change) -> list[Change]:
    """Edema without a margin: a band fades over 6 mm, patches pale outwards in steps."""
    if edema.form == BAND:
        return [edema._replace(softness=6.0, wander=2.5)]
    # Together they take the fat that one sharp patch takes, where all three overlap.
    paler = edema._replace(fat_ratio=edema.fat_ratio ** (1 / 3))
    return [
        paler._replace(cut=edema.cut + step * SEAM_SD, water=edema.water * (0.7 + 0.3 * step))
        for step in (-1, 0, 1)
    ]


def fracture_line(rng: np.random.Generator, *, superior: bool) -> Sheet:
    """Impacted trabeculae: a dark line along the endplate, sometimes broken and faint."""
    return Sheet(
        superior=int(superior),
        depth=float(rng.uniform(3.0, 9.0)),
        half_thickness=float(rng.uniform(0.5, 1.5)),
        wander=float(rng.uniform(0.4, 1.4)),
        front=float(rng.uniform(-1.1, -0.6)),
        back=float(rng.uniform(0.1, 1.0)),
        side=float(rng.uniform(0.6, 1.0)),
        lens=0,
        sparse=float(rng.uniform(-1.5, 0.3)),
        tissue=int(Tissue.SCLEROSIS),
        fat=10.0,
        water=0.0,
        rough=sample_texture(rng, 9.0),
        fine=sample_texture(rng, 2.0),
    )


def condensation(rng: np.random.Generator, *, superior: bool) -> Sheet:
    """Dense bone under the endplate of a healed fracture: a speckled dark band."""
    line = fracture_line(rng, superior=superior)
    return line._replace(
        depth=float(rng.uniform(1.0, 4.5)),
        half_thickness=float(rng.uniform(0.8, 2.2)),
        back=1.0,
        sparse=float(rng.uniform(0.0, 0.6)),
        fat=25.0,
    )


def _healed_marrow(rng: np.random.Generator) -> Change:
    """Fat returns to a healed body, often more than its neighbours have."""
    target = float(rng.uniform(0.0, 1.0)) ** 2
    change = plain(rng, PATCHES)
    return change._replace(cut=EVERYWHERE, fat_ratio=1.0 + 0.25 * target, grain=0.05)


def cleft(rng: np.random.Generator, *, superior: bool, gas: bool) -> list[Sheet]:
    """A lens of fluid or gas under the broken endplate; fluid has a dark wall around it."""
    u, half = float(rng.uniform(-0.6, 0.1)), float(rng.uniform(0.15, 0.5))
    lens = Sheet(
        superior=int(superior),
        depth=float(rng.uniform(2.5, 5.5)),
        half_thickness=float(rng.uniform(0.7, 2.2)),
        wander=0.0,
        front=u - half,
        back=u + half,
        side=float(rng.uniform(0.4, 0.8)),
        lens=1,
        sparse=EVERYWHERE,
        tissue=int(Tissue.GAS if gas else Tissue.FLUID),
        fat=0.0,
        water=0.0,
        rough=sample_texture(rng, 9.0),
        fine=sample_texture(rng, 3.0),
    )
    wall = lens._replace(
        half_thickness=lens.half_thickness + 0.9, tissue=int(Tissue.SCLEROSIS), fat=10.0
    )
    parts = [wall, lens]
    if gas and rng.random() < 0.4:  # lying down, fluid seeps in behind the gas
        pool = lens._replace(front=u, tissue=int(Tissue.FLUID), lens=1)
        parts.append(pool._replace(half_thickness=0.6 * lens.half_thickness))
    return parts


def cement(rng: np.random.Generator) -> tuple[tuple[Blob, ...], tuple[Mass, ...]]:
    """One or two interlobed blobs of cement, and a leak in one level of three."""
    sides = (-1.0, 1.0) if rng.random() < 0.6 else (float(rng.choice((-0.3, 0.3))),)
    balls = []
    for side in sides:
        middle = np.array([side * rng.uniform(0.25, 0.5), rng.uniform(-0.6, 0.0), 0.0])
        for _ in range(3):
            x, y, z = middle + rng.normal(0.0, (0.12, 0.18, 0.2))
            size = rng.uniform(3.5, 7.5, 3)
            balls.append(Ball(*(float(v) for v in (x, y, z, *size))))
    fill = solid_fill(rng, Tissue.CEMENT)._replace(rough_mm=1.0)
    masses: tuple[Mass, ...] = ()
    if rng.random() < 0.33:
        # Veins carry cement to the front or side, seldom into the canal.
        spot = (0.2, -1.12, 0.1) if rng.random() < 0.6 else (0.95, -0.4, -0.1)
        leak = Ball(*spot, *(float(v) for v in rng.uniform(1.5, 4.0, 3)))
        masses = (Mass((leak,), 0, int(Tissue.CEMENT), 0.0, 0.5, sample_texture(rng, 4.0)),)
    return (Blob(tuple(balls), fill),), masses


def solid_fill(rng: np.random.Generator, tissue: Tissue) -> Fill:
    """A filling of one tissue without fat or water: change what differs."""
    return Fill(
        tissue=int(tissue),
        other=int(tissue),
        split=9.0,
        fat=0.0,
        fat_spread=0.0,
        water=0.0,
        water_spread=0.0,
        sparse=EVERYWHERE,
        rough_mm=0.0,
        stripe_mm=0.0,
        rim_mm=0.0,
        rough=sample_texture(rng, 7.0),
        fine=sample_texture(rng, 3.0),
        split_texture=sample_texture(rng, 6.0),
    )


def _wet_pedicles(rng: np.random.Generator) -> tuple[Arch, ...]:
    """Pedicles of a benign fracture: edema near the body, fat still there."""
    return (
        Arch(
            side=int(rng.choice((-1, 0, 1), p=(0.25, 0.5, 0.25))),
            behind=float(rng.uniform(4.0, 14.0)),
            low=0.25,
            tall=12.0,
            front=-8.0,
            tissue=int(Tissue.MARROW),
            water=float(rng.uniform(45.0, 120.0)),
            fat_ratio=float(rng.uniform(0.55, 0.9)),
            rough=sample_texture(rng, 7.0),
        ),
    )


def _haematoma(rng: np.random.Generator, disease: Disease) -> tuple[Rim, ...]:
    if disease.stage not in ("acute", "refractured") or disease.fracture == "none":
        return ()
    if "B5" in disease.signs or rng.random() >= HAEMATOMA:
        return ()
    return (haematoma_rim(rng),)


def fragment(rng: np.random.Generator, edema: Edema | None) -> Fragment:
    """The posterosuperior corner, 2-6 mm into the canal."""
    wet = 0.0 if edema is None else 255.0 * edema.intensity
    return Fragment(
        out=float(rng.uniform(2.5, 6.5)),
        x=float(rng.normal(0.0, 2.0)),
        half_width=float(rng.uniform(7.0, 12.0)),
        water=float(wet * rng.uniform(0.3, 1.0)),
    )
