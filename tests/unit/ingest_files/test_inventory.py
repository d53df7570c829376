"""Every file given ends as a record or with a code."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RawDataStorage,
    RLELossless,
)

from service.ingest.records import Inventory
from service.ingest.safety import MIB, Limits
from tests import builders

Take = Callable[..., Inventory]
CodeOf = Callable[..., str]
PIXELS = builders.ramp(5, 40, 48)


def codes(inventory: Inventory) -> dict[str, str]:
    return {refused.file: refused.refusal.code for refused in inventory.refused}


def files(inventory: Inventory) -> list[str]:
    return [record.file for record in inventory.records]


def changed(**values: object) -> FileDataset:
    dataset = builders.classic_stack(PIXELS)[0]
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def mixed_folder(folder: Path) -> Path:
    """A folder with two series in two depths and what else lies on a medium."""
    builders.write_all(builders.classic_stack(PIXELS), folder / "a" / "deep" / "er")
    t1 = builders.classic_stack(PIXELS[:2], physics=builders.T1, series="t1")
    builders.write_all(t1, folder / "b")
    (folder / "README.TXT").write_text("hello")
    (folder / "b" / "empty").touch()
    return folder


MIXED = [f"a/deep/er/{i:04d}.dcm" for i in range(5)] + ["b/0000.dcm", "b/0001.dcm"]


def test_folder_of_any_layout(take: Take, tmp_path: Path) -> None:
    inventory = take(mixed_folder(tmp_path / "study"))
    assert files(inventory) == MIXED
    assert codes(inventory) == {"README.TXT": "not_dicom", "b/empty": "empty_file"}
    assert all(record.path.is_file() for record in inventory.records)


def test_zip_gives_what_its_folder_gives(take: Take, tmp_path: Path) -> None:
    folder = mixed_folder(tmp_path / "study")
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", folder))
    inventory, plain = take(archive), take(folder)
    assert sorted(files(inventory)) == files(plain)
    assert codes(inventory) == codes(plain)
    by_file = {record.file: record for record in inventory.records}
    for record in plain.records:
        assert by_file[record.file].frames == record.frames
        assert by_file[record.file].path.read_bytes() == record.path.read_bytes()


def test_single_file(take: Take) -> None:
    assert files(take(builders.to_bytes(changed()))) == ["file"]


def test_empty_folder(take: Take, tmp_path: Path) -> None:
    assert take(tmp_path) == Inventory((), ())


def test_source_that_is_not_there(take: Take, tmp_path: Path) -> None:
    assert codes(take(tmp_path / "nothing")) == {"nothing": "unreadable"}


def test_order_of_the_folder_does_not_matter(take: Take, tmp_path: Path) -> None:
    stack = builders.classic_stack(PIXELS)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for index in (3, 0, 4, 1, 2):
        (tmp_path / "one" / f"{index}").write_bytes(builders.to_bytes(stack[index]))
    for index in range(5):
        (tmp_path / "two" / f"{index}").write_bytes(builders.to_bytes(stack[index]))
    first, second = take(tmp_path / "one"), take(tmp_path / "two")
    assert [r.sop_instance_uid for r in first.records] == [
        r.sop_instance_uid for r in second.records
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SOPClassUID": CTImageStorage, "Modality": "CT"}, "wrong_modality"),
        ({"Modality": "CT"}, "wrong_modality"),
        ({"SOPClassUID": EnhancedMRColorImageStorage}, "unsupported_sop_class"),
        (
            {"SOPClassUID": EnhancedSRStorage, "Modality": "SR", "PixelData": None},
            "not_an_image",
        ),
        ({"SOPClassUID": RawDataStorage, "PixelData": None}, "no_pixel_data"),
        ({"PixelData": None}, "no_pixel_data"),
        ({"SOPInstanceUID": None}, "invalid_uid"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "not_grayscale"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not_grayscale"),
        ({"BitsAllocated": 64}, "unsupported_pixels"),
        ({"BitsStored": 17}, "malformed"),
        ({"HighBit": 10}, "malformed"),
        ({"Rows": 0}, "dimensions_implausible"),
        ({"Rows": 60000, "Columns": 60000}, "dimensions_implausible"),
        ({"NumberOfFrames": -1}, "dimensions_implausible"),
        ({"Rows": 41}, "pixel_length_mismatch"),
        ({"NumberOfFrames": 2}, "pixel_length_mismatch"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "invalid_rescale"),
    ],
)
def test_instance_that_cannot_be_used(
    code_of: CodeOf, changes: dict[str, object], expected: str
) -> None:
    assert code_of(builders.to_bytes(changed(**changes))) == expected


@pytest.mark.parametrize("name", ["study", "series", "frame of reference"])
@pytest.mark.parametrize("evil", [b"../../../../../evil", b"1.2.840/1", b".", b"1.2\\..\\"])
def test_uid_that_could_be_a_path(code_of: CodeOf, name: str, evil: bytes) -> None:
    data = builders.to_bytes(changed())
    wanted = builders.uid("study", "series") if name == "series" else builders.uid(name)
    uid = wanted.encode()
    assert uid in data
    assert code_of(data.replace(uid, evil.ljust(len(uid), b"\0"))) == "invalid_uid"


def test_truncated_pixels(code_of: CodeOf) -> None:
    assert code_of(builders.to_bytes(changed())[:-62]) == "truncated_pixel_data"


def test_header_cut_short(code_of: CodeOf) -> None:
    assert code_of(builders.to_bytes(changed())[:700]) == "truncated"


def test_groups_that_do_not_match_the_frames(code_of: CodeOf) -> None:
    dataset = builders.enhanced_instance(PIXELS)
    del dataset.PerFrameFunctionalGroupsSequence[2]
    assert code_of(builders.to_bytes(dataset)) == "malformed"


def test_transfer_syntax_that_is_not_read(code_of: CodeOf) -> None:
    data = builders.to_bytes(changed())
    # GE's private syntax: implicit little endian header, big endian pixels.
    meta = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0", 1)
    assert code_of(meta) == "unsupported_transfer_syntax"


def test_native_pixels_in_a_compressed_syntax(code_of: CodeOf) -> None:
    data = builders.to_bytes(changed())
    lying = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)
    assert code_of(lying) == "unsupported_transfer_syntax"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_codestream_of_another_size(code_of: CodeOf, syntax: str) -> None:
    dataset = builders.compressed(changed(), syntax)
    dataset.Rows = 44
    assert code_of(builders.to_bytes(dataset)) == "codestream_dimensions_differ"


def test_codestream_without_a_header(code_of: CodeOf) -> None:
    dataset = builders.compressed(changed(), RLELossless)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    assert code_of(builders.to_bytes(dataset)) == "codestream_damaged"


def test_deflated_is_inflated_under_the_limit(take: Take, code_of: CodeOf) -> None:
    data = builders.to_bytes(changed(), DeflatedExplicitVRLittleEndian)
    (record,) = take(data).records
    assert record.transfer_syntax_uid == ExplicitVRLittleEndian
    assert record.file == "file"
    assert record.layout is not None
    pixels = np.fromfile(record.path, "<u2", PIXELS[0].size, offset=record.layout.offset)
    assert np.array_equal(pixels.reshape(40, 48), PIXELS[0])
    assert code_of(data, Limits(file_bytes=len(data))) == "inflated_too_large"
    assert code_of(data[:-40]) == "truncated"


def test_limits_on_files_and_bytes(take: Take, code_of: CodeOf, tmp_path: Path) -> None:
    folder = mixed_folder(tmp_path / "study")
    assert code_of(builders.to_bytes(changed()), Limits(file_bytes=1000)) == "too_large"
    assert code_of(folder, Limits(files=3)) == "too_many_files"
    size = (folder / "a" / "deep" / "er" / "0000.dcm").stat().st_size
    inventory = take(folder, Limits(total_bytes=3 * size + 100))
    assert len(inventory.records) == 3
    assert codes(inventory)["b/0001.dcm"] == "total_too_large"


def test_the_same_instance_twice(take: Take, tmp_path: Path) -> None:
    stack = builders.classic_stack(PIXELS)
    builders.write_all(stack, tmp_path / "1")
    builders.write_all(stack[:2], tmp_path / "2")
    other = builders.classic_stack(PIXELS + 1)
    (tmp_path / "2" / "x").write_bytes(builders.to_bytes(other[3]))
    inventory = take(tmp_path)
    assert files(inventory) == [f"1/{i:04d}.dcm" for i in range(5)]
    assert codes(inventory) == {
        "2/0000.dcm": "duplicate_instance",
        "2/0001.dcm": "duplicate_instance",
        "2/x": "conflicting_duplicate",
    }


def test_several_studies_are_left_to_the_next_stage(take: Take, tmp_path: Path) -> None:
    for study in ("one", "two"):
        builders.write_all(builders.classic_stack(PIXELS, study=study), tmp_path / study)
    studies = {record.study_instance_uid for record in take(tmp_path).records}
    assert studies == {builders.uid("one"), builders.uid("two")}


def test_links_do_not_lead_out_of_the_folder(take: Take, tmp_path: Path) -> None:
    outside = builders.write_all(builders.classic_stack(PIXELS), tmp_path / "outside")
    folder = tmp_path / "study"
    builders.write_all(builders.classic_stack(PIXELS[:1], series="in"), folder / "sub")
    (folder / "inside").symlink_to(folder / "sub" / "0000.dcm")
    (folder / "leads_out").symlink_to(outside[0])
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to(folder / "missing")
    inventory = take(folder)
    assert files(inventory) == ["inside"]
    assert codes(inventory) == {
        "sub/0000.dcm": "duplicate_instance",
        **dict.fromkeys(("leads_out", "folder", "loop", "nowhere"), "symlink"),
    }


def test_pipe_does_not_block(take: Take, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert codes(take(tmp_path)) == {"pipe": "unreadable"}


def test_archive_inside_a_folder_or_archive_is_not_opened(take: Take, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    with zipfile.ZipFile(folder / "inner.zip", "w") as archive:
        archive.writestr("a", "b")
    assert codes(take(folder)) == {"inner.zip": "nested_archive"}
    outer = Path(shutil.make_archive(str(tmp_path / "outer"), "zip", folder))
    assert codes(take(outer)) == {"inner.zip": "nested_archive"}


def test_damaged_archive_is_one_refusal(take: Take) -> None:
    assert codes(take(b"PK\x03\x04" + bytes(50))) == {"file": "zip_damaged"}


def test_archive_bomb_leaves_little_on_disk(tmp_path: Path, take: Take) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(4):
            archive.writestr(str(index), bytes(2 * MIB))
    inventory = take(tmp_path / "bomb.zip", Limits(file_bytes=MIB))
    assert set(codes(inventory).values()) == {"too_large"}


def test_names_are_fit_to_print(take: Take, tmp_path: Path) -> None:
    (tmp_path / "bad\nname\x1b[31m").write_text("x")
    assert codes(take(tmp_path)) == {"bad?name?[31m": "not_dicom"}


class TestDicomdir:
    def medium(self, folder: Path) -> Path:
        builders.write_all(builders.classic_stack(PIXELS[:2]), folder / "DICOM")
        (folder / "DICOM" / "0000.dcm").rename(folder / "DICOM" / "IM1")
        (folder / "DICOM" / "0001.dcm").rename(folder / "DICOM" / "im2")
        stray = builders.classic_stack(PIXELS[:1], series="stray")
        builders.write_all(stray, folder / "OTHER")
        references = [
            ("DICOM", "IM1"), ("DICOM", "IM2"), ("DICOM", "IM3"), ("..", "EVIL"), ("/etc/passwd",),
        ]  # fmt: skip
        return builders.dicomdir(folder, references)

    REFUSED = {  # noqa: RUF012 - a constant of the test
        "DICOMDIR": "dicomdir",
        "DICOM/IM3": "dicomdir_missing_file",
        "../EVIL": "dicomdir_unsafe_reference",
        "/etc/passwd": "dicomdir_unsafe_reference",
    }

    def test_given_itself_stands_for_the_files_it_lists(self, take: Take, tmp_path: Path) -> None:
        inventory = take(self.medium(tmp_path))
        assert files(inventory) == ["DICOM/IM1", "DICOM/IM2"]
        assert codes(inventory) == self.REFUSED

    def test_in_a_folder_all_files_are_used(self, take: Take, tmp_path: Path) -> None:
        self.medium(tmp_path)
        inventory = take(tmp_path)
        assert files(inventory) == ["DICOM/IM1", "DICOM/im2", "OTHER/0000.dcm"]
        assert codes(inventory) == self.REFUSED

    def test_in_a_zip(self, take: Take, tmp_path: Path) -> None:
        self.medium(tmp_path / "cd" / "disc")
        archive = Path(shutil.make_archive(str(tmp_path / "cd"), "zip", tmp_path / "cd"))
        inventory = take(archive)
        assert sorted(files(inventory)) == [
            "disc/DICOM/IM1", "disc/DICOM/im2", "disc/OTHER/0000.dcm",
        ]  # fmt: skip
        assert codes(inventory) == {"disc/DICOMDIR": "dicomdir"} | {
            name: code for name, code in self.REFUSED.items() if name != "DICOMDIR"
        }

    def test_file_outside_the_medium_is_not_read(self, take: Take, tmp_path: Path) -> None:
        outside = builders.write_all(builders.classic_stack(PIXELS[:1]), tmp_path / "outside")
        folder = tmp_path / "disc"
        folder.mkdir()
        (folder / "LINK").symlink_to(outside[0])
        (folder / "SUB").symlink_to(tmp_path / "outside")
        path = builders.dicomdir(folder, [("LINK",), ("SUB", "0000.dcm")])
        assert not take(path).records
