"""The C-STORE SCP behind `acuity listen`: every storage class in every encoding, as received.

An instance's bytes go to disk as they come, behind a file header that names their encoding (PS3.10
7.1); none is in memory as a whole. Success is answered once they are durable. A sender whose AE
title is not on the list is rejected; what our own results are, when they come back, is
acknowledged and not kept.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Final, Self

import structlog

from service.ingest.refusals import RefusedError
from service.ingest.safety import check_uid
from service.logs import Pseudonyms
from service.pacs.association import (
    ABORT,
    ASSOCIATE_REQUEST,
    COMMAND,
    DATA,
    IMPLEMENTATION_NAME,
    IMPLEMENTATION_UID,
    INVALID_PARAMETER,
    LAST,
    RELEASE_REQUEST,
    UNEXPECTED_PDU,
    AssociationError,
    Connection,
    Context,
    Entity,
    PeerGoneError,
    negotiate,
    values_of,
)
from service.pacs.commands import (
    C_ECHO_REQUEST,
    C_STORE_REQUEST,
    MOST_COMMAND_BYTES,
    Command,
    CommandError,
    answer_to,
    read_command,
)
from service.pacs.identity import InstanceIdentity
from service.pacs.receiving import Admission, ReceiveFolder, StorageFullError
from service.settings import ListenerSettings

log = structlog.get_logger()

SUCCESS: Final = 0x0000
INVALID_INSTANCE: Final = 0x0117
CLASS_NOT_SUPPORTED: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
OTHER_INSTANCE: Final = 0xA900
NOT_UNDERSTOOD: Final = 0xC000
"""C-STORE status codes (PS3.4 Table B.2-1, PS3.7 9.1.1.1.9)."""

_MIB: Final = 1 << 20
_WAITING_EACH: Final = 2
"""Connections for every association that may be: room to tell a few that there are too many."""


class OtherInstanceError(Exception):
    """The dataset is not the instance that the request names."""


class TooLargeError(Exception):
    """More bytes than one instance may have, or all that are being received."""


class Listener:
    """Takes associations until it is closed.

    Args:
        settings: Whom to take them from, and how much at a time.
        folder: Where instances go.
        pseudonyms: For logs.
    """

    def __init__(
        self, settings: ListenerSettings, folder: ReceiveFolder, pseudonyms: Pseudonyms
    ) -> None:
        self._settings = settings
        self._entity = Entity(settings.ae_title, settings.calling_aes)
        self._folder = folder
        self._pseudonyms = pseudonyms
        self._receiving = _Receiving(
            settings.max_instance_mb * _MIB, settings.max_receiving_mb * _MIB
        )
        self._associations = threading.BoundedSemaphore(settings.max_associations)
        self._server: _Server | None = None
        self._thread = threading.Thread()

    @property
    def port(self) -> int:
        """The port that is bound; 0 before."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and take associations in threads of their own.

        Raises:
            OSError: The port is taken.
        """
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="listener", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; an instance under way is not acknowledged and will be sent again."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    def serve(self, peer: socket.socket) -> None:
        """See one connection through to its end."""
        connection = Connection(peer, self._settings.timeout_s)
        try:
            self._serve(connection)
        except AssociationError as error:
            log.warning("association_ended", code="protocol", reason=error.reason)
            connection.abort(error.reason)
        except TooLargeError:
            log.warning("association_ended", code="content_too_large")
            connection.abort(0)
        except PeerGoneError:
            log.info("association_ended", code="peer_gone")

    def _serve(self, connection: Connection) -> None:
        kind, body = connection.read()
        if kind != ASSOCIATE_REQUEST:
            raise AssociationError(UNEXPECTED_PDU)
        free = self._associations.acquire(blocking=False)
        try:
            answer = negotiate(bytes(body), self._entity, full=not free)
            if answer.contexts is None:
                log.warning("association_rejected", calling=self._pseudonyms.of(answer.calling))
                connection.reject(answer.pdu)
                return
            connection.send(answer.pdu)
            with _Messages(connection, answer.contexts, self._folder, self._receiving) as messages:
                self._converse(connection, messages)
        finally:
            if free:
                self._associations.release()

    def _converse(self, connection: Connection, messages: _Messages) -> None:
        while True:
            kind, body = connection.read()
            if kind == DATA:
                for context_id, control, fragment in values_of(body):
                    messages.take(context_id, control, fragment)
            elif kind == RELEASE_REQUEST:
                connection.release()
                return
            elif kind == ABORT:
                return
            else:
                raise AssociationError(UNEXPECTED_PDU)

    @property
    def settings(self) -> ListenerSettings:
        """As they were given."""
        return self._settings


class _Handler(BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        if isinstance(server, _Server):
            server.listener.serve(self.request)


class _Server(ThreadingTCPServer):
    """Threads for connections, so many and no more."""

    allow_reuse_address = True
    daemon_threads = False  # they are waited for when the server closes
    request_queue_size = 64

    def __init__(self, listener: Listener) -> None:
        settings = listener.settings
        self.listener = listener
        self._most = settings.max_associations * _WAITING_EACH
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        if ":" in settings.host:
            self.address_family = socket.AF_INET6
        super().__init__((settings.host, settings.port), _Handler)

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002
        """Whether there is a thread for another connection."""
        with self._lock:
            if len(self._open) >= self._most or not isinstance(request, socket.socket):
                return False
            self._open.add(request)
        return True

    def close_request(self, request: object) -> None:
        """Close a connection whose thread has ended."""
        if isinstance(request, socket.socket):
            with self._lock:
                self._open.discard(request)
            request.close()

    def hang_up(self) -> None:
        """End every connection; their threads see that the peer is gone."""
        with self._lock:
            for peer in self._open:
                with suppress(OSError):
                    peer.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Say that a connection ended in a way that nobody thought of, without quoting it."""
        log.error("association_failed", error=type(sys.exception()).__name__)


class _Receiving:
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


class _Messages:
    """Puts the messages of one association together, one at a time, and answers them."""

    def __init__(
        self,
        connection: Connection,
        contexts: Mapping[int, Context],
        folder: ReceiveFolder,
        receiving: _Receiving,
    ) -> None:
        self._connection = connection
        self._contexts = contexts
        self._folder = folder
        self._receiving = receiving
        self._encoded = bytearray()
        self._instance: _Instance | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing of an instance that did not come to its end."""
        if self._instance is not None:
            self._instance.close()

    def take(self, context_id: int, control: int, fragment: memoryview) -> None:
        """Take the next fragment of a message.

        Raises:
            AssociationError: It belongs to no message that may be sent here.
            TooLargeError: The instance is too large.
            PeerGoneError: The message could not be answered.
        """
        if control & COMMAND:
            self._take_command(context_id, control, fragment)
            return
        instance = self._instance
        if instance is None or context_id != instance.context_id:
            raise AssociationError(UNEXPECTED_PDU)
        instance.write(fragment)
        if control & LAST:
            self._instance = None
            self._answer(context_id, instance.request, instance.admit())

    def _take_command(self, context_id: int, control: int, fragment: memoryview) -> None:
        if self._instance is not None:
            raise AssociationError(UNEXPECTED_PDU)
        self._encoded += fragment
        if len(self._encoded) > MOST_COMMAND_BYTES:
            raise AssociationError(INVALID_PARAMETER)
        if not control & LAST:
            return
        try:
            request = read_command(self._encoded)
        except CommandError as error:
            raise AssociationError(INVALID_PARAMETER) from error
        self._encoded.clear()
        context = self._contexts.get(context_id)
        if context is None:
            raise AssociationError(INVALID_PARAMETER)
        self._begin(context_id, context, request)

    def _begin(self, context_id: int, context: Context, request: Command) -> None:
        if request.field == C_ECHO_REQUEST and not request.dataset_follows:
            self._answer(context_id, request, SUCCESS)
        elif request.field != C_STORE_REQUEST:
            raise AssociationError(UNEXPECTED_PDU)
        elif not request.dataset_follows:
            self._answer(context_id, request, NOT_UNDERSTOOD)
        else:
            self._instance = _Instance(context_id, context, request, self._folder, self._receiving)

    def _answer(self, context_id: int, request: Command, status: int) -> None:
        self._connection.answer(context_id, answer_to(request, status))


class _Instance:
    """An instance on its way to disk; one that is refused is read to its end and left."""

    def __init__(
        self,
        context_id: int,
        context: Context,
        request: Command,
        folder: ReceiveFolder,
        receiving: _Receiving,
    ) -> None:
        self.context_id = context_id
        self.request = request
        self._folder = folder
        self._receiving = receiving
        self._size = 0
        self._part = folder.new_part()
        self._file = -1
        self._status = self._open(context)

    def _open(self, context: Context) -> int:
        request = self.request
        if request.sop_class_uid != context.abstract_syntax:
            return _refused(CLASS_NOT_SUPPORTED, "class_not_agreed")
        try:
            check_uid(request.sop_instance_uid)
            self._folder.check_room()
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
        if self._size > self._receiving.most_each:
            raise TooLargeError
        self._receiving.add(len(fragment))
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
            if self._folder.admit(self._part, self._check) is Admission.OWN:
                log.info("own_object_ignored")
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

    def close(self) -> None:
        """Leave nothing of it but what was handed over."""
        self._close_file()
        self._part.unlink(missing_ok=True)
        self._receiving.add(-self._size)

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
