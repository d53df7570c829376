"""What lies around the spine: each tissue where it belongs, and about as much of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.geometry import to_index
from training.phantom.painting.tissues import Tissue, TissueGrid
from training.phantom.patient import grid_around
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene

SHAPE = (60, 150, 130)
PITCH = (2.0, 2.0, 2.0)


@cache
def drawn(region: str, age: float = 55.0) -> tuple[Scene, TissueGrid]:
    request = SceneRequest(region, healthy=True, numbering="usual", sex="F", age_years=age)
    scene = sample_scene(12, request)
    return scene, paint(scene, grid_around(scene.aim, SHAPE, PITCH)).finish()


def places(region: str, tissue: Tissue, level: str) -> np.ndarray:
    """(n, 3) mm left of, behind and above a body's centre: voxels of a tissue near its height."""
    scene, grid = drawn(region)
    bone = scene.spine.bone(level)
    at = np.argwhere(grid.tissue == tissue) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    own = (at - bone.centre) @ bone.axes.T
    return own[np.abs(own[:, 2]) < 12.0]


def tissue_at(region: str, level: str, offset_mm: tuple[float, float, float]) -> Tissue:
    scene, grid = drawn(region)
    bone = scene.spine.bone(level)
    point = to_index(grid.affine, bone.centre + np.array(offset_mm) @ bone.axes)
    k, i, j = (round(float(value)) for value in point)
    return Tissue(int(grid.tissue[k, i, j]))


def test_great_vessels_run_in_front_of_lumbar_bodies() -> None:
    flow = places("lumbar", Tissue.FLOWING_BLOOD, "L3")
    half_depth = drawn("lumbar")[0].spine.bone("L3").shape.half_depth
    assert len(flow) > 50
    front = flow[:, 1] < -half_depth
    assert front.mean() > 0.9
    assert flow[:, 0].max() > 5.0  # aorta on the left
    assert flow[:, 0].min() < -5.0  # cava on the right
    assert np.median(flow[front, 1]) > -half_depth - 40.0


def test_psoas_and_back_muscles_lie_beside_and_behind() -> None:
    muscle = places("lumbar", Tissue.MUSCLE, "L4")
    beside = muscle[(np.abs(muscle[:, 0]) > 25.0) & (np.abs(muscle[:, 1]) < 20.0)]
    behind = muscle[muscle[:, 1] > 45.0]
    assert len(beside) * np.prod(PITCH) / 1000.0 > 8.0
    assert len(behind) * np.prod(PITCH) / 1000.0 > 15.0


def test_back_muscles_are_streaked_with_fat_more_in_the_old() -> None:
    shares = []
    for age in (25.0, 85.0):
        means = []
        for seed in range(6):
            request = SceneRequest("lumbar", healthy=True, numbering="usual", age_years=age)
            scene = sample_scene(seed, request)
            grid = paint(scene, grid_around(scene.aim, (12, 100, 100), (4.0, 2.5, 2.0))).finish()
            fat = grid.fat_percent[grid.tissue == Tissue.MUSCLE]
            assert fat.std() > 1.0
            means.append(float(fat.mean()))
        shares.append(float(np.mean(means)))
    assert shares[0] < shares[1]


def test_roots_hang_in_the_sac_below_the_cord() -> None:
    scene, grid = drawn("lumbar")
    at = np.argwhere(grid.tissue == Tissue.CORD) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    lowest = at[:, 2].min() if len(at) else np.inf
    assert lowest > scene.spine.bone("L3").centre[2]
    roots = places("lumbar", Tissue.NERVE, "L4")
    fluid = places("lumbar", Tissue.CSF, "L4")
    inside = roots[np.abs(roots[:, 0]) < 10.0]
    assert 0.05 < len(inside) / len(fluid) < 1.5
    # They lie at the back of the sac, in a patient on the back.
    assert np.median(inside[:, 1]) > np.median(fluid[:, 1]) - 1.0


def test_epidural_fat_lies_behind_the_sac() -> None:
    fluid = places("lumbar", Tissue.CSF, "L4")
    fat = places("lumbar", Tissue.FAT, "L4")
    behind = fat[(np.abs(fat[:, 0]) < 6.0) & (fat[:, 1] > np.median(fluid[:, 1]))]
    near = behind[behind[:, 1] < np.percentile(fluid[:, 1], 98) + 12.0]
    assert len(near) * np.prod(PITCH) > 40.0


def test_the_basivertebral_vein_opens_at_the_back_of_the_body() -> None:
    vein = places("lumbar", Tissue.SLOW_BLOOD, "L3")
    half_depth = drawn("lumbar")[0].spine.bone("L3").shape.half_depth
    inside = vein[
        (np.abs(vein[:, 0]) < 8.0) & (vein[:, 1] < half_depth) & (vein[:, 1] > -half_depth)
    ]
    assert len(inside) > 0
    assert np.median(inside[:, 1]) > 0.2 * half_depth
    deep = inside[inside[:, 1] < half_depth - 3.0]
    assert len(deep) > 0
    assert np.abs(deep[:, 2]).max() < 8.0


def test_skin_and_fat_close_the_back() -> None:
    scene, grid = drawn("lumbar")
    k, i, _ = to_index(grid.affine, scene.spine.bone("L3").centre)
    line = grid.tissue[round(float(k)), round(float(i))]
    assert line[-1] == Tissue.AIR
    skin = int(np.flatnonzero(line != Tissue.AIR)[-1])
    assert line[skin] == Tissue.SKIN
    assert (line[skin - 6 : skin] == Tissue.FAT).mean() > 0.5


@pytest.mark.parametrize(
    ("region", "tissues"),
    [
        ("lumbar", (Tissue.SOFT_ORGAN, Tissue.FLOWING_BLOOD, Tissue.MUSCLE)),
        ("thoracolumbar", (Tissue.LUNG, Tissue.LIVER, Tissue.FLOWING_BLOOD)),
        ("thoracic", (Tissue.LUNG, Tissue.CORD)),
        ("cervical", (Tissue.CORD, Tissue.MUSCLE, Tissue.GAS)),
    ],
)
def test_regions_hold_their_organs(region: str, tissues: tuple[Tissue, ...]) -> None:
    found = set(np.unique(drawn(region)[1].tissue))
    assert {int(one) for one in tissues} <= found


def test_no_lung_beside_the_lowest_levels() -> None:
    assert len(places("lumbar", Tissue.LUNG, "L4")) == 0


def test_kidneys_lie_beside_the_upper_lumbar_bodies() -> None:
    kidney = places("thoracolumbar", Tissue.KIDNEY, "L1")
    assert len(kidney) * np.prod(PITCH) / 1000.0 > 10.0
    assert np.abs(kidney[:, 0]).min() > 15.0


def test_a_body_holds_marrow_and_a_disc_lies_below_it() -> None:
    assert tissue_at("lumbar", "L3", (0.0, 0.0, 0.0)) in (Tissue.MARROW, Tissue.SLOW_BLOOD)
    scene, _ = drawn("lumbar")
    down = -0.5 * float(
        np.linalg.norm(scene.spine.bone("L3").centre - scene.spine.bone("L4").centre)
    )
    assert tissue_at("lumbar", "L3", (0.0, 0.0, down)) in (Tissue.NUCLEUS, Tissue.ANNULUS)
