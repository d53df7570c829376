"""Measurements against bodies whose size and lean are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.geometry import Affine, Spacing, to_lps
from models.localiser.bodies import chain_directions, measure
from tests.unit.localiser.chain import grid_affine

SHAPE = (15, 80, 84)


def wedge(
    affine: Affine, anterior: float, posterior: float, lean: float, depth: float = 34.0
) -> NDArray[np.float32]:
    """A body at the origin, 44 mm wide, turned by `lean` radians (head towards the back)."""
    fine = (np.arange(5) + 0.5) / 5 - 0.5
    places = np.indices(SHAPE).reshape(3, -1).T.astype(np.float64)
    total = np.zeros(len(places))
    for down in fine:
        for right in fine:
            x, y, z = to_lps(affine, places + np.array([0.0, down, right])).T
            back = np.cos(lean) * y - np.sin(lean) * z
            head = np.sin(lean) * y + np.cos(lean) * z
            half = (anterior + (posterior - anterior) * (back / depth + 0.5)) / 2
            total += (np.abs(x) <= 22) & (np.abs(back) <= depth / 2) & (np.abs(head) <= half)
    return (total / 25).reshape(SHAPE).astype(np.float32)


@pytest.mark.parametrize("lean", [0.0, 0.25, -0.2, 0.6])
@pytest.mark.parametrize(("anterior", "posterior"), [(26.0, 26.0), (20.0, 27.0), (31.0, 25.0)])
def test_heights_depth_and_axes(anterior: float, posterior: float, lean: float) -> None:
    affine = grid_affine(Spacing(4.0, 1.0, 1.0), SHAPE, np.zeros(3))
    occupancy = wedge(affine, anterior, posterior, lean)

    # The chain's direction is only a hint.
    found = measure(occupancy, affine, np.array([0.0, 0.0, 1.0]))

    slope = (posterior - anterior) / 34.0
    assert found.size is not None
    assert found.size.height_anterior_mm == pytest.approx(anterior + 3.4 * slope, abs=0.5)
    assert found.size.height_middle_mm == pytest.approx((anterior + posterior) / 2, abs=0.5)
    assert found.size.height_posterior_mm == pytest.approx(posterior - 3.4 * slope, abs=0.5)
    assert found.size.depth_mm == pytest.approx(34.0, abs=0.7)
    assert np.abs(found.centroid_lps_mm[0]) < 0.01
    head = np.array([0.0, np.sin(lean), np.cos(lean)])
    assert np.degrees(np.arccos(found.axes_lps[2] @ head)) < 1.5


def test_axes_are_a_right_handed_frame() -> None:
    affine = grid_affine(Spacing(4.0, 0.9, 1.1), SHAPE, np.zeros(3), 0.2)
    direction = np.array([0.2, 0.1, 0.97])

    axes = measure(wedge(affine, 26.0, 26.0, 0.1), affine, direction / np.linalg.norm(direction))

    assert np.allclose(axes.axes_lps @ axes.axes_lps.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes.axes_lps) == pytest.approx(1.0)
    left, back, head = axes.axes_lps
    assert left[0] > 0.9
    assert back[1] > 0.9
    assert head[2] > 0.9


def test_a_hole_inside_does_not_end_the_body() -> None:
    affine = grid_affine(Spacing(4.0, 1.0, 1.0), SHAPE, np.zeros(3))
    occupancy = wedge(affine, 26.0, 26.0, 0.0)
    occupancy[6:9, 38:41, 40:58] = 0.0

    found = measure(occupancy, affine, np.array([0.0, 0.0, 1.0]))

    assert found.size is not None
    assert found.size.height_middle_mm == pytest.approx(26.0, abs=0.5)


def test_heights_are_finer_than_a_pixel() -> None:
    affine = grid_affine(Spacing(4.0, 1.0, 1.0), SHAPE, np.zeros(3))
    sizes = [
        measure(wedge(affine, height, height, 0.0), affine, np.array([0.0, 0.0, 1.0])).size
        for height in (25.6, 26.0, 26.4)
    ]

    measured = [size.height_middle_mm for size in sizes if size is not None]
    assert np.allclose(np.diff(measured), 0.4, atol=0.15)


def test_chain_direction_points_to_the_head_and_goes_on_bending() -> None:
    angle = np.radians([0.0, 10.0, 20.0, 30.0])
    arc = np.stack([np.zeros(4), 150 * (1 - np.cos(angle)), -150 * np.sin(angle)], axis=1)

    directions = chain_directions(arc)

    lean = np.degrees(np.arctan2(-directions[:, 1], directions[:, 2]))
    assert np.allclose(lean, [0.0, 10.0, 20.0, 30.0], atol=1.0)
    assert np.array_equal(chain_directions(np.zeros((1, 3))), [[0.0, 0.0, 1.0]])
