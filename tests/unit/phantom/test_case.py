"""The synthetic spine keeps what it says: truth and picture agree, and cases are reproducible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.geometry import to_index
from models.localiser.classes import Structure
from training.phantom.case import CaseRequest, load_case, sample_case, save_case
from training.phantom.pathology import Disease, Edema, Lesion
from training.phantom.tissues import EDEMA_FREE_WATER, SpineCase, Tissue

COARSE = {"in_plane_mm": 1.6, "slice_mm": 2.8, "slices": 22}
"""A coarse grid: the same anatomy, a tenth of the voxels."""


def _level(case: SpineCase, name: str):  # noqa: ANN202
    return next(level for level in case.levels if level.level == name)


@pytest.fixture(scope="module")
def case() -> SpineCase:
    return sample_case(7, CaseRequest(region="lumbar", healthy=True, numbering="usual", **COARSE))


def test_the_same_seed_gives_the_same_case(case: SpineCase) -> None:
    again = sample_case(7, CaseRequest(region="lumbar", healthy=True, numbering="usual", **COARSE))
    assert np.array_equal(case.grid.tissue, again.grid.tissue)
    assert np.array_equal(case.grid.free_water, again.grid.free_water)
    other = sample_case(8, CaseRequest(region="lumbar", healthy=True, **COARSE))
    assert other.grid.tissue.shape != case.grid.tissue.shape or not np.array_equal(
        other.grid.tissue, case.grid.tissue
    )


def test_a_case_survives_its_file(case: SpineCase, tmp_path: Path) -> None:
    path = tmp_path / "case.npz"
    save_case(path, case)
    read = load_case(path)
    for name in ("tissue", "fat_percent", "free_water", "structure", "body", "affine"):
        assert np.array_equal(getattr(read.grid, name), getattr(case.grid, name)), name
    for mine, theirs in zip(case.levels, read.levels, strict=True):
        assert mine.level == theirs.level
        assert mine.heights_mm == theirs.heights_mm
        assert np.array_equal(mine.centroid_lps_mm, theirs.centroid_lps_mm)


def test_bodies_lie_where_the_truth_says(case: SpineCase) -> None:
    checked = 0
    for level in case.levels:
        if level.visible != "complete":
            continue
        voxels = np.argwhere(case.grid.body == level.index)
        centre = voxels.mean(axis=0)
        expected = to_index(case.grid.affine, level.centroid_lps_mm)
        off_mm = (centre - expected) * np.array([2.8, 1.6, 1.6])
        assert np.linalg.norm(off_mm) < 4.0, level.level
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


def test_a_healthy_spine_has_no_edema(case: SpineCase) -> None:
    marrow = case.grid.tissue == Tissue.MARROW
    assert not (case.grid.free_water[marrow] >= EDEMA_FREE_WATER).any()
    assert all(level.edema_fraction == 0 for level in case.levels)


def test_sizes_stay_within_published_limits() -> None:
    for seed in range(5):
        spine = sample_case(
            100 + seed, CaseRequest(region="lumbar", healthy=True, numbering="usual", **COARSE)
        )
        l3 = _level(spine, "L3")
        assert 23 <= l3.depth_mm <= 43
        assert 33 <= l3.width_mm <= 60
        assert all(19 <= height <= 36 for height in l3.heights_mm)


def test_an_acute_wedge_is_drawn_as_asked() -> None:
    disease = Disease(
        stage="acute",
        fracture="wedge",
        loss=0.35,
        etiology="benign",
        edema=Edema("band", 0.5, 0.8, "superior"),
    )
    drawn = sample_case(3, CaseRequest(region="lumbar", diseases={"L2": disease}, **COARSE))
    l2 = _level(drawn, "L2")
    assert l2.unhealed
    assert l2.height_loss_percent == pytest.approx(35, abs=6)
    assert l2.heights_mm[0] < l2.heights_mm[2]
    assert 0.15 < l2.edema_fraction < 0.9
    body = drawn.grid.body == l2.index
    wet = drawn.grid.free_water >= EDEMA_FREE_WATER
    assert (wet & body & (drawn.grid.tissue == Tissue.MARROW)).sum() > 20
    others = [level for level in drawn.levels if level.level != "L2"]
    assert not any(level.has_fracture for level in others)


def test_infiltration_replaces_marrow() -> None:
    disease = Disease(etiology="pathological", lesion=Lesion("lytic", 1.1, ill_defined=False))
    drawn = sample_case(4, CaseRequest(region="lumbar", diseases={"L3": disease}, **COARSE))
    body = drawn.grid.body == _level(drawn, "L3").index
    replaced = (drawn.grid.tissue == Tissue.METASTASIS_LYTIC) & body
    assert replaced.sum() > 0.5 * body.sum()


@pytest.mark.parametrize(("numbering", "lumbar"), [("L4", 4), ("usual", 5), ("L6", 6)])
def test_numbering_variants_have_their_levels(numbering: str, lumbar: int) -> None:
    spine = sample_case(
        5, CaseRequest(region="lumbar", healthy=True, numbering=numbering, **COARSE)
    )
    names = [level.level for level in spine.levels]
    assert sum(name.startswith("L") for name in names) == lumbar
    assert names[-1] == "S1"
    assert len(set(names)) == len(names)
