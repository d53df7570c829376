"""Real scans of two data sets are held against each other as phantoms are against real ones."""

from __future__ import annotations

import numpy as np

from training.realism.crops import SIZE, Crops
from training.realism.sites import as_line, as_mapping, site_pairs

PATIENTS = 6


def crops_of_sites(noise: dict[str, float], patients: int = PATIENTS) -> Crops:
    """Noise crops of data sets that differ by their noise, and phantoms noisier than all."""
    rng = np.random.default_rng(3)
    images, real, people = [], [], []
    for site, strength in {**noise, "seed": 0.3}.items():
        for patient in range(patients):
            level = rng.uniform(0.3, 0.5)
            for _ in range(6):
                images.append(level + rng.normal(0, strength, (SIZE, SIZE)))
                real.append(site != "seed")
                people.append(f"{site} {patient}" if site == "seed" else f"{site}_{patient}")
    names = np.array(people)
    return Crops(np.array(images, np.float32), np.array(real), names, names)


def test_data_sets_that_differ_are_told_apart() -> None:
    (pair,) = site_pairs(crops_of_sites({"a1": 0.05, "b2": 0.08}))
    assert pair.names == ("a1", "b2")
    assert pair.patients == (PATIENTS, PATIENTS)
    assert pair.detection.auroc > 0.95
    # The first data set stands in the phantom's place, and no phantom among its crops.
    noise = next(clue for clue in pair.clues if clue.name == "marrow noise")
    assert noise.phantom[1] < noise.real[1]
    assert len(pair.detection.scores) == 2 * PATIENTS * 6


def test_data_sets_of_one_kind_are_not_told_apart() -> None:
    (pair,) = site_pairs(crops_of_sites({"a1": 0.05, "b2": 0.05}))
    assert pair.detection.auroc < 0.75
    assert pair.detection.interval[0] < 0.6


def test_every_two_data_sets_make_a_pair_and_one_patient_makes_none() -> None:
    three = crops_of_sites({"a1": 0.05, "b2": 0.06, "c3": 0.07}, patients=2)
    pairs = [pair.names for pair in site_pairs(three)]
    assert pairs == [("a1", "b2"), ("a1", "c3"), ("b2", "c3")]
    assert site_pairs(crops_of_sites({"a1": 0.05, "b2": 0.08}, patients=1)) == []
    assert site_pairs(crops_of_sites({"a1": 0.05})) == []


def test_a_pair_is_told_in_a_line_and_in_a_mapping() -> None:
    (pair,) = site_pairs(crops_of_sites({"a1": 0.05, "b2": 0.08}))
    assert f"real a1 ({PATIENTS} patients) against real b2 ({PATIENTS})" in as_line(pair)
    found = as_mapping(pair)
    assert found["auroc"] == pair.detection.auroc
    assert len(found["clues"]) == 3
