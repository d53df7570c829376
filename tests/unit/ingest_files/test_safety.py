"""Limits, UIDs and the ways bytes are unpacked."""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from pathlib import Path

import pytest

from service.ingest.refusals import RefusedError
from service.ingest.safety import (
    MIB,
    Budget,
    Limits,
    Member,
    check_uid,
    inflate_deflated,
    unpack_zip,
)


def zip_of(members: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> list[Member]:
    limits = limits or Limits()
    folder.mkdir()
    return list(unpack_zip(archive, folder, limits, Budget(limits.total_bytes)))


def code(member: Member) -> str:
    assert isinstance(member.outcome, RefusedError)
    return member.outcome.refusal.code


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.5.1.4.1.1.4", "2.25." + "9" * 59])
def test_uid_of_digits_and_dots_passes(uid: str) -> None:
    assert check_uid(uid) == uid


@pytest.mark.parametrize(
    "uid",
    [
        "",
        ".",
        "..",
        "../../../../evil",
        "1..2",
        ".1",
        "1.",
        "1.2\n",
        "1.2a",
        "1" * 65,
        "\u0661.\u0662",
    ],
)
def test_uid_that_could_be_a_path_is_refused(uid: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_uid(uid)
    assert caught.value.refusal.code == "invalid_uid"


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes, limits: Limits) -> bytes:
    target = io.BytesIO()
    inflate_deflated(io.BytesIO(data), target, limits, Budget(limits.total_bytes))
    return target.getvalue()


def test_inflating_gives_back_what_was_deflated() -> None:
    data = random.Random(1).randbytes(3 * MIB) + bytes(MIB)  # noqa: S311 - not a secret
    assert inflate(deflate(data), Limits()) == data


@pytest.mark.parametrize(
    ("data", "limits", "expected"),
    [
        (deflate(bytes(4 * MIB)), Limits(file_bytes=MIB), "inflated_too_large"),
        (deflate(bytes(4 * MIB)), Limits(total_bytes=MIB), "total_too_large"),
        (deflate(bytes(range(256)) * 99)[:-9], Limits(), "truncated"),
        (b"\xff" * 64, Limits(), "truncated"),
        (b"", Limits(), "truncated"),
    ],
)
def test_inflating_stops_with_a_code(data: bytes, limits: Limits, expected: str) -> None:
    with pytest.raises(RefusedError) as caught:
        inflate(data, limits)
    assert caught.value.refusal.code == expected


def test_members_are_copied_under_our_names(tmp_path: Path) -> None:
    archive = zip_of({"a/b/1.dcm": b"one", "a/2": b"two", "a/empty/": b""}, tmp_path / "in.zip")
    members = unpack(archive, tmp_path / "out")
    assert [member.name for member in members] == ["a/b/1.dcm", "a/2"]
    copies = [member.outcome for member in members]
    assert all(isinstance(copy, Path) and copy.parent == tmp_path / "out" for copy in copies)
    assert [copy.read_bytes() for copy in copies if isinstance(copy, Path)] == [b"one", b"two"]
    assert not {"1.dcm", "2"} & {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_name_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    members = unpack(zip_of({name: b"x"}, tmp_path / "in.zip"), tmp_path / "out")
    assert [code(member) for member in members] == ["unsafe_member_name"]
    assert {path.name for path in tmp_path.rglob("*")} == {"in.zip", "out"}


def test_link_and_foreign_compression_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("packed", b"x" * 99, zipfile.ZIP_LZMA)
    codes = [code(member) for member in unpack(tmp_path / "in.zip", tmp_path / "out")]
    assert codes == ["symlink", "unsupported_compression"]


def test_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = zip_of({"secret": b"x" * 50}, tmp_path / "in.zip")
    data = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    archive.write_bytes(bytes(data))
    assert [code(member) for member in unpack(archive, tmp_path / "out")] == ["encrypted"]


def test_bomb_stops_at_the_file_limit_whatever_size_it_states(tmp_path: Path) -> None:
    archive = zip_of({"bomb": bytes(8 * MIB), "good": b"g"}, tmp_path / "in.zip")
    honest = unpack(archive, tmp_path / "honest", Limits(file_bytes=MIB))
    assert code(honest[0]) == "too_large"
    data = bytearray(archive.read_bytes())
    start = data.index(b"PK\x01\x02") + 24
    data[start : start + 4] = (5).to_bytes(4, "little")
    archive.write_bytes(bytes(data))
    lying = unpack(archive, tmp_path / "lying", Limits(file_bytes=MIB))
    assert code(lying[0]) in {"zip_damaged", "too_large"}
    assert isinstance(lying[1].outcome, Path)
    assert sum(path.stat().st_size for path in (tmp_path / "lying").iterdir()) <= MIB


def test_total_limit_holds_over_members(tmp_path: Path) -> None:
    archive = zip_of({str(i): bytes(MIB) for i in range(4)}, tmp_path / "in.zip")
    members = unpack(archive, tmp_path / "out", Limits(total_bytes=2 * MIB))
    assert [isinstance(member.outcome, Path) for member in members] == [True, True, False, False]
    assert code(members[3]) == "total_too_large"


def test_too_many_members_refuse_the_archive(tmp_path: Path) -> None:
    archive = zip_of({str(i): b"" for i in range(5)}, tmp_path / "in.zip")
    with pytest.raises(RefusedError) as caught:
        unpack(archive, tmp_path / "out", Limits(files=4))
    assert caught.value.refusal.code == "too_many_files"


def test_directory_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    archive = zip_of({"a": b""}, tmp_path / "in.zip")
    data = bytearray(archive.read_bytes())
    end = data.index(b"PK\x05\x06")
    data[end + 12 : end + 16] = (1 << 30).to_bytes(4, "little")
    archive.write_bytes(bytes(data))
    with pytest.raises(RefusedError) as caught:
        unpack(archive, tmp_path / "out")
    assert caught.value.refusal.code == "too_many_files"


@pytest.mark.parametrize("keep", [4, 30, 60, -1])
def test_damaged_archive_is_refused(tmp_path: Path, keep: int) -> None:
    archive = zip_of({"a": b"12345" * 20}, tmp_path / "in.zip")
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(RefusedError) as caught:
        unpack(archive, tmp_path / "out")
    assert caught.value.refusal.code == "zip_damaged"
