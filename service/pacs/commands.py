"""The command sets of the two requests that we answer: C-ECHO and C-STORE.

A command set is always Implicit VR Little Endian, whatever was agreed for datasets. It is parsed
here and not by a DICOM library, for it is a dozen elements of two kinds and comes before every
instance. Source: PS3.7 6.3.1 (encoding), 9.3.1 (C-STORE), 9.3.5 (C-ECHO), E.1 (elements).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

C_STORE_REQUEST: Final = 0x0001
C_ECHO_REQUEST: Final = 0x0030
_RESPONSE: Final = 0x8000

NO_DATASET: Final = 0x0101
"""Command Data Set Type of a message that ends with its command."""

MOST_COMMAND_BYTES: Final = 4 << 10
"""Of all fragments of a command; a request with two UIDs needs less than 300."""

_GROUP_LENGTH: Final = 0x0000
_CLASS_UID: Final = 0x0002
_COMMAND: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_ANSWERED_ID: Final = 0x0120
_DATASET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_INSTANCE_UID: Final = 0x1000

_ELEMENT: Final = struct.Struct("<HHI")
_SHORT: Final = struct.Struct("<H")


class CommandError(ValueError):
    """The bytes are no command set."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request.

    Attributes:
        field: Command Field, as `C_STORE_REQUEST`.
        message_id: By which the answer names it.
        sop_class_uid, sop_instance_uid: What the request says it is about; "" where it does not.
        dataset_follows: Whether a dataset belongs to it.
    """

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    dataset_follows: bool


def read_command(encoded: bytes | bytearray) -> Command:
    """Read a command set.

    Raises:
        CommandError: An element is cut off or missing, or is not of group 0000.
    """
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(encoded):
        if at + _ELEMENT.size > len(encoded):
            raise CommandError("an element is cut off")
        group, number, length = _ELEMENT.unpack_from(encoded, at)
        at += _ELEMENT.size
        if group != 0 or at + length > len(encoded):
            raise CommandError("an element is cut off or of another group")
        elements[number] = bytes(encoded[at : at + length])
        at += length
    return Command(
        field=_short(elements, _COMMAND),
        message_id=_short(elements, _MESSAGE_ID),
        sop_class_uid=_uid(elements, _CLASS_UID),
        sop_instance_uid=_uid(elements, _INSTANCE_UID),
        dataset_follows=_short(elements, _DATASET_TYPE) != NO_DATASET,
    )


def answer_to(request: Command, status: int) -> bytes:
    """Encode the response to a request, without a dataset."""
    elements = (
        _element(_CLASS_UID, _padded(request.sop_class_uid)),
        _element(_COMMAND, _SHORT.pack(request.field | _RESPONSE)),
        _element(_ANSWERED_ID, _SHORT.pack(request.message_id)),
        _element(_DATASET_TYPE, _SHORT.pack(NO_DATASET)),
        _element(_STATUS, _SHORT.pack(status)),
        _element(_INSTANCE_UID, _padded(request.sop_instance_uid))
        if request.sop_instance_uid
        else b"",
    )
    content = b"".join(elements)
    return _element(_GROUP_LENGTH, struct.pack("<I", len(content))) + content


def _element(number: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, number, len(value)) + value


def _short(elements: dict[int, bytes], number: int) -> int:
    value = elements.get(number, b"")
    if len(value) != _SHORT.size:
        raise CommandError(f"element (0000,{number:04x}) is missing or no US")
    return int(_SHORT.unpack(value)[0])


def _uid(elements: dict[int, bytes], number: int) -> str:
    return elements.get(number, b"").decode("latin-1").rstrip("\0 ")


def _padded(uid: str) -> bytes:
    """A UID of even length (PS3.5 9.1)."""
    value = uid.encode("latin-1")
    return value + b"\0" * (len(value) % 2)
