"""Disease of the vertebrae: what is sampled for a level, how it deforms and how it is painted.

Sign frequencies per class follow the published ones (clinical notes §2.1) so that no sign is a
certain giveaway. Codes: B1 convex posterior border, B2 pedicle, B3 epidural mass, B5 paraspinal
mass, B6 complete replacement, B7 ill-defined margin; G1 fracture line, G2 spared marrow,
G3 retropulsed fragment, G4 fluid sign, G5 vacuum cleft.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from training.phantom.anatomy import BodyShape
from training.phantom.canvas import Field, Mask, Patch, ellipsoid
from training.phantom.skeleton import BodyField, texture
from training.phantom.tissues import Tissue


@dataclass(frozen=True, slots=True)
class Edema:
    """Where marrow edema lies: pattern, part of the height it fills, brightness 0..1."""

    pattern: str  # "band", "patchy", "diffuse"
    extent: float
    intensity: float
    endplate: str  # "superior", "inferior", "both"


@dataclass(frozen=True, slots=True)
class Lesion:
    """Infiltration: kind "lytic", "blastic" or "mixed", and the part of the body it replaces."""

    kind: str
    extent: float
    ill_defined: bool


@dataclass(frozen=True, slots=True)
class Disease:
    """Everything drawn at one level beyond healthy anatomy.

    Attributes:
        stage: As `LevelTruth.stage`.
        fracture: Shape of the deformity.
        loss: Largest part of a height that is lost, 0 … 0.8.
        etiology: "none", "benign", "pathological".
        edema: Marrow edema of a fracture, or None.
        lesion: Infiltration, or None.
        signs: Sign codes drawn.
        mimics: As `LevelTruth.mimics`.
        fat_shift: Added to the level's marrow fat percent.
    """

    stage: str = "none"
    fracture: str = "none"
    loss: float = 0.0
    etiology: str = "none"
    edema: Edema | None = None
    lesion: Lesion | None = None
    signs: frozenset[str] = field(default_factory=frozenset)
    mimics: tuple[str, ...] = ()
    fat_shift: float = 0.0


HEALTHY = Disease()


def sample_edema(rng: np.random.Generator, stage: str, loss: float) -> Edema:
    """Edema of a fracture: bright and wide when acute, fainter and narrower later."""
    pattern = str(rng.choice(["band", "patchy", "diffuse"], p=[0.47, 0.2, 0.33]))
    brightness = {"acute": (0.38, 1.0), "subacute": (0.26, 0.7)}.get(stage, (0.24, 0.85))
    extent = {"band": (0.18, 0.6), "patchy": (0.3, 0.75), "diffuse": (0.85, 1.1)}[pattern]
    endplate = str(rng.choice(["superior", "inferior", "both"], p=[0.62, 0.22, 0.16]))
    if loss > 0.4 and pattern == "band":
        extent = (0.35, 0.8)
    return Edema(pattern, float(rng.uniform(*extent)), float(rng.uniform(*brightness)), endplate)


def sample_fracture(
    rng: np.random.Generator, stage: str | None = None, shape: str | None = None
) -> Disease:
    """An osteoporotic fracture at any stage; OF1 (edema without deformity) among the fresh ones."""
    stage = stage or str(
        rng.choice(
            ["acute", "subacute", "unhealed_cleft", "healed", "refractured", "cemented"],
            p=[0.34, 0.17, 0.09, 0.26, 0.06, 0.08],
        )
    )
    fresh = stage in ("acute", "subacute")
    if shape is None:
        shape = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.52, 0.3, 0.18]))
        if fresh and rng.random() < 0.18:
            shape = "none"
    loss = 0.0 if shape == "none" else float(np.clip(0.17 + rng.gamma(1.6, 0.12), 0.16, 0.75))
    signs = set()
    edema = None
    if stage not in ("healed", "cemented"):
        edema = sample_edema(rng, stage, loss)
        signs |= {code for code, p in _BENIGN_SIGNS if rng.random() < p}
        if edema.extent > 0.8:
            signs.discard("G2")
    elif stage == "cemented" and rng.random() < 0.35:
        edema = replace(sample_edema(rng, "subacute", loss), pattern="patchy")
    if stage == "unhealed_cleft":
        signs.add(str(rng.choice(["G4", "G5"], p=[0.7, 0.3])))
    if shape == "none":
        signs -= {"G3", "G4", "G5"}
    if stage == "healed" and rng.random() < 0.16 and loss > 0.3:
        signs.add("G3")
    return Disease(
        stage=stage,
        fracture=shape,
        loss=loss,
        etiology="benign",
        edema=edema,
        signs=frozenset(signs),
        fat_shift=float(rng.normal(4, 6)) if stage == "healed" else 0.0,
    )


_BENIGN_SIGNS = (("G1", 0.72), ("G2", 0.8), ("G3", 0.22), ("G4", 0.22), ("B1", 0.06), ("B2", 0.22))
_PATHOLOGICAL_SIGNS = (
    ("B1", 0.68), ("B2", 0.72), ("B3", 0.5), ("B5", 0.45), ("B7", 0.7), ("G1", 0.12), ("G4", 0.05),
)  # fmt: skip


def sample_metastasis(rng: np.random.Generator, fractured: bool | None = None) -> Disease:
    """Infiltration with or without a pathological fracture."""
    fractured = bool(rng.random() < 0.6) if fractured is None else fractured
    kind = str(rng.choice(["lytic", "blastic", "mixed"], p=[0.68, 0.12, 0.2]))
    complete = rng.random() < (0.7 if fractured else 0.3)
    extent = float(rng.uniform(0.9, 1.2) if complete else rng.uniform(0.15, 0.6))
    signs = {
        code for code, p in _PATHOLOGICAL_SIGNS if rng.random() < (p if fractured else 0.4 * p)
    }
    if complete:
        signs.add("B6")
    lesion = Lesion(kind, extent, "B7" in signs)
    if not fractured:
        return Disease(
            etiology="pathological", lesion=lesion, signs=frozenset(signs - {"G1", "G4"})
        )
    shape = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.4, 0.25, 0.35]))
    loss = float(np.clip(0.16 + rng.gamma(1.5, 0.11), 0.16, 0.7))
    edema = None
    if extent < 0.8:
        edema = Edema("diffuse", 1.0, float(rng.uniform(0.3, 0.7)), "both")
    return Disease(
        stage="acute",
        fracture=shape,
        loss=loss,
        etiology="pathological",
        edema=edema,
        lesion=lesion,
        signs=frozenset(signs),
    )


def deform(intact: BodyShape, disease: Disease, rng: np.random.Generator) -> BodyShape:
    """The body's shape under a disease: height lost, endplates broken in, wall bulging."""
    shape = intact
    loss = disease.loss
    if disease.fracture == "wedge":
        back = loss * rng.uniform(0.05, 0.4)
        shape = replace(
            shape,
            height_anterior=intact.height_anterior * (1 - loss),
            height_posterior=intact.height_posterior * (1 - back),
            dish_superior=intact.dish_superior + float(rng.uniform(0, 3)),
            dish_centre_superior=float(rng.uniform(-0.5, 0.1)),
            dish_width_superior=float(rng.uniform(0.35, 0.8)),
        )
    elif disease.fracture == "biconcave":
        depth = loss * intact.height_middle
        upper = float(rng.uniform(0.25, 0.8)) if rng.random() < 0.75 else 1.0
        rims = 1 - loss * rng.uniform(0.0, 0.25)
        shape = replace(
            shape,
            height_anterior=intact.height_anterior * rims,
            height_posterior=intact.height_posterior * rims,
            dish_superior=intact.dish_superior + upper * depth,
            dish_inferior=intact.dish_inferior + (1 - upper) * depth,
            dish_centre_superior=float(rng.normal(0.0, 0.15)),
            dish_centre_inferior=float(rng.normal(0.05, 0.15)),
            dish_width_superior=float(rng.uniform(0.45, 0.85)),
            dish_width_inferior=float(rng.uniform(0.45, 0.85)),
        )
    elif disease.fracture == "crush":
        shape = replace(
            shape,
            height_anterior=intact.height_anterior * (1 - loss),
            height_posterior=intact.height_posterior * (1 - loss * rng.uniform(0.65, 1.0)),
            half_depth_top=intact.half_depth_top * (1 + 0.12 * loss),
            half_depth_bottom=intact.half_depth_bottom * (1 + 0.08 * loss),
        )
    limit = 0.42 * shape.height_rim
    shape = replace(
        shape,
        dish_superior=min(shape.dish_superior, limit),
        dish_inferior=min(shape.dish_inferior, limit),
    )
    if "B1" in disease.signs:
        shape = replace(shape, posterior_bulge=float(rng.uniform(1.2, 4.0)))
    return shape


def paint_disease(
    field_: BodyField, shape: BodyShape, disease: Disease, marrow: Mask, rng: np.random.Generator
) -> None:
    """Paint what is inside one body. Neighbouring structures are painted by `surroundings`."""
    if disease.edema is not None:
        _paint_edema(field_, shape, disease.edema, marrow, rng)
    if disease.lesion is not None:
        _paint_lesion(field_, disease.lesion, marrow, rng)
    if "G1" in disease.signs:
        _paint_fracture_line(field_, marrow, disease, rng)
    if "G4" in disease.signs or "G5" in disease.signs:
        _paint_cleft(field_, shape, marrow, "G5" in disease.signs, rng)
    if disease.stage == "healed" and rng.random() < 0.5:
        _paint_condensation(field_, marrow, rng)
    if disease.stage == "cemented":
        _paint_cement(field_, shape, marrow, rng)
    for mimic in disease.mimics:
        painter = _MIMIC_PAINTERS.get(mimic)
        if painter is not None:
            painter(field_, shape, marrow, rng)


def _wet(patch: Patch, where: Mask, amount: Field) -> None:
    """Add edema (0..1 per point) to marrow: more free water, less fat."""
    marrow = where & (patch.tissue == Tissue.MARROW) & (amount > 0.02)
    water = np.maximum(patch.water[marrow], np.clip(255 * amount[marrow], 0, 255))
    patch.water[marrow] = water.astype(np.uint8)
    dried = patch.fat[marrow] * (1 - 0.58 * np.clip(amount[marrow], 0, 1))
    patch.fat[marrow] = dried.astype(np.uint8)


def _paint_edema(
    field_: BodyField, shape: BodyShape, edema: Edema, marrow: Mask, rng: np.random.Generator
) -> None:
    patch = field_.patch
    rough = texture(patch, rng, 7.0)
    grain = 1 + 0.22 * texture(patch, rng, 3.5)
    if edema.pattern == "patchy":
        cut = float(np.quantile(rough[marrow], max(0.0, 1 - edema.extent))) if marrow.any() else 0.0
        amount = _ramp(rough - cut, 0.35)
    else:
        depth = edema.extent * shape.height_middle
        reach = np.full_like(rough, -1e3)
        if edema.endplate in ("superior", "both"):
            reach = depth + field_.top + 1.8 * rough
        if edema.endplate in ("inferior", "both"):
            share = 0.5 if edema.endplate == "both" else 1.0
            reach = np.maximum(reach, share * depth + field_.bottom + 1.8 * rough)
        amount = _ramp(reach, float(rng.uniform(1.0, 4.0)))
    _wet(patch, marrow, np.asarray(amount * edema.intensity * grain, dtype=np.float32))


def _ramp(value: Field, softness: float) -> Field:
    """0 below, 1 above zero, with a soft edge of the given width."""
    return np.asarray(np.clip(0.5 + value / (2 * softness), 0, 1))


def _paint_lesion(
    field_: BodyField, lesion: Lesion, marrow: Mask, rng: np.random.Generator
) -> None:
    patch = field_.patch
    rough = texture(patch, rng, 8.0)
    if lesion.extent >= 0.9:
        replaced = marrow & (rough > -2.6)
    else:
        centre = np.array([rng.uniform(-8, 8), rng.uniform(-6, 12), rng.uniform(-5, 5)])
        size = 9.0 + 16.0 * lesion.extent
        reach = ellipsoid(patch, centre, (size, size * 0.9, size * 0.8)) + 2.2 * rough
        replaced = marrow & (reach < 0)
        if lesion.ill_defined:
            halo = _ramp(6.0 - reach, 6.0) * rng.uniform(0.2, 0.5)
            _wet(patch, marrow & ~replaced, np.asarray(halo, dtype=np.float32))
    lytic = replaced
    if lesion.kind != "lytic":
        cut = 0.4 if lesion.kind == "mixed" else -1.2
        blastic = replaced & (texture(patch, rng, 6.0) > cut)
        patch.paint(blastic, Tissue.METASTASIS_BLASTIC, fat=3)
        lytic = replaced & ~blastic
    grain = np.clip(185 + 40 * texture(patch, rng), 60, 255).astype(np.uint8)
    fat = np.clip(4 + 3 * rough, 0, 14).astype(np.uint8)
    patch.paint(lytic, Tissue.METASTASIS_LYTIC, fat=fat, water=grain)


def _paint_fracture_line(
    field_: BodyField, marrow: Mask, disease: Disease, rng: np.random.Generator
) -> None:
    patch = field_.patch
    from_inferior = disease.edema is not None and disease.edema.endplate == "inferior"
    depth = -(field_.bottom if from_inferior else field_.top)
    wander = 1.3 * texture(patch, rng, 9.0)
    line = np.abs(depth - rng.uniform(3.0, 8.0) - wander) < rng.uniform(0.5, 1.3)
    line &= (field_.u < rng.uniform(0.1, 1.0)) & (field_.u > rng.uniform(-1.1, -0.5))
    patch.paint(marrow & line, Tissue.SCLEROSIS, fat=10)


def _paint_cleft(
    field_: BodyField, shape: BodyShape, marrow: Mask, gas: bool, rng: np.random.Generator
) -> None:
    patch = field_.patch
    depth = -field_.top - rng.uniform(2.5, 5.5)
    thick = rng.uniform(0.9, 2.4)
    u_mid, u_half = rng.uniform(-0.6, 0.1), rng.uniform(0.25, 0.6)
    spread = 1 - ((field_.u - u_mid) / u_half) ** 2 - (patch.x / (0.8 * shape.half_width)) ** 2
    cleft = marrow & (np.abs(depth) < thick * np.sqrt(np.clip(spread, 0, None)))
    patch.paint(cleft, Tissue.GAS if gas else Tissue.FLUID)


def _paint_condensation(field_: BodyField, marrow: Mask, rng: np.random.Generator) -> None:
    patch = field_.patch
    depth = -field_.top - rng.uniform(2, 6) - texture(patch, rng, 8.0)
    band = marrow & (np.abs(depth) < rng.uniform(0.6, 1.6))
    patch.fat[band] = (patch.fat[band] * 0.6).astype(np.uint8)


def _paint_cement(
    field_: BodyField, shape: BodyShape, marrow: Mask, rng: np.random.Generator
) -> None:
    patch = field_.patch
    rough = texture(patch, rng, 6.0)
    solid = np.full(patch.x.shape, 50.0, dtype=np.float32)
    for side in (-1.0, 1.0) if rng.random() < 0.6 else (float(rng.choice([-0.2, 0.2])),):
        centre = np.array([side * rng.uniform(5, 10), rng.uniform(-9, 0), rng.uniform(-2, 2)])
        tall = min(rng.uniform(4, 8), 0.4 * shape.height_rim)
        blob = ellipsoid(patch, centre, (rng.uniform(6, 10), rng.uniform(6, 10), tall))
        solid = np.minimum(solid, blob)
    patch.paint(marrow & (solid + 1.2 * rough < 0), Tissue.CEMENT)


Painter = Callable[[BodyField, BodyShape, Mask, np.random.Generator], None]


def _paint_modic(kind: str, endplate: str) -> Painter:
    def paint(field_: BodyField, shape: BodyShape, marrow: Mask, rng: np.random.Generator) -> None:
        patch = field_.patch
        surface = field_.top if endplate == "superior" else field_.bottom
        rough = texture(patch, rng, 7.0)
        lean = float(rng.choice([-1.0, 1.0, 0.0], p=[0.5, 0.2, 0.3]))
        depth = rng.uniform(4, 0.42 * shape.height_middle + 4) * (1 + 0.5 * lean * field_.u)
        amount = _ramp(depth + surface + 1.3 * rough, rng.uniform(0.8, 2.5))
        if kind == "modic_1":
            _wet(patch, marrow, np.asarray(amount * rng.uniform(0.3, 0.85), dtype=np.float32))
        elif kind == "modic_2":
            rich = marrow & (amount > 0.4)
            patch.fat[rich] = np.maximum(patch.fat[rich], int(rng.uniform(74, 88)))
        else:
            patch.paint(marrow & (amount > 0.6), Tissue.SCLEROSIS, fat=8)

    return paint


def _paint_schmorl(
    field_: BodyField, shape: BodyShape, marrow: Mask, rng: np.random.Generator, *, acute: bool
) -> None:
    patch = field_.patch
    upper = bool(rng.random() < 0.5)
    surface = field_.top if upper else field_.bottom
    radius = min(rng.uniform(3.0, 6.5), 0.3 * shape.height_middle)
    x0, y0 = rng.normal(0, 5), rng.uniform(-0.5, 0.6) * shape.half_depth
    flat = np.hypot(patch.x - x0, patch.y - y0)
    depth = -surface
    reach = np.hypot(flat, depth * rng.uniform(0.9, 1.4)) - radius
    rim = marrow & (reach < 1.3)
    patch.paint(rim, Tissue.CORTEX)
    hole = (field_.solid < 0) & (reach < 0)
    patch.paint(hole, Tissue.NUCLEUS, water=int(rng.uniform(60, 200)), structure=Structure.DISC)
    patch.body[hole] = 0
    if acute:
        halo = _ramp(rng.uniform(5, 10) - reach, 2.5) * rng.uniform(0.35, 0.9)
        _wet(patch, marrow, np.asarray(halo, dtype=np.float32))


def _paint_haemangioma(
    field_: BodyField, shape: BodyShape, marrow: Mask, rng: np.random.Generator, *, atypical: bool
) -> None:
    patch = field_.patch
    size = rng.uniform(4.5, 0.55 * shape.height_middle + 4)
    centre = np.array([rng.uniform(-10, 10), rng.uniform(-8, 8), rng.uniform(-4, 4)])
    solid = ellipsoid(patch, centre, (size, size, size * rng.uniform(0.7, 1.1)))
    inside = marrow & (solid + 0.8 * texture(patch, rng, 6.0) < 0)
    fat = int(rng.uniform(12, 34)) if atypical else int(rng.uniform(66, 86))
    patch.paint(inside, Tissue.HAEMANGIOMA, fat=fat)
    # Thickened vertical trabeculae: dark dots seen from above, dark stripes from the side.
    stripes = np.cos(2 * np.pi * patch.y / rng.uniform(3.2, 4.6)) + np.cos(
        2 * np.pi * patch.x / rng.uniform(3.2, 4.6)
    )
    patch.paint(inside & (stripes > 1.45), Tissue.SCLEROSIS, fat=20)


def _paint_discitis(endplate: str) -> Painter:
    def paint(field_: BodyField, shape: BodyShape, marrow: Mask, rng: np.random.Generator) -> None:
        patch = field_.patch
        surface = field_.top if endplate == "superior" else field_.bottom
        rough = texture(patch, rng, 5.0)
        amount = _ramp(
            rng.uniform(0.35, 1.1) * shape.height_middle + surface + 2 * rough, 4.0
        ) * rng.uniform(0.3, 0.95)
        _wet(patch, marrow, np.asarray(amount, dtype=np.float32))
        eaten = (field_.solid < 0.3) & (surface + rng.uniform(0.8, 2.6) + 1.6 * rough > 0)
        patch.paint(eaten, Tissue.PUS, structure=Structure.DISC)
        patch.body[eaten] = 0

    return paint


def _paint_red_marrow(
    field_: BodyField, _shape: BodyShape, marrow: Mask, rng: np.random.Generator
) -> None:
    patch = field_.patch
    islands = marrow & (texture(patch, rng, 7.0) > rng.uniform(-0.6, 1.0))
    patch.fat[islands] = (patch.fat[islands] * rng.uniform(0.5, 0.8)).astype(np.uint8)


def _paint_bone_island(
    field_: BodyField, _shape: BodyShape, marrow: Mask, rng: np.random.Generator
) -> None:
    patch = field_.patch
    centre = np.array([rng.uniform(-12, 12), rng.uniform(-8, 8), rng.uniform(-6, 6)])
    size = rng.uniform(2.5, 6.0)
    solid = ellipsoid(patch, centre, (size, size * 0.9, size * 1.1))
    patch.paint(marrow & (solid < 0), Tissue.SCLEROSIS, fat=0)


_MIMIC_PAINTERS: dict[str, Painter] = {
    "modic_1_superior": _paint_modic("modic_1", "superior"),
    "modic_1_inferior": _paint_modic("modic_1", "inferior"),
    "modic_2_superior": _paint_modic("modic_2", "superior"),
    "modic_2_inferior": _paint_modic("modic_2", "inferior"),
    "modic_3_superior": _paint_modic("modic_3", "superior"),
    "modic_3_inferior": _paint_modic("modic_3", "inferior"),
    "discitis_superior": _paint_discitis("superior"),
    "discitis_inferior": _paint_discitis("inferior"),
    "schmorl_node": lambda f, s, m, r: _paint_schmorl(f, s, m, r, acute=False),
    "schmorl_node_acute": lambda f, s, m, r: _paint_schmorl(f, s, m, r, acute=True),
    "haemangioma": lambda f, s, m, r: _paint_haemangioma(f, s, m, r, atypical=False),
    "haemangioma_atypical": lambda f, s, m, r: _paint_haemangioma(f, s, m, r, atypical=True),
    "red_marrow": _paint_red_marrow,
    "bone_island": _paint_bone_island,
}


def mimic_names(drawn: tuple[str, ...]) -> tuple[str, ...]:
    """Public names of drawn mimics: endplates and acuity are dropped."""
    names = {name.removesuffix("_superior").removesuffix("_inferior") for name in drawn}
    return tuple(sorted(name.removesuffix("_acute") for name in names))


def paint_retropulsion(
    patch: Patch, shape: BodyShape, index: int, rng: np.random.Generator
) -> None:
    """A posterosuperior fragment that stands out into the canal by 2-5 mm."""
    out = rng.uniform(2.0, 5.0)
    centre = np.array([rng.normal(0, 2), shape.half_depth - 3 + out, 0.32 * shape.height_posterior])
    solid = ellipsoid(patch, centre, (9.0, 4.5, 0.22 * shape.height_posterior + 2))
    free = (solid < 0) & (patch.structure != Structure.DISC)
    patch.paint(free & (patch.body == 0), Tissue.CORTEX, structure=Structure.BODY, body=index)
    core = (solid < -0.9) & (patch.body == index) & (patch.tissue == Tissue.CORTEX)
    patch.paint(core, Tissue.MARROW, fat=30, water=int(rng.uniform(0, 160)))


def infiltrate_pedicle(
    patch: Patch, marrow: NDArray[np.bool_], lytic: bool, rng: np.random.Generator
) -> None:
    """Replace posterior-element marrow on one side or both; in a benign fracture make it wet."""
    side = float(rng.choice([-1.0, 1.0, 0.0], p=[0.35, 0.35, 0.3]))
    where = marrow & ((patch.x * side >= 0) if side else True)
    near = where & (patch.y < 2 + 12 * rng.random())
    if lytic:
        patch.paint(near, Tissue.METASTASIS_LYTIC, fat=4, water=180)
    else:
        _wet(patch, near, np.full(patch.x.shape, rng.uniform(0.25, 0.7), dtype=np.float32))


def paint_epidural_mass(patch: Patch, wall: float, rng: np.random.Generator) -> None:
    """Tumour between posterior wall and sac; `wall` is the wall's y in the patch frame."""
    thick = rng.uniform(3.0, 7.5)
    centre = np.array([rng.normal(0, 5), wall + 0.3 * thick, rng.normal(0, 3)])
    solid = ellipsoid(patch, centre, (rng.uniform(6, 12), thick, rng.uniform(6, 15)))
    soft = (solid + 0.6 * texture(patch, rng, 6.0) < 0) & (patch.body == 0)
    soft &= (patch.structure == Structure.CANAL) | (patch.structure == 0)
    patch.paint(soft, Tissue.SOFT_MASS)


def paint_paraspinal_mass(patch: Patch, shape: BodyShape, rng: np.random.Generator) -> None:
    """Lobulated tumour beside or before the body."""
    side = float(rng.choice([-1.0, 1.0]))
    centre = np.array(
        [
            side * rng.uniform(0.3, 1.0) * shape.half_width,
            -rng.uniform(0.6, 1.05) * shape.half_depth,
            rng.normal(0, 4),
        ]
    )
    size = rng.uniform(6, 15)
    solid = ellipsoid(patch, centre, (size, size * 0.8, size * 1.1)) + texture(patch, rng, 6.0)
    patch.paint((solid < 0) & (patch.structure == 0), Tissue.SOFT_MASS)
