import numpy as np
import pytest

from models.scorer.boxes import body_boxes
from models.scorer.crops import CHANNELS, extract_crops
from models.scorer.measurements import (
    dixon_signs,
    genant_grade,
    height_losses,
    posterior_walls_mm,
    signal_ratios,
    void_fractions,
)
from models.volume import Role
from tests.unit.scorer.toy_spine import Toy

SAME = dict.fromkeys(("T12", "L1", "L2", "L3", "L4", "L5"), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("loss", "grade"), [(0.0, 0), (19.9, 0), (20.0, 1), (25.0, 2), (39.9, 2), (40.0, 3), (80, 3)]
)
def test_genant_grades(loss: float, grade: int) -> None:
    assert genant_grade(loss) == grade


def test_height_loss_is_read_against_intact_neighbours() -> None:
    localisation = Toy(heights={"L2": 15.0, "L3": 20.0}).localisation()
    intact = [level.level not in ("L2", "L3") for level in localisation.vertebrae]
    losses = height_losses(localisation.vertebrae, intact, SAME)
    assert [round(loss.percent) for loss in losses if loss] == [0, 0, 40, 20, 0, 0]


def test_growth_towards_the_sacrum_is_no_loss() -> None:
    toy = Toy(heights=dict(zip(SAME, (22.0, 24.0, 26.0, 28.0, 30.0, 32.0), strict=True)))
    reference = {name: (h, h, h) for name, h in toy.heights.items()}
    losses = height_losses(toy.localisation().vertebrae, [True] * 6, reference)
    assert max(loss.percent for loss in losses if loss) < 0.5
    blind = height_losses(toy.localisation().vertebrae, [True] * 6, {})
    assert max(loss.percent for loss in blind if loss) > 10


def test_cut_bodies_and_sacrum_have_no_height_loss() -> None:
    toy = Toy(levels=("L3", "L4", "L5", "S1"))
    losses = height_losses(toy.localisation(partial=("L3",)).vertebrae, [True] * 4, {})
    assert losses[0] is None
    assert losses[3] is None
    assert losses[1] is not None


def test_signal_ratio_finds_the_bright_body() -> None:
    toy = Toy(gain={"stir": {"L3": 1.7}})
    crops = extract_crops(toy.study(Role.STIR), toy.localisation())
    ratios = signal_ratios(crops)["fluid"]
    assert ratios[3] == pytest.approx(1.7, rel=0.08)
    assert np.abs(np.delete(ratios, 3) - 1.0).max() < 0.08


def test_fat_fraction_of_a_dixon_pair() -> None:
    toy = Toy(gain={"dixon_water": {"L2": 0.9}, "dixon_fat": {"L2": 0.1}})
    crops = extract_crops(toy.study(Role.DIXON_WATER, Role.DIXON_FAT), toy.localisation())
    signs = dixon_signs(crops)
    assert signs.fat_fraction[2] == pytest.approx(0.1, abs=0.03)
    assert signs.fat_fraction[0] == pytest.approx(0.5, abs=0.03)
    # Water and fat cancel in opposed phase where they are equal; little fat leaves the water.
    assert signs.opposed_ratio[2] == pytest.approx(0.8, abs=0.05)
    assert signs.opposed_ratio[0] < 0.06
    alone = extract_crops(toy.study(Role.STIR), toy.localisation())
    assert np.isnan(dixon_signs(alone).fat_fraction).all()


def test_a_void_is_dark_in_every_series() -> None:
    gain = {"stir": {"L2": 0.1, "L3": 0.1}, "t1": {"L2": 0.1, "L4": 0.1}}
    toy = Toy(gain=gain)
    crops = extract_crops(toy.study(Role.STIR, Role.T1), toy.localisation())
    found = void_fractions(crops.array)
    assert found[2] > 0.9
    assert np.delete(found, 2).max() < 0.1
    one = crops.array.copy()
    one[:, CHANNELS.index("t1")] = 0.0  # not acquired
    assert (void_fractions(one)[2:4] > 0.9).all()
    one[:, :-2] = 0.0
    assert np.isnan(void_fractions(one)).all()


@pytest.mark.parametrize("bulge_mm", [-2.5, 0.0, 3.0])
def test_posterior_wall_bulge(bulge_mm: float) -> None:
    toy = Toy()
    localisation = toy.localisation()
    labels = localisation.labels.copy()
    labels[labels == 3] = 0
    local = toy._local(2, toy.affine())
    half = np.array([44.0, 34.0, 25.0]) / 2
    inside = np.all(np.abs(local[..., [0, 2]]) <= half[[0, 2]], axis=-1)
    wall = half[1] + bulge_mm * np.cos(np.pi * np.clip(local[..., 2] / 25.0, -0.5, 0.5))
    labels[inside & (local[..., 1] >= -half[1]) & (local[..., 1] <= wall)] = 3
    bent = type(localisation)(
        labels, localisation.affine, localisation.vertebrae, localisation.anchor,
        localisation.structures,
    )  # fmt: skip
    measured = posterior_walls_mm(bent, body_boxes(labels))[2]
    # Between 15 and 85 % of the height 0.55 of the arc's height is seen.
    assert measured == pytest.approx(0.55 * bulge_mm, abs=0.9)
    assert bulge_mm == 0.0 or np.sign(measured) == np.sign(bulge_mm)
