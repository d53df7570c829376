"""Target, volume and canal on bodies of known geometry, in oblique stacks stored in any order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.findings import LevelName, Localisation, Vertebra
from models.morphometry.maps import Resolution
from models.morphometry.morphometry import measure_levels
from models.morphometry.result import CUT_SIDEWAYS, LevelGeometry, Missing, Target
from tests.unit.morphometry.solids import Solid, Stack, localised, turned

SHAPES = {
    "whole": Solid(rounding=2.5),
    "box": Solid(),
    "wedge": Solid(heights=(12.0, 19.0, 26.0), rounding=4.0),
    "steep wedge": Solid(heights=(8.0, 18.0, 27.0), rounding=3.0),
    "biconcave": Solid(heights=(25.0, 13.0, 25.0), rounding=4.0),
    "crush": Solid(heights=(10.0, 9.0, 11.0), rounding=4.0),
    "one side": Solid(heights=(20.0, 20.0, 24.0), rounding=3.0, left_loss=0.5),
    "burst": Solid(heights=(18.0, 18.0, 24.0), rounding=6.0, bulge=4.0),
    "thoracic": Solid(heights=(16.0, 15.5, 17.0), depth=25.0, width=27.0, rounding=2.5),
}
PLACED = (
    ((0.0, 0.0, 0.0), Stack()),
    ((-20.0, -8.0, -10.0), Stack((4.4, 0.7, 0.9), order=(2, 1, 0), backwards=(False, True, True))),
    ((12.0, 6.0, 9.0), Stack(degrees=(5.0, -7.0, 8.0), backwards=(True, False, False))),
    ((25.0, 3.0, 4.0), Stack(degrees=(-10.0, 5.0, 0.0), order=(1, 2, 0))),
)


def geometry_of(localisation: Localisation) -> LevelGeometry:
    geometry = measure_levels(localisation, [False])[0]
    assert geometry is not None
    return geometry


def target_of(geometry: LevelGeometry) -> Target:
    assert geometry.target is not None
    return geometry.target


def true_volume_ml(solid: Solid) -> float:
    rng = np.random.default_rng(1)
    half = np.array([24.0, 24.0, 15.0])
    local = rng.uniform(-half, half, (200_000, 3))
    inside = solid.body(solid.centre + local @ solid.axes)
    return float(inside.mean() * np.prod(2 * half) / 1000.0)


@pytest.mark.parametrize("placed", range(len(PLACED)))
@pytest.mark.parametrize("name", SHAPES)
def test_target_volume_and_canal_are_where_they_were_built(name: str, placed: int) -> None:
    degrees, stack = PLACED[placed]
    shift = np.random.default_rng(placed).uniform(-2.0, 2.0, 3)
    solid = replace(SHAPES[name], axes=turned(degrees), centre=shift)

    geometry = geometry_of(localised([solid], stack))

    target = target_of(geometry)
    assert np.linalg.norm(target.point_lps_mm - solid.target) < 2.0
    assert solid.body(target.point_lps_mm)
    _, back, head = solid.local(target.point_lps_mm)
    depth = solid.depth + solid.bulge
    assert target.to_anterior_cortex_mm >= 5.0
    assert (back + solid.depth / 2) / depth < 1 / 3 + 0.03
    assert target.to_anterior_cortex_mm == pytest.approx(back + solid.depth / 2, abs=1.0)
    assert target.to_posterior_wall_mm == pytest.approx(
        solid.depth / 2 + solid.bulge - back, abs=1.0
    )
    half = solid.height(back) * (1.0 - solid.left_loss / 2) / 2
    assert target.to_superior_endplate_mm == pytest.approx(half - head, abs=1.0)
    assert target.to_inferior_endplate_mm == pytest.approx(half + head, abs=1.0)
    assert geometry.volume is not None
    assert geometry.volume.body_ml == pytest.approx(true_volume_ml(solid), rel=0.05)
    assert geometry.volume.fifteen_percent_ml == pytest.approx(0.15 * geometry.volume.body_ml)
    assert geometry.canal is not None
    # The bulge fills the first part of the canal; behind the middle half it is nearly whole.
    free = solid.canal_ap - max(0.0, 0.95 * solid.bulge - 1.0)
    assert geometry.canal.ap_body_mm == pytest.approx(free, abs=1.0)


def test_storage_order_and_direction_change_nothing() -> None:
    plain = localised([replace(SHAPES["wedge"], axes=turned((10.0, 4.0, 6.0)))], Stack())
    shape = plain.labels.shape
    axes = [2, 0, 1]
    move = np.eye(4)
    move[:3, :3] = np.eye(3)[:, axes] * [-1.0, -1.0, 1.0]
    move[2, 3], move[0, 3] = shape[2] - 1, shape[0] - 1
    other = replace(
        plain,
        labels=np.flip(np.transpose(plain.labels, axes), (0, 1)),
        structures=np.flip(np.transpose(plain.structures, axes), (0, 1)),
        affine=plain.affine @ move,
    )

    one, two = geometry_of(plain), geometry_of(other)

    assert np.allclose(target_of(one).point_lps_mm, target_of(two).point_lps_mm, atol=1e-3)
    assert one.canal is not None
    assert two.canal is not None
    assert one.canal.ap_body_mm == pytest.approx(two.canal.ap_body_mm, abs=1e-3)
    left, also_left = one.pedicle_left, two.pedicle_left
    assert left is not None
    assert also_left is not None
    assert np.allclose(left.centre_lps_mm, also_left.centre_lps_mm, atol=1e-3)
    assert left.centre_lps_mm[0] > 8.0


def test_target_stays_five_mm_behind_a_near_cortex() -> None:
    shallow = Solid(heights=(14.0, 14.0, 14.0), depth=16.0, width=22.0, rounding=3.0)

    target = target_of(geometry_of(localised([shallow], Stack())))

    assert target.to_anterior_cortex_mm == pytest.approx(5.0, abs=0.3)
    assert target.depth_fraction <= 1 / 3


def test_a_body_too_shallow_for_five_mm_has_no_target() -> None:
    tiny = Solid(heights=(14.0, 14.0, 14.0), depth=13.0, width=22.0, rounding=3.0)

    geometry = geometry_of(localised([tiny], Stack()))

    assert geometry.target is None
    assert geometry.reasons["target"] is Missing.BODY_TOO_SHALLOW


def test_a_flat_body_limits_its_target() -> None:
    flat = Solid(heights=(5.0, 5.0, 6.0), rounding=4.0)

    target = target_of(geometry_of(localised([flat], Stack((4.0, 0.6, 0.8), shape=(15, 120, 106)))))

    assert target.limited_by == ("narrow_at_target",)
    assert target_of(geometry_of(localised([Solid()], Stack()))).limited_by == ()


def test_target_keeps_off_the_vein_and_says_its_uncertainty() -> None:
    geometry = geometry_of(localised([SHAPES["whole"]], Stack((4.4, 0.9, 0.7))))

    target = target_of(geometry)
    assert target.to_basivertebral_vein_mm == pytest.approx((0.5 - 0.29) * 34.0, abs=0.7)
    expected = Resolution(1.0, 4.4)
    assert target.uncertainty_lps_mm[0] == pytest.approx(expected.across_mm / 2, rel=0.1)
    assert target.uncertainty_lps_mm[2] == pytest.approx(expected.edge_mm, rel=0.1)


def test_a_body_that_is_not_in_the_label_map_has_no_geometry() -> None:
    localisation = localised([Solid()], Stack())
    vertebra = localisation.vertebrae[0]
    stranger = Vertebra(
        7, LevelName("L1", 0.9), (), vertebra.coverage, vertebra.centroid_lps_mm,
        vertebra.axes_lps, vertebra.size, 0.9,
    )  # fmt: skip

    geometry = geometry_of(replace(localisation, vertebrae=(stranger,)))

    assert geometry.target is None
    assert geometry.posterior_wall is None
    assert geometry.reasons["target"] is Missing.OUTLINE_UNCLEAR


def test_a_body_cut_sideways_has_its_middle_from_the_canal_and_says_so() -> None:
    solid = Solid(rounding=2.5)
    stack = Stack((4.4, 0.9, 0.9), shape=(11, 80, 122), middle=(9.5, 9.0, 0.4))

    geometry = geometry_of(localised([solid], stack))

    target = target_of(geometry)
    assert CUT_SIDEWAYS in target.limited_by
    assert target.uncertainty_lps_mm[0] > 4.0
    assert np.linalg.norm(target.point_lps_mm - solid.target) < 2.0
    assert geometry.volume is None
    assert geometry.reasons["volume"] is Missing.PARTIAL_BODY


def test_a_body_cut_together_with_its_canal_has_no_target() -> None:
    stack = Stack((4.4, 0.9, 0.9), shape=(7, 80, 122), middle=(14.0, 9.0, 0.4))

    geometry = geometry_of(localised([Solid(rounding=2.5)], stack))

    assert geometry.target is None
    assert geometry.reasons["target"] is Missing.PARTIAL_BODY
