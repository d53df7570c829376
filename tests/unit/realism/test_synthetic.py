"""The phantom's door: what comes through is what the tables expect."""

from __future__ import annotations

import numpy as np
import pytest

from models.volume import Role
from training.phantom.disease.catalogue import catalogue
from training.phantom.patient import grid_around
from training.phantom.scene import sample_scene
from training.realism import requests as module
from training.realism.gallery import disease_row
from training.realism.requests import (
    CHANGE_PITCH_MM,
    CHANGE_SHAPE,
    HEALTHY_ROW,
    LEVEL,
    changes,
    requests,
)
from training.realism.synthetic import (
    Setting,
    SyntheticPatient,
    synthetic_patients,
    synthetic_volumes,
)
from training.realism.table import Collected, as_text, compare, edema_figures


@pytest.fixture(scope="module")
def patient() -> SyntheticPatient:
    setting = Setting(in_plane_mm=1.0, slice_mm=4.0)
    return next(synthetic_patients((Role.T2,), (3,), setting, with_bodies=True))


def test_images_follow_the_setting(patient: SyntheticPatient) -> None:
    image = patient.images[Role.T2]
    assert image.volume.spacing.mm == pytest.approx((4.0, 1.0, 1.0))
    assert image.volume.role is Role.T2
    assert image.body.shape == image.volume.shape
    assert len(image.levels) >= 3
    assert set(image.levels) <= image.healthy
    assert {"L2", "L3"} <= set(patient.levels.values())
    assert set(np.unique(patient.bodies)) >= set(image.levels)


def test_same_seed_same_image(patient: SyntheticPatient) -> None:
    setting = Setting(in_plane_mm=1.0, slice_mm=4.0)
    again = next(synthetic_volumes(Role.T2, (3,), setting))
    assert np.array_equal(again.volume.array, patient.images[Role.T2].volume.array)
    assert again.structure.shape == again.body.shape == again.volume.shape


def test_gallery_rows_are_told_apart_and_captioned() -> None:
    wanted = requests()
    names = [one.name for one in wanted]
    assert names[: 1 + len(catalogue())] == [HEALTHY_ROW, *catalogue()]
    assert {"pedicle_screws", "sacral_fracture", "metastasis_lytic_cervical"} <= set(names)
    wedge = next(one for one in wanted if one.name == "fracture_acute_wedge")

    title, pictures = disease_row(wedge, 5)

    assert {name for name, _ in pictures} == {
        "t1", "t1 flair", "t2", "stir", "t2_fs", "dixon water", "dixon fat",
        "dixon in_phase", "dixon out_of_phase", "water, gradient echo",
    }  # fmt: skip
    assert all(image.min() >= 0 and image.max() <= 1 for _, image in pictures)
    assert "acute wedge" in title
    assert LEVEL in title


def test_table_flags_what_is_off() -> None:
    found = Collected()
    for value in np.linspace(1.3, 2.7, 12):
        found.add("Dixon water", {"disc": float(value), "canal p75": 9.0})
    text = as_text(compare(found), edema_figures([]))
    lines = {line[13:31].strip(): line for line in text.splitlines() if "Dixon water" in line}
    assert lines["disc"].endswith("ok")
    assert "FLAG median x3.80" in lines["canal p75"]


def test_the_plainest_of_several_draws_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "catalogue", lambda: {"modic_2": None})
    monkeypatch.setattr(module, "ELSEWHERE", ())

    def changed(seed: int, draws: int) -> int:
        row = next(one for one in requests(seed, draws) if one.name == "modic_2")
        scene = sample_scene(seed, row.scene)
        grid = grid_around(scene.aim, CHANGE_SHAPE, CHANGE_PITCH_MM)
        return int(changes(scene, grid)[1].sum())

    pairs = [(changed(seed, 1), changed(seed, 4)) for seed in range(3)]
    assert all(0 < first <= plainest for first, plainest in pairs)
    assert any(first < plainest for first, plainest in pairs)


def test_facets_are_looked_at_beside_the_middle() -> None:
    rows = {one.name: one for one in requests()}
    facets = rows["facet_edema"]
    side = facets.scene.diseases[LEVEL].arches[0].side
    assert facets.aside_mm == 16.0 * (side or 1)
    assert rows["modic_1"].aside_mm is None
