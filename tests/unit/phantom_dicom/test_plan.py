"""What is scanned: impossible settings, the recipe's mix in every series, names of T1 FLAIR."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import GeometryError
from models.geometry import Plane
from models.volume import Role
from service.ingest.series_text import Word, words_of
from tests.unit.phantom_dicom.drawn import drawn_case, drawn_grid, tiny
from training.phantom import __main__ as command
from training.phantom.dicom.extras import axial_t2, localizer
from training.phantom.dicom.identity import Identity
from training.phantom.dicom.plan import plan_scans
from training.phantom.dicom.recipe import ExtraSeries, StudyRecipe
from training.phantom.dicom.study import write_study
from training.phantom.dicom.vendors.catalogue import VENDOR_STORAGE
from training.phantom.dicom.vendors.header import Scan
from training.phantom.recipe import load_recipe
from training.phantom.scanner.mix import MIXES, TRAIN
from training.phantom.scanner.physics import Readout
from training.phantom.scanner.protocols import Site, sample_protocol

SITE = Site("siemens", 1.5)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"pixel_mm": 0.0}, "pixel_mm"),
        ({"thickness_mm": 0.0}, "thickness_mm"),
        ({"thickness_mm": float("nan")}, "thickness_mm"),
        ({"slices": 0}, "slices"),
        ({"fov_mm": (240.0, -1.0)}, "columns of fov_mm"),
        ({"motion_mm": -0.1}, "motion_mm"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], name: str) -> None:
    with pytest.raises(GeometryError, match=name):
        StudyRecipe(roles=(Role.T1,), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_the_share_of_gradient_echo_dixon_is_that_of_the_mix(share: float) -> None:
    mix = replace(TRAIN, gradient_echo_dixon_share=share)
    recipe = StudyRecipe(roles=(Role.DIXON_WATER,), gradient_echo_dixon=None, mix=mix)
    plans = [plan_scans(recipe, SITE, Identity(seed, "")) for seed in range(300)]
    found = np.mean([p[0].protocols[0].sequence.readout is Readout.GRADIENT_ECHO for p in plans])
    assert found == pytest.approx(share, abs=0.11)


def test_written_patients_leave_the_kind_of_dixon_to_the_mix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plans: list[StudyRecipe] = []
    monkeypatch.setattr(command, "paint_case", lambda *_: None)
    monkeypatch.setattr(command, "write_study", lambda *given, **_: plans.append(given[2]))
    recipe = load_recipe("stress")
    command.write_patient(recipe, 0, tmp_path)
    assert plans[0].gradient_echo_dixon is None
    assert plans[0].mix == recipe.acquisition


def test_series_beside_the_scans_follow_the_mix() -> None:
    grid, stress = drawn_grid(), MIXES["stress"]
    plain, shifted = (
        axial_t2(grid, SITE, 2.0, np.random.default_rng(4), mix) for mix in (TRAIN, stress)
    )
    assert shifted.protocol.thickness_mm == pytest.approx(4.0 * stress.thickness_factor, abs=0.05)
    assert shifted.protocol.gap_mm > plain.protocol.gap_mm
    assert shifted.protocol.sequence.echo_ms != plain.protocol.sequence.echo_ms
    air = [
        float(np.median(stacks[1].volume.array[:, :, -4:]))
        for stacks in (
            localizer(grid, SITE, 64, np.random.default_rng(4), mix) for mix in (TRAIN, stress)
        )
    ]
    assert air[1] > 1.2 * air[0]


def test_a_study_hands_its_mix_to_every_series(tmp_path: Path) -> None:
    extras = ExtraSeries(localizer=1.0, axial=1.0, post_contrast=0.0, reformat=0.0, phase_map=0.0)
    recipe = tiny(roles=(Role.T2,), site=SITE, extras=extras, mix=MIXES["stress"])
    study = write_study(drawn_case(), tmp_path, recipe, np.random.default_rng(3))
    axial = next(
        one for one in study.series if one.plane is Plane.AXIAL and one.volume.role is Role.T2
    )
    factor = MIXES["stress"].thickness_factor
    assert axial.protocol.thickness_mm == pytest.approx(4.0 * factor, abs=0.05)


@pytest.mark.parametrize("vendor", sorted(VENDOR_STORAGE))
def test_t1_flair_is_not_named_stir(vendor: str) -> None:
    habits = VENDOR_STORAGE[vendor]
    protocol = sample_protocol(Role.T1, np.random.default_rng(1), Site(vendor, 3.0))
    sequence = replace(protocol.sequence, repetition_ms=2200.0, inversion_ms=977.0)
    for scanner in habits.classic:
        scan = Scan(replace(protocol, sequence=sequence), Plane.SAGITTAL, scanner)
        for name in habits.header(scan).descriptions:
            words = words_of(name, "")
            assert Word.STIR not in words
            assert "t1" in name.lower()
