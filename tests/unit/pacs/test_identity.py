"""What a received file is, whatever its encoding, and what is refused before it is parsed."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits
from service.pacs.identity import read_identity
from tests import builders
from tests.unit.pacs.stand_ins import instances, own


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "instance"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_identity_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    (instance,) = instances(1)
    identity = read_identity(written(tmp_path, builders.to_bytes(instance, syntax)), Limits())
    assert identity.sop_instance_uid == instance.SOPInstanceUID
    assert identity.sop_class_uid == instance.SOPClassUID
    assert identity.study_instance_uid == instance.StudyInstanceUID
    assert identity.series_instance_uid == instance.SeriesInstanceUID
    assert (identity.modality, identity.own) == ("MR", False)


def test_our_own_objects_are_known(tmp_path: Path) -> None:
    (instance,) = instances(1)
    path = written(tmp_path, builders.to_bytes(own(instance)))
    assert read_identity(path, Limits()).own


@pytest.mark.parametrize("uid", ["", "../../../../evil", "1.2..3", "1" * 65, "a.b"])
def test_a_uid_that_is_none_is_refused(tmp_path: Path, uid: str) -> None:
    (instance,) = instances(1)
    content = builders.to_bytes(instance)
    before = instance.StudyInstanceUID.encode()
    even = before + b"\0" * (len(before) % 2)
    head = b"\x20\x00\x0d\x00UI"
    patched = uid.encode() + b"\0" * (len(uid) % 2)
    content = content.replace(
        head + struct.pack("<H", len(even)) + even, head + struct.pack("<H", len(patched)) + patched
    )
    with pytest.raises(RefusedError) as error:
        read_identity(written(tmp_path, content), Limits())
    assert error.value.refusal.code == "invalid_uid"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no image", b"\0" * 4000, b"text\n" * 100])
def test_what_is_no_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RefusedError):
        read_identity(written(tmp_path, content), Limits())


def test_a_deflated_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    (instance,) = instances(1)
    whole = builders.to_bytes(instance, DeflatedExplicitVRLittleEndian)
    small = Limits(file_bytes=1 << 20)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflater.compress(b"\x08\x00\x05\x00CS\x00\x00" * (1 << 18)) + deflater.flush()
    head = whole[: 132 + 12 + struct.unpack_from("<L", whole, 140)[0]]
    with pytest.raises(RefusedError) as error:
        read_identity(written(tmp_path, head + bomb), small)
    assert error.value.refusal.code == "inflated_too_large"
