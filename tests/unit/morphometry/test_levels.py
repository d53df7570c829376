"""Walls, canal, pedicles and angles of a level among its neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.findings import Anchor, Call, Fracture, LevelFindings, Localisation, Scores, Shape
from models.morphometry.maps import Resolution, SpineMaps
from models.morphometry.midline import mid_plane
from models.morphometry.morphometry import (
    BODY_WINDOW_MM,
    measure_levels,
    neighbours_of,
    with_geometry,
)
from models.morphometry.outline import trace
from models.morphometry.pedicles import pedicle
from models.morphometry.plane import picture_of
from models.morphometry.result import LevelGeometry, Missing, Pedicle, WallReference
from models.morphometry.runs import longest_runs
from models.morphometry.wall import behind_line
from tests.unit.morphometry.solids import Solid, Stack, column, localised, turned

TALL = Stack((4.0, 0.9, 0.8), degrees=(4.0, -3.0, 5.0), shape=(15, 146, 112))


def levels(localisation: Localisation) -> list[LevelGeometry]:
    measured = measure_levels(localisation, [False] * len(localisation.vertebrae))
    assert None not in measured
    return [geometry for geometry in measured if geometry is not None]


@pytest.mark.parametrize(("bulge", "low", "high"), [(4.0, 2.0, 4.5), (0.0, -0.7, 0.7)])
def test_a_convex_wall_is_positive(bulge: float, low: float, high: float) -> None:
    solid = Solid(rounding=6.0, bulge=bulge, axes=turned((8.0, 3.0, 5.0)))

    wall = levels(localised([solid], Stack()))[0].posterior_wall

    assert wall is not None
    assert low < wall.convexity_mm < high
    assert wall.reference is WallReference.OWN_ENDPLATES
    assert wall.integrity == "not_assessable_on_mri"
    left, back, _ = solid.local(wall.points_lps_mm).T
    assert np.abs(left).max() < 2.5
    assert np.abs(back - solid.depth / 2 - bulge / 2).max() < bulge / 2 + 1.0


def test_a_hollow_wall_is_negative() -> None:
    wall = levels(localised([Solid(rounding=6.0, bulge=-3.0)], Stack()))[0].posterior_wall

    assert wall is not None
    assert -3.5 < wall.convexity_mm < -1.5


def test_a_body_pushed_back_is_retropulsed_and_takes_from_the_canal() -> None:
    axes = turned((6.0, 2.0, 4.0))
    pushed = Solid(axes=axes, heights=(20.0, 20.0, 22.0), centre=4.0 * axes[1], canal_ap=12.0)
    bodies = column(replace(pushed, centre=np.zeros(3)))
    bodies[1] = pushed

    middle = levels(localised(bodies, TALL))[1]

    wall, canal = middle.posterior_wall, middle.canal
    assert wall is not None
    assert wall.reference is WallReference.NEIGHBOURS
    assert wall.retropulsion_mm == pytest.approx(4.0, abs=1.0)
    assert canal is not None
    assert canal.compromise_percent == pytest.approx(25.0, abs=6.0)
    assert canal.compromise_uncertainty_percent is not None
    assert canal.ap_minimum_mm == pytest.approx(12.0, abs=1.0)


def test_straight_column_has_no_retropulsion_compromise_or_kyphosis() -> None:
    middle = levels(localised(column(Solid(axes=turned((6.0, 2.0, 4.0)))), TALL))[1]

    assert middle.posterior_wall is not None
    assert middle.posterior_wall.retropulsion_mm == pytest.approx(0.0, abs=0.8)
    canal = middle.canal
    assert canal is not None
    assert canal.compromise_percent == pytest.approx(0.0, abs=4.0)
    for diameter in (canal.ap_disc_above_mm, canal.ap_disc_below_mm, canal.ap_minimum_mm):
        assert diameter == pytest.approx(16.0, abs=1.0)
    front, behind = canal.minimum_line_lps_mm
    assert np.linalg.norm(behind - front) == pytest.approx(canal.ap_minimum_mm)
    assert behind[1] > front[1]
    assert middle.angles is not None
    assert middle.angles.kyphosis_deg == pytest.approx(0.0, abs=2.0)


def test_kyphosis_is_measured_over_the_neighbours() -> None:
    above = Solid(centre=np.array([0.0, 3.0, 35.0]), axes=turned((9.0, 0.0, 0.0)))
    below = Solid(centre=np.array([0.0, 3.0, -35.0]), axes=turned((-9.0, 0.0, 0.0)))
    bodies = [above, Solid(heights=(16.0, 20.5, 25.0)), below]
    lean = np.degrees(np.arccos(above.axes[2] @ below.axes[2]))
    # Bowed forwards: the upper body's head leans to the front.
    assert above.axes[2][1] < 0 < below.axes[2][1]

    first, middle, last = levels(localised(bodies, TALL))

    assert middle.angles is not None
    assert middle.angles.kyphosis_deg == pytest.approx(lean, abs=2.5)
    assert middle.angles.wedge_deg == pytest.approx(np.degrees(2 * np.arctan(4.5 / 34)), abs=2.0)
    for end in (first, last):
        assert end.angles is not None
        assert end.angles.kyphosis_deg is None
        assert end.reasons["angles.kyphosis_deg"] is Missing.NEIGHBOUR_MISSING
    assert first.reasons["canal.ap_disc_above_mm"] is Missing.NEIGHBOUR_MISSING


def test_pedicles_by_side_and_the_way_through_them() -> None:
    solid = Solid(axes=turned((10.0, 5.0, 6.0)))

    level = levels(localised([solid], Stack()))[0]

    assert level.target is not None
    for side, found, approach in (
        (1.0, level.pedicle_left, level.target.left),
        (-1.0, level.pedicle_right, level.target.right),
    ):
        assert found is not None
        assert approach is not None
        left, back, head = solid.local(found.centre_lps_mm)
        assert left * side == pytest.approx(16.5, abs=2.5)
        assert back == pytest.approx(17.0 + 4.75, abs=1.0)
        assert head == pytest.approx(4.0, abs=1.5)
        assert found.height_mm == pytest.approx(14.0, abs=2.0)
        end = approach.through_lps_mm + approach.length_mm * approach.direction_lps
        assert np.allclose(end, level.target.point_lps_mm, atol=1e-6)
        assert approach.medial_deg == pytest.approx(np.degrees(np.arctan2(16.5, 28.9)), abs=5.0)
        assert approach.caudal_deg > 0
    assert level.reasons["pedicle_left.width_mm"] is Missing.INSUFFICIENT_RESOLUTION


def test_no_arch_gives_no_pedicle_and_no_approach() -> None:
    level = levels(localised([Solid(pedicles=False)], Stack()))[0]

    assert level.pedicle_left is None
    assert level.reasons["pedicle_left"] is Missing.NOT_FOUND
    assert level.target is not None
    assert level.target.left is None
    assert level.reasons["target.left"] is Missing.NOT_FOUND


def test_a_narrow_stack_does_not_show_the_pedicles() -> None:
    level = levels(localised([Solid(width=14.0)], Stack(shape=(6, 80, 122))))[0]

    assert level.reasons["pedicle_right"] is Missing.OUTSIDE_FIELD_OF_VIEW


def test_width_needs_thin_slices() -> None:
    localisation = localised([Solid()], Stack((1.5, 0.9, 0.9), shape=(36, 80, 96)))
    maps = SpineMaps.of(localisation)
    # The localiser averages thin slices, so its maps are no finer than 4 mm.
    assert maps.resolution.slice_mm == 4.0
    plane = mid_plane(maps, localisation.vertebrae[0])
    assert plane is not None
    picture = picture_of(maps, maps.labels, 1, plane, BODY_WINDOW_MM)
    assert picture is not None
    outline = trace(plane, picture)
    assert outline is not None

    coarse = pedicle(maps, 1, outline, 1)
    fine = pedicle(replace(maps, resolution=Resolution(1.0, 1.5)), 1, outline, 1)

    assert isinstance(coarse, Pedicle)
    assert coarse.width_mm is None
    assert isinstance(fine, Pedicle)
    assert fine.width_mm == pytest.approx(9.0, abs=1.6)


def test_partial_bodies_say_so_and_leave_their_neighbours_without() -> None:
    bodies = localised(column(Solid()), TALL, partial=(1,))

    cut, middle, _ = levels(bodies)

    assert cut.target is None
    assert cut.reasons["target"] is Missing.PARTIAL_BODY
    assert cut.reasons["canal"] is Missing.PARTIAL_BODY
    assert middle.posterior_wall is not None
    assert middle.posterior_wall.reference is WallReference.OWN_ENDPLATES
    assert middle.reasons["angles.kyphosis_deg"] is Missing.NEIGHBOUR_MISSING


def test_no_canal_is_said() -> None:
    localisation = localised([Solid(canal_ap=0.5)], Stack())

    assert levels(localisation)[0].canal is None
    assert levels(localisation)[0].reasons["canal"] is Missing.NOT_FOUND


def test_fractured_neighbours_and_the_sacrum() -> None:
    localisation = localised(column(Solid()), TALL, names=("L4", "L5", "S1"))
    fracture = Fracture(0.9, Call.PRESENT, 30.0, 2, Shape.WEDGE)
    found = tuple(
        LevelFindings(vertebra, None, fracture if vertebra.level == "L4" else None, None, None)
        for vertebra in localisation.vertebrae
    )

    scored = with_geometry(localisation, Scores(found, None)).levels

    assert [level.geometry is None for level in scored] == [False, False, True]
    assert scored[0].geometry is not None
    assert scored[1].geometry is not None
    assert scored[0].geometry.adjacent_fractures == ()
    assert scored[1].geometry.adjacent_fractures == (1,)
    # L5 still has the sacrum below it to be measured against.
    assert scored[1].geometry.angles is not None
    assert scored[1].geometry.angles.kyphosis_deg is not None


def test_a_missed_body_leaves_no_neighbours() -> None:
    bodies = column(Solid(), pitch_mm=33.0)

    near = neighbours_of(localised(bodies, TALL).vertebrae)
    far = neighbours_of(localised([bodies[0], bodies[2]], TALL).vertebrae)

    assert near == [(None, 1), (0, 2), (1, None)]
    assert far == [(None, None), (None, None)]


def test_no_bodies_no_geometry() -> None:
    empty = np.zeros((4, 8, 8), np.uint8)

    assert measure_levels(Localisation(empty, np.eye(4), (), Anchor.NONE, empty), []) == ()


def test_behind_line_is_positive_to_the_back() -> None:
    ends = np.array([[0.0, -10.0], [2.0, 10.0]])

    assert behind_line(np.array([[4.0, 0.0]]), ends)[0] > 2.9
    assert behind_line(np.array([[-2.0, 0.0]]), ends)[0] < -2.9


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=5))
def test_longest_runs(lines: list[list[bool]]) -> None:
    flags: NDArray[np.bool_] = np.array(lines, dtype=np.bool_)

    first, last = longest_runs(flags)

    for line, a, b in zip(lines, first, last, strict=True):
        text = "".join("x" if flag else " " for flag in line)
        assert b - a + 1 == max((len(run) for run in text.split()), default=0)
        assert all(line[a : b + 1])
