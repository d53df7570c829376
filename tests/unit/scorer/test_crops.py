from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.findings import StudyVolumes
from models.scorer.crops import (
    CHANNELS,
    CROP_PITCH_MM,
    CROP_SHAPE,
    GRADIENT_ECHO_LIMIT,
    PRESENCE,
    extract_crops,
)
from models.volume import Role, Volume
from tests.unit.scorer.toy_spine import Toy

OWN, BODIES = CHANNELS.index("body"), CHANNELS.index("bodies")


def test_a_body_lies_in_the_middle_of_its_crop_and_neighbours_are_in_view() -> None:
    toy = Toy()
    crops = extract_crops(toy.study(Role.STIR), toy.localisation())
    own = crops.array[2, OWN] > 0.5
    place = np.argwhere(own).mean(axis=0)
    middle = (np.array(CROP_SHAPE) - 1) / 2
    assert abs(place[0] - middle[0]) < 0.7
    assert abs(place[1] - middle[1]) < 0.7
    # The crop's centre lies 6 mm behind the body's.
    assert middle[2] - place[2] == pytest.approx(6.0 / CROP_PITCH_MM[2], abs=0.7)
    neighbours = (crops.array[2, BODIES] > 0.5) & ~own
    assert neighbours[:, :15].any()
    assert neighbours[:, -15:].any()


def test_shading_goes_and_contrast_stays() -> None:
    toy = Toy(gain={"stir": {"L2": 1.6}, "t1": {"L2": 0.6}})
    crops = extract_crops(toy.study(Role.STIR, Role.T1), toy.localisation())
    fluid, t1 = CHANNELS.index("fluid"), CHANNELS.index("t1")
    own = crops.array[:, OWN] > 0.9
    fluid_medians = [np.median(crops.array[i, fluid][own[i]]) for i in range(6)]
    t1_medians = [np.median(crops.array[i, t1][own[i]]) for i in range(6)]
    assert fluid_medians[2] == pytest.approx(np.log(1.75 / 1.15), abs=0.1)
    assert t1_medians[2] == pytest.approx(np.log(0.75 / 1.15), abs=0.1)
    assert np.abs(np.delete(fluid_medians, 2)).max() < 0.08
    # Without the field 34 mm of 12 % per cm would leave a spread of 0.35 inside a body.
    spread = np.ptp(np.percentile(crops.array[0, fluid][own[0]], (5, 95)))
    assert spread < 0.15


@pytest.mark.parametrize("levels", [("L3",), ("L1", "L2", "L3", "L4", "L5")])
def test_crops_are_handed_over_once_and_in_order(levels: tuple[str, ...]) -> None:
    toy = Toy(levels=levels)
    given: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    crops = extract_crops(
        toy.study(Role.STIR),
        toy.localisation(),
        lambda array, presence: given.append((array.copy(), presence)),
    )
    assert [len(array) for array, _ in given] == ([1] if len(levels) == 1 else [2, 3])
    assert np.array_equal(np.concatenate([array for array, _ in given]), crops.array)
    assert np.array_equal(np.concatenate([there for _, there in given]), crops.presence)


def test_no_crops_are_handed_over_where_no_series_has_signal() -> None:
    toy = Toy()
    stir = toy.volume(Role.STIR)
    dark = replace(stir, array=np.zeros_like(stir.array))
    given: list[object] = []
    crops = extract_crops(
        StudyVolumes(dark, {"stir": dark}),
        toy.localisation(),
        lambda array, _presence: given.append(array),
    )
    assert (crops.channels, given) == ({}, [])


@pytest.mark.parametrize(
    ("roles", "flags"),
    [
        ((Role.STIR, Role.T1, Role.T2), {"stir", "t1", "t2"}),
        ((Role.T2_FS,), {"t2_fs"}),
        ((Role.DIXON_WATER, Role.DIXON_FAT), {"dixon_water", "dixon_fat"}),
        ((Role.T2,), {"t2"}),
        ((Role.STIR, Role.T2_FS), {"stir"}),
    ],
)
def test_presence_says_what_is_there(roles: tuple[Role, ...], flags: set[str]) -> None:
    crops = extract_crops(Toy().study(*roles), Toy().localisation())
    for row in crops.presence:
        assert {name for name, flag in zip(PRESENCE, row, strict=True) if flag} == flags
    for channel, name in enumerate(CHANNELS[:-2]):
        used = bool(np.any(crops.array[:, channel]))
        assert used == (name in flags or (name == "fluid" and bool(flags & set(PRESENCE[:3]))))


def test_gradient_echo_water_image_is_flagged() -> None:
    toy = Toy()
    water = toy.volume(Role.DIXON_WATER, limits=(GRADIENT_ECHO_LIMIT,))
    study = StudyVolumes(water, {"dixon_water": water})
    crops = extract_crops(study, toy.localisation())
    assert crops.presence[0, PRESENCE.index("gradient_echo")] == 1.0


def test_stored_orientation_does_not_matter() -> None:
    toy = Toy(gain={"stir": {"L1": 1.5}})
    plain = extract_crops(toy.study(Role.STIR), toy.localisation())
    volume = toy.volume(Role.STIR)
    # The same voxels stored with slices running to the right and rows the other way.
    shape = np.array(volume.shape)
    reverse = np.diag([-1.0, -1.0, 1.0, 1.0])
    reverse[:2, 3] = shape[:2] - 1
    flipped = volume.affine @ reverse
    other = Volume(
        array=np.ascontiguousarray(volume.array[::-1, ::-1]), affine=flipped, role=Role.STIR
    )
    turned = extract_crops(StudyVolumes(other, {"stir": other}), toy.localisation())
    np.testing.assert_allclose(turned.array, plain.array, atol=1e-3)


def test_an_empty_series_is_left_out() -> None:
    toy = Toy()
    stir = toy.volume(Role.STIR)
    dark = Volume(array=np.zeros(stir.shape, np.float32), affine=stir.affine, role=Role.T1)
    crops = extract_crops(StudyVolumes(stir, {"stir": stir, "t1": dark}), toy.localisation())
    assert set(crops.channels) == {"fluid"}
