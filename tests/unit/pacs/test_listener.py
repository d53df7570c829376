"""The C-STORE SCP: what it takes, what it answers, and what it ends."""

from __future__ import annotations

import socket
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.sop_class import MRImageStorage, Verification

from service.ingest.safety import Limits
from service.logs import Pseudonyms
from service.pacs.association import COMMAND, LAST, MOST_PDU_BYTES
from service.pacs.incoming import (
    INVALID_INSTANCE,
    NOT_UNDERSTOOD,
    OTHER_INSTANCE,
    OUT_OF_RESOURCES,
    SUCCESS,
)
from service.pacs.listener import Listener
from service.pacs.receiving import ReceiveFolder
from service.settings import ListenerSettings
from tests import builders
from tests.integration.pacs.peers import until
from tests.unit.pacs.stand_ins import instances, own
from tests.unit.pacs.test_association import request

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


def send_as(
    association: Association, sent: FileDataset, named: str, kind: str = MRImageStorage
) -> int:
    """Send an instance under another name than its own; the status of the answer."""
    message = C_STORE()
    message.MessageID, message.Priority = 1, 2
    message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = UID(kind), UID(named)
    encoded = encode(sent, False, True)  # noqa: FBT003
    assert encoded is not None
    message.DataSet = BytesIO(encoded)
    (context,) = (each for each in association.accepted_contexts if each.abstract_syntax == kind)
    # As its own `send_c_store` does, so that its reactor leaves the answer to us.
    association._reactor_checkpoint.clear()
    until(lambda: association._is_paused)
    association.dimse.send_msg(message, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert answer is not None
    return int(answer.Status)


def test_an_instance_under_another_name_is_refused(listener: Listener, tmp_path: Path) -> None:
    (sent,) = instances(1)
    with associated(listener) as association:
        assert send_as(association, sent, "1.2.3.4") == OTHER_INSTANCE
        sent.SOPClassUID = PRIVATE_CLASS
        assert send_as(association, sent, sent.SOPInstanceUID) == OTHER_INSTANCE
        sent.SOPClassUID = MRImageStorage
        assert send_as(association, sent, sent.SOPInstanceUID) == SUCCESS
    assert len(stored(tmp_path)) == 1
    assert list(tmp_path.glob("received/parts/*")) == []


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["../../../evil", "1.2." + "3" * 70, "1..2", ""])
def test_a_dataset_with_an_invalid_uid_is_refused(
    listener: Listener, tmp_path: Path, keyword: str, value: str
) -> None:
    (sent,) = instances(1)
    named = sent.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setattr(sent, keyword, value)
        with associated(listener) as association:
            assert send_as(association, sent, named) == NOT_UNDERSTOOD
    assert stored(tmp_path) == []
    assert list(tmp_path.glob("received/parts/*")) == []


def raw(listener: Listener) -> socket.socket:
    """A connection on which MR storage was agreed as context 1."""
    peer = socket.create_connection(("127.0.0.1", listener.port), timeout=10)
    body = request((MRImageStorage, [ExplicitVRLittleEndian]))
    peer.sendall(struct.pack(">BxI", 1, len(body)) + body)
    kind, length = struct.unpack(">BxI", peer.recv(6, socket.MSG_WAITALL))
    assert kind == 2
    peer.recv(length, socket.MSG_WAITALL)
    return peer


def fragment(control: int, content: bytes, context_id: int = 1) -> bytes:
    value = struct.pack(">IBB", len(content) + 2, context_id, control) + content
    return struct.pack(">BxI", 4, len(value)) + value


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def store_request(named: bytes, field: int = 1, dataset_type: int = 1) -> bytes:
    return (
        element(0x0002, MRImageStorage.encode() + b"\0")
        + element(0x0100, struct.pack("<H", field))
        + element(0x0110, b"\x07\0")
        + element(0x0800, struct.pack("<H", dataset_type))
        + element(0x1000, named)
    )


def status_of(peer: socket.socket) -> int:
    _, length = struct.unpack(">BxI", peer.recv(6, socket.MSG_WAITALL))
    answer = peer.recv(length, socket.MSG_WAITALL)
    return int(decode(BytesIO(answer[6:]), True, True).Status)  # noqa: FBT003


@pytest.mark.parametrize("named", [b"../../evil", b"1.2." + b"3" * 70, b"", b"1.2.\xff"])
def test_a_request_that_names_no_uid_is_refused(
    listener: Listener, tmp_path: Path, named: bytes
) -> None:
    with raw(listener) as peer:
        peer.sendall(fragment(COMMAND | LAST, store_request(named)))
        peer.sendall(fragment(LAST, b"anything"))
        assert status_of(peer) == INVALID_INSTANCE
        peer.sendall(fragment(COMMAND | LAST, store_request(b"1.2", dataset_type=0x0101)))
        assert status_of(peer) == NOT_UNDERSTOOD  # an instance without a dataset
    assert list(tmp_path.glob("received/*/*")) == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(fragment(LAST, b"data"), id="a dataset before its command"),
        pytest.param(fragment(COMMAND | LAST, store_request(b"1.2", 0x20)), id="a query"),
        pytest.param(fragment(COMMAND | LAST, b"\0" * 7), id="half an element"),
        pytest.param(fragment(COMMAND, b"\0" * 5000), id="an endless command"),
        pytest.param(fragment(COMMAND | LAST, store_request(b"1.2"), 9), id="no such context"),
        pytest.param(
            fragment(COMMAND | LAST, store_request(b"1.2")) * 2, id="a command in a dataset"
        ),
        pytest.param(
            fragment(COMMAND | LAST, store_request(b"1.2")) + fragment(LAST, b"", 3),
            id="a dataset of another context",
        ),
        pytest.param(struct.pack(">BxI", 2, 4) + b"\0" * 4, id="an acceptance"),
        pytest.param(struct.pack(">BxI", 4, 3) + b"\0" * 3, id="no value"),
    ],
)
def test_what_belongs_nowhere_ends_its_association(
    listener: Listener, tmp_path: Path, sent: bytes
) -> None:
    with raw(listener) as peer:
        peer.sendall(sent)
        assert peer.recv(100, socket.MSG_WAITALL)[:1] == b"\x07"
    with associated(listener) as association:
        assert association.send_c_echo().Status == SUCCESS
    assert list(tmp_path.glob("received/*/*")) == []


def test_a_sender_that_is_cut_off_leaves_nothing(listener: Listener, tmp_path: Path) -> None:
    with raw(listener) as peer:
        peer.sendall(fragment(COMMAND | LAST, store_request(b"1.2")) + fragment(0, b"x" * 1000))
        until(lambda: any(path.stat().st_size > 1000 for path in parts(tmp_path)))
    until(lambda: not parts(tmp_path))


def parts(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("received/parts/*"))


def test_more_senders_than_may_be_are_told_to_come_again(make_listener: ListenerMaker) -> None:
    listener = make_listener(max_associations=2)
    with associated(listener) as first, associated(listener) as second:
        assert first.is_established
        assert second.is_established
        with associated(listener) as third:
            assert third.is_rejected
    until(lambda: _established(listener))


def _established(listener: Listener) -> bool:
    with associated(listener) as association:
        return bool(association.is_established)


def test_closing_ends_what_is_under_way(make_listener: ListenerMaker, tmp_path: Path) -> None:
    listener = make_listener()
    with raw(listener) as peer:
        peer.sendall(fragment(COMMAND | LAST, store_request(b"1.2")) + fragment(0, b"x" * 1000))
        until(lambda: bool(parts(tmp_path)))
        listener.close()
        assert peer.recv(100) == b""
    assert parts(tmp_path) == []


def test_instances_received_together_have_a_limit(
    make_listener: ListenerMaker, tmp_path: Path
) -> None:
    listener = make_listener(max_receiving_mb=1)
    half = fragment(0, b"x" * (600 << 10))
    with raw(listener) as first, raw(listener) as second:
        first.sendall(fragment(COMMAND | LAST, store_request(b"1.2")) + half)
        until(lambda: any(path.stat().st_size > 600 << 10 for path in parts(tmp_path)))
        second.sendall(fragment(COMMAND | LAST, store_request(b"1.3")) + half)
        assert second.recv(100, socket.MSG_WAITALL)[:1] == b"\x07"
    until(lambda: not parts(tmp_path))
    with associated(listener) as association:
        assert association.send_c_store(instances(1)[0]).Status == SUCCESS


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
