"""The acceptor's side of a DICOM association: what is agreed, and the PDUs of its connection.

Every association has one thread, which waits for the next PDU and does what it says; nothing is
polled and no byte is handed from one thread to another, so an instance costs what its bytes cost.
Source: PS3.8 9.2 (state machine), 9.3 (PDUs); PS3.7 D.3 (negotiation).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Final

from pydicom.config import IGNORE
from pydicom.uid import UID

ASSOCIATE_REQUEST: Final = 0x01
DATA: Final = 0x04
RELEASE_REQUEST: Final = 0x05
RELEASE_RESPONSE: Final = 0x06
ABORT: Final = 0x07
"""PDU types (PS3.8 9.3.1)."""

_ACCEPTANCE: Final = 0x02
_REJECTION: Final = 0x03
_KNOWN_TYPES: Final = range(0x01, 0x08)

_APPLICATION_CONTEXT: Final = 0x10
_PROPOSED_CONTEXT: Final = 0x20
_ANSWERED_CONTEXT: Final = 0x21
_ABSTRACT_SYNTAX: Final = 0x30
_TRANSFER_SYNTAX: Final = 0x40
_USER_INFORMATION: Final = 0x50
_MAXIMUM_LENGTH: Final = 0x51
_IMPLEMENTATION_CLASS: Final = 0x52
_IMPLEMENTATION_VERSION: Final = 0x55
"""Items of association PDUs (PS3.8 9.3.2, PS3.7 D.3.3)."""

_AGREED: Final = 0
_ABSTRACT_SYNTAX_UNKNOWN: Final = 3
"""Results of a presentation context (PS3.8 Table 9-18)."""

_APPLICATION: Final = b"1.2.840.10008.3.1.1.1"
VERIFICATION: Final = "1.2.840.10008.1.1"
"""UIDs of the DICOM application context and of the class that C-ECHO belongs to."""

IMPLEMENTATION_UID: Final = "2.25.130045090358412317111771450460822542655"
IMPLEMENTATION_NAME: Final = "VERTEBRAL_ACUITY"
"""By which peers know this software (PS3.7 D.3.3.2)."""

PDU_BYTES: Final = 128 << 10
"""Largest PDU we ask for: dcmtk's most. The usual 16 KiB makes eight times as many of them."""

MOST_PDU_BYTES: Final = 1 << 20
"""Beyond what was agreed for data by more than any association request needs."""

UNRECOGNISED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6
"""Reasons of an A-ABORT by the service provider (PS3.8 Table 9-26)."""

COMMAND: Final = 1
LAST: Final = 2
"""Bits of a message control header (PS3.8 E.2)."""

_PARTING_S: Final = 5.0
"""How long a peer is given to close after a last word (the ARTIM timer, PS3.8 9.1.5)."""

_HEAD: Final = struct.Struct(">BxI")
_FIXED: Final = struct.Struct(">H2x16s16s32x")
_ITEM_HEAD: Final = struct.Struct(">BxH")
_CONTEXT_HEAD: Final = 4
_MOST_UID_BYTES: Final = 64
_VALUE_HEAD: Final = struct.Struct(">IBB")


class AssociationError(Exception):
    """The peer broke the protocol, and is told so by an A-ABORT.

    Args:
        reason: As `UNEXPECTED_PDU`.
    """

    def __init__(self, reason: int) -> None:
        super().__init__(f"the association was aborted with reason {reason}")
        self.reason = reason


class PeerGoneError(Exception):
    """The peer closed, fell silent, or was cut off."""


@dataclass(frozen=True, slots=True)
class Entity:
    """Who we are, and whom we take.

    Attributes:
        ae_title: What a peer must call.
        calling_aes: Who may call; none for anybody.
    """

    ae_title: str
    calling_aes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that was agreed, by UIDs."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request for an association is answered with.

    Attributes:
        pdu: A-ASSOCIATE-AC or A-ASSOCIATE-RJ, encoded.
        calling: AE title of the peer.
        contexts: By id; None for a rejection.
    """

    pdu: bytes
    calling: str
    contexts: Mapping[int, Context] | None


def negotiate(body: bytes, entity: Entity, *, full: bool) -> Answer:
    """Answer a request for an association.

    Any storage class in any encoding is accepted, vendors' private ones included: a study must not
    fail at its sender because of an object in it that we will not use. Of roles, windows and other
    things that may be negotiated we keep to what holds when they are not answered.

    Args:
        body: Of an A-ASSOCIATE-RQ, without the six bytes before it.
        entity: Who we are.
        full: Whether there are as many associations as may be.

    Raises:
        AssociationError: The request cannot be read.
    """
    if len(body) < _FIXED.size:
        raise AssociationError(INVALID_PARAMETER)
    version, called, calling = _FIXED.unpack_from(body)
    peer = calling.decode("latin-1").strip()
    refusal = _refusal(called.decode("latin-1").strip(), peer, entity, full=full)
    if not version & 1:
        refusal = (1, 2, 2)  # permanent, by the provider: protocol version not supported
    if refusal is not None:
        return Answer(_HEAD.pack(_REJECTION, 4) + bytes((0, *refusal)), peer, None)
    contexts: dict[int, Context] = {}
    items = [_item(_APPLICATION_CONTEXT, _APPLICATION)]
    for kind, item in _items(memoryview(body)[_FIXED.size :]):
        if kind == _PROPOSED_CONTEXT:
            items.append(_answer_to(item, contexts))
    items.append(_item(_USER_INFORMATION, _about_us()))
    acceptance = body[: _FIXED.size] + b"".join(items)
    return Answer(_HEAD.pack(_ACCEPTANCE, len(acceptance)) + acceptance, peer, contexts)


def _refusal(
    called: str, calling: str, entity: Entity, *, full: bool
) -> tuple[int, int, int] | None:
    """Result, source and reason of a rejection (PS3.8 Table 9-21)."""
    if called != entity.ae_title:
        return (1, 1, 7)  # permanent: called AE title not recognised
    if entity.calling_aes and calling not in entity.calling_aes:
        return (1, 1, 3)  # permanent: calling AE title not recognised
    return (2, 3, 2) if full else None  # for now: local limit exceeded


def _answer_to(proposed: memoryview, contexts: dict[int, Context]) -> bytes:
    """Answer one proposed presentation context, and note it when it is agreed (PS3.8 9.3.3.2)."""
    if len(proposed) < _CONTEXT_HEAD:
        raise AssociationError(INVALID_PARAMETER)
    named = [(kind, _uid(item)) for kind, item in _items(proposed[_CONTEXT_HEAD:])]
    abstract = next((uid for kind, uid in named if kind == _ABSTRACT_SYNTAX), "")
    transfer = next((uid for kind, uid in named if kind == _TRANSFER_SYNTAX), "")
    if not abstract or not transfer:
        raise AssociationError(INVALID_PARAMETER)
    result = _AGREED if _is_taken(abstract) else _ABSTRACT_SYNTAX_UNKNOWN
    if result == _AGREED:
        contexts[proposed[0]] = Context(abstract, transfer)
    syntax = _item(_TRANSFER_SYNTAX, transfer.encode("latin-1"))
    return _item(_ANSWERED_CONTEXT, bytes((proposed[0], 0, result, 0)) + syntax)


@lru_cache(maxsize=1024)
def _is_taken(abstract_syntax: str) -> bool:
    """Whether it is verification, storage of an object, or nothing that the standard knows."""
    uid = UID(abstract_syntax, validation_mode=IGNORE)
    if uid in (VERIFICATION, uid.name):  # the name of what is not known is itself
        return True
    return "Storage" in uid.name and not any(word in uid.name for word in ("Commit", "Directory"))


def _about_us() -> bytes:
    """Largest PDU, and who wrote this software (PS3.7 D.3.3.1, D.3.3.2)."""
    return (
        _item(_MAXIMUM_LENGTH, struct.pack(">I", PDU_BYTES))
        + _item(_IMPLEMENTATION_CLASS, IMPLEMENTATION_UID.encode())
        + _item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_NAME.encode())
    )


def _items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The items of an association PDU or of an item (PS3.8 9.3.1): kind and content."""
    at = 0
    while at < len(content):
        if at + _ITEM_HEAD.size > len(content):
            raise AssociationError(INVALID_PARAMETER)
        kind, length = _ITEM_HEAD.unpack_from(content, at)
        at += _ITEM_HEAD.size
        if at + length > len(content):
            raise AssociationError(INVALID_PARAMETER)
        yield kind, content[at : at + length]
        at += length


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM_HEAD.pack(kind, len(content)) + content


def _uid(item: memoryview) -> str:
    """A UID, which some pad though it needs no even length here."""
    return bytes(item[:_MOST_UID_BYTES]).decode("latin-1").rstrip("\0 ")


class Connection:
    """The PDUs of one connection; they are read into one buffer, none larger than is agreed.

    Args:
        peer: Connected; closed by whoever opened it.
        timeout_s: Silence after which the peer is taken for gone.
    """

    def __init__(self, peer: socket.socket, timeout_s: float) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Not `settimeout`, which would have every read wait for two calls.
        duration = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, duration)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, duration)
        self._peer = peer
        self._buffer = memoryview(bytearray(MOST_PDU_BYTES))

    def read(self) -> tuple[int, memoryview]:
        """Wait for the next PDU.

        Returns:
            Its type, and its body, which is overwritten by the next.

        Raises:
            AssociationError: Its type is none, or it is larger than any may be.
            PeerGoneError: There is none.
        """
        kind, length = _HEAD.unpack(self._read(_HEAD.size))
        if kind not in _KNOWN_TYPES or length > MOST_PDU_BYTES:
            raise AssociationError(UNRECOGNISED_PDU)
        return kind, self._read(length)

    def _read(self, count: int) -> memoryview:
        view = self._buffer[:count]
        got = 0
        while got < count:
            try:
                more = self._peer.recv_into(view[got:], 0, socket.MSG_WAITALL)
            except OSError as error:
                raise PeerGoneError from error
            if more == 0:
                raise PeerGoneError
            got += more
        return view

    def send(self, pdu: bytes) -> None:
        """Send an encoded PDU.

        Raises:
            PeerGoneError: It could not be sent.
        """
        try:
            self._peer.sendall(pdu)
        except OSError as error:
            raise PeerGoneError from error

    def answer(self, context_id: int, command: bytes) -> None:
        """Send a command without a dataset; it fits into one PDU of any peer."""
        value = _VALUE_HEAD.pack(len(command) + 2, context_id, COMMAND | LAST) + command
        self.send(_HEAD.pack(DATA, len(value)) + value)

    def release(self) -> None:
        """Answer a request to release, and part."""
        self._part(_HEAD.pack(RELEASE_RESPONSE, 4) + b"\0" * 4)

    def reject(self, rejection: bytes) -> None:
        """Send a rejection, and part."""
        self._part(rejection)

    def abort(self, reason: int) -> None:
        """Say why there will be no more, as the service provider, and part."""
        self._part(_HEAD.pack(ABORT, 4) + bytes((0, 0, 2, reason)))

    def _part(self, last_word: bytes) -> None:
        """Let the peer read the last word before the connection is gone."""
        until = monotonic() + _PARTING_S
        try:
            self._peer.settimeout(_PARTING_S)
            self._peer.sendall(last_word)
            self._peer.shutdown(socket.SHUT_WR)
            while monotonic() < until and self._peer.recv_into(self._buffer):
                pass
        except OSError:
            return  # gone already


def values_of(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The presentation data values of a P-DATA-TF: context id, control header, fragment.

    Raises:
        AssociationError: A length does not fit.
    """
    at = 0
    while at < len(body):
        if at + _VALUE_HEAD.size > len(body):
            raise AssociationError(INVALID_PARAMETER)
        length, context_id, control = _VALUE_HEAD.unpack_from(body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise AssociationError(INVALID_PARAMETER)
        yield context_id, control, body[at + _VALUE_HEAD.size : end]
        at = end
