"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from models import durable
from models.durable import place, settle, write_back, write_durably


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.json"
    write_durably(target, b"old")

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(durable, "write_back", fail)
    with pytest.raises(OSError, match="disk full"):
        write_durably(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_what_cannot_be_flushed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken disk"):
        write_durably(tmp_path / "report.json", b"new")


@pytest.mark.parametrize("known", [errno.EIO, errno.ENOSPC])
def test_what_the_disk_says_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr(durable, "_sync_file_range", lambda *_: -1)
    monkeypatch.setattr("ctypes.get_errno", lambda: known)
    with pytest.raises(OSError, match=os.strerror(known)):
        place(tmp_path / "report.json", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wait", [True, False])
def test_a_system_without_the_call_flushes_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, wait: bool
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(durable, "_sync_file_range", None)
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    path = tmp_path / "a"
    path.write_bytes(b"a")
    write_back(path, wait=wait)
    assert len(flushed) == wait


def test_files_of_several_folders_are_settled_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())),
    )
    paths = [tmp_path / "one" / "a", tmp_path / "one" / "b", tmp_path / "two" / "c"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        place(path, path.name.encode())
    settle(paths)
    assert sorted(flushed) == sorted(map(str, (*paths, tmp_path / "one", tmp_path / "two")))
    assert [path.read_bytes() for path in paths] == [b"a", b"b", b"c"]


def test_what_is_gone_cannot_be_settled(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        settle([tmp_path / "nothing"])
