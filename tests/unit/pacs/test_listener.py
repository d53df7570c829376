"""The C-STORE SCP: what it takes, what it answers, and what it ends."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import MRImageStorage, Verification

from service.ingest.safety import Limits
from service.logs import Pseudonyms
from service.pacs.listener import (
    MOST_PDU_BYTES,
    OUT_OF_RESOURCES,
    SUCCESS,
    Listener,
)
from service.pacs.receiving import ReceiveFolder
from service.settings import ListenerSettings
from tests import builders
from tests.unit.pacs.stand_ins import instances, own

PRIVATE_CLASS = "1.2.826.0.1.3680043.8.498.77.1"

ListenerMaker = Callable[..., Listener]


@pytest.fixture
def make_listener(tmp_path: Path) -> Iterator[ListenerMaker]:
    opened: list[Listener] = []

    def make(min_free_bytes: int = 0, **values: object) -> Listener:
        folder = ReceiveFolder(tmp_path / "received", Limits(), min_free_bytes)
        folder.open()
        settings = ListenerSettings(port=0, timeout_s=10, **values)
        opened.append(Listener(settings, folder, Pseudonyms(b"test")))
        opened[-1].start()
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def listener(make_listener: ListenerMaker) -> Listener:
    return make_listener()


@contextmanager
def associated(
    listener: Listener, calling: str = "MR1", called: str = "ACUITY", kind: str = MRImageStorage
) -> Iterator[Association]:
    entity = AE(calling)
    entity.add_requested_context(Verification)
    entity.add_requested_context(kind, [ExplicitVRLittleEndian])
    association = entity.associate("127.0.0.1", listener.port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def stored(tmp_path: Path) -> list[FileDataset]:
    return [dcmread(path) for path in tmp_path.glob("received/studies/*/*.dcm")]


def test_echo_and_store(listener: Listener, tmp_path: Path) -> None:
    (sent,) = instances(1)
    with associated(listener) as association:
        assert association.send_c_echo().Status == SUCCESS
        assert association.send_c_store(sent).Status == SUCCESS
    (got,) = stored(tmp_path)
    assert got.PixelData == sent.PixelData
    assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert got.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID


def test_an_instance_is_on_disk_when_it_is_acknowledged(listener: Listener, tmp_path: Path) -> None:
    with associated(listener) as association:
        for number, sent in enumerate(instances(3), start=1):
            assert association.send_c_store(sent).Status == SUCCESS
            assert len(stored(tmp_path)) == number


def test_a_vendors_private_class_does_not_fail_its_study(
    listener: Listener, tmp_path: Path
) -> None:
    (sent,) = instances(1)
    sent.SOPClassUID = sent.file_meta.MediaStorageSOPClassUID = PRIVATE_CLASS
    with associated(listener, kind=PRIVATE_CLASS) as association:
        assert association.send_c_store(sent).Status == SUCCESS
    assert [each.SOPClassUID for each in stored(tmp_path)] == [PRIVATE_CLASS]


def test_only_listed_senders_that_call_us(make_listener: ListenerMaker) -> None:
    listener = make_listener(calling_aes=("MR1", "ROUTER"))
    for calling, called, taken in (
        ("MR1", "ACUITY", True),
        ("ROUTER", "ACUITY", True),
        ("STRANGER", "ACUITY", False),
        ("MR1", "OTHER", False),
    ):
        with associated(listener, calling, called) as association:
            assert association.is_established is taken
            assert association.is_rejected is not taken


def test_our_own_objects_are_acknowledged_and_not_kept(listener: Listener, tmp_path: Path) -> None:
    with associated(listener) as association:
        assert association.send_c_store(own(instances(1)[0])).Status == SUCCESS
    assert stored(tmp_path) == []


def test_at_the_watermark_senders_are_told(make_listener: ListenerMaker, tmp_path: Path) -> None:
    listener = make_listener(min_free_bytes=1 << 60)
    with associated(listener) as association:
        assert association.send_c_store(instances(1)[0]).Status == OUT_OF_RESOURCES
    assert stored(tmp_path) == []


def test_too_large_an_instance_ends_its_association_alone(
    make_listener: ListenerMaker, tmp_path: Path
) -> None:
    listener = make_listener(max_instance_mb=1)
    large = builders.classic_stack(builders.ramp(1, 1024, 1024))[0]
    with associated(listener) as other:
        with associated(listener) as association:
            # The answer of a peer that has gone is an empty one.
            assert "Status" not in association.send_c_store(large)
        assert other.send_c_store(instances(1)[0]).Status == SUCCESS
    assert len(stored(tmp_path)) == 1


def test_a_pdu_that_claims_gigabytes_is_not_believed(listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as raw:
        raw.sendall(struct.pack(">BBL", 1, 0, MOST_PDU_BYTES + 1) + b"\0" * 100)
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass
    with associated(listener) as association:
        assert association.send_c_echo().Status == SUCCESS


def test_implicit_stays_implicit(listener: Listener, tmp_path: Path) -> None:
    entity = AE("MR1")
    entity.add_requested_context(MRImageStorage, [ImplicitVRLittleEndian])
    association = entity.associate("127.0.0.1", listener.port, ae_title="ACUITY")
    path = tmp_path / "implicit.dcm"
    path.write_bytes(builders.to_bytes(instances(1)[0], ImplicitVRLittleEndian))
    assert association.send_c_store(path).Status == SUCCESS
    association.release()
    (got,) = stored(tmp_path)
    assert got.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
