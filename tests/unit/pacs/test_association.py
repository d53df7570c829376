"""Associations and commands, byte by byte: what is agreed, refused, and never believed."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification
from pynetdicom.pdu_primitives import ImplementationClassUIDNotification as ImplementationClass
from pynetdicom.sop_class import (
    ColorPaletteStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    Verification,
)

from service.pacs.association import (
    INVALID_PARAMETER,
    MOST_PDU_BYTES,
    PDU_BYTES,
    UNRECOGNISED_PDU,
    Answer,
    AssociationError,
    Connection,
    Entity,
    PeerGoneError,
    negotiate,
    values_of,
)
from service.pacs.commands import (
    C_ECHO_REQUEST,
    Command,
    CommandError,
    answer_to,
    read_command,
)

PRIVATE_CLASS = "1.2.826.0.1.3680043.8.498.77.1"
ENTITY = Entity("ACUITY", ())


def request(
    *contexts: tuple[str, list[str]], calling: str = "MR1", called: str = "ACUITY"
) -> bytes:
    """Body of a request as pynetdicom writes it."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    proposed = []
    for number, (abstract, transfer) in enumerate(contexts):
        proposed.append(build_context(abstract, transfer))
        proposed[-1].context_id = 2 * number + 1
    primitive.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClass()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode()[6:])


def accepted(answer: Answer) -> A_ASSOCIATE_AC:
    pdu = A_ASSOCIATE_AC()
    pdu.decode(answer.pdu)
    return pdu


def test_storage_in_any_encoding_and_nothing_else_is_agreed() -> None:
    answer = negotiate(
        request(
            (Verification, [ImplicitVRLittleEndian]),
            (MRImageStorage, [JPEGLosslessSV1, ExplicitVRLittleEndian]),
            (PRIVATE_CLASS, [ExplicitVRLittleEndian]),
            (ColorPaletteStorage, [ExplicitVRLittleEndian]),
            (PatientRootQueryRetrieveInformationModelFind, [ImplicitVRLittleEndian]),
            (StorageCommitmentPushModel, [ImplicitVRLittleEndian]),
        ),
        ENTITY,
        full=False,
    )
    results = accepted(answer).to_primitive().presentation_context_definition_results_list
    assert [(each.context_id, each.result) for each in results] == [
        (1, 0), (3, 0), (5, 0), (7, 0), (9, 3), (11, 3),
    ]  # fmt: skip
    assert results[1].transfer_syntax == [JPEGLosslessSV1]
    assert answer.contexts is not None
    assert {number: each.abstract_syntax for number, each in answer.contexts.items()} == {
        1: Verification, 3: MRImageStorage, 5: PRIVATE_CLASS, 7: ColorPaletteStorage,
    }  # fmt: skip
    assert answer.contexts[3].transfer_syntax == JPEGLosslessSV1


def test_an_acceptance_says_who_we_are_and_how_much_we_take() -> None:
    pdu = accepted(negotiate(request((Verification, [ImplicitVRLittleEndian])), ENTITY, full=False))
    primitive = pdu.to_primitive()
    assert primitive.maximum_length_received == PDU_BYTES
    assert primitive.implementation_class_uid.is_valid
    assert (primitive.calling_ae_title, primitive.called_ae_title) == ("MR1", "ACUITY")


@pytest.mark.parametrize(
    ("calling", "called", "full", "reason"),
    [
        ("STRANGER", "ACUITY", False, (1, 1, 3)),
        ("MR1", "OTHER", False, (1, 1, 7)),
        ("MR1", "ACUITY", True, (2, 3, 2)),
    ],
)
def test_rejections_say_why(
    calling: str, called: str, reason: tuple[int, int, int], *, full: bool
) -> None:
    body = request((Verification, [ImplicitVRLittleEndian]), calling=calling, called=called)
    answer = negotiate(body, Entity("ACUITY", ("MR1",)), full=full)
    pdu = A_ASSOCIATE_RJ()
    pdu.decode(answer.pdu)
    assert answer.contexts is None
    assert (pdu.result, pdu.source, pdu.reason_diagnostic) == reason


def test_a_protocol_of_the_future_is_rejected() -> None:
    body = b"\0\2" + request((Verification, [ImplicitVRLittleEndian]))[2:]
    answer = negotiate(body, ENTITY, full=False)
    assert answer.pdu[-3:] == bytes((1, 2, 2))


@given(st.data())
def test_no_request_is_more_than_an_answer_or_an_error(data: st.DataObject) -> None:
    whole = bytearray(request((MRImageStorage, [ExplicitVRLittleEndian]), (Verification, ["1.2"])))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        answer = negotiate(body, ENTITY, full=False)
    except AssociationError:
        return
    assert answer.pdu[0] in (2, 3)


def test_commands_are_read_as_pynetdicom_writes_them() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 4711, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = MRImageStorage, "1.2.3"
    primitive.DataSet = BytesIO(b"\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    encoded = encode(message.command_set, True, True)  # noqa: FBT003
    assert encoded is not None
    assert read_command(encoded) == Command(1, 4711, MRImageStorage, "1.2.3", dataset_follows=True)


@pytest.mark.parametrize(
    "command",
    [
        Command(1, 7, MRImageStorage, "1.2.31", dataset_follows=True),
        Command(C_ECHO_REQUEST, 8, Verification, "", dataset_follows=False),
    ],
)
def test_answers_are_read_by_pynetdicom(command: Command) -> None:
    got = decode(BytesIO(answer_to(command, 0xA900)), True, True)  # noqa: FBT003
    assert isinstance(got, Dataset)
    assert got.CommandField == command.field | 0x8000
    assert got.MessageIDBeingRespondedTo == command.message_id
    assert got.Status == 0xA900
    assert got.CommandDataSetType == 0x0101
    assert got.AffectedSOPClassUID == command.sop_class_uid
    assert got.get("AffectedSOPInstanceUID", "") == command.sop_instance_uid
    assert got.CommandGroupLength == len(answer_to(command, 0xA900)) - 12


@given(st.binary(max_size=200))
def test_no_command_is_more_than_a_command_or_an_error(encoded: bytes) -> None:
    try:
        read_command(encoded)
    except CommandError:
        return


@given(st.binary(max_size=200))
def test_values_never_run_over_their_pdu(body: bytes) -> None:
    try:
        values = list(values_of(memoryview(body)))
    except AssociationError:
        return
    assert sum(6 + len(fragment) for _, _, fragment in values) == len(body)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Connection]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with ours, peer:
        yield peer, Connection(ours, 0.3)


def test_a_silent_peer_is_gone(pair: tuple[socket.socket, Connection]) -> None:
    peer, connection = pair
    peer.sendall(b"\x04\0\0\0")  # and nothing more
    with pytest.raises(PeerGoneError):
        connection.read()


@pytest.mark.parametrize(
    "head", [struct.pack(">BxI", 9, 4), struct.pack(">BxI", 1, MOST_PDU_BYTES + 1)]
)
def test_what_is_no_pdu_is_not_read(pair: tuple[socket.socket, Connection], head: bytes) -> None:
    peer, connection = pair
    peer.sendall(head)
    with pytest.raises(AssociationError) as caught:
        connection.read()
    assert caught.value.reason == UNRECOGNISED_PDU


def test_a_last_word_arrives_though_the_peer_still_talks(
    pair: tuple[socket.socket, Connection],
) -> None:
    peer, connection = pair
    peer.sendall(b"x" * 100_000)
    parting = threading.Thread(target=connection.abort, args=(INVALID_PARAMETER,))
    parting.start()
    assert peer.recv(100, socket.MSG_WAITALL) == b"\x07\0\0\0\0\x04\0\0\x02\x06"
    peer.close()
    parting.join(timeout=10)
    assert not parting.is_alive()
