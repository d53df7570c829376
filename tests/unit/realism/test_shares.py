"""The shares that the datasheet states are counted on what is drawn."""

from __future__ import annotations

import numpy as np

from training.phantom.disease import Disease, sample_run
from training.phantom.scene import SceneRequest, sample_scene
from training.realism.shares import Counted


def fracture() -> Disease:
    return sample_run("fracture_acute_wedge", np.random.default_rng(2))[0]


def test_counts_of_known_patients() -> None:
    counted = Counted()
    tumour = sample_run("pathological_convex_wall", np.random.default_rng(3))[0]
    for diseases in ({}, {}, {"L2": fracture()}, {"L1": tumour, "L3": fracture()}):
        counted.add(
            sample_scene(
                1,
                SceneRequest("lumbar", diseases=diseases, healthy=not diseases, numbering="usual"),
            )
        )
    assert counted.spines["all"] == 4
    assert counted.spines["without anything that a truth names"] == 2
    assert counted.spines["with an osteoporotic fracture"] == 2
    assert counted.spines["with metastases"] == 1
    assert counted.stages["acute"] == 2
    assert counted.found["thoracic and lumbar"]["fracture"] == 3
    assert counted.levels["S1"] == 4
    assert (
        counted.signs["pathological, acute"]["all"]
        + counted.signs.get("pathological, other", {"all": 0})["all"]
        == 1
    )
    text = counted.text()
    assert "with metastases" in text
    assert "25.0 %" in text


def test_levels_out_of_view_are_not_counted() -> None:
    counted = Counted()
    request = SceneRequest("cervical", diseases={"L2": fracture()}, numbering="usual")
    counted.add(sample_scene(1, request))
    assert counted.stages == {}
    assert counted.spines["with an osteoporotic fracture"] == 1
