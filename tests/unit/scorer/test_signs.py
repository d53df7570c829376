from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.findings import Localisation, StudyVolumes
from models.geometry import to_index, to_lps
from models.localiser.classes import Structure
from models.scorer.contrast import ContrastRule, measure_contrast
from models.scorer.crops import extract_crops
from models.scorer.measurements import HeightLoss
from models.scorer.signs import UNITS, height_signs, measure_signs, of_level
from models.volume import Role, Volume
from tests.unit.scorer.toy_spine import DEPTH, HEIGHT, Toy

LEVEL = 2


def measured(study: StudyVolumes, localisation: Localisation) -> dict[str, NDArray[np.float64]]:
    crops = extract_crops(study, localisation)
    contrast = measure_contrast(crops, [True] * len(crops.array), ContrastRule())
    return measure_signs(crops, localisation, contrast)


def local_mm(toy: Toy, level: int) -> NDArray[np.float64]:
    """(slice, row, column, 3) left, back, head mm from a body's centre."""
    grid = np.stack(np.meshgrid(*map(np.arange, toy.shape), indexing="ij"), axis=-1)
    return (to_lps(toy.affine(), grid) - toy.centre(level)) @ toy.axes().T


def brightened(volume: Volume, where: NDArray[np.bool_], gain: float) -> Volume:
    return replace(volume, array=np.where(where, volume.array * np.float32(gain), volume.array))


def study_with(volume: Volume) -> StudyVolumes:
    return StudyVolumes(volume, {volume.role.value: volume})


@pytest.mark.parametrize("superior", [True, False])
def test_a_band_under_an_endplate_is_told_from_one_in_the_middle(superior: bool) -> None:
    toy = Toy()
    local = local_mm(toy, LEVEL)
    own = toy.labels() == LEVEL + 1
    side = 1.0 if superior else -1.0
    band = own & (side * local[..., 2] >= HEIGHT / 2 - 8.0)
    signs = measured(study_with(brightened(toy.volume(Role.STIR), band, 1.8)), toy.localisation())
    first, last = ("superior", "inferior") if superior else ("inferior", "superior")
    assert signs[f"bright_{first}_third"][LEVEL] > 0.7
    assert signs[f"bright_{last}_third"][LEVEL] < 0.05
    assert signs["bright_endplate_distance"][LEVEL] < 6.0
    assert signs["bright_band_thickness"][LEVEL] < 8.0
    assert signs["bright_across"][LEVEL] > 0.8
    assert np.isnan(signs["bright_band_thickness"][0])  # nothing bright, nothing to describe


def test_a_spot_in_front_does_not_cross_the_body() -> None:
    toy = Toy()
    local = local_mm(toy, LEVEL)
    spot = (toy.labels() == LEVEL + 1) & (local[..., 1] <= -DEPTH / 4)
    signs = measured(study_with(brightened(toy.volume(Role.STIR), spot, 1.8)), toy.localisation())
    assert signs["bright_across"][LEVEL] < 0.5
    assert signs["bright_posterior_quarter"][LEVEL] < 0.05


def test_disc_arch_and_muscle_are_measured_where_they_lie() -> None:
    toy = Toy(shading_per_cm=0.0)
    localisation = toy.localisation()
    structures = localisation.structures.copy()
    local = local_mm(toy, LEVEL)
    inside = (np.abs(local[..., 0]) <= 20) & (np.abs(local[..., 1]) <= DEPTH / 2)
    disc = inside & (local[..., 2] > HEIGHT / 2 + 1) & (local[..., 2] < HEIGHT / 2 + 8)
    arch = (np.abs(local[..., 0]) <= 12) & (local[..., 1] > 20) & (local[..., 1] < 38)
    arch &= np.abs(local[..., 2]) < 10
    structures[disc], structures[arch] = Structure.DISC, Structure.POSTERIOR_ELEMENTS
    volume = brightened(brightened(toy.volume(Role.STIR), disc, 5.0), arch, 3.0)
    signs = measured(study_with(volume), replace(localisation, structures=structures))
    assert signs["disc_fluid_ratio"][LEVEL] == pytest.approx(3.0, rel=0.12)
    assert signs["pedicle_fluid_ratio"][LEVEL] == pytest.approx(1.8, rel=0.12)
    # Everything behind the bricks has 0.6 of their signal.
    assert signs["fluid_ratio_to_muscle"][LEVEL] == pytest.approx(1 / 0.6, rel=0.1)
    assert np.isnan(signs["pedicle_fluid_ratio"][5])


def test_replaced_and_spared_marrow_on_t1() -> None:
    toy = Toy()
    half = (toy.labels() == LEVEL + 1) & (local_mm(toy, LEVEL)[..., 2] > 0)
    t1 = brightened(toy.volume(Role.T1), half, 0.5)
    stir = toy.volume(Role.STIR)
    signs = measured(StudyVolumes(stir, {"stir": stir, "t1": t1}), toy.localisation())
    assert signs["t1_replaced_fraction"][LEVEL] == pytest.approx(0.5, abs=0.1)
    assert signs["t1_spared_fraction"][LEVEL] == pytest.approx(0.5, abs=0.1)
    assert signs["t1_replaced_fraction"][0] == 0.0
    assert signs["t1_spared_fraction"][0] > 0.9


def test_what_is_not_there_is_not_measured() -> None:
    toy = Toy()
    signs = measured(toy.study(Role.T1), toy.localisation()) | height_signs(
        [None, HeightLoss(5.0, 2.0, -1.0)] + [None] * 4
    )
    assert set(signs) <= set(UNITS)
    names = set(of_level(signs, 1))
    assert not any(name.startswith(("bright", "fluid", "disc", "fat")) for name in names)
    assert {"t1_ratio_to_neighbours", "height_loss_anterior"} <= names
    assert "height_loss_anterior" not in of_level(signs, 0)


def test_the_centre_of_a_toy_body_is_where_it_should_be() -> None:
    toy = Toy()
    place = np.rint(to_index(toy.affine(), toy.centre(LEVEL))).astype(int)
    assert np.abs(local_mm(toy, LEVEL)[tuple(place)]).max() < 3.0
