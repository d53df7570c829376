"""The telltale finds a difference that is there, and none that is not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.realism.bodies import image, specimen
from training.realism.crops import SIZE, Crops, crops_of
from training.realism.detector import detect_by_features, folds_of
from training.realism.features import feature_table

PATIENTS = 8


def made_up(gain_of_real: float, seed: int = 0) -> Crops:
    """Noise crops of 2 x 8 patients; every patient has a level of his own."""
    rng = np.random.default_rng(seed)
    images, real, patients = [], [], []
    for kind in (False, True):
        for patient in range(PATIENTS):
            level = rng.uniform(0.3, 0.5)
            for _ in range(6):
                noise = rng.normal(0, 0.05 * (gain_of_real if kind else 1.0), (SIZE, SIZE))
                images.append(level + noise)
                real.append(kind)
                patients.append(f"{'real' if kind else 'drawn'} {patient}")
    names = np.array(patients)
    return Crops(np.array(images, np.float32), np.array(real), names, names)


def test_patients_never_stand_on_both_sides() -> None:
    crops = made_up(1.0)
    for train, test in folds_of(crops):
        assert not set(crops.patients[train]) & set(crops.patients[test])
        assert len(set(crops.real[test])) == 2
    keep = ~crops.real | (crops.patients == "real 1")
    one_real = Crops(crops.images[keep], crops.real[keep], crops.patients[keep], crops.names[keep])
    with pytest.raises(ValueError, match="two patients"):
        folds_of(one_real)


def test_noisier_crops_are_told_and_noise_is_the_clue() -> None:
    crops = made_up(1.5)
    detection, clues = detect_by_features(crops, *feature_table(crops.images))
    assert detection.auroc > 0.95
    assert detection.interval[0] > 0.85
    assert clues[0].auroc > 0.95


def test_equal_crops_are_not_told() -> None:
    crops = made_up(1.0)
    detection, _ = detect_by_features(crops, *feature_table(crops.images))
    # Below one half is chance too: folds of few patients make it lean that way.
    assert detection.auroc < 0.72
    assert detection.interval[0] < 0.6


def test_crops_are_centred_normalised_and_named() -> None:
    rng = np.random.default_rng(0)
    padded = specimen(image())
    crops = crops_of([(padded, True)], rng)

    assert crops.images.shape[1:] == (SIZE, SIZE)
    assert crops.real.all()
    assert set(crops.patients) == {"one"}
    # L1's crop would leave the image at the top.
    assert not any("L1" in name for name in crops.names)
    middle = crops.images[:, 26:38, 26:38]
    assert middle.std() < 0.02
    assert crops.images.min() >= -0.12
    with pytest.raises(ValueError, match="no body"):
        crops_of([], rng)


def test_gain_does_not_change_a_crop() -> None:
    one, brighter = (
        crops_of([(specimen(image() * gain), True)], np.random.default_rng(0)).images
        for gain in (1.0, 7.3)
    )
    assert np.abs(one - brighter).max() < 0.03


@pytest.mark.train
def test_network_tells_and_says_where() -> None:
    network = pytest.importorskip("training.realism.network")
    crops = made_up(1.0)
    images = crops.images.copy()
    # What gives the drawn ones away is a bright block in their canal.
    images[~crops.real, 20:44, 48:58] += 0.4
    detection, transplant = network.detect_by_network(
        Crops(images, crops.real, crops.patients, crops.names), steps=80
    )
    assert detection.auroc > 0.95
    assert transplant.shape == (SIZE, SIZE)
    assert set(network.region_shares(transplant)) == set(network.REGIONS)
