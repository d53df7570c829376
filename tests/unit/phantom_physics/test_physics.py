"""Signals against the two-compartment model of the clinical notes (section 4.6)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.phantom_physics.toy import block_grid
from training.phantom.painting.tissues import Tissue
from training.phantom.scanner import relaxation
from training.phantom.scanner.physics import (
    DixonPart,
    Readout,
    Sequence,
    Suppression,
    mixture_index,
    signal_table,
)
from training.phantom.scanner.relaxation import WATER, at_field, nulled_fat_t1

T1 = Sequence(Readout.TURBO_SPIN_ECHO, 1.5, 600.0, 10.0, echo_train_length=0)
T2 = replace(T1, repetition_ms=3500.0, echo_ms=100.0)
STIR = replace(T1, repetition_ms=4500.0, echo_ms=60.0, inversion_ms=180.0, fat_residual=0.015)
T2_FS = replace(T2, echo_ms=80.0, suppression=Suppression.CHESS, fat_residual=0.07)
COLUMNS = (T1, T2, STIR, T2_FS)

EXPECTED = {
    "red_marrow": ((Tissue.MARROW, 30, 0), (0.86, 0.84, 1.70, 1.59)),
    "acute_edema": ((Tissue.MARROW, 24, 190), (0.80, 1.26, 3.51, 3.07)),
    "subacute": ((Tissue.MARROW, 35, 110), (0.90, 1.12, 2.30, 2.10)),
    "lytic": ((Tissue.METASTASIS_LYTIC, 3, 0), (0.63, 1.00, 4.09, 3.48)),
    "blastic": ((Tissue.METASTASIS_BLASTIC, 3, 0), (0.28, 0.22, 1.18, 0.85)),
    "healed": ((Tissue.MARROW, 55, 0), (1.03, 1.06, 0.90, 0.93)),
    "haemangioma": ((Tissue.HAEMANGIOMA, 80, 0), (1.37, 1.87, 1.50, 1.74)),
    "csf": ((Tissue.CSF, 0, 0), (0.27, 3.21, 10.1, 8.7)),
    "disc_ii": ((Tissue.NUCLEUS, 0, 191), (0.62, 2.12, 6.3, 6.6)),
    "disc_iv": ((Tissue.NUCLEUS, 0, 64), (0.58, 0.48, 1.6, 1.9)),
    "muscle": ((Tissue.MUSCLE, 0, 0), (0.59, 0.32, 1.52, 1.17)),
    "fluid": ((Tissue.FLUID, 0, 0), (0.35, 3.49, 10.5, 9.5)),
    "cord": ((Tissue.CORD, 0, 0), (0.71, 1.31, 3.66, 4.44)),
    "fat": ((Tissue.FAT, 100, 0), (1.54, 1.82, 0.12, 0.40)),
}


def ratio(sequence: Sequence, mixture: tuple[Tissue, int, int]) -> float:
    table = signal_table(sequence)
    return table.at(*mixture) / table.at(Tissue.MARROW, 50)


@pytest.mark.parametrize("name", EXPECTED)
def test_signals_are_within_a_quarter_of_the_model(name: str) -> None:
    mixture, wanted = EXPECTED[name]
    measured = [ratio(sequence, mixture) for sequence in COLUMNS]
    assert measured == pytest.approx(wanted, rel=0.25)


@pytest.mark.parametrize("sequence", [T1, T2, STIR, T2_FS])
def test_voids_are_dark(sequence: Sequence) -> None:
    for tissue in (Tissue.AIR, Tissue.GAS, Tissue.CEMENT, Tissue.CORTEX):
        assert ratio(sequence, (tissue, 0, 0)) < 0.15


def test_metastasis_and_edema_differ_on_t1_and_not_on_stir() -> None:
    edema, lytic = (Tissue.MARROW, 24, 190), (Tissue.METASTASIS_LYTIC, 3, 0)
    assert ratio(STIR, lytic) / ratio(STIR, edema) == pytest.approx(1.0, abs=0.25)
    assert ratio(T1, lytic) < 0.9 * ratio(T1, edema)


def test_edema_grows_with_free_water_to_what_is_measured() -> None:
    steps = [ratio(STIR, (Tissue.MARROW, 40, water)) for water in (0, 64, 128, 192, 255)]
    assert np.all(np.diff(steps) > 0)
    assert 1.5 < steps[2] < 2.7
    assert 2.8 < steps[4] < 4.5


def test_residual_fat_brings_stir_ratios_down_to_those_of_real_scans() -> None:
    real = replace(STIR, echo_ms=60.0, inversion_ms=160.0, fat_residual=0.25)
    real = replace(real, fat_t1_ms=nulled_fat_t1(160.0))
    assert 0.6 < ratio(real, (Tissue.MUSCLE, 5, 0)) < 1.3
    assert 2.5 < ratio(real, (Tissue.CSF, 0, 0)) < 6.0
    assert 1.0 < ratio(real, (Tissue.NUCLEUS, 0, 120)) < 2.5
    assert 0.6 < ratio(real, (Tissue.FAT, 95, 0)) < 1.6


def test_stir_nulls_fat_only_when_its_t1_follows_the_inversion_time() -> None:
    tuned = replace(STIR, fat_residual=0.0, fat_t1_ms=nulled_fat_t1(180.0))
    table = signal_table(tuned)
    assert table.at(Tissue.FAT, 100) < 0.01 * table.at(Tissue.CSF)
    off = signal_table(replace(tuned, fat_t1_ms=400.0))
    assert off.at(Tissue.FAT, 100) > 0.1 * off.at(Tissue.CSF)


def test_t1_flair_keeps_t1_contrast() -> None:
    flair = replace(T1, field_t=3.0, repetition_ms=2300.0, inversion_ms=850.0, echo_ms=12.0)
    assert ratio(flair, (Tissue.CSF, 0, 0)) < 0.3
    assert ratio(flair, (Tissue.FAT, 95, 0)) > 1.2
    assert ratio(flair, (Tissue.METASTASIS_LYTIC, 3, 0)) < 0.75


def test_dixon_parts_add_up() -> None:
    dixon = replace(T2, suppression=Suppression.DIXON, dixon_part=DixonPart.WATER)
    half = (Tissue.MARROW, 50, 0)
    tables = {part: signal_table(replace(dixon, dixon_part=part)) for part in DixonPart}
    water, fat = tables[DixonPart.WATER].at(*half), tables[DixonPart.FAT].at(*half)
    assert tables[DixonPart.IN_PHASE].at(*half) == pytest.approx(water + fat, rel=1e-5)
    assert tables[DixonPart.OUT_OF_PHASE].at(*half) == pytest.approx(abs(water - fat), rel=1e-5)
    lytic = (Tissue.METASTASIS_LYTIC, 3, 0)
    drop = tables[DixonPart.OUT_OF_PHASE].at(*lytic) / tables[DixonPart.IN_PHASE].at(*lytic)
    assert drop > 0.85


def test_gradient_echo_water_image_looks_like_the_measured_ones() -> None:
    water = Sequence(
        Readout.GRADIENT_ECHO,
        1.5,
        12.0,
        1.6,
        flip_deg=3.0,
        suppression=Suppression.DIXON,
        dixon_part=DixonPart.WATER,
    )
    marrow = signal_table(water).at(Tissue.MARROW, 45)
    disc, csf, muscle = (
        signal_table(water).at(*mixture) / marrow
        for mixture in ((Tissue.NUCLEUS, 0, 160), (Tissue.CSF, 0, 0), (Tissue.MUSCLE, 5, 0))
    )
    assert 1.2 < disc < 2.6
    assert 1.5 < csf < 3.2
    assert 1.1 < muscle < 2.2
    assert signal_table(water).at(Tissue.FLOWING_BLOOD) > marrow


def test_every_tissue_has_relaxation_values() -> None:
    assert set(WATER) == set(Tissue)


def test_a_tissue_without_relaxation_values_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = {tissue: values for tissue, values in WATER.items() if tissue is not Tissue.METAL}
    monkeypatch.setattr(relaxation, "WATER", rest)
    with pytest.raises(ValueError, match="METAL has no relaxation values"):
        signal_table(T1)


def test_magnetisation_transfer_darkens_muscle_more_than_disc_and_spares_csf() -> None:
    with_transfer = replace(T2, transfer=1.0)
    kept = [
        ratio(with_transfer, mixture) / ratio(T2, mixture)
        for mixture in ((Tissue.MUSCLE, 0, 0), (Tissue.NUCLEUS, 0, 120), (Tissue.CSF, 0, 0))
    ]
    assert kept[0] < kept[1] < kept[2]
    assert kept[2] == pytest.approx(1.0)


def test_times_follow_the_field() -> None:
    assert at_field((800.0, 1000.0), 1.5) == pytest.approx(800.0)
    assert at_field((800.0, 1000.0), 3.0) == pytest.approx(1000.0)
    assert at_field((800.0, 1000.0), 0.5) < 800.0


def test_lookup_finds_the_signal_of_each_mixture() -> None:
    grid = block_grid(edema=200)
    table = signal_table(STIR)
    looked_up = table.combined.ravel().take(mixture_index(grid))
    for where in ((10, 10, 30), (10, 40, 30), (15, 50, 50), (0, 0, 79), (2, 28, 21)):
        expected = table.combined[
            grid.tissue[where], grid.fat_percent[where], grid.free_water[where] >> 3
        ]
        assert looked_up[where] == expected
