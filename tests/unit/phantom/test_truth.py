"""The truth's numbers against shapes whose numbers are known, and against what is painted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.findings import Anchor, Coverage, LevelName, Localisation, Vertebra
from models.geometry import to_lps
from models.localiser.classes import Structure
from models.morphometry.morphometry import measure_levels
from models.morphometry.result import WallReference
from training.phantom.anatomy.canal import CONUS_TAPER_MM
from training.phantom.anatomy.spine import BodyShape, Bone
from training.phantom.disease.endplates import sample_schmorl
from training.phantom.disease.fracture import sample_fracture
from training.phantom.disease.metastasis import sample_metastasis
from training.phantom.disease.model import Disease, Edema
from training.phantom.disease.parts import Fragment
from training.phantom.painting.grid import FineGrid
from training.phantom.painting.tissues import LevelTruth, TissueGrid
from training.phantom.patient import grid_around, level_truths
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene
from training.phantom.truth.geometry import geometries
from training.phantom.truth.outline import angles_of, trace, volume_ml, wall_of
from training.phantom.truth.pedicles import pedicles_of
from training.phantom.truth.spine import pfirrmann_grade, spine_truth

BOX = BodyShape(
    height_anterior=28.0,
    height_posterior=28.0,
    dish_superior=0.0,
    dish_inferior=0.0,
    half_depth_top=17.0,
    half_depth_bottom=17.0,
    half_width_top=22.0,
    half_width_bottom=22.0,
    waist=0.0,
    posterior_bulge=0.0,
)
"""Flat endplates and straight walls."""

GAP_MM = 8.0


def bone_of(shape: BodyShape, place: int = 0, intact: BodyShape = BOX) -> Bone:
    """A body in a straight upright column, `place` bodies above the middle one."""
    centre = np.array([3.0, -5.0, place * (28.0 + GAP_MM)])
    return Bone("L3", centre, np.eye(3), shape, intact, None)


def column(shape: BodyShape) -> tuple[Bone, Bone, Bone]:
    """A body between two boxes: above, own, below."""
    return bone_of(BOX, 1), bone_of(shape), bone_of(BOX, -1)


def scene_with(level: str, disease: Disease, seed: int = 7) -> Scene:
    request = SceneRequest(region="lumbar", numbering="usual", diseases={level: disease})
    return sample_scene(seed, request)


def truth_at(scene: Scene, level: str) -> LevelTruth:
    """Truth of a level, seen on a coarse grid around it."""
    aim = replace(scene.aim, middle=scene.spine.bone(level).centre)
    grid = grid_around(aim, (24, 40, 40), (2.5, 2.0, 2.0))
    levels = level_truths(scene, paint(scene, grid).finish())
    return next(truth for truth in levels if truth.level == level)


@pytest.fixture(scope="module")
def healthy() -> Scene:
    return sample_scene(7, SceneRequest(region="lumbar", healthy=True, numbering="usual"))


@pytest.mark.parametrize(("anterior", "posterior"), [(20.0, 28.0), (28.0, 28.0), (28.0, 24.0)])
def test_a_wedge_has_the_angle_of_its_heights_and_depth(anterior: float, posterior: float) -> None:
    shape = BOX._replace(height_anterior=anterior, height_posterior=posterior)
    own = trace(bone_of(shape))
    assert own is not None
    expected = 2.0 * np.degrees(np.arctan2((posterior - anterior) / 2.0, 2.0 * BOX.half_depth))
    assert angles_of(own, None, None).wedge_deg == pytest.approx(expected, abs=0.05)
    assert angles_of(own, None, None).kyphosis_deg is None


def test_a_wedge_between_two_boxes_adds_no_kyphosis_of_its_own() -> None:
    above, own, below = (trace(bone) for bone in column(BOX._replace(height_anterior=20.0)))
    assert own is not None
    assert angles_of(own, above, below).kyphosis_deg == pytest.approx(0.0, abs=0.05)
    tipped = np.radians(12.0)  # the body above leans forward
    axes = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, np.cos(tipped), np.sin(tipped)],
            [0.0, -np.sin(tipped), np.cos(tipped)],
        ]
    )
    leaning = trace(replace(bone_of(BOX, 1), axes=axes))
    assert angles_of(own, leaning, below).kyphosis_deg == pytest.approx(12.0, abs=0.05)


def test_a_straight_wall_is_flat_and_in_line() -> None:
    above, own, below = (trace(bone) for bone in column(BOX))
    assert own is not None
    wall = wall_of(own, above, below, ())
    assert wall.convexity_mm == pytest.approx(0.0, abs=0.05)
    assert wall.retropulsion_mm == pytest.approx(0.0, abs=0.05)
    assert wall.fragment_mm == 0.0
    assert wall.reference is WallReference.NEIGHBOURS
    assert wall_of(own, None, below, ()).reference is WallReference.OWN_ENDPLATES


@pytest.mark.parametrize(("bulge", "expected"), [(3.0, 2.4), (-1.5, -0.9)])
def test_a_bulging_wall_is_convex_by_what_it_bulges(bulge: float, expected: float) -> None:
    """At x = 0 the wall lies at y = 17 + bulge * m * min(y / 17, 1.15): m is 1 at mid height and
    0.33 where the corners are read, at 8 and 92 % of the labelled height."""
    own = trace(bone_of(BOX._replace(posterior_bulge=bulge)))
    assert own is not None
    assert wall_of(own, None, None, ()).convexity_mm == pytest.approx(expected, abs=0.06)


def test_a_fragment_stands_behind_the_line_by_what_it_was_pushed_out() -> None:
    above, own, below = column(BOX)
    piece = Fragment(out=5.0, x=0.0, half_width=9.0, water=0.0)
    outlines = [trace(above), trace(own, (piece,)), trace(below)]
    assert outlines[1] is not None
    wall = wall_of(outlines[1], outlines[0], outlines[2], (piece,))
    assert wall.fragment_mm == 5.0
    assert wall.retropulsion_mm == pytest.approx(5.0, abs=1.0)
    shifted = replace(own, centre=own.centre + np.array([0.0, 3.0, 0.0]))
    slipped = trace(shifted)
    assert slipped is not None
    assert wall_of(slipped, outlines[0], outlines[2], ()).retropulsion_mm == pytest.approx(
        3.0, abs=0.1
    )


def test_volume_of_a_body_is_that_of_its_label(healthy: Scene) -> None:
    bone = healthy.spine.bone("L3")
    grid = grid_around(replace(healthy.aim, middle=bone.centre), (90, 90, 90), (0.8, 0.7, 0.7))
    tissue = paint(healthy, grid).finish()
    voxel_ml = float(np.prod(np.linalg.norm(grid.affine[:3, :3], axis=0))) / 1000.0
    painted = np.count_nonzero(tissue.body == healthy.numbers["L3"]) * voxel_ml
    assert volume_ml(bone.shape) == pytest.approx(painted, rel=0.02)


def test_a_fragment_adds_to_the_volume() -> None:
    piece = Fragment(out=6.0, x=0.0, half_width=10.0, water=0.0)
    # Out of a flat wall: 20 mm wide, 14 mm tall, less its tapered sides.
    assert 0.3 < volume_ml(BOX, (piece,)) - volume_ml(BOX) < 1.7


@pytest.mark.parametrize("level", ["L1", "L3", "L5"])
def test_canal_is_as_deep_as_it_is_painted(healthy: Scene, level: str) -> None:
    pitch = 0.6
    truth = geometries(healthy, [level])[level].canal
    for place, expected in (
        (0.5 * (truth.minimum_line_lps_mm[0] + truth.minimum_line_lps_mm[1]), truth.ap_minimum_mm),
        (_behind(healthy, level), truth.ap_body_mm),
    ):
        ends = truth.minimum_line_lps_mm
        way = ends[1] - ends[0] if expected == truth.ap_minimum_mm else None
        assert _painted_depth(healthy, place, way, level, pitch) == pytest.approx(
            expected, abs=2 * pitch
        )


def _behind(scene: Scene, level: str) -> np.ndarray:
    """Middle of the canal behind the middle of a body."""
    bone = scene.spine.bone(level)
    back = bone.intact.half_depth * 1.03 + scene.spine.canal_half_depth * 0.98
    return np.asarray(bone.centre + back * bone.axes[1])


def _painted_depth(
    scene: Scene, place: np.ndarray, way: np.ndarray | None, level: str, pitch: float
) -> float:
    """Length of canal along a line through a place, on a grid of one row that runs along it."""
    back = scene.spine.bone(level).axes[1] if way is None else way / np.linalg.norm(way)
    left = np.cross(back, [0.0, 0.0, 1.0])
    left /= np.linalg.norm(left)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 2] = left * pitch, back * pitch
    affine[:3, 1] = np.cross(back, left) * pitch
    shape = (3, 3, 81)
    affine[:3, 3] = place - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    row = paint(scene, FineGrid(shape, affine)).finish().structure[1, 1]
    return float(np.isin(row, (Structure.CANAL, Structure.CORD)).sum() * pitch)


def test_a_fragment_narrows_the_canal(healthy: Scene) -> None:
    piece = Fragment(out=6.0, x=0.0, half_width=10.0, water=0.0)
    broken = replace(healthy, diseases={"L2": Disease(fragments=(piece,))})
    before, after = (geometries(scene, ["L2"])["L2"] for scene in (healthy, broken))
    assert before.canal.compromise_percent is not None
    assert after.canal.compromise_percent is not None
    assert after.canal.ap_minimum_mm < before.canal.ap_minimum_mm - 1.0
    assert after.canal.compromise_percent > before.canal.compromise_percent + 10.0
    assert after.posterior_wall.retropulsion_mm > before.posterior_wall.retropulsion_mm + 2.0
    assert after.posterior_wall.fragment_mm == 6.0


def test_pedicles_have_the_size_of_their_arch(healthy: Scene) -> None:
    spine = healthy.spine
    tube = (spine.canal_half_depth, spine.canal_half_width)
    for level in ("T10", "L1", "L4"):
        own, arch = trace(spine.bone(level)), healthy.arches[level]
        assert own is not None
        for side, sign in zip(pedicles_of(own, tube, arch), (1.0, -1.0), strict=True):
            assert side is not None
            assert side.height_mm == pytest.approx(arch.pedicle_height, abs=0.6)
            assert side.width_mm == pytest.approx(arch.pedicle_width, rel=0.12)
            away = (side.centre_lps_mm - own.bone.centre) @ own.bone.axes[0]
            assert sign * away > 0.5 * tube[1]


def localised(scene: Scene, levels: tuple[str, ...]) -> Localisation:
    """What a perfect localiser finds of some levels on thin slices."""
    middle = np.mean([scene.spine.bone(level).centre for level in levels], axis=0)
    aim = replace(scene.aim, middle=middle + np.array([0.0, 12.0, 0.0]))
    grid = grid_around(aim, (80, 240, 150), (1.0, 0.8, 0.8))
    tissue = paint(scene, grid).finish()
    labels = np.zeros_like(tissue.body)
    vertebrae = []
    for index, level in enumerate(levels, start=1):
        own = tissue.body == scene.numbers[level]
        labels[own] = index
        centroid = to_lps(grid.affine, np.argwhere(own)).mean(axis=0)
        axes = scene.spine.bone(level).axes
        name = LevelName(level, 1.0)
        vertebrae.append(
            Vertebra(index, name, (), Coverage.COMPLETE, centroid, axes, None, confidence=1.0)
        )
    in_canal = tissue.structure == Structure.CORD
    structures = np.where(in_canal, np.uint8(Structure.CANAL), tissue.structure)
    return Localisation(labels, grid.affine, tuple(vertebrae), Anchor.SACRUM, structures)


def test_the_rulers_of_the_report_find_the_truth_on_painted_labels(healthy: Scene) -> None:
    levels = ("T12", "L1", "L2", "L3", "L4")
    truths = geometries(healthy, levels)
    measured = measure_levels(localised(healthy, levels), [False] * len(levels))
    for level, found in list(zip(levels, measured, strict=True))[1:-1]:
        truth = truths[level]
        assert found is not None
        for part, name, within in (
            ("posterior_wall", "convexity_mm", 0.4),
            ("posterior_wall", "retropulsion_mm", 0.4),
            ("canal", "ap_body_mm", 0.8),
            ("canal", "ap_disc_above_mm", 0.9),
            ("canal", "ap_disc_below_mm", 0.9),
            ("angles", "wedge_deg", 0.8),
            ("angles", "kyphosis_deg", 0.8),
            ("pedicle_left", "height_mm", 1.0),
            ("pedicle_right", "height_mm", 1.0),
        ):
            ours, theirs = (getattr(getattr(of, part), name) for of in (truth, found))
            assert theirs == pytest.approx(ours, abs=within), (level, part, name)


def test_kinds_of_disease_are_in_the_truth_of_their_level() -> None:
    rng = np.random.default_rng(4)
    fracture = sample_fracture(rng, stage="acute", shape="wedge")
    truth = truth_at(scene_with("L2", fracture), "L2")
    assert fracture.edema is not None
    assert (truth.endplate, truth.edema_pattern) == (fracture.endplate, fracture.edema.pattern)
    assert (truth.lesion, truth.lesion_extent, truth.schmorl_node) == ("none", 0.0, "none")
    metastasis = sample_metastasis(rng, fractured=False)
    truth = truth_at(scene_with("L2", metastasis), "L2")
    assert metastasis.lesion is not None
    assert truth.lesion == metastasis.lesion.kind
    assert truth.lesion_extent == metastasis.lesion.extent
    assert truth.endplate == "none"


@pytest.mark.parametrize(("acute", "expected"), [(False, "old"), (True, "acute")])
def test_schmorl_nodes_are_old_or_acute(*, acute: bool, expected: str) -> None:
    node = sample_schmorl(np.random.default_rng(3), acute=acute)
    assert truth_at(scene_with("L3", node), "L3").schmorl_node == expected


def test_levels_out_of_view_and_the_sacrum_are_not_measured(healthy: Scene) -> None:
    grid = grid_around(healthy.aim, (20, 140, 100), (3.0, 2.0, 2.0))
    levels = {t.level: t for t in level_truths(healthy, paint(healthy, grid).finish())}
    assert levels["C5"].visible == "outside"
    assert (levels["C5"].volume_ml, levels["C5"].geometry) == (None, None)
    assert levels["L3"].geometry is not None
    assert levels["S1"].geometry is None
    assert levels["S1"].volume_ml is not None


@pytest.mark.parametrize("level", ["C5", "T6", "L3"])
def test_a_body_crushed_flat_has_numbers_or_none(level: str) -> None:
    disease = Disease(
        stage="acute",
        fracture="crush",
        endplate="both",
        loss=0.9,
        etiology="benign",
        edema=Edema("diffuse", 1.0, 0.5, 0.5),
    )
    region = {"C": "cervical", "T": "thoracic", "L": "lumbar"}[level[0]]
    request = SceneRequest(region=region, numbering="usual", diseases={level: disease})
    scene = sample_scene(2, request)
    beside = list(scene.numbers)
    place = beside.index(level)
    found = geometries(scene, beside[place - 1 : place + 2])
    assert len(found) >= 2
    for geometry in found.values():
        assert np.isfinite(geometry.canal.ap_minimum_mm)
        assert np.isfinite(geometry.angles.wedge_deg)


def test_grades_of_discs_follow_their_hydration() -> None:
    assert [pfirrmann_grade(part) for part in (0.0, 0.3, 0.5, 0.7, 0.9)] == [5, 4, 3, 2, 1]
    scene = sample_scene(11, SceneRequest(region="lumbar", healthy=True, numbering="usual"))
    discs = spine_truth(scene).discs
    assert [disc.above for disc in discs] == list(scene.spine.levels)
    assert [disc.below for disc in discs] == [*scene.spine.levels[1:], "S1"]
    for disc in discs:
        assert disc.hydration == scene.discs[disc.above].hydration


def test_metal_and_the_sacrum_are_in_the_truth_of_the_spine() -> None:
    request = SceneRequest(
        region="lumbar",
        healthy=True,
        numbering="usual",
        screwed=("L3", "L4"),
        sacral_fracture=True,
    )
    scene = sample_scene(5, request)
    truth = spine_truth(scene)
    assert truth.implants is not None
    assert truth.implants.levels == ("L3", "L4")
    assert scene.implants is not None
    assert truth.implants.screw_diameter_mm == 2 * scene.implants.screw_mm
    assert truth.sacral_fracture is not None
    assert truth.sacral_fracture.left or truth.sacral_fracture.right
    plain = spine_truth(sample_scene(5, replace(request, screwed=(), sacral_fracture=False)))
    assert (plain.implants, plain.sacral_fracture) == (None, None)


def test_curve_slips_and_transition_are_those_drawn() -> None:
    scenes = [sample_scene(seed, SceneRequest(region="lumbar")) for seed in range(40)]
    curved = max(scenes, key=lambda scene: scene.spine.cobb_deg)
    assert spine_truth(curved).cobb_deg == pytest.approx(curved.spine.cobb_deg, rel=0.35)
    for scene in scenes:
        truth = spine_truth(scene)
        slips = {(slip.level, slip.forward_mm, slip.left_mm) for slip in truth.slips}
        assert slips == set(scene.spine.slips)
        assert truth.castellvi == scene.spine.subject.castellvi
        assert (truth.castellvi == "none") == (truth.castellvi_side == "none")
        assert (truth.castellvi[-1] == "b") == (truth.castellvi_side == "both")


def test_the_cord_ends_at_or_below_the_level_where_it_tapers(healthy: Scene) -> None:
    truth = spine_truth(healthy)
    order = list(healthy.numbers)
    assert truth.conus_level == healthy.spine.conus_level
    assert 0 <= order.index(truth.conus_tip_level) - order.index(truth.conus_level) <= 1
    bone = healthy.spine.bone(truth.conus_tip_level)
    tip = healthy.canal.conus_z - CONUS_TAPER_MM
    assert abs(bone.centre[2] - tip) < 40.0
    assert not _has_cord(healthy, tip - 6.0)
    assert _has_cord(healthy, tip + CONUS_TAPER_MM)


def _has_cord(scene: Scene, height: float) -> bool:
    level = min(scene.spine.levels, key=lambda n: abs(scene.spine.bone(n).centre[2] - height))
    middle = _behind(scene, level)
    middle[2] = height
    grid = grid_around(replace(scene.aim, middle=middle), (9, 5, 50), (1.0, 1.0, 1.0))
    tissue: TissueGrid = paint(scene, grid).finish()
    return bool((tissue.structure == Structure.CORD).any())
