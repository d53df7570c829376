"""Studies are found by what files say, in any layout, and read from where they lie."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from service.batch.discovery import JOURNAL, STATE, Root, discover
from service.batch.journal import Journal
from service.batch.sources import Sources
from service.ingest.safety import Limits
from tests.builders import classic_stack, dicomdir, ramp, to_bytes, uid, write_all


def stack(study: str, series: str = "series", slices: int = 3) -> list[FileDataset]:
    return classic_stack(ramp(slices, 12, 10).astype(np.uint16), study=study, series=series)


class Batch:
    """A journal over a root, and sources out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.out = folder / "root" / "out"
        self.journal = Journal(folder / "journal.sqlite")
        self.files: list[int] = []

    def find(self, given: Path | None = None, limits: Limits | None = None) -> dict[str, list[str]]:
        """Study to the names of its files."""
        self.where = Root.of(given or self.root, self.out)
        discover(self.where, self.journal, limits or Limits(), self.files.append)
        return {
            study: [file.name for file in self.journal.files_of(study)]
            for study in self.journal.study_uids()
        }

    def source(self, study: str) -> Path:
        gathered = self.folder / "gathered"
        gathered.mkdir(exist_ok=True)
        return Sources(self.where, self.journal, gathered, Limits()).of(study, "key")

    def refused(self) -> dict[str, str]:
        return {file.name: file.code or "" for file in self.journal.files_of_none()}


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    made = Batch(tmp_path)
    made.root.mkdir()
    yield made
    made.journal.close()


def test_a_study_in_a_folder_of_its_own_is_read_where_it_lies(batch: Batch) -> None:
    write_all(stack("a", "one"), batch.root / "x" / "deep" / "s1")
    write_all(stack("a", "two"), batch.root / "x" / "deep" / "s2")
    (batch.root / "x" / "deep" / "notes.txt").write_text("no image")
    write_all(stack("b"), batch.root / "y")
    assert {study: len(names) for study, names in batch.find().items()} == {
        uid("a"): 6,
        uid("b"): 3,
    }
    assert batch.source(uid("a")) == batch.root / "x" / "deep"
    assert batch.source(uid("b")) == batch.root / "y"
    assert batch.refused() == {"x/deep/notes.txt": "not_dicom"}


def test_studies_in_one_folder_are_told_apart(batch: Batch) -> None:
    for name in "abc":
        for index, image in enumerate(stack(name)):
            batch.root.joinpath(f"{index}-{name}").write_bytes(to_bytes(image))
    found = batch.find()
    assert found[uid("b")] == ["0-b", "1-b", "2-b"]
    source = batch.source(uid("b"))
    assert sorted(path.name for path in source.iterdir()) == ["0-b", "1-b", "2-b"]
    # Links cost nothing: the bytes are those of the files found.
    assert (source / "0-b").samefile(batch.root / "0-b")


def test_one_study_over_several_folders(batch: Batch) -> None:
    write_all(stack("a", "one"), batch.root / "cd1")
    write_all(stack("a", "two"), batch.root / "cd2" / "sub")
    write_all(stack("b"), batch.root / "cd2")
    assert len(batch.find()[uid("a")]) == 6
    source = batch.source(uid("a"))
    assert source.parent == batch.folder / "gathered"
    assert len([path for path in source.rglob("*") if path.is_file()]) == 6
    assert batch.source(uid("a")) == source, "made once"


def test_a_folder_with_another_study_below_it_is_not_given_whole(batch: Batch) -> None:
    write_all(stack("a"), batch.root / "x")
    write_all(stack("b"), batch.root / "x" / "y")
    batch.find()
    assert batch.source(uid("b")) == batch.root / "x" / "y"
    assert batch.source(uid("a")).parent == batch.folder / "gathered"


def test_neighbours_whose_names_begin_alike(batch: Batch) -> None:
    write_all(stack("a"), batch.root / "x")
    write_all(stack("b"), batch.root / "x-")
    write_all(stack("c"), batch.root / "x0")
    batch.find()
    assert batch.source(uid("a")) == batch.root / "x"


def packed(path: Path, *stacks: list[FileDataset], junk: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for number, images in enumerate(stacks):
            for index, image in enumerate(images):
                archive.writestr(f"folder/{number}/{index}", to_bytes(image))
        if junk:
            archive.writestr("readme.txt", "no image")
    return path


def test_an_archive_of_one_study_is_read_as_it_is(batch: Batch) -> None:
    archive = packed(batch.root / "a.zip", stack("a"), junk=True)
    assert batch.find()[uid("a")] == [f"a.zip/folder/0/{index}" for index in range(3)]
    assert batch.source(uid("a")) == archive
    assert batch.refused() == {"a.zip/readme.txt": "not_dicom"}


def test_studies_of_an_archive_are_unpacked_one_by_one(batch: Batch) -> None:
    packed(batch.root / "all.zip", stack("a"), stack("b"))
    write_all(stack("b", "more"), batch.root / "loose")
    assert {study: len(names) for study, names in batch.find().items()} == {
        uid("a"): 3,
        uid("b"): 6,
    }
    source = batch.source(uid("b"))
    held = sorted(path for path in source.rglob("*") if path.is_file())
    assert len(held) == 6
    expected = {to_bytes(image) for image in (*stack("b"), *stack("b", "more"))}
    assert {path.read_bytes() for path in held} == expected


def test_a_root_that_is_an_archive_or_a_dicomdir(batch: Batch) -> None:
    write_all(stack("x"), batch.root / "beside")
    assert set(batch.find(packed(batch.root / "a.zip", stack("a"), stack("b")))) == {
        uid("a"), uid("b"),
    }  # fmt: skip
    medium = batch.root / "medium"
    write_all(stack("c"), medium / "IMAGES")
    given = dicomdir(medium, [("IMAGES", f"{index:04d}.dcm") for index in range(3)])
    assert set(batch.find(given)) == {uid("c")}
    assert batch.refused() == {"DICOMDIR": "dicomdir"}
    assert batch.source(uid("c")) == medium / "IMAGES"


def test_a_deflated_file_is_told(batch: Batch) -> None:
    (batch.root / "file").write_bytes(to_bytes(stack("a")[0], DeflatedExplicitVRLittleEndian))
    assert set(batch.find()) == {uid("a")}


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * (8 << 20))
        archive.writestr("file", to_bytes(stack("a")[0]))


def encrypted(path: Path) -> None:
    bomb(path)
    data = bytearray(path.read_bytes())
    for signature in (b"PK\x01\x02", b"PK\x03\x04"):
        at = data.index(signature)
        data[at + (8 if signature == b"PK\x01\x02" else 6)] |= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("make", "codes"),
    [
        (bomb, {"zeros": "not_dicom"}),
        (encrypted, {"zeros": "encrypted"}),
        (lambda path: path.write_bytes(b"PK\x03\x04 not a zip"), {"": "zip_damaged"}),
    ],
)
def test_hostile_archives(
    batch: Batch, make: Callable[[Path], object], codes: dict[str, str]
) -> None:
    make(batch.root / "h.zip")
    batch.find(limits=Limits(file_bytes=16 << 20))
    assert batch.refused() == {f"h.zip/{name}".rstrip("/"): code for name, code in codes.items()}


def test_hostile_and_odd_files_are_refused_and_said(batch: Batch) -> None:
    root = batch.root
    (root / "empty").touch()
    (root / "truncated").write_bytes(to_bytes(stack("a")[0])[:300])
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("nowhere")
    outside = batch.folder / "outside.dcm"
    outside.write_bytes(to_bytes(stack("secret")[0]))
    (root / "out-of-it").symlink_to(outside)
    (root / "loop").symlink_to(batch.folder)
    (root / os.fsdecode(b"n\xe4me")).write_text("latin-1")
    assert batch.find() == {}
    assert batch.refused() == {
        "dangling": "unreadable",
        "empty": "empty_file",
        "loop": "symlink",
        "n?me": "not_dicom",
        "out-of-it": "symlink",
        "pipe": "unreadable",
        "truncated": "truncated",
    }


def test_links_inside_the_root_are_followed_and_gathered(batch: Batch) -> None:
    paths = write_all(stack("a"), batch.root / "store")
    (batch.root / "study").mkdir()
    for path in paths:
        (batch.root / "study" / path.name).symlink_to(path)
    assert len(batch.find()[uid("a")]) == 6
    held = [path for path in batch.source(uid("a")).rglob("*") if path.is_file()]
    assert len(held) == 6
    assert not any(path.is_symlink() for path in held)


def test_results_of_batches_are_never_read(batch: Batch) -> None:
    write_all(stack("a"), batch.root / "a")
    write_all(stack("b"), batch.out / "b")
    other = batch.root / "a" / "other"
    write_all(stack("c"), other / "c")
    (other / STATE).mkdir()
    (other / STATE / JOURNAL).touch()
    assert set(batch.find()) == {uid("a")}
    # The folder holds more than the study now, and is not given whole.
    assert batch.source(uid("a")).parent == batch.folder / "gathered"


def test_what_changes_between_walks_is_seen(batch: Batch) -> None:
    paths = write_all(stack("a"), batch.root / "a")
    write_all(stack("b"), batch.root / "b")
    packed(batch.root / "c.zip", stack("c"))
    batch.find()
    paths[0].write_bytes(to_bytes(stack("d")[0]) + b"\0\0")
    paths[1].unlink()
    (batch.root / "c.zip").unlink()
    found = batch.find()
    assert {study: len(names) for study, names in found.items()} == {
        uid("a"): 1, uid("b"): 3, uid("d"): 1,
    }  # fmt: skip


def test_a_second_walk_opens_no_file(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(stack("a"), batch.root / "a")
    packed(batch.root / "b.zip", stack("b"))
    first = batch.find()

    def opened(*_: object) -> None:
        raise AssertionError("a known file was opened again")

    monkeypatch.setattr("service.batch.discovery.identify_file", opened)
    monkeypatch.setattr("service.batch.discovery.identify_members", opened)
    assert batch.find() == first


def test_many_files_are_told_on_the_way(batch: Batch) -> None:
    for number in range(1203):
        (batch.root / f"{number}").write_text("no image")
    batch.find()
    assert batch.files == [500, 1000, 1203]
    assert len(batch.refused()) == 1203
