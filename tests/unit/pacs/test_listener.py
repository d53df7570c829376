"""The C-STORE SCP: what it takes, what it answers, and what it ends."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    ColorPaletteStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    Verification,
)
from structlog.testing import capture_logs

from service.ingest.safety import Limits
from service.logs import Pseudonyms
from service.pacs.incoming import (
    CLASS_NOT_SUPPORTED,
    INVALID_INSTANCE,
    NOT_UNDERSTOOD,
    OTHER_INSTANCE,
    OUT_OF_RESOURCES,
    SUCCESS,
)
from service.pacs.listener import IMPLEMENTATION_UID, MOST_PDU_BYTES, PDU_BYTES, Listener
from service.pacs.receiving import ReceiveFolder
from service.settings import ListenerSettings
from tests import builders
from tests.integration.pacs.peers import until
from tests.unit.pacs.raw_peer import COMMAND, LAST, fragment, raw, request, status_of, store_request
from tests.unit.pacs.stand_ins import instances, own

# Of pynetdicom's on the sender's side: it forgets a socket that its peer was first to close. Ours
# are of another class.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)

PRIVATE_CLASS = "1.2.826.0.1.3680043.8.498.77.1"
PRIVATE_SYNTAX = "1.2.826.0.1.3680043.8.498.77.2"

ListenerMaker = Callable[..., Listener]


@pytest.fixture
def make_listener(tmp_path: Path) -> Iterator[ListenerMaker]:
    opened: list[Listener] = []

    def make(min_free_bytes: int = 0, **values: object) -> Listener:
        folder = ReceiveFolder(tmp_path / "received", Limits(), min_free_bytes)
        folder.open()
        wanted = ListenerSettings(**{"port": 0, "timeout_s": 10, **values})
        opened.append(Listener(wanted, folder, Pseudonyms(b"test")))
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


def test_nothing_is_waited_for_that_has_come(
    make_listener: ListenerMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that look every minute still answer at once: they are told, and need not look."""
    monkeypatch.setattr("service.pacs.waiting.LOOKS_S", 60.0)
    listener = make_listener(timeout_s=50)
    entity = AE("MR1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    entity.add_requested_context(Verification)
    entity.add_requested_context(MRImageStorage, [ExplicitVRLittleEndian])
    for number in range(3):
        association = entity.associate("127.0.0.1", listener.port, ae_title="ACUITY")
        assert association.is_established
        assert association.send_c_echo().Status == SUCCESS
        for instance in instances(3):
            assert association.send_c_store(instance).Status == SUCCESS
        association.release()
        assert association.is_released, number
    assert len(stored(tmp_path)) == 3


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


def test_storage_in_any_encoding_and_nothing_else_is_agreed(listener: Listener) -> None:
    proposed = [
        build_context(Verification, ImplicitVRLittleEndian),
        build_context(MRImageStorage, [JPEGLosslessSV1, ExplicitVRLittleEndian]),
        build_context(PRIVATE_CLASS, PRIVATE_SYNTAX),
        build_context(ColorPaletteStorage, ExplicitVRLittleEndian),
        build_context(PatientRootQueryRetrieveInformationModelFind, ImplicitVRLittleEndian),
        build_context(StorageCommitmentPushModel, ImplicitVRLittleEndian),
    ]
    association = AE("MR1").associate("127.0.0.1", listener.port, proposed, "ACUITY")
    agreed = [
        (each.abstract_syntax, each.transfer_syntax) for each in association.accepted_contexts
    ]
    association.release()
    assert agreed == [
        (Verification, [ImplicitVRLittleEndian]),
        (MRImageStorage, [JPEGLosslessSV1]),
        (PRIVATE_CLASS, [PRIVATE_SYNTAX]),
        (ColorPaletteStorage, [ExplicitVRLittleEndian]),
    ]


def test_an_acceptance_says_who_we_are_and_how_much_we_take(listener: Listener) -> None:
    with associated(listener) as association:
        assert association.acceptor.maximum_length == PDU_BYTES
        assert association.acceptor.implementation_class_uid == IMPLEMENTATION_UID
        assert UID(IMPLEMENTATION_UID).is_valid


def test_only_listed_senders_that_call_us(make_listener: ListenerMaker) -> None:
    listener = make_listener(calling_aes=("MR1", "ROUTER"))
    for calling, called, reason in (
        ("MR1", "ACUITY", None),
        ("ROUTER", "ACUITY", None),
        ("STRANGER", "ACUITY", (1, 1, 3)),
        ("MR1", "OTHER", (1, 1, 7)),
    ):
        with associated(listener, calling, called) as association:
            assert association.is_established is (reason is None)
            assert association.is_rejected is (reason is not None)
            assert reason is None or reason_of(association) == reason


def reason_of(rejected: Association) -> tuple[int, int, int]:
    """Result, source and reason (PS3.8 Table 9-21)."""
    answer = rejected.acceptor.primitive
    return (answer.result, answer.result_source, answer.diagnostic)


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


@pytest.mark.parametrize("named", [b"../../evil", b"1.2." + b"3" * 70, b"1.2.\xff"])
def test_a_request_that_names_no_uid_is_refused(
    listener: Listener, tmp_path: Path, named: bytes
) -> None:
    with raw(listener.port) as peer:
        peer.sendall(fragment(COMMAND | LAST, store_request(named)))
        peer.sendall(fragment(LAST, b"anything"))
        assert status_of(peer) == INVALID_INSTANCE
        peer.sendall(fragment(COMMAND | LAST, store_request(b"1.2", dataset_type=0x0101)))
        assert status_of(peer) == NOT_UNDERSTOOD  # an instance without a dataset
    until(lambda: list(tmp_path.glob("received/*/*")) == [])


def test_an_instance_of_a_class_that_was_not_agreed_is_refused(
    listener: Listener, tmp_path: Path
) -> None:
    with raw(listener.port) as peer:
        other = store_request(b"1.2").replace(b"1.1.4\0", b"1.1.2\0")
        peer.sendall(fragment(COMMAND | LAST, other) + fragment(LAST, b"anything"))
        assert status_of(peer) == CLASS_NOT_SUPPORTED
    assert list(tmp_path.glob("received/*/*")) == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(fragment(LAST, b"data"), id="a dataset before its command"),
        pytest.param(fragment(COMMAND | LAST, store_request(b"1.2", 0x20, 0x0101)), id="a query"),
        pytest.param(fragment(COMMAND | LAST, b"\0" * 7), id="half an element"),
        pytest.param(fragment(COMMAND, b"\0" * (100 << 10)) * 11, id="an endless command"),
        pytest.param(
            fragment(COMMAND | LAST, store_request(b"1.2", 0x20))
            + fragment(0, b"\0" * (100 << 10)) * 11,
            id="an endless query",
        ),
        pytest.param(fragment(COMMAND | LAST, store_request(b"1.2"), 9), id="no such context"),
        pytest.param(fragment(COMMAND | LAST, store_request(b"")), id="no name"),
        pytest.param(struct.pack(">BxIIB", 4, 5, 1, 1), id="a fragment without a header"),
        pytest.param(struct.pack(">BxI", 2, 4) + b"\0" * 4, id="an acceptance"),
        pytest.param(struct.pack(">BxI", 4, 3) + b"\0" * 3, id="no value"),
        pytest.param(struct.pack(">BxI", 9, 4) + b"\0" * 4, id="no PDU"),
        pytest.param(struct.pack(">BxI", 4, MOST_PDU_BYTES + 1), id="a PDU of too many bytes"),
    ],
)
def test_what_belongs_nowhere_ends_its_association(
    listener: Listener, tmp_path: Path, sent: bytes
) -> None:
    with raw(listener.port) as peer:
        peer.sendall(sent)
        assert_ended(peer)
    with associated(listener) as association:
        assert association.send_c_echo().Status == SUCCESS
    until(lambda: not any(path.stat().st_size > 500 for path in parts(tmp_path)))
    assert stored(tmp_path) == []


def assert_ended(peer: socket.socket) -> None:
    """By an A-ABORT, or by closing the connection."""
    with suppress(ConnectionResetError):
        assert peer.recv(100)[:1] in (b"\x07", b"")


def test_a_peer_that_falls_silent_in_a_pdu_is_gone(make_listener: ListenerMaker) -> None:
    listener = make_listener(timeout_s=0.3)
    with raw(listener.port) as peer:
        peer.sendall(b"\x04\0\0\0")  # and nothing more
        assert_ended(peer)


def test_connections_without_a_request_take_nobodys_place(make_listener: ListenerMaker) -> None:
    listener = make_listener(max_associations=1)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", listener.port), timeout=10):
            pass
    until(lambda: _established(listener))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_broken_request_stops_the_listener(serving: Listener, data: st.DataObject) -> None:
    whole = bytearray(request((MRImageStorage, [ExplicitVRLittleEndian]), (Verification, ["1.2"])))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(6, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as peer:
        peer.sendall(whole)
        answer = peer.recv(100)
        assert answer[:1] in (b"\x02", b"\x03", b"\x07", b"")
    assert _established(serving)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_broken_command_stops_the_listener(serving: Listener, data: st.DataObject) -> None:
    command = bytearray(store_request(b"1.2"))
    for _ in range(data.draw(st.integers(1, 4))):
        command[data.draw(st.integers(0, len(command) - 1))] = data.draw(st.integers(0, 255))
    with raw(serving.port) as peer:
        peer.sendall(fragment(COMMAND | LAST, bytes(command)) + fragment(LAST, b"anything"))
    assert _established(serving)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """A listener for many peers one after the other."""
    folder = ReceiveFolder(tmp_path_factory.mktemp("serving") / "received", Limits())
    folder.open()
    listener = Listener(ListenerSettings(port=0, timeout_s=10), folder, Pseudonyms(b"test"))
    listener.start()
    yield listener
    listener.close()


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(fragment(COMMAND | LAST, store_request(b"1.3")), id="another"),
        pytest.param(struct.pack(">BxIIB", 4, 5, 1, 1), id="a broken fragment"),
        pytest.param(struct.pack(">BxI4x", 7, 4), id="an abort"),
    ],
)
def test_a_sender_that_is_cut_off_leaves_nothing(
    listener: Listener, tmp_path: Path, then: bytes
) -> None:
    with raw(listener.port) as peer:
        peer.sendall(fragment(COMMAND | LAST, store_request(b"1.2")) + fragment(0, b"x" * 1000))
        until(lambda: any(path.stat().st_size > 1000 for path in parts(tmp_path)))
        peer.sendall(then + fragment(0, b"x" * 1000))
    until(lambda: not parts(tmp_path))


def parts(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("received/parts/*"))


def test_more_senders_than_may_be_are_told_to_come_again(make_listener: ListenerMaker) -> None:
    listener = make_listener(max_associations=2)
    with associated(listener) as first, associated(listener) as second:
        assert first.is_established
        assert second.is_established
        with associated(listener) as third:
            assert reason_of(third) == (2, 3, 2)
    until(lambda: _established(listener))


def _established(listener: Listener) -> bool:
    with associated(listener) as association:
        return bool(association.is_established)


def test_closing_ends_what_is_under_way(make_listener: ListenerMaker, tmp_path: Path) -> None:
    listener = make_listener()
    with raw(listener.port) as peer:
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
    with raw(listener.port) as first, raw(listener.port) as second:
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


def test_without_room_not_even_a_refused_instance_fills_the_disk(
    make_listener: ListenerMaker, tmp_path: Path
) -> None:
    listener = make_listener(min_free_bytes=1 << 60)
    with raw(listener.port) as peer:
        peer.sendall(fragment(COMMAND | LAST, store_request(b"1.2")))
        with suppress(ConnectionError):
            for _ in range(64):
                peer.sendall(fragment(0, b"x" * (1 << 19)))
        assert_ended(peer)
    until(lambda: not parts(tmp_path))


def test_what_a_process_has_one_of_is_as_it_was_once_a_listener_is_closed(
    make_listener: ListenerMaker, tmp_path: Path
) -> None:
    def process() -> tuple[object, ...]:
        mode = pydicom_config.settings.reading_validation_mode
        return (tempfile.tempdir, threading.excepthook, mode, *vars(_config).values())

    before = process()
    listener = make_listener()
    assert tempfile.tempdir == str(tmp_path / "received" / "parts")
    listener.close()
    assert process() == before


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


def test_an_instance_that_is_too_large_by_its_last_fragment_is_not_stored(
    make_listener: ListenerMaker, tmp_path: Path
) -> None:
    listener = make_listener(max_instance_mb=1)
    with capture_logs() as logs, raw(listener.port) as peer:
        half = b"x" * (600 << 10)
        peer.sendall(fragment(COMMAND | LAST, store_request(b"1.2")) + fragment(0, half))
        peer.sendall(fragment(LAST, half))
        assert_ended(peer)
        until(lambda: not parts(tmp_path))
        listener.close()
    assert [each["event"] for each in logs] == ["association_aborted", "association_ended"]


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
