"""The signal ruler gives back what was put into an image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.unit.realism.bodies import DEPTH, FRONT, SHAPE, SIGNALS, boxes, image, specimen
from training.realism.edema import edema_ratios, voxel_quantiles
from training.realism.intensity import INTENSITY_ROWS, measure_intensities
from training.realism.specimens import Specimen, whole_bodies


def test_ratios_are_those_of_the_tissues() -> None:
    found = measure_intensities(specimen(image()))

    assert tuple(found) == INTENSITY_ROWS
    for row, tissue in (
        ("disc", "disc"),
        ("disc p90", "disc"),
        ("canal p75", "canal"),
        ("muscle median", "muscle"),
        ("dorsal fat", "fat"),
    ):
        assert found[row] == pytest.approx(SIGNALS[tissue] / SIGNALS["marrow"], rel=0.02), row
    assert found["between-body CV"] == pytest.approx(0.0, abs=1e-6)


def test_gradient_towards_the_back_is_found_and_taken_off() -> None:
    back_cm = (np.arange(SHAPE[2]) - FRONT - DEPTH / 2) / 10
    found = measure_intensities(specimen(image() * np.exp(0.12 * back_cm)))

    assert found["AP gradient"] == pytest.approx(0.12, abs=1e-3)
    assert found["in-body CV"] > 0.05
    assert found["flat CV"] < 1e-3


def test_noise_and_correlation_length() -> None:
    rng = np.random.default_rng(0)
    white = specimen(image() + rng.normal(0, 5.0, SHAPE))
    assert measure_intensities(white)["noise"] == pytest.approx(0.05, rel=0.1)

    smooth = gaussian_filter(rng.normal(0, 1.0, SHAPE), (0, 2.0, 2.0))
    found = measure_intensities(specimen(image() + 5.0 * smooth / smooth.std()))
    # A Gaussian of standard deviation s has the autocorrelation exp(-(lag / 2s)^2).
    assert found["marrow ACF mm"] == pytest.approx(4.0, rel=0.2)
    assert found["noise"] < 0.01


def test_one_body_is_too_few() -> None:
    one = specimen(image())
    alone = Specimen("one", one.volume, one.body, {1: "L1"})
    with pytest.raises(ValueError, match="two whole bodies"):
        measure_intensities(alone)


def test_bodies_cut_by_the_image_edge_are_left_out() -> None:
    labels = boxes()
    labels[:, :3, 50] = 1
    names = {1: "L1", 2: "L2", 3: "S1"}
    assert whole_bodies(labels, names) == {2: "L2"}


def test_edema_is_measured_against_healthy_marrow() -> None:
    array, wet = image(), np.zeros(SHAPE, np.float32)
    wet[boxes() == 2] = 1.0
    array[wet > 0] *= 1.8
    base = specimen(array)
    ill = Specimen("one", base.volume, base.body, base.levels, wet, frozenset({1, 3, 4}))

    found = edema_ratios(ill)

    assert found.lesions == pytest.approx([1.8])
    assert voxel_quantiles([found]) == pytest.approx([1.8] * 5)
    assert edema_ratios(base).lesions == []
