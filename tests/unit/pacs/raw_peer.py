"""A peer that sends what no library would: associations and messages byte by byte."""

from __future__ import annotations

import socket
import struct
from io import BytesIO

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification
from pynetdicom.pdu_primitives import ImplementationClassUIDNotification as ImplementationClass
from pynetdicom.sop_class import MRImageStorage

COMMAND, LAST = 1, 2
"""Bits of a message control header (PS3.8 E.2)."""


def request(
    *contexts: tuple[str, list[str]], calling: str = "MR1", called: str = "ACUITY"
) -> bytes:
    """A request for an association, as pynetdicom writes it."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    proposed = [build_context(abstract, transfer) for abstract, transfer in contexts]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClass()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def raw(port: int) -> socket.socket:
    """A connection on which MR storage was agreed as context 1."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    peer.sendall(request((MRImageStorage, [ExplicitVRLittleEndian])))
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
