"""One synthetic patient as parameters: everything that was drawn, nothing painted yet.

scene = sample_scene(seed, SceneRequest(region="lumbar"))
case = scan_grid(scene, fine_grid(affine, shape, thickness))   # the same patient on any slices
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from models.errors import GeometryError
from training.phantom.anatomy import (
    arch,
    backdrop,
    body,
    canal,
    disc,
    implants,
    ligaments,
    ribs,
    sacrum,
)
from training.phantom.anatomy.posture import rotation
from training.phantom.anatomy.spine import (
    BodyShape,
    Demographics,
    DiscState,
    Spine,
    Subject,
    build_spine,
    level_names,
    sample_body,
    sample_disc,
    sample_subject,
)
from training.phantom.disease import (
    HEALTHY,
    Disease,
    DiseaseMix,
    ImpossibleDiseaseError,
    deform,
    disc_under,
    paint_disc_disease,
    paint_disease,
    paint_surroundings,
    sample_diseases,
)
from training.phantom.disease.sacral import (
    SacralFracture,
    paint_sacral_fracture,
    sample_sacral_fracture,
)
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas, FineGrid, Vector

REGIONS: Final[Mapping[str, float]] = {
    "lumbar": 0.44,
    "lumbosacral": 0.18,
    "thoracolumbar": 0.2,
    "thoracic": 0.12,
    "cervical": 0.06,
}
"""Fields of view and how often they are drawn."""

DISHED_MM: Final = 0.9
"""Endplates of one spine are dished alike: standard deviation between spines."""

OLD_YEARS: Final = 75.0
IN_VIEW_LEVELS: Final = 6
"""Levels on each side of the aimed one that may be drawn diseased."""


@dataclass(frozen=True, slots=True)
class SceneRequest:
    """What to draw. Anything left None or empty is sampled.

    Attributes:
        region: One of `REGIONS`; `regions` weighs them when it is drawn.
        regions: See above.
        diseases: Level name to the disease wanted there; given, no other disease is sampled.
        healthy: No disease at all.
        numbering: Numbering variant.
        sex: "F" or "M".
        age_years: 18 to 100.
        screwed: Neighbouring levels with pedicle screws and rods.
        sacral_fracture: An insufficiency fracture of the sacrum.
        mix: Prevalences of diseases.

    Raises:
        ImpossibleDiseaseError: On construction, when the spine is to be healthy and diseased.
    """

    region: str | None = None
    regions: Mapping[str, float] = field(default_factory=lambda: REGIONS)
    diseases: Mapping[str, Disease] = field(default_factory=dict)
    healthy: bool = False
    numbering: str | None = None
    sex: str | None = None
    age_years: float | None = None
    screwed: tuple[str, ...] = ()
    sacral_fracture: bool = False
    mix: DiseaseMix = field(default_factory=DiseaseMix)

    def __post_init__(self) -> None:
        if self.healthy and self.diseases:
            raise ImpossibleDiseaseError("a healthy spine, and diseases for it")


@dataclass(frozen=True, slots=True)
class Aim:
    """How a technologist would lay a stack over the region asked for.

    Attributes:
        middle: (3,) LPS mm: of the stack.
        axes: (3, 3) rows: left, back, head of the stack, slightly tilted.
    """

    middle: Vector
    axes: Vector


@dataclass(frozen=True, slots=True)
class Scene:
    """A patient: bones, diseases and the look of everything between and around them.

    Attributes:
        seed: It was drawn from.
        spine: Bones C2 to coccyx.
        region: What the stack is aimed at.
        aim: Where that is.
        diseases: Level name to its disease; healthy levels are absent.
        marrow: Level name to its healthy marrow.
        discs: Level name to the look of the disc below it.
        arches: Level name to its posterior elements.
        ribs, ligaments, canal, sacrum, backdrop: The rest.
        implants: Screws and rods, None in most.
        sacral_fracture: None in most.
    """

    seed: int
    spine: Spine
    region: str
    aim: Aim
    diseases: Mapping[str, Disease]
    marrow: Mapping[str, body.Marrow]
    discs: Mapping[str, disc.DiscLook]
    arches: Mapping[str, arch.Arch]
    ribs: ribs.Ribs
    ligaments: ligaments.Ligaments
    canal: canal.CanalForm
    sacrum: sacrum.Sacrum
    backdrop: backdrop.Backdrop
    implants: implants.Implants | None = None
    sacral_fracture: SacralFracture | None = None

    @property
    def numbers(self) -> dict[str, int]:
        """Presacral level or "S1" to its value in `TissueGrid.body`, cranial to caudal from 1."""
        return {name: i + 1 for i, name in enumerate((*self.spine.levels, "S1"))}

    def disease(self, level: str) -> Disease:
        """The disease of a level, or `HEALTHY`."""
        return self.diseases.get(level, HEALTHY)


def sample_scene(seed: int, request: SceneRequest | None = None) -> Scene:
    """Draw one patient.

    Args:
        seed: The same seed and request give the same patient.
        request: What is fixed in advance.

    Raises:
        GeometryError: The region or a level asked for does not exist in this spine.
        ImpossibleDiseaseError: A collapsed S1.
    """
    request = request or SceneRequest()
    rng = np.random.default_rng(seed)
    fixed = Demographics(request.sex, request.age_years, numbering=request.numbering)
    subject = sample_subject(rng, fixed)
    levels = level_names(subject.numbering)
    region = request.region or _drawn(request.regions, rng)
    diseases = _diseases(levels, region, subject, request, rng)
    spine = _spine(subject, levels, diseases, rng)
    arches = {b.level: arch.sample_arch(rng, b, subject) for b in spine.bones if not b.sacral}
    return Scene(
        seed=seed,
        spine=spine,
        region=region,
        aim=_aim(spine, region, rng),
        diseases=diseases,
        marrow=_marrow(spine, rng),
        discs={bone.level: disc.sample_disc_look(rng, bone.disc) for bone in spine.bones},
        arches=arches,
        ribs=ribs.sample_ribs(rng, spine),
        ligaments=ligaments.sample_ligaments(rng, subject.age_years),
        canal=canal.sample_canal(rng, spine),
        sacrum=sacrum.sample_sacrum(rng, spine),
        backdrop=backdrop.sample_backdrop(rng, spine, _tips(spine, arches)),
        implants=_implants(seed, levels, region, request),
        sacral_fracture=_sacral_fracture(seed, subject, request),
    )


def _implants(
    seed: int, levels: tuple[str, ...], region: str, request: SceneRequest
) -> implants.Implants | None:
    # Drawn apart from the rest, so that a patient is the same with and without them.
    rng = np.random.default_rng([seed, 3])
    if request.screwed:
        return implants.construct(request.screwed, levels, rng)
    share = 0.0 if request.healthy or request.diseases else request.mix.implants
    middle = levels.index(_centre_level(levels, region))
    return implants.sample_implants(rng, levels, middle, share)


def _sacral_fracture(seed: int, subject: Subject, request: SceneRequest) -> SacralFracture | None:
    rng = np.random.default_rng([seed, 4])
    if request.sacral_fracture:
        return sample_sacral_fracture(rng, OLD_YEARS, 1.0)
    share = 0.0 if request.healthy or request.diseases else request.mix.sacral_fracture
    return sample_sacral_fracture(rng, subject.age_years, share)


def _drawn(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    shares = np.array(list(weights.values()))
    return list(weights)[rng.choice(len(shares), p=shares / shares.sum())]


def _centre_level(levels: tuple[str, ...], region: str) -> str:
    place = {"lumbar": -3, "lumbosacral": -1, "thoracolumbar": -6, "thoracic": -11, "cervical": 4}
    if region not in place:
        raise GeometryError(f"no such region: {region}")
    return levels[place[region]]


def _diseases(
    levels: tuple[str, ...],
    region: str,
    subject: Subject,
    request: SceneRequest,
    rng: np.random.Generator,
) -> dict[str, Disease]:
    unknown = sorted(set(request.diseases) - {*levels, "S1"})
    if unknown:
        raise GeometryError(f"this spine has no level {unknown[0]}")
    if request.diseases.get("S1", HEALTHY).fractured:
        raise ImpossibleDiseaseError("S1 does not collapse: ask for a fracture of the sacrum")
    if request.diseases or request.healthy:
        return dict(request.diseases)
    return sample_diseases(rng, levels_in_view(levels, region), levels, subject, request.mix)


def levels_in_view(levels: tuple[str, ...], region: str) -> tuple[str, ...]:
    """The levels, S1 among them, that a scan aimed at a region shows and that may be diseased.

    Args:
        levels: Presacral ones of the spine, cranial to caudal.
        region: One of `REGIONS`.
    """
    middle = levels.index(_centre_level(levels, region))
    return (*levels, "S1")[max(0, middle - IN_VIEW_LEVELS) : middle + IN_VIEW_LEVELS]


def _spine(
    subject: Subject,
    levels: tuple[str, ...],
    diseases: Mapping[str, Disease],
    rng: np.random.Generator,
) -> Spine:
    shapes: dict[str, tuple[BodyShape, BodyShape]] = {}
    discs: dict[str, DiscState] = {}
    common, dished = float(rng.normal(1.0, 0.01)), float(rng.normal(0.0, DISHED_MM))
    degeneration = float(rng.normal(0, 0.25))
    for level in levels:
        intact = sample_body(level, subject, rng, common, dished)
        disease = diseases.get(level, HEALTHY)
        shapes[level] = (deform(intact, disease, rng), intact)
        state = sample_disc(level, subject.age_years, rng, degeneration)
        discs[level] = disc_under(disease, state, rng)
    return build_spine(subject, shapes, discs, rng)


def _aim(spine: Spine, region: str, rng: np.random.Generator) -> Aim:
    bone = spine.bone(_centre_level(spine.levels, region))
    # Technologists aim the stack along the spine: small residual tilts about every axis, sideways
    # the smallest, as the line of the bodies runs through real stacks.
    tilt = np.radians([rng.normal(0, 4), rng.normal(0, 1.8)])
    axes = rotation(tilt[0], tilt[1], rng.normal(0, 0.05))
    middle = bone.centre + np.array([rng.normal(0, 3), rng.normal(5, 12), rng.normal(0, 14)])
    return Aim(middle, axes)


def _marrow(spine: Spine, rng: np.random.Generator) -> dict[str, body.Marrow]:
    base = 100 * spine.subject.marrow_fat
    # Fatty marrow is uneven marrow: 0.15 against 0.26 of its mean in water images.
    spread = float(rng.uniform(4.8, 9.8)) * (1.0 + 0.5 * held((base - 40.0) / 15.0, -0.3, 1.0))
    vein = float(rng.uniform(0.3, 1.0))
    return {
        bone.level: body.sample_marrow(
            rng,
            base + float(rng.normal(0, 4.5)),
            spread,
            vein,
        )
        for bone in spine.bones
    }


def paint(scene: Scene, grid: FineGrid) -> Canvas:
    """Paint a patient on a grid: what surrounds first, then bones from within to without.

    Args:
        scene: The patient.
        grid: Any fine grid; solids are continuous, so grids only differ in how they sample them.
    """
    spine, numbers = scene.spine, scene.numbers
    canvas = Canvas.blank(grid)
    backdrop.paint_backdrop(canvas, spine, _tips(spine, scene.arches), scene.backdrop)
    for bone in spine.bones:
        index = numbers.get(bone.level, 0)
        body.paint_body(canvas, bone, index, scene.marrow[bone.level])
        paint_disease(canvas, bone, index, scene.disease(bone.level))
    for upper, lower in pairwise(spine.bones):
        disc.paint_disc(canvas, upper, lower, scene.discs[upper.level])
        paint_disc_disease(canvas, upper, lower, scene.disease(upper.level))
    canal.paint_canal(canvas, spine, scene.canal)
    sacrum.paint_sacrum(canvas, spine, scene.sacrum)
    if scene.sacral_fracture is not None:
        paint_sacral_fracture(canvas, spine, scene.sacral_fracture)
    _paint_behind(canvas, scene)
    for level, disease in scene.diseases.items():
        paint_surroundings(canvas, spine.bone(level), spine, disease)
    if scene.implants is not None:
        implants.paint_implants(canvas, spine, scene.arches, scene.implants)
    return canvas


def _tips(spine: Spine, arches: Mapping[str, arch.Arch]) -> Vector:
    """(n, 3) LPS mm: tips of the spinous processes."""
    bones = [bone for bone in spine.bones if bone.level in arches]
    ends = [
        arch.spinous_axis(bone, spine.canal(bone.level), arches[bone.level])[1] for bone in bones
    ]
    return np.array(
        [bone.centre + np.array(end) @ bone.axes for bone, end in zip(bones, ends, strict=True)]
    )


def _paint_behind(canvas: Canvas, scene: Scene) -> None:
    """Arches and ribs, then the ligaments from each vertebra to the next."""
    spine = scene.spine
    presacral = [bone for bone in spine.bones if bone.level in scene.arches]
    for bone in presacral:
        arch.paint_arch(canvas, bone, spine.canal(bone.level), scene.arches[bone.level])
        ribs.paint_ribs(canvas, bone, scene.ribs)
    for upper, lower in zip(presacral, [*presacral[1:], spine.bone("S1")], strict=True):
        pair = (scene.arches[upper.level], scene.arches.get(lower.level))
        canals = (spine.canal(upper.level), spine.canal(lower.level))
        ligaments.paint_ligaments(canvas, (upper, lower), canals, pair, scene.ligaments)
