"""What is written is valid DICOM, plainly synthetic, and the same for the same seed."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from models.volume import Role
from tests.unit.phantom_dicom.drawn import drawn_case, tiny
from tests.unit.phantom_dicom.test_round_trip import ALL_EXTRAS, ALL_ROLES, WRITERS
from training.phantom.dicom.pixels import PixelStyle
from training.phantom.dicom.recipe import ExtraSeries, HeaderFlaws, Storage
from training.phantom.dicom.study import WrittenStudy, write_study
from training.phantom.dicom.vendors.catalogue import VENDOR_STORAGE
from training.phantom.scanner.protocols import Site

EXPECTED_WARNINGS = (
    # Vendors' image types, scan options and private elements, of which dciodvfy has no table.
    "Unrecognized defined term",
    "Unrecognized tag",
    # Scanners write Rescale into MR Image Storage, whose IOD has none.
    "is not present in standard DICOM IOD",
    "Non-identity Modality LUT Module",
)


def written(folder: Path, seed: int = 4, **changes: object) -> WrittenStudy:
    settings: dict[str, object] = {"site": Site("siemens", 1.5), **changes}
    return write_study(drawn_case(), folder, tiny(**settings), np.random.default_rng(seed))


def one_file_of_each(study: WrittenStudy) -> list[Path]:
    return list(dict.fromkeys(series.files[0] for series in study.series))


@pytest.mark.parametrize(
    ("vendor", "storage", "flawed"),
    [
        *((*writer, False) for writer in WRITERS),
        *((v, Storage.CLASSIC, True) for v in VENDOR_STORAGE),
    ],
)
def test_dciodvfy_finds_no_error(
    tmp_path: Path, vendor: str, storage: Storage, flawed: bool
) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed: written DICOM is NOT validated")
    flaws = HeaderFlaws(*([0.5] * 6), {vendor: 0.9}, *([0.5] * 5)) if flawed else None
    study = written(
        tmp_path,
        roles=ALL_ROLES,
        site=Site(vendor, 3.0),
        storage=storage,
        flaws=flaws,
        extras=ALL_EXTRAS,
        slices=3,
    )
    for path in one_file_of_each(study):
        result = subprocess.run(
            [validator, "-new", str(path)], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        for line in result.stderr.splitlines():
            assert not line.startswith("Error"), line
            if line.startswith("Warning"):
                assert any(known in line for known in EXPECTED_WARNINGS), line


@pytest.mark.parametrize(
    ("storage", "syntax"),
    [
        (Storage.CLASSIC, JPEGLSLossless),
        (Storage.ENHANCED, JPEG2000Lossless),
        (Storage.LEGACY, DeflatedExplicitVRLittleEndian),
    ],
)
def test_same_seed_same_bytes(tmp_path: Path, storage: Storage, syntax: str) -> None:
    for name in ("a", "b"):
        written(
            tmp_path / name,
            roles=(Role.STIR, Role.DIXON_WATER),
            storage=storage,
            transfer_syntax_uid=syntax,
            flaws=HeaderFlaws(),
            extras=ALL_EXTRAS,
        )
    first = sorted(
        p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()
    )
    assert len(first) > 8
    for path in first:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_another_seed_another_study(tmp_path: Path) -> None:
    one, other = (written(tmp_path / str(seed), seed=seed) for seed in (1, 2))
    assert one.study_instance_uid != other.study_instance_uid
    assert {s.volume.series_instance_uid for s in one.series}.isdisjoint(
        s.volume.series_instance_uid for s in other.series
    )


def test_extra_series_do_not_change_the_scans(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain")
    more = written(tmp_path / "more", extras=dataclasses.replace(ALL_EXTRAS, post_contrast=0.0))
    scans = [s for s in more.series if s.volume.role in (Role.STIR, Role.T1)]
    for one, other in zip(plain.series[:2], scans, strict=True):
        assert np.array_equal(one.volume.array, other.volume.array)


def test_patient_is_plainly_synthetic(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(written(tmp_path).series[0].files[0])
    assert dataset.PatientID.startswith("SYNTHETIC")
    assert "SYNTHETIC" in str(dataset.PatientName)
    assert dataset.SOPInstanceUID.startswith("2.25.")
    assert dataset.SOPInstanceUID.is_valid


@pytest.mark.parametrize(
    ("vendor", "where", "value"),
    [
        ("siemens", (0x0018, 0x0024), "*tir2d1_"),
        ("ge", (0x0019, 0x109C), "fseir"),
        ("philips", (0x2001, 0x1020), "TIR"),
        ("canon", (0x0018, 0x0024), "FIR"),
        ("uih", (0x0065, 0x102D), "fse_ir"),
    ],
)
def test_each_vendor_says_stir_in_its_own_place(
    tmp_path: Path, vendor: str, where: tuple[int, int], value: str
) -> None:
    study = written(tmp_path, roles=(Role.STIR,), site=Site(vendor, 1.5))
    assert str(pydicom.dcmread(study.series[0].files[0])[where].value).startswith(value)


def test_dixon_parts_are_named_as_each_vendor_does(tmp_path: Path) -> None:
    names = {
        vendor: [
            series.description
            for series in written(
                tmp_path / vendor, roles=(Role.DIXON_WATER,), site=Site(vendor, 3.0), slices=2
            ).series
        ]
        for vendor in VENDOR_STORAGE
    }
    assert names["siemens"][:2] == ["t2_tse_dixon_sag_320_W", "t2_tse_dixon_sag_320_F"]
    assert [n.split(":")[0] for n in names["ge"]] == ["WATER", "FAT", "InPhase", "OutPhase"]
    assert len(set(names["philips"])) == 1
    assert names["canon"][:2] == ["WFST2_SG(W)", "WFST2_SG(F)"]
    assert names["uih"][0] == "t2_fse_wfi_sag(W)"


def test_philips_keeps_dixon_parts_in_one_series(tmp_path: Path) -> None:
    study = written(tmp_path, roles=(Role.DIXON_WATER,), site=Site("philips", 3.0))
    assert len({series.volume.series_instance_uid for series in study.series}) == 1
    numbers = [int(pydicom.dcmread(p).InstanceNumber) for s in study.series for p in s.files]
    assert numbers == list(range(1, len(numbers) + 1))


def test_enhanced_holds_all_parts_with_their_frame_types(tmp_path: Path) -> None:
    study = written(tmp_path, roles=(Role.DIXON_WATER,), storage=Storage.ENHANCED)
    (path,) = {path for series in study.series for path in series.files}
    dataset = pydicom.dcmread(path)
    assert len(study.series) == 4
    assert dataset.NumberOfFrames == sum(s.volume.shape[0] for s in study.series)
    frames = dataset.PerFrameFunctionalGroupsSequence
    kinds = [frame.MRImageFrameTypeSequence[0].FrameType[3] for frame in frames]
    assert list(dict.fromkeys(kinds)) == ["WATER", "FAT", "IN_PHASE", "OUT_PHASE"]
    assert dataset.ImageType[3] == "MIXED"
    values = [tuple(frame.FrameContentSequence[0].DimensionIndexValues) for frame in frames]
    assert len(set(values)) == len(values)


def test_enhanced_stir_states_inversion_and_suppression(tmp_path: Path) -> None:
    study = written(tmp_path, roles=(Role.STIR, Role.T2_FS), storage=Storage.ENHANCED)
    stir, fat_saturated = (pydicom.dcmread(s.files[0]) for s in study.series)
    modifier = stir.SharedFunctionalGroupsSequence[0].MRModifierSequence[0]
    assert modifier.InversionRecovery == "YES"
    assert 80 <= modifier.InversionTimes <= 260
    assert stir.SpectrallySelectedSuppression == "NONE"
    assert fat_saturated.SpectrallySelectedSuppression == "FAT"


@pytest.mark.parametrize("language_seed", range(6))
def test_names_in_other_languages_are_readable(tmp_path: Path, language_seed: int) -> None:
    flaws = HeaderFlaws(0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    study = written(tmp_path, seed=language_seed, roles=(Role.STIR,), slices=2, flaws=flaws)
    dataset = pydicom.dcmread(study.series[0].files[0])
    assert dataset.SeriesDescription == study.series[0].description
    assert "?" not in dataset.StudyDescription


def test_flaws_come_at_their_rates(tmp_path: Path) -> None:
    """Every inversion time missing, no description: the files show it."""
    always = HeaderFlaws(0.0, 0.0, 1.0, 0.0, 1.0, 1.0, {"siemens": 1.0}, 1.0, 0.0, 1.0)
    study = written(tmp_path, roles=(Role.STIR,), flaws=always)
    dataset = pydicom.dcmread(study.series[0].files[0])
    absent = ("SeriesDescription", "StudyDescription", "ProtocolName", "SpacingBetweenSlices")
    assert all(keyword not in dataset for keyword in absent)
    assert dataset.InversionTime is None
    assert len(dataset.ImageType) > 4


def test_localizer_has_three_planes_in_one_series(tmp_path: Path) -> None:
    study = written(tmp_path, extras=ExtraSeries(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    planes = [s for s in study.series if s.volume.role is Role.LOCALIZER]
    assert len({s.plane for s in planes}) == 3
    assert len({s.volume.series_instance_uid for s in planes}) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"bits_stored": 8},
        {"padding": 5000},
        {"slope": 2.0},
        {"slope": 0.0, "intercept": 0.0},
        {"signed": True},
    ],
)
def test_impossible_pixel_styles_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"bits|padding|rescale|signed"):
        PixelStyle(**settings)  # type: ignore[arg-type]


def test_impossible_studies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no scanner"):
        written(tmp_path, site=Site("ge", 1.5), storage=Storage.ENHANCED)
    with pytest.raises(ValueError, match="at least one series"):
        written(tmp_path, roles=())
    with pytest.raises(ValueError, match="transfer syntax"):
        written(tmp_path, transfer_syntax_uid="1.2.840.10008.1.2.2")
