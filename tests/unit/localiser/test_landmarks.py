"""Ribs beside bodies, and where the cord ends, on painted maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.localiser.instances import Candidate
from models.localiser.landmarks import RIB_ML, find_landmarks

SPACING = np.array([4.0, 1.0, 1.1])
SHAPE = (18, 200, 120)
ROWS = (30, 62, 95, 129, 164)


def chain() -> list[Candidate]:
    """Five bodies in the middle slice, in column 45."""
    return [
        Candidate(i + 1, np.array([8.5, row, 45.0]), 30.0, 0.0, 0.9, cut=False)
        for i, row in enumerate(ROWS)
    ]


def empty() -> NDArray[np.float32]:
    return np.zeros(SHAPE, np.float32)


def canal() -> NDArray[np.float32]:
    maps = empty()
    maps[6:11, :, 70:85] = 0.9
    return maps


def test_a_rib_is_found_beside_its_own_body_on_either_side() -> None:
    rib = empty()
    rib[2:4, 58:64, 50:58] = 0.8  # the second body, its right side
    rib[14:16, 20:26, 50:58] = 0.8  # the first body, its left side

    marks = find_landmarks(chain(), rib, empty(), canal(), SPACING)

    assert (marks.ribs_ml > 0.3).tolist() == [True, True, False, False, False]


def test_a_shaft_far_behind_is_nobodys() -> None:
    rib = empty()
    rib[2:4, 58:64, 100:110] = 0.8

    assert find_landmarks(chain(), rib, empty(), canal(), SPACING).ribs_ml.max() == 0.0


def test_a_narrow_stack_shows_no_ribs_and_says_so() -> None:
    narrow = slice(5, 12)
    bodies = [
        Candidate(i + 1, np.array([3.0, row, 45.0]), 30.0, 0.0, 0.9, cut=False)
        for i, row in enumerate(ROWS)
    ]

    marks = find_landmarks(bodies, empty()[narrow], empty()[narrow], canal()[narrow], SPACING)

    assert np.isnan(marks.ribs_ml).all()


def test_the_rib_of_a_body_that_the_image_cuts_may_lie_beyond_its_edge() -> None:
    rib = empty()
    rib[2:4, 160:166, 50:58] = 0.8  # the last body
    rib[14, 25, 50:53] = 0.8  # a trace beside the first one
    bodies = chain()
    bodies[0], bodies[-1] = (replace(bodies[i], cut=True) for i in (0, -1))

    marks = find_landmarks(bodies, rib, empty(), canal(), SPACING)

    assert np.isnan(marks.ribs_ml).tolist() == [True, False, False, False, False]
    assert marks.ribs_ml[-1] > 0.3
    whole = find_landmarks(chain(), rib, empty(), canal(), SPACING)
    assert 0.0 < whole.ribs_ml[0] < RIB_ML


@pytest.mark.parametrize(("end", "expected"), [(62, 1.0), (79, 1.5), (95, 2.0)])
def test_the_cord_ends_beside_a_place_of_the_chain(end: int, expected: float) -> None:
    cord = empty()
    cord[7:10, : end + 1, 74:80] = 0.9

    marks = find_landmarks(chain(), empty(), cord, canal(), SPACING)

    assert marks.conus == pytest.approx(expected, abs=0.05)


def test_a_cord_that_leaves_the_picture_has_no_end() -> None:
    cord = empty()
    cord[7:10, :, 74:80] = 0.9

    assert find_landmarks(chain(), empty(), cord, canal(), SPACING).conus is None


def test_a_strand_of_roots_under_the_cord_is_not_its_end() -> None:
    cord = empty()
    cord[7:10, :63, 74:80] = 0.9
    cord[7:10, 110:120, 74:80] = 0.9

    conus = find_landmarks(chain(), empty(), cord, canal(), SPACING).conus

    assert conus == pytest.approx(1.0, abs=0.05)


def test_one_body_has_no_chain_to_place_things_along() -> None:
    marks = find_landmarks(chain()[:1], empty(), empty(), canal(), SPACING)

    assert np.isnan(marks.ribs_ml).all()
    assert marks.conus is None
