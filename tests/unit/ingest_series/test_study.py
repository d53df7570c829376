"""The whole of ingest on small studies: every file and every stack has one answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import FileDataset

from models.volume import Role
from service.ingest.grid import StackPolicy
from service.ingest.records import Ingested
from service.ingest.safety import Limits
from service.ingest.study import read_study
from tests.builders import (
    STIR,
    T1,
    T2,
    Grid,
    classic_stack,
    enhanced_instance,
    ramp,
    set_pixels,
    uid,
    write_all,
)

SHAPE = (9, 32, 28)
POLICY = StackPolicy(min_matrix=16)
AXIAL = Grid(orientation=(1, 0, 0, 0, 1, 0))
WATER = {**T2, "ImageType": ["ORIGINAL", "PRIMARY", "M", "DIXON", "WATER"]}
FAT = {**T2, "ImageType": ["ORIGINAL", "PRIMARY", "M", "DIXON", "FAT"]}

Read = Callable[..., Ingested]


def pixels(slices: int = SHAPE[0]) -> NDArray[np.uint16]:
    return ramp(slices, *SHAPE[1:])


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write series of datasets into folders and read them as one study."""

    def run(*series: list[FileDataset], junk: bytes | None = None) -> Ingested:
        for number, datasets in enumerate(series):
            write_all(datasets, tmp_path / "study" / str(number))
        if junk is not None:
            (tmp_path / "study").mkdir(exist_ok=True)
            (tmp_path / "study" / "notes.txt").write_bytes(junk)
        (tmp_path / "work").mkdir()
        found = read_study(
            tmp_path / "study", limits=Limits(), policy=POLICY, workspace=tmp_path / "work"
        )
        given = [path for path in (tmp_path / "study").rglob("*") if path.is_file()]
        assert found.files_used + len(found.refused_files) == len(given)
        refused = [one.file for one in found.refused_files]
        assert len(set(refused)) == len(refused)
        for outcome in found.series:
            assert outcome.used is (outcome.refused is None)
        return found

    return run


def codes(found: Ingested) -> set[str]:
    return {one.refusal.code for one in found.refused_files}


def test_three_series_are_used(read: Read) -> None:
    found = read(
        classic_stack(pixels(), series="a", physics=T1),
        classic_stack(pixels(), series="b", physics=STIR),
        classic_stack(pixels(), series="c", physics=T2),
    )
    assert found.files_used == 27
    assert found.refused_files == ()
    assert found.abstentions == ()
    assert found.volumes is not None
    assert set(found.volumes.by_role) == {"stir", "t1", "t2"}
    volume = found.volumes.reference
    np.testing.assert_array_equal(volume.array, pixels().astype(np.float32))
    assert len(set(volume.sop_instance_uids)) == 9


def test_enhanced_and_classic_are_read_alike(read: Read) -> None:
    found = read([enhanced_instance(pixels(), series="e")], classic_stack(pixels(), physics=T1))
    assert found.files_used == 10
    assert found.volumes is not None
    reference = found.volumes.reference
    assert reference.role.value == "stir"
    assert reference.frame_numbers == tuple(range(1, 10))
    np.testing.assert_array_equal(reference.array, found.volumes.by_role["t1"].array)
    np.testing.assert_allclose(reference.affine, found.volumes.by_role["t1"].affine, atol=1e-6)


def test_two_echoes_of_one_object_are_two_stacks(read: Read) -> None:
    doubled = np.concatenate([pixels(), pixels() + 1])
    found = read([enhanced_instance(doubled, echo_times=(30.0, 90.0))])
    assert [outcome.slices for outcome in found.series] == [9, 9]
    assert sum(outcome.used for outcome in found.series) == 1
    assert found.files_used == 1


def test_dixon_parts_of_one_series(read: Read) -> None:
    water = classic_stack(pixels(), series="d", physics=WATER)
    fat = classic_stack(pixels() + 1, series="d", physics=FAT)
    for number, dataset in enumerate(fat):
        dataset.SOPInstanceUID = uid("fat", number)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = 100 + number
    found = read(water + fat)
    assert found.volumes is not None
    assert set(found.volumes.by_role) == {"dixon_water", "dixon_fat"}
    assert found.files_used == 18
    assert found.abstentions == ()


def test_everything_refused_is_answered(read: Read) -> None:
    found = read(
        classic_stack(pixels(), series="axial", grid=AXIAL),
        classic_stack(pixels(3), series="few"),
        classic_stack(pixels(1), series="one"),
        junk=b"not DICOM",
    )
    assert found.volumes is None
    assert found.files_used == 0
    assert [a.code for a in found.abstentions] == ["no_usable_sagittal_series"]
    assert {"not_sagittal", "too_few_slices", "single_slice"} < codes(found)


def test_empty_folder(read: Read, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    found = read()
    assert found.study_instance_uid == ""
    assert [a.code for a in found.abstentions] == ["no_usable_sagittal_series"]


def test_only_the_fuller_study_is_read(read: Read) -> None:
    found = read(
        classic_stack(pixels(), study="one"),
        classic_stack(pixels(8), study="two"),
        classic_stack(pixels(30), study="three", grid=AXIAL),
    )
    assert found.files_used == 9
    assert codes(found) == {"other_study"}


def test_a_truncated_slice_is_interpolated_and_said(read: Read) -> None:
    datasets = classic_stack(pixels())
    datasets[4].PixelData = datasets[4].PixelData[:100]
    found = read(datasets)
    assert found.volumes is not None
    assert found.volumes.reference.shape == SHAPE
    assert found.volumes.reference.sop_instance_uids[4] == ""
    assert "missing_slices" in found.series[0].findings
    assert found.files_used == 8
    assert len(found.refused_files) == 1


def test_two_missing_slices_refuse_the_series(read: Read) -> None:
    datasets = classic_stack(pixels(12))
    found = read([d for n, d in enumerate(datasets) if n not in (4, 7)])
    assert found.volumes is None
    assert codes(found) == {"gap_too_large"}


def test_flair_is_not_used_as_stir(read: Read) -> None:
    flair = {**STIR, "InversionTime": 2500.0, "RepetitionTime": 9000.0, "EchoTime": 100.0}
    found = read(
        classic_stack(pixels(), physics=flair), classic_stack(pixels(), series="t", physics=T1)
    )
    assert [o.role.value for o in found.series if not o.used] == ["flair"]
    assert found.abstentions[0].code == "no_fluid_sensitive_series"


def test_post_contrast_is_not_used_as_t1(read: Read) -> None:
    post = {**T1, "ContrastBolusAgent": "GADOTERATE"}
    found = read(classic_stack(pixels()), classic_stack(pixels(), series="k", physics=post))
    assert found.volumes is not None
    assert set(found.volumes.by_role) == {"stir"}
    assert [a.code for a in found.abstentions] == ["t1_missing"]
    assert codes(found) == {"post_contrast"}


def test_same_input_gives_the_same_answer(read: Read, tmp_path: Path) -> None:
    first = read(classic_stack(pixels()), classic_stack(pixels(), series="t", physics=T1))
    again = read_study(
        tmp_path / "study", limits=Limits(), policy=POLICY, workspace=tmp_path / "work"
    )
    assert first.series == again.series
    assert first.refused_files == again.refused_files


LOCALIZER = {**T2, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}


def test_a_localizer_in_the_same_coordinates_is_kept_to_count_levels_on(read: Read) -> None:
    found = read(
        classic_stack(pixels(), series="stir", physics=STIR),
        classic_stack(pixels(5), Grid(spacing=(10.0, 1.4, 1.4)), LOCALIZER, series="loc"),
    )

    assert found.volumes is not None
    assert [volume.role for volume in found.volumes.companions] == [Role.LOCALIZER]
    assert found.files_used == 14
    outcome = next(one for one in found.series if one.role is Role.LOCALIZER)
    assert outcome.used
    assert "used_to_count_levels_only" in outcome.findings


def test_a_localizer_of_other_coordinates_stays_refused(read: Read) -> None:
    elsewhere = Grid(spacing=(10.0, 1.4, 1.4), frame_of_reference=uid("another"))
    found = read(
        classic_stack(pixels(), series="stir", physics=STIR),
        classic_stack(pixels(5), elsewhere, LOCALIZER, series="loc"),
    )

    assert found.volumes is not None
    assert found.volumes.companions == ()
    assert codes(found) == {"localizer"}


def test_another_station_is_kept_to_count_levels_on(read: Read) -> None:
    above = Grid(origin=(-30.0, -80.0, 420.0))
    found = read(
        classic_stack(pixels(), series="lower", physics=STIR),
        classic_stack(pixels(), above, STIR, series="upper"),
    )

    assert found.volumes is not None
    assert len(found.volumes.companions) == 1
    assert found.files_used == 18


def test_a_series_that_was_turned_over_is_refused_and_edema_withheld(
    read: Read,
) -> None:
    sample = Path(__file__).parents[3] / "data_samples" / "benign_unhealed" / "dicom"
    series = []
    for folder in sorted(sample.iterdir()):
        datasets = [dcmread(file) for file in sorted(folder.iterdir())]
        fluid = "InversionTime" in datasets[0]
        for dataset in datasets:
            dataset.decompress()
            if fluid:
                rows = dataset.pixel_array
                set_pixels(dataset, (4095 - rows).astype(np.uint16))
        series.append(datasets)

    found = read(*series)

    refused = [one.refused.code for one in found.series if one.refused]
    assert refused == ["contrast_inverted"]
    assert codes(found) == {"contrast_inverted"}
    assert found.volumes is not None
    assert sorted(found.volumes.by_role) == ["t1", "t2"]
    assert {one.code for one in found.abstentions} == {"no_fluid_sensitive_series"}
