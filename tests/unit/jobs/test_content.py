"""A study's identity is its content."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.jobs.content import (
    Content,
    ContentTooLargeError,
    InvalidArchiveError,
    job_id_for,
    read_content,
)
from service.jobs.folders import JOB_ID

MB = 1 << 20
# A lone file with this signature is taken for an archive, and refused for a damaged one.
FILES = st.binary(min_size=1, max_size=200).filter(lambda file: not file.startswith(b"PK\x03\x04"))
NAMES = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)


def folder_of(folder: Path, contents: list[bytes], names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for content, name in zip(contents, names, strict=True):
        (folder / name).write_bytes(content)
    return folder


def zip_in(folder: Path, contents: list[bytes], names: list[str]) -> Path:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "upload", "w", zipfile.ZIP_DEFLATED) as archive:
        for content, name in zip(contents, names, strict=True):
            archive.writestr(f"deep/{name}", content)
    return folder


@settings(deadline=None, max_examples=30)  # it writes files
@given(
    contents=st.lists(FILES, min_size=2, max_size=6, unique=True),
    random=st.randoms(use_true_random=False),
)
def test_names_order_packing_and_repeats_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], random: Random
) -> None:
    tmp_path = tmp_path_factory.mktemp("content")
    numbers = [f"{n:03d}" for n in range(len(contents) + 1)]
    plain = read_content(folder_of(tmp_path / "a", contents, numbers[:-1]), MB)
    shuffled = [*random.sample(contents, k=len(contents)), contents[0]]
    again = read_content(folder_of(tmp_path / "b", shuffled, numbers), MB)
    packed = read_content(zip_in(tmp_path / "c", shuffled, numbers), MB)
    assert plain.digest == again.digest == packed.digest
    assert (plain.files, again.files) == (len(contents), len(contents) + 1)
    fewer = read_content(folder_of(tmp_path / "d", contents[1:], numbers[: len(contents) - 1]), MB)
    assert fewer.digest != plain.digest


def test_the_engine_is_part_of_the_job() -> None:
    content = Content(Path(), "d" * 64, 1)
    first, second = job_id_for(content, "models 1"), job_id_for(content, "models 2")
    assert first != second
    assert JOB_ID.fullmatch(first)


def test_damaged_member_is_left_to_the_report(tmp_path: Path) -> None:
    folder = zip_in(tmp_path / "a", [b"one" * 100, b"two" * 100], ["1", "2"])
    archive = folder / "upload"
    raw = bytearray(archive.read_bytes())
    raw[40] ^= 0xFF
    archive.write_bytes(raw)
    assert read_content(folder, MB).files == 2


def test_archive_without_end_is_invalid(tmp_path: Path) -> None:
    folder = zip_in(tmp_path / "a", [b"one"], ["1"])
    archive = folder / "upload"
    archive.write_bytes(archive.read_bytes()[:30])
    with pytest.raises(InvalidArchiveError):
        read_content(folder, MB)


def test_bytes_are_counted_and_not_believed(tmp_path: Path) -> None:
    folder = zip_in(tmp_path / "a", [b"\0" * (3 * MB)], ["1"])
    with pytest.raises(ContentTooLargeError):
        read_content(folder, MB)


def test_a_vast_directory_is_not_loaded(tmp_path: Path) -> None:
    folder = zip_in(tmp_path / "a", [b"one"], ["1"])
    archive = folder / "upload"
    raw = bytearray(archive.read_bytes())
    struct.pack_into("<L", raw, raw.rfind(b"PK\x05\x06") + 12, 1 << 30)
    archive.write_bytes(raw)
    with pytest.raises(ContentTooLargeError):
        read_content(folder, MB)


def test_a_dicom_file_with_a_zip_behind_it_is_a_file(tmp_path: Path) -> None:
    packed = (zip_in(tmp_path / "a", [b"one"], ["1"]) / "upload").read_bytes()
    folder = folder_of(tmp_path / "b", [b"\0" * 128 + b"DICM" + packed], ["1"])
    assert read_content(folder, MB).source == folder
