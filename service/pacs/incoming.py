"""One instance on its way from a sender to disk, and the status that it is answered with."""

from __future__ import annotations

import os
import struct
import threading
from dataclasses import dataclass
from typing import Final

import structlog

from service.audit import Deed, Event, Outcome, Trail
from service.ingest.refusals import RefusedError
from service.ingest.safety import check_uid
from service.pacs.association import IMPLEMENTATION_NAME, IMPLEMENTATION_UID, Context
from service.pacs.commands import Command
from service.pacs.identity import InstanceIdentity
from service.pacs.receiving import Admission, ReceiveFolder, StorageFullError

log = structlog.get_logger()

SUCCESS: Final = 0x0000
INVALID_INSTANCE: Final = 0x0117
CLASS_NOT_SUPPORTED: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
OTHER_INSTANCE: Final = 0xA900
NOT_UNDERSTOOD: Final = 0xC000
"""C-STORE status codes (PS3.4 Table B.2-1, PS3.7 9.1.1.1.9)."""


class OtherInstanceError(Exception):
    """The dataset is not the instance that the request names."""


class TooLargeError(Exception):
    """More bytes than one instance may have, or all that are being received."""


class Receiving:
    """Bytes of the instances that associations are in the middle of."""

    def __init__(self, most_each: int, most_together: int) -> None:
        self.most_each = most_each
        self._most_together = most_together
        self._together = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count bytes, those of an instance that has ended as negative.

        Raises:
            TooLargeError: They are too many.
        """
        with self._lock:
            self._together += count
            if count > 0 and self._together > self._most_together:
                raise TooLargeError


class Diary:
    """What goes into the trail about one association: each study that came in, once."""

    def __init__(self, trail: Trail | None, user: str, address: str) -> None:
        self._trail = trail
        self._user = user
        self._address = address
        self._noted: set[str] = set()

    def received(self, study_instance_uid: str) -> None:
        """Note the first instance of a study, before it is acknowledged."""
        if study_instance_uid not in self._noted:
            self._noted.add(study_instance_uid)
            who = (self._user, self._address)
            self._note(Deed(Event.IMPORT, *who, study_instance_uid=study_instance_uid))

    def rejected(self) -> None:
        """Note that somebody was turned away."""
        self._note(Deed(Event.REFUSED, self._user, self._address, Outcome.MINOR_FAILURE))

    def _note(self, deed: Deed) -> None:
        if self._trail is None:
            return
        try:
            self._trail.settle(self._trail.note(deed))
        except OSError as error:
            log.critical("audit_not_written", error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the instances of an association go."""

    folder: ReceiveFolder
    receiving: Receiving
    diary: Diary


class Instance:
    """An instance on its way to disk; one that is refused is read to its end and left."""

    def __init__(
        self,
        context_id: int,
        context: Context,
        request: Command,
        desk: Desk,
    ) -> None:
        self.context_id = context_id
        self.request = request
        self._desk = desk
        self._size = 0
        self._study = ""
        self._part = desk.folder.new_part()
        self._file = -1
        self._status = self._open(context)

    def _open(self, context: Context) -> int:
        request = self.request
        if request.sop_class_uid != context.abstract_syntax:
            return _refused(CLASS_NOT_SUPPORTED, "class_not_agreed")
        try:
            check_uid(request.sop_instance_uid)
            self._desk.folder.check_room()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self._part, flags, 0o644)
            os.write(self._file, file_header(request, context.transfer_syntax))
        except RefusedError as error:
            return _refused(INVALID_INSTANCE, error.refusal.code)
        except (StorageFullError, OSError) as error:
            return _full(error)
        return SUCCESS

    def write(self, fragment: memoryview) -> None:
        """Write bytes of the dataset, or pass over them.

        Raises:
            TooLargeError: They are too many.
        """
        self._size += len(fragment)
        if self._size > self._desk.receiving.most_each:
            raise TooLargeError
        self._desk.receiving.add(len(fragment))
        if self._status != SUCCESS:
            return
        try:
            written = 0
            while written < len(fragment):
                written += os.write(self._file, fragment[written:])
        except OSError as error:
            self._status = _full(error)

    def admit(self) -> int:
        """Hand the instance over; the status it is answered with. Nothing is left under `parts`."""
        try:
            if self._status != SUCCESS:
                return self._status
            self._close_file()
            if self._desk.folder.admit(self._part, self._check) is Admission.OWN:
                log.info("own_object_ignored")
            self._desk.diary.received(self._study)
        except RefusedError as error:
            return _refused(NOT_UNDERSTOOD, error.refusal.code)
        except OtherInstanceError:
            return _refused(OTHER_INSTANCE, "other_instance")
        except (StorageFullError, OSError) as error:
            return _full(error)
        finally:
            self.close()
        return SUCCESS

    def _check(self, identity: InstanceIdentity) -> None:
        request = self.request
        named = (request.sop_class_uid, request.sop_instance_uid)
        if (identity.sop_class_uid, identity.sop_instance_uid) != named:
            raise OtherInstanceError
        self._study = identity.study_instance_uid

    def close(self) -> None:
        """Leave nothing of it but what was handed over."""
        self._close_file()
        self._part.unlink(missing_ok=True)
        self._desk.receiving.add(-self._size)

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _refused(status: int, code: str) -> int:
    log.info("instance_refused", code=code)
    return status


def _full(error: Exception) -> int:
    log.warning("instance_not_stored", code="disk_full", error=type(error).__name__)
    return OUT_OF_RESOURCES


def file_header(request: Command, transfer_syntax: str) -> bytes:
    """Preamble and File Meta Information of an instance (PS3.10 7.1), Explicit VR Little Endian."""
    elements = b"".join(
        (
            b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\0\x01",
            _text(0x0002, b"UI", request.sop_class_uid),
            _text(0x0003, b"UI", request.sop_instance_uid),
            _text(0x0010, b"UI", transfer_syntax),
            _text(0x0012, b"UI", IMPLEMENTATION_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_NAME),
        )
    )
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
    return b"\0" * 128 + b"DICM" + length + elements


def _text(number: int, representation: bytes, value: str) -> bytes:
    padding = b"\0" if representation == b"UI" else b" "
    encoded = value.encode("latin-1")
    encoded += padding * (len(encoded) % 2)
    return struct.pack("<HH2sH", 0x0002, number, representation, len(encoded)) + encoded
