"""Scores of a localisation against masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.findings import Localisation, StudyVolumes
from models.geometry import Spacing
from models.localiser.localiser import Localiser
from tests.unit.localiser.chain import IdentitySession, chain, grid_affine, painted

matching = pytest.importorskip("training.localiser.matching")

LEVELS = {22: "L3", 23: "L4", 24: "L5", 26: "S1"}


@pytest.fixture(scope="module")
def found() -> Localisation:
    shape = (12, 160, 96)
    affine = grid_affine(Spacing(4.2, 1.0, 1.1), shape, np.array([8.0, 9.0, -54.0]))
    volume = painted(chain(4), affine, shape)
    return Localiser(IdentitySession(), {})(StudyVolumes(volume, {}))


def truth_of(found: Localisation) -> np.ndarray:
    values = np.array([0, *LEVELS], np.uint8)
    return values[found.labels]


def test_perfect_answer(found: Localisation) -> None:
    score = matching.score_localisation(found, truth_of(found), LEVELS)

    assert [body.level for body in score.bodies] == list(LEVELS.values())
    assert all(body.found and body.dice == 1.0 for body in score.bodies)
    assert score.levels_right
    assert score.sacrum_recognised
    assert (score.false_bodies, score.duplicates, score.merged) == (0, 0, 0)
    for body in score.bodies:
        assert body.centroid_error_mm < 0.4
        assert max(body.height_errors_mm) < 0.6


def test_wrong_names_and_missed_bodies_show(found: Localisation) -> None:
    shifted = {22: "L2", 23: "L3", 24: "L4", 26: "L5"}
    assert not matching.score_localisation(found, truth_of(found), shifted).levels_right

    fewer = replace(found, vertebrae=found.vertebrae[1:])
    score = matching.score_localisation(fewer, truth_of(found), LEVELS)
    assert [body.found for body in score.bodies] == [False, True, True, True]
    assert not score.levels_right


def test_false_bodies_count_only_inside_the_annotated_range(found: Localisation) -> None:
    truth = truth_of(found)
    truth[truth == 23] = 0
    truth[truth == 22] = 0
    assert matching.score_localisation(found, truth, LEVELS).false_bodies == 0

    truth = truth_of(found)
    truth[truth == 23] = 0
    assert matching.score_localisation(found, truth, LEVELS).false_bodies == 1


def test_merged_and_duplicated_bodies_show(found: Localisation) -> None:
    truth = truth_of(found)
    joined = truth.copy()
    joined[joined == 23] = 22
    # Both predictions lie on one true body, whose centre neither needs to hit.
    assert matching.score_localisation(found, joined, LEVELS).duplicates == 1

    labels = found.labels.copy()
    labels[labels == 2] = 1
    merged = replace(found, labels=labels, vertebrae=found.vertebrae[:1])
    assert matching.score_localisation(merged, truth, LEVELS).merged == 1


def test_sacrum_without_a_mask_is_judged_by_the_body_above(found: Localisation) -> None:
    truth = truth_of(found)
    truth[truth == 26] = 0
    three = {22: "L3", 23: "L4", 24: "L5"}

    assert matching.score_localisation(found, truth, three).sacrum_recognised
    unnamed = tuple(replace(v, name=None) for v in found.vertebrae)
    without = replace(found, vertebrae=unnamed)
    assert not matching.score_localisation(without, truth, three).sacrum_recognised
    # Named one level off, S1 lies under a lumbar body, but not under the last one.
    names = [*(v.name for v in found.vertebrae[1:]), None]
    off = tuple(replace(v, name=n) for v, n in zip(found.vertebrae, names, strict=True))
    shifted = replace(found, vertebrae=off)
    assert [v.level for v in off][-2] == "S1"
    assert not matching.score_localisation(shifted, truth, three).sacrum_recognised
