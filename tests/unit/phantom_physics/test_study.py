"""The written study is read back as DICOM, by its own attributes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import JPEGLSLossless, RLELossless

from models.volume import Role
from tests.unit.phantom_physics.toy import block_case
from training.phantom.acquisition import truth_on
from training.phantom.protocols import VENDORS, Site
from training.phantom.study import StudyRecipe, WrittenStudy, write_study

TRIPLE = (Role.STIR, Role.T1, Role.T2)


def write(folder: Path, **changes: object) -> WrittenStudy:
    settings: dict[str, object] = {"roles": TRIPLE, "site": Site("siemens", 1.5), **changes}
    recipe = StudyRecipe(**settings)  # type: ignore[arg-type]
    return write_study(block_case(), folder, recipe, np.random.default_rng(3))


def test_geometry_and_pixels_read_back_as_acquired(tmp_path: Path) -> None:
    study = write(tmp_path)
    assert len(study.series) == 3
    for series in study.series:
        for index, path in enumerate(series.files):
            dataset = pydicom.dcmread(path)
            volume = series.volume
            assert np.array_equal(dataset.pixel_array, volume.array[index])
            row, column = np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float)
            down, across = map(float, dataset.PixelSpacing)
            assert column * down == pytest.approx(volume.affine[:3, 1], abs=1e-6)
            assert row * across == pytest.approx(volume.affine[:3, 2], abs=1e-6)
            origin = volume.affine @ [index, 0, 0, 1]
            assert np.asarray(dataset.ImagePositionPatient, float) == pytest.approx(origin[:3])
            assert dataset.FrameOfReferenceUID == volume.frame_of_reference_uid


def test_physics_attributes_say_what_the_series_is(tmp_path: Path) -> None:
    stir, t1, t2 = (pydicom.dcmread(s.files[0]) for s in write(tmp_path).series)
    assert 80 <= float(stir.InversionTime) <= 260
    assert "IR" in stir.ScanningSequence
    assert "InversionTime" not in t1
    assert float(t1.RepetitionTime) <= 1200
    assert float(t1.EchoTime) <= 30
    assert float(t2.RepetitionTime) >= 1800
    assert float(t2.EchoTime) >= 60


def test_patient_is_plainly_synthetic(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(tmp_path).series[0].files[0])
    assert dataset.PatientID.startswith("SYNTHETIC")
    assert "SYNTHETIC" in str(dataset.PatientName)
    assert dataset.SOPInstanceUID.startswith("2.25.")
    assert dataset.SOPInstanceUID.is_valid


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_same_seed_same_bytes_in_compressed_syntaxes(tmp_path: Path, syntax: str) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, transfer_syntax_uid=syntax)
    first = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(first) > 10
    for path in first:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_dixon_parts_share_their_place_and_add_up(tmp_path: Path) -> None:
    study = write(tmp_path, roles=(Role.DIXON_WATER,), site=Site("siemens", 3.0))
    kinds = [pydicom.dcmread(s.files[0]).ImageType[3] for s in study.series]
    assert kinds == ["WATER", "FAT", "IN_PHASE", "OUT_PHASE"]
    assert len({s.volume.affine.tobytes() for s in study.series}) == 1


def test_truth_names_the_fractured_level_on_the_first_series_grid(tmp_path: Path) -> None:
    study = write(tmp_path)
    truth = json.loads(study.truth.read_text())
    acuity = {level["level"]: level["acuity"] for level in truth["levels"]}
    assert acuity == {"L3": "no_fracture", "L4": "unhealed", "L5": "no_fracture"}
    image = SimpleITK.ReadImage(str(tmp_path / "truth.nii.gz"))
    labels = SimpleITK.GetArrayFromImage(image)
    volume = study.series[0].volume
    _, body = truth_on(block_case().grid, volume)
    assert np.array_equal(labels == 23, body == 2)
    corner = image.TransformIndexToPhysicalPoint((3, 4, 2))
    assert corner == pytest.approx((volume.affine @ [2, 4, 3, 1])[:3], abs=1e-3)


@pytest.mark.parametrize("vendor", VENDORS)
def test_written_objects_are_valid_dicom(tmp_path: Path, vendor: str) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed: written DICOM is NOT validated")
    roles = (*TRIPLE, Role.T2_FS, Role.DIXON_WATER)
    study = write(tmp_path, roles=roles, site=Site(vendor, 3.0), misleading_share=0.5)
    for series in study.series:
        result = subprocess.run(
            [validator, "-new", str(series.files[0])], capture_output=True, text=True, check=False
        )
        assert "Error" not in result.stderr, result.stderr
