from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.scorer.contrast import ContrastRule, MarrowContrast, measure_contrast
from models.scorer.crops import LevelCrops, extract_crops
from models.scorer.quantiles import quantiles
from models.volume import Role
from tests.unit.scorer.toy_spine import Toy

RULE = ContrastRule()


def measured(crops: LevelCrops, rule: ContrastRule = RULE) -> MarrowContrast:
    return measure_contrast(crops, [True] * len(crops.array), rule)


def toy_crops(toy: Toy, role: Role = Role.STIR) -> LevelCrops:
    return extract_crops(toy.study(role), toy.localisation())


@pytest.mark.parametrize("level", ["T12", "L3", "L5"])
def test_a_bright_body_stands_out_wherever_it_lies(level: str) -> None:
    toy = Toy(gain={"stir": {level: 1.7}})
    contrast = measured(toy_crops(toy))
    number = toy.levels.index(level)
    assert contrast.bright[number] > 0.95
    assert contrast.very_bright[number] > 0.8
    assert contrast.ratio[number] == pytest.approx(1.7, rel=0.1)
    assert np.delete(contrast.bright, number).max() == 0.0
    assert np.abs(np.delete(contrast.ratio, number) - 1.0).max() < 0.1


def test_half_of_the_bodies_do_not_drag_the_field_with_them() -> None:
    toy = Toy(gain={"stir": dict.fromkeys(("L2", "L3", "L4"), 1.8)})
    contrast = measured(toy_crops(toy))
    assert contrast.bright[2:5].min() > 0.9
    assert contrast.bright[[0, 1, 5]].max() == 0.0


def test_a_slightly_brighter_body_does_not_count() -> None:
    contrast = measured(toy_crops(Toy(gain={"stir": {"T12": 1.12, "L3": 1.15}})))
    assert contrast.bright.max() == 0.0


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_a_coil_is_no_edema_however_few_bodies_there_are(count: int) -> None:
    levels = ("T12", "L1", "L2", "L3", "L4", "L5")[:count]
    # 8 % a body along the spine, as towards the middle of a coil, and steep to the back.
    gain = {level: 1.08**number for number, level in enumerate(levels)}
    contrast = measured(toy_crops(Toy(levels, gain={"stir": gain}, shading_per_cm=0.16)))
    assert contrast.bright.max() < 0.01


def test_part_of_a_body_is_measured_as_such() -> None:
    toy = Toy()
    localisation, volume = toy.localisation(), toy.volume(Role.STIR)
    # The upper 30 % of L2.
    local = toy._local(2, toy.affine())
    upper = (localisation.labels == 3) & (local[..., 2] > 5.0)
    image = volume.array.copy()
    image[upper] *= 1.8
    wet = replace(volume, array=image)
    study = replace(toy.study(Role.STIR), reference=wet, by_role={"stir": wet})
    contrast = measured(extract_crops(study, localisation))
    assert contrast.bright[2] == pytest.approx(0.3, abs=0.07)
    assert contrast.ratio[2] == pytest.approx(1.0, abs=0.08)


def speckled(role: Role) -> LevelCrops:
    """Bodies with patches of a centimetre, all alike."""
    toy = Toy()
    rng = np.random.default_rng(1)
    volume = toy.volume(role)
    patches = rng.normal(0.0, 0.35, tuple(-(-size // step) for size, step in zip(
        toy.shape, (3, 11, 11), strict=True
    )))  # fmt: skip
    whole: NDArray[np.float64] = patches.repeat(3, 0).repeat(11, 1).repeat(11, 2)
    slices, rows, columns = toy.shape
    image = volume.array * np.exp(whole[:slices, :rows, :columns]).astype(np.float32)
    study = replace(
        toy.study(role),
        reference=replace(volume, array=image),
        by_role={role.value: replace(volume, array=image)},
    )
    return extract_crops(study, toy.localisation())


def test_patchy_marrow_raises_the_limit_in_a_water_image_only() -> None:
    water, stir = measured(speckled(Role.DIXON_WATER)), measured(speckled(Role.STIR))
    assert stir.limit == pytest.approx(1.3)
    assert water.limit > 1.6
    assert water.bright.max() < stir.bright.min()


def test_nothing_is_measured_without_fluid_or_with_one_body() -> None:
    assert np.isnan(measured(toy_crops(Toy(), Role.T1)).bright).all()
    crops = toy_crops(Toy())
    alone = measure_contrast(crops, [number == 2 for number in range(6)], RULE)
    assert np.isnan(alone.bright).all()
    some = measure_contrast(crops, [number != 5 for number in range(6)], RULE)
    assert np.isnan(some.bright).tolist() == [False] * 5 + [True]


def test_quantiles_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 100):
        values = rng.normal(size=count)
        parts = (0.0, 0.1, 0.5, 0.97, 1.0)
        assert quantiles(values, parts) == pytest.approx(list(np.quantile(values, parts)))
