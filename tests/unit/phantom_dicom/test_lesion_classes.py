"""Lesion maps name what a tissue alone does not: fatty marrow, nodes, erosions, cut-off corners."""

from __future__ import annotations

import numpy as np
import pytest

from training.phantom.anatomy.body import body_distances
from training.phantom.dicom.label_maps import LESION_CLASSES, lesion_labels
from training.phantom.disease import sample_run
from training.phantom.patient import grid_around, level_truths
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene

GRID = ((36, 210, 140), (1.6, 0.9, 0.9))


def labelled(name: str | None, seed: int = 0) -> tuple[Scene, dict[str, np.ndarray]]:
    """LPS places of every lesion class that is drawn around L2."""
    run = sample_run(name, np.random.default_rng(seed)) if name else ()
    request = SceneRequest(
        "lumbar",
        diseases=dict(zip(("L2", "L3", "L4"), run, strict=False)),
        healthy=name is None,
        numbering="usual",
        age_years=60.0,
    )
    scene = sample_scene(4, request)
    grid = paint(scene, grid_around(scene.aim, *GRID)).finish()
    labels = lesion_labels(grid, level_truths(scene, grid))
    places = {
        name: np.argwhere(labels == value) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        for name, value in LESION_CLASSES.items()
    }
    return scene, {name: found for name, found in places.items() if len(found)}


def test_a_healthy_spine_has_none() -> None:
    assert labelled(None)[1] == {}


@pytest.mark.parametrize(
    ("disease", "lesion", "least_ml"),
    [
        ("modic_2", "fatty_marrow", 1.0),
        ("fatty_corner", "fatty_marrow", 0.3),
        ("schmorl_node", "schmorl_node", 0.03),
        ("schmorl_node_acute", "schmorl_node", 0.03),
        ("scheuermann", "schmorl_node", 0.03),
        ("limbus", "limbus", 0.05),
        ("discitis_early", "erosion", 0.0),
        ("modic_3", "sclerosis", 0.3),
        ("bone_island", "sclerosis", 0.0),
        ("modic_1", "edema", 0.5),
        ("haemangioma", "haemangioma", 0.1),
        ("discitis", "infection", 0.3),
        ("fracture_unhealed_fluid", "cleft", 0.05),
    ],
)
def test_what_is_drawn_is_in_the_map(disease: str, lesion: str, least_ml: float) -> None:
    voxel_ml = float(np.prod(GRID[1])) / 1000.0
    found = [len(labelled(disease, seed)[1].get(lesion, ())) * voxel_ml for seed in range(3)]
    assert max(found) > least_ml


def test_fatty_marrow_lies_along_the_endplates_of_the_disc() -> None:
    scene, found = labelled("modic_2")
    upper, lower = scene.spine.bone("L2"), scene.spine.bone("L3")
    disc = 0.5 * (upper.centre + lower.centre)
    away = np.abs((found["fatty_marrow"] - disc) @ upper.axes[2])
    assert np.percentile(away, 95) < 0.5 * np.linalg.norm(upper.centre - lower.centre)


def test_a_node_lies_within_the_outline_of_the_intact_body() -> None:
    scene, found = labelled("schmorl_node")
    bone = scene.spine.bone("L2")
    own = (found["schmorl_node"] - bone.centre) @ bone.axes.T
    assert max(body_distances(bone.shape, *point)[0] for point in own) < 0.5
