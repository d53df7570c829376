"""Screws and rods, and the broken sacrum: drawn where they belong, refused where they cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import GeometryError
from models.geometry import to_lps
from models.localiser.classes import Structure
from training.phantom.painting.grid import Canvas
from training.phantom.painting.tissues import EDEMA_FREE_WATER, Tissue
from training.phantom.patient import grid_around, level_truths
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene

PITCH_MM = (2.0, 1.2, 1.2)


def _painted(scene: Scene) -> Canvas:
    return paint(scene, grid_around(scene.aim, (45, 180, 130), PITCH_MM))


def _own_place(canvas: Canvas, scene: Scene, level: str, where: np.ndarray) -> np.ndarray:
    """(n, 3) left, back, head of voxels in the frame of a bone."""
    bone = scene.spine.bone(level)
    return (to_lps(canvas.grid.affine, np.argwhere(where)) - bone.centre) @ bone.axes.T


def test_screws_run_through_both_pedicles_into_the_body_and_spare_the_canal() -> None:
    scene = sample_scene(5, SceneRequest(region="lumbar", healthy=True, screwed=("L3", "L4")))
    canvas = _painted(scene)
    metal = canvas.maps.tissue == Tissue.METAL
    for level in ("L3", "L4"):
        body = canvas.maps.body == scene.numbers[level]
        inside = _own_place(canvas, scene, level, metal & body)
        assert np.any(inside[:, 0] > 5.0)
        assert np.any(inside[:, 0] < -5.0)
    for level in ("L2", "L5"):
        assert not np.any(metal & (canvas.maps.body == scene.numbers[level]))
    canal = canvas.maps.structure == Structure.CANAL
    assert np.count_nonzero(metal & canal) < 0.02 * np.count_nonzero(metal)


def test_a_patient_is_the_same_but_for_the_metal() -> None:
    plain = sample_scene(5, SceneRequest(region="lumbar", healthy=True))
    screwed = sample_scene(5, SceneRequest(region="lumbar", healthy=True, screwed=("L3", "L4")))
    before, after = _painted(plain).maps, _painted(screwed).maps
    elsewhere = after.tissue != Tissue.METAL
    assert np.array_equal(before.tissue[elsewhere], after.tissue[elsewhere])
    assert np.array_equal(before.body, after.body)


@pytest.mark.parametrize("chosen", [("L3",), ("L2", "L4"), ("L4", "L3"), ("L5", "L6")])
def test_impossible_constructs_are_refused(chosen: tuple[str, ...]) -> None:
    with pytest.raises(GeometryError):
        sample_scene(5, SceneRequest(region="lumbar", numbering="usual", screwed=chosen))


def test_a_broken_sacrum_wets_its_alae_and_names_no_fracture_of_s1() -> None:
    request = SceneRequest(region="lumbosacral", healthy=True, sacral_fracture=True)
    scene = sample_scene(7, request)
    assert scene.sacral_fracture is not None
    canvas = _painted(scene)
    wet = (canvas.maps.water >= EDEMA_FREE_WATER) & (canvas.maps.tissue == Tissue.MARROW)
    ala = wet & (canvas.maps.structure == Structure.SACRUM_LOWER)
    away = np.abs(_own_place(canvas, scene, "S1", ala)[:, 0])
    assert away.size > 200
    assert np.median(away) > scene.spine.bone("S1").shape.half_width
    truth = {level.level: level for level in level_truths(scene, canvas.finish())}["S1"]
    assert truth.fracture == "none"
