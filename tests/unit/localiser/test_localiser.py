"""The localiser with an identity network: what goes in comes back where it was."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from models.findings import Anchor, Coverage, Localisation, StudyVolumes
from models.geometry import Spacing
from models.localiser.classes import Structure
from models.localiser.localiser import Localiser, level_settings
from models.runtime import Tensors
from models.volume import Role, Volume
from tests.unit.localiser.chain import (
    Box,
    IdentitySession,
    chain,
    grid_affine,
    index_of,
    painted,
)

MIDDLE = np.array([8.0, 8.0, -90.0])
Localised = tuple[Volume, Localisation, int]
"""A volume, what is found on it, and how many pixels wide the answers are."""

NAMES = ["L1", "L2", "L3", "L4", "L5", "S1"]


def localise(volume: Volume, side: int = 1) -> Localisation:
    return Localiser(IdentitySession(side), {})(StudyVolumes(volume, {volume.role: volume}))


def reordered(volume: Volume, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """The same picture stored another way: axes permuted, then some flipped."""
    array = np.transpose(volume.array, axes)
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, list(axes)]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    return Volume(np.ascontiguousarray(array), affine, volume.role)


def plain_volume() -> Volume:
    shape = (15, 260, 150)
    return painted(chain(), grid_affine(Spacing(4.0, 1.0, 1.0), shape, MIDDLE), shape)


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize(
    ("spacing", "shape", "tilt"),
    [
        (Spacing(4.0, 1.0, 1.0), (15, 260, 150), 0.0),
        (Spacing(4.4, 0.7, 0.8), (14, 360, 190), 0.2),
        (Spacing(3.3, 1.3, 1.2), (18, 200, 130), -0.15),
        (Spacing(1.5, 0.9, 1.1), (40, 290, 140), 0.1),
    ],
)
def test_identity_network_returns_bodies_where_they_were(
    spacing: Spacing, shape: tuple[int, int, int], tilt: float, side: int
) -> None:
    boxes = chain()
    volume = painted(boxes, grid_affine(spacing, shape, MIDDLE, tilt), shape)

    found = localise(volume, side)

    assert [v.level for v in found.vertebrae] == NAMES
    assert found.anchor is Anchor.SACRUM
    assert found.labels.shape == volume.shape
    assert np.array_equal(found.affine, volume.affine)
    for box, vertebra in zip(boxes, found.vertebrae, strict=True):
        in_plane = (vertebra.centroid_lps_mm - box.centre)[1:]
        assert np.abs(in_plane).max() < 0.35
        assert abs(vertebra.centroid_lps_mm[0] - box.centre[0]) < 2.3  # half a working slice
        assert found.labels[index_of(volume, box.centre)] == vertebra.index
        assert vertebra.coverage is Coverage.COMPLETE
    level = np.where(volume.array > 700, 1000.0, 600.0)
    solid = volume.array > 0.5 * level
    overlap = 2 * ((found.labels > 0) & solid).sum() / ((found.labels > 0).sum() + solid.sum())
    assert overlap > 0.95


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_storage_order_changes_nothing(
    axes: tuple[int, int, int], flips: tuple[bool, bool, bool], small: Localised
) -> None:
    volume, expected, side = small
    stored = reordered(volume, axes, flips)

    found = localise(stored, side)

    assert [v.level for v in found.vertebrae] == NAMES[-4:]
    for ours, theirs in zip(found.vertebrae, expected.vertebrae, strict=True):
        assert np.allclose(ours.centroid_lps_mm, theirs.centroid_lps_mm, atol=1e-6)
        assert np.allclose(ours.axes_lps, theirs.axes_lps, atol=1e-6)
    labels = Volume(found.labels.astype(np.float32), found.affine, volume.role)
    again = Volume(expected.labels.astype(np.float32), expected.affine, volume.role)
    assert np.array_equal(labels.array, reordered(again, axes, flips).array)


@pytest.fixture(scope="module", params=[1, 2])
def plain(request: pytest.FixtureRequest) -> Localised:
    volume = plain_volume()
    return volume, localise(volume, request.param), request.param


@pytest.fixture(scope="module", params=[1, 2])
def small(request: pytest.FixtureRequest) -> Localised:
    shape = (12, 160, 96)
    middle = np.array([8.0, 9.0, -54.0])
    volume = painted(chain(4), grid_affine(Spacing(4.2, 1.0, 1.1), shape, middle), shape)
    return volume, localise(volume, request.param), request.param


def test_gain_changes_nothing(plain: Localised) -> None:
    volume, expected, side = plain
    louder = Volume(volume.array * np.float32(3.7) + np.float32(12.0), volume.affine, volume.role)

    assert np.array_equal(localise(louder, side).labels, expected.labels)


def test_structures_agree_with_labels(plain: Localised) -> None:
    _, found, _ = plain
    s1 = found.vertebrae[-1].index

    assert np.array_equal(found.structures == Structure.SACRUM_S1, found.labels == s1)
    bodies = (found.labels > 0) & (found.labels != s1)
    assert np.array_equal(found.structures == Structure.BODY, bodies)


def test_sizes_are_those_painted(plain: Localised) -> None:
    _, found, _ = plain

    for vertebra in found.vertebrae:
        size = vertebra.size
        assert size is not None
        assert size.depth_mm == pytest.approx(34.0, abs=0.8)
        assert size.height_middle_mm == pytest.approx(26.0, abs=0.5)
        assert size.width_mm == pytest.approx(44.0, abs=4.0)
        assert size.volume_ml == pytest.approx(44 * 34 * 26 / 1000, rel=0.1)


def test_without_sacrum_bodies_are_counted_not_named() -> None:
    shape = (15, 260, 150)
    boxes = chain(sacrum=False)
    found = localise(painted(boxes, grid_affine(Spacing(4.0, 1.0, 1.0), shape, MIDDLE), shape))

    assert found.anchor is Anchor.NONE
    assert [v.level for v in found.vertebrae] == [None] * 6
    assert [v.index for v in found.vertebrae] == [1, 2, 3, 4, 5, 6]
    assert [a.code for a in found.abstentions] == ["unanchored"]


@pytest.mark.parametrize("side", [1, 2])
def test_body_cut_by_the_edge_is_partial_and_not_measured(side: int) -> None:
    shape = (15, 200, 150)
    affine = grid_affine(Spacing(4.0, 1.0, 1.0), shape, np.array([8.0, 8.0, -100.0]))
    found = localise(painted(chain(), affine, shape), side)

    first = found.vertebrae[0]
    assert first.coverage is Coverage.PARTIAL
    assert first.size is None
    assert [v.coverage for v in found.vertebrae[1:-1]] == [Coverage.COMPLETE] * 4


def test_empty_image_abstains() -> None:
    shape = (9, 64, 64)
    affine = grid_affine(Spacing(4.0, 1.0, 1.0), shape, MIDDLE)
    found = localise(Volume(np.zeros(shape, np.float32), affine, Role.T1))

    assert found.vertebrae == ()
    assert [a.code for a in found.abstentions] == ["no_vertebral_body"]


def test_speck_is_not_a_body() -> None:
    shape = (15, 260, 150)
    speck = Box(np.array([8.0, -45.0, -70.0]), (12.0, 10.0, 9.0))
    affine = grid_affine(Spacing(4.0, 1.0, 1.0), shape, MIDDLE)
    found = localise(painted([*chain(), speck], affine, shape))

    assert [v.level for v in found.vertebrae] == NAMES


def test_settings_come_from_the_bundle() -> None:
    metadata = {"vertebral_acuity": {"calibration": {"levels": {"lumbar_6": 0.2, "set": "x"}}}}

    assert level_settings(metadata).lumbar_6 == 0.2
    assert level_settings({}).lumbar_6 == 0.04


def test_network_sees_sagittal_order() -> None:
    seen: list[tuple[int, ...]] = []

    class Spy(IdentitySession):
        def run(self, inputs: Tensors) -> Tensors:
            seen.append(inputs["image"].shape)
            return super().run(inputs)

    volume = reordered(plain_volume(), (2, 0, 1), (True, False, True))
    Localiser(Spy(), {})(StudyVolumes(volume, {}))

    assert seen == [(1, 2, 15, 288, 160)]
