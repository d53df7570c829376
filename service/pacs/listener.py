"""The C-STORE SCP behind `acuity listen`: every storage class in every encoding, as received.

An instance's bytes go to disk as they come, behind a file header that names their encoding (PS3.10
7.1); none is in memory as a whole. Success is answered once they are durable. A sender whose AE
title is not on the list is rejected; what our own results are, when they come back, is
acknowledged and not kept.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Final, Self

import structlog

from service.audit import Trail
from service.logs import Pseudonyms
from service.pacs.association import (
    ABORT,
    ASSOCIATE_REQUEST,
    COMMAND,
    DATA,
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
from service.pacs.incoming import (
    NOT_UNDERSTOOD,
    SUCCESS,
    Desk,
    Diary,
    Instance,
    Receiving,
    TooLargeError,
)
from service.pacs.receiving import ReceiveFolder
from service.settings import ListenerSettings

log = structlog.get_logger()

_MIB: Final = 1 << 20
_WAITING_EACH: Final = 2
"""Connections for every association that may be: room to tell a few that there are too many."""


class Listener:
    """Takes associations until it is closed.

    Args:
        settings: Whom to take them from, and how much at a time.
        folder: Where instances go.
        pseudonyms: For logs.
        trail: Of who did what; None keeps none.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        folder: ReceiveFolder,
        pseudonyms: Pseudonyms,
        trail: Trail | None = None,
    ) -> None:
        self._settings = settings
        self._trail = trail
        self._entity = Entity(settings.ae_title, settings.calling_aes)
        self._folder = folder
        self._pseudonyms = pseudonyms
        self._receiving = Receiving(
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

    def serve(self, peer: socket.socket, address: str) -> None:
        """See one connection through to its end."""
        connection = Connection(peer, self._settings.timeout_s)
        try:
            self._serve(connection, address)
        except AssociationError as error:
            log.warning("association_ended", code="protocol", reason=error.reason)
            connection.abort(error.reason)
        except TooLargeError:
            log.warning("association_ended", code="content_too_large")
            connection.abort(0)
        except PeerGoneError:
            log.info("association_ended", code="peer_gone")

    def _serve(self, connection: Connection, address: str) -> None:
        kind, body = connection.read()
        if kind != ASSOCIATE_REQUEST:
            raise AssociationError(UNEXPECTED_PDU)
        free = self._associations.acquire(blocking=False)
        try:
            answer = negotiate(bytes(body), self._entity, full=not free)
            diary = Diary(self._trail, f"ae:{answer.calling}", address)
            if answer.contexts is None:
                diary.rejected()
                log.warning("association_rejected", calling=self._pseudonyms.of(answer.calling))
                connection.reject(answer.pdu)
                return
            connection.send(answer.pdu)
            desk = Desk(self._folder, self._receiving, diary)
            with _Messages(connection, answer.contexts, desk) as messages:
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
            server.listener.serve(self.request, str(self.client_address[0]))


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


class _Messages:
    """Puts the messages of one association together, one at a time, and answers them."""

    def __init__(
        self,
        connection: Connection,
        contexts: Mapping[int, Context],
        desk: Desk,
    ) -> None:
        self._connection = connection
        self._contexts = contexts
        self._desk = desk
        self._encoded = bytearray()
        self._instance: Instance | None = None

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
            self._instance = Instance(context_id, context, request, self._desk)

    def _answer(self, context_id: int, request: Command, status: int) -> None:
        self._connection.answer(context_id, answer_to(request, status))
