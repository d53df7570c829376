"""The synthetic spine keeps what it says: truth and picture agree, patients are reproducible."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from models.errors import GeometryError
from models.geometry import to_index
from models.localiser.classes import Structure
from models.volume import Role
from training.phantom.disease import ImpossibleDiseaseError
from training.phantom.disease.fracture import sample_fracture
from training.phantom.disease.metastasis import sample_metastasis
from training.phantom.draw import draw_image
from training.phantom.painting.grid import FineGrid
from training.phantom.painting.tissues import EDEMA_FREE_WATER, LevelTruth, SpineCase, Tissue
from training.phantom.patient import grid_around, paint_case, sample_case
from training.phantom.recipe import RecipeError, load_recipe, load_teaching_recipe
from training.phantom.scene import Aim, SceneRequest, paint, sample_scene

COARSE = {"in_plane_mm": 1.2, "slices": 56}
HEALTHY = SceneRequest(region="lumbar", healthy=True, numbering="usual")


def _level(case: SpineCase, name: str) -> LevelTruth:
    return next(level for level in case.levels if level.level == name)


_DISC_TISSUE = {Tissue.NUCLEUS, Tissue.ANNULUS, Tissue.CARTILAGE, Tissue.LIGAMENT}


def _grid_at(
    aim: Aim,
    middle: np.ndarray,
    shape: tuple[int, int, int] = (3, 3, 3),
    pitch: tuple[float, float, float] = (0.8, 0.8, 0.8),
) -> FineGrid:
    """A small grid around a point."""
    return grid_around(replace(aim, middle=middle), shape, pitch)


@pytest.fixture(scope="module")
def case() -> SpineCase:
    return sample_case(7, HEALTHY, **COARSE)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_patient(case: SpineCase) -> None:
    again = sample_case(7, HEALTHY, **COARSE)  # type: ignore[arg-type]
    for name in ("tissue", "fat_percent", "free_water", "structure", "body"):
        assert np.array_equal(getattr(case.grid, name), getattr(again.grid, name)), name
    other = sample_case(8, HEALTHY, **COARSE)  # type: ignore[arg-type]
    assert not np.array_equal(other.grid.tissue, case.grid.tissue)


def test_the_same_seed_gives_the_same_image() -> None:
    scene = sample_scene(21, SceneRequest(region="lumbar"))
    first, second = (
        draw_image(scene, np.random.default_rng(4), role=Role.STIR, in_plane_mm=1.4)
        for _ in range(2)
    )
    assert first.volume.array.tobytes() == second.volume.array.tobytes()
    assert first.body.tobytes() == second.body.tobytes()


def test_one_patient_on_two_grids_is_the_same_patient() -> None:
    scene = sample_scene(9, HEALTHY)
    shape, pitch = (60, 160, 130), (1.2, 1.2, 1.2)
    straight = grid_around(scene.aim, shape, pitch)
    turn = np.radians(9.0)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    about = np.eye(4)
    about[:3, 3] = scene.aim.middle
    turned = FineGrid(shape, about @ rotation @ np.linalg.inv(about) @ straight.affine)
    one, two = (paint_case(scene, grid) for grid in (straight, turned))
    for name in ("L2", "L3", "L4"):
        volumes = [
            np.count_nonzero(case.grid.body == _level(case, name).index) for case in (one, two)
        ]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.02), name
        centres = [_painted_centre(case, name) for case in (one, two)]
        assert np.linalg.norm(centres[0] - centres[1]) < 0.5, name


def _painted_centre(case: SpineCase, name: str) -> np.ndarray:
    voxels = np.argwhere(case.grid.body == _level(case, name).index)
    return case.grid.affine[:3, :3] @ voxels.mean(axis=0) + case.grid.affine[:3, 3]


def test_bodies_lie_where_the_truth_says(case: SpineCase) -> None:
    checked = 0
    pitch = np.linalg.norm(case.grid.affine[:3, :3], axis=0)
    for level in case.levels:
        if level.visible != "complete":
            continue
        centre = np.argwhere(case.grid.body == level.index).mean(axis=0)
        expected = to_index(case.grid.affine, level.centroid_lps_mm)
        assert np.linalg.norm((centre - expected) * pitch) < 4.0, level.level
        checked += 1
    assert checked >= 5


def test_levels_run_from_the_head_down(case: SpineCase) -> None:
    heights = [level.centroid_lps_mm[2] for level in case.levels]
    assert heights == sorted(heights, reverse=True)
    assert [level.level for level in case.levels][-3:] == ["L4", "L5", "S1"]


def test_body_and_structure_agree(case: SpineCase) -> None:
    in_body = case.grid.body > 0
    allowed = (Structure.BODY, Structure.SACRUM_S1)
    assert np.isin(case.grid.structure[in_body], allowed).all()
    assert (case.grid.body[case.grid.structure == Structure.BODY] > 0).all()


def test_every_part_of_the_spine_is_drawn(case: SpineCase) -> None:
    drawn = set(np.unique(case.grid.structure))
    # C2 is painted as the body it is; training tells it apart by its number.
    assert drawn == {int(value) for value in Structure} - {int(Structure.C2)}
    tissues = set(np.unique(case.grid.tissue))
    wanted = (Tissue.CSF, Tissue.CORD, Tissue.NERVE, Tissue.NUCLEUS, Tissue.ANNULUS, Tissue.MUSCLE)
    assert {int(tissue) for tissue in wanted} <= tissues


def test_the_sacrum_has_remnant_discs_and_a_coccyx() -> None:
    scene = sample_scene(6, SceneRequest(region="lumbosacral", healthy=True, numbering="usual"))
    bones = {bone.level: bone for bone in scene.spine.bones}
    at = {name: bones[name].centre for name in ("S1", "S2", "Co1")}
    for middle, wanted in (
        (at["S2"] + bones["S2"].axes[2] * (0.5 * bones["S2"].shape.height_rim + 0.8), _DISC_TISSUE),
        (at["Co1"], {Tissue.MARROW}),
    ):
        tissue = paint(scene, _grid_at(scene.aim, middle)).finish().tissue
        assert set(np.unique(tissue)) & {int(kind) for kind in wanted}


def test_a_neck_ends_in_a_head_and_a_belly_holds_bowel() -> None:
    neck = sample_scene(6, SceneRequest(region="cervical", healthy=True, numbering="usual"))
    foramen = neck.spine.atlas[1]
    above = foramen + np.array([25.0, 30.0, 45.0])
    head = set(np.unique(paint(neck, _grid_at(neck.aim, above)).finish().tissue))
    assert head <= {int(Tissue.NERVE), int(Tissue.CSF)}
    loins = sample_scene(6, SceneRequest(region="lumbar", healthy=True, numbering="usual"))
    before = loins.spine.bone("L4").centre - np.array([0.0, 85.0, 0.0])
    belly = paint(loins, _grid_at(loins.aim, before, (12, 40, 40), (4.0, 2.0, 2.0))).finish().tissue
    assert 0.1 < (belly == Tissue.FAT).mean() < 0.95
    assert (belly == Tissue.SOFT_ORGAN).any()


def test_a_healthy_spine_has_no_edema(case: SpineCase) -> None:
    marrow = case.grid.tissue == Tissue.MARROW
    assert not (case.grid.free_water[marrow] >= EDEMA_FREE_WATER).any()
    assert all(level.edema_fraction == 0 for level in case.levels)


def test_an_acute_fracture_is_in_the_truth_and_in_the_tissue() -> None:
    disease = sample_fracture(np.random.default_rng(2), stage="acute", shape="wedge")
    request = SceneRequest(region="lumbar", diseases={"L2": disease})
    drawn = sample_case(3, request, **COARSE)  # type: ignore[arg-type]
    l2 = _level(drawn, "L2")
    assert l2.unhealed
    assert l2.fracture == "wedge"
    assert l2.height_loss_percent == pytest.approx(100 * disease.loss, abs=8)
    assert l2.heights_mm[0] < l2.heights_mm[2]
    assert l2.edema_fraction > 0.05
    assert not any(level.has_fracture for level in drawn.levels if level.level != "L2")


def test_infiltration_replaces_marrow() -> None:
    rng = np.random.default_rng(0)
    lytic = next(
        disease
        for disease in (sample_metastasis(rng, fractured=False) for _ in range(200))
        if disease.lesion and disease.lesion.kind == "lytic" and disease.lesion.extent > 0.8
    )
    request = SceneRequest(region="lumbar", diseases={"L3": lytic})
    drawn = sample_case(4, request, **COARSE)  # type: ignore[arg-type]
    body = drawn.grid.body == _level(drawn, "L3").index
    replaced = (drawn.grid.tissue == Tissue.METASTASIS_LYTIC) & body
    assert replaced.sum() > 0.4 * body.sum()


@pytest.mark.parametrize(("numbering", "lumbar"), [("L4", 4), ("usual", 5), ("L6", 6)])
def test_numbering_variants_have_their_levels(numbering: str, lumbar: int) -> None:
    scene = sample_scene(5, SceneRequest(region="lumbar", healthy=True, numbering=numbering))
    names = list(scene.numbers)
    assert sum(name.startswith("L") for name in names) == lumbar
    assert names[-1] == "S1"
    assert len(set(names)) == len(names)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(GeometryError, match="no such region"):
        sample_scene(1, SceneRequest(region="knee"))
    disease = sample_fracture(np.random.default_rng(2))
    with pytest.raises(GeometryError, match="no level L9"):
        sample_scene(1, SceneRequest(diseases={"L9": disease}))
    with pytest.raises(ImpossibleDiseaseError, match="healthy spine"):
        SceneRequest(healthy=True, diseases={"L1": disease})


def test_a_field_of_view_without_a_spine_is_refused() -> None:
    scene = sample_scene(1, SceneRequest(region="lumbar", healthy=True))
    away = replace(scene.aim, middle=scene.aim.middle + np.array([0.0, 900.0, 0.0]))
    with pytest.raises(GeometryError, match="no vertebra"):
        paint_case(scene, grid_around(away, (8, 40, 40), (4.0, 4.0, 4.0)))


@pytest.mark.parametrize(
    ("shape", "pitch"),
    [((0, 40, 40), (4.0, 4.0, 4.0)), ((8, 40, 40), (4.0, -4.0, 4.0)),
     ((8, 40, 40), (float("nan"), 4.0, 4.0))],
)  # fmt: skip
def test_grids_of_no_size_are_refused(
    shape: tuple[int, int, int], pitch: tuple[float, float, float]
) -> None:
    with pytest.raises(GeometryError, match="without size"):
        grid_around(sample_scene(1).aim, shape, pitch)


@pytest.mark.parametrize("sizes", [{"in_plane_mm": -1.0}, {"slice_mm": 0.0}])
def test_images_of_no_size_are_refused(sizes: dict[str, float]) -> None:
    scene = sample_scene(1, SceneRequest(region="lumbar", healthy=True))
    with pytest.raises(GeometryError, match="positive size"):
        draw_image(scene, np.random.default_rng(1), role=Role.T1, **sizes)


def test_recipes_draw_from_seeds_of_their_own() -> None:
    names = ("train", "validate", "stress", "rare", "rough", "upper", "low_field")
    recipes = [load_recipe(name) for name in names]
    ranges = sorted((r.first_seed, r.first_seed + r.seeds) for r in recipes)
    assert all(low[1] <= high[0] for low, high in pairwise(ranges))
    assert recipes[0].scene(3).seed == recipes[0].first_seed + 3
    assert recipes[2].acquisition != recipes[0].acquisition
    assert recipes[2].disease != recipes[0].disease


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = 3 3", "recipe own.toml"),
        ('name = "x"\nfirst_seed = 1\nseeds = 5\nknee = 1\n', "knee"),
        ('name = "x"\nfirst_seed = 1\nseeds = 5\n[regions]\nknee = 1.0\n', "regions"),
        ('name = "x"\nfirst_seed = 1\nseeds = 5\n[disease]\nplague = 1.0\n', "plague"),
        ('name = "x"\nfirst_seed = 1\nseeds = 5\n[acquisition]\nbase = "moon"\n', "moon"),
        ('name = "x"\nseeds = 5\n', "first_seed"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=complaint):
        load_recipe(path)
    with pytest.raises(RecipeError, match="no recipe nowhere"):
        load_recipe("nowhere")


@pytest.mark.parametrize("name", ["validate", "stress", "low_field"])
def test_recipes_that_judge_teach_nothing(name: str) -> None:
    with pytest.raises(RecipeError, match="for judging only"):
        load_teaching_recipe(name)
    assert not load_teaching_recipe("train").judging


def test_rough_teaches_on_worse_scanners_than_train_and_better_ones_than_stress() -> None:
    rough, train, stress = (load_recipe(name) for name in ("rough", "train", "stress"))
    assert load_teaching_recipe("rough") == rough
    assert rough.disease == train.disease
    mixes = [recipe.acquisition for recipe in (train, rough, stress)]
    for name in ("thickness", "gap", "pixel", "artefact", "coil"):
        usual, worse, worst = (getattr(mix, f"{name}_factor") for mix in mixes)
        assert usual < worse < worst, name
    usual, worse, worst = (mix.snr_factor for mix in mixes)
    assert usual > worse > worst
    # Vendors and fields stay those of train: stress alone shifts them.
    assert mixes[0].vendors == mixes[1].vendors != mixes[2].vendors
    assert mixes[0].fields_t == mixes[1].fields_t


def test_upper_teaches_on_the_scanners_of_rough_above_the_loins() -> None:
    upper, rough = load_teaching_recipe("upper"), load_recipe("rough")
    assert (upper.disease, upper.acquisition) == (rough.disease, rough.acquisition)
    assert set(upper.regions) == {"cervical", "thoracic", "thoracolumbar"}
    assert upper.regions["cervical"] > rough.regions["cervical"]
