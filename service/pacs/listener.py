"""The C-STORE SCP behind `acuity listen`: every storage class in every encoding, as received.

pynetdicom speaks the protocol and writes what comes to files, of which none is in memory as a
whole. Success is answered once an instance is durable. A sender whose AE title is not on the list
is rejected; what our own results are, when they come back, is acknowledged and not kept.
"""

from __future__ import annotations

import socket
import struct
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from socketserver import BaseServer
from typing import Any, Final

import structlog
from pydicom import config as pydicom_config
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom import _config as pynetdicom_config
from pynetdicom import association as pynetdicom_association
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.presentation import NonPatientObjectPresentationContexts
from pynetdicom.sop_class import Verification
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from service.audit import Trail
from service.logs import Pseudonyms
from service.pacs.incoming import Diary, Receiving, Reception
from service.pacs.receiving import ReceiveFolder
from service.pacs.waiting import let_wait, provider_of
from service.settings import ListenerSettings

log = structlog.get_logger()

IMPLEMENTATION_UID: Final = "2.25.130045090358412317111771450460822542655"
IMPLEMENTATION_NAME: Final = "VERTEBRAL_ACUITY"
"""By which peers know this software (PS3.7 D.3.3.2)."""

PDU_BYTES: Final = 128 << 10
"""Largest PDU we ask for: dcmtk's most. The usual 16 KiB makes eight times as many of them."""

MOST_PDU_BYTES: Final = 1 << 20
"""Beyond what was agreed for data by more than any association request needs."""

_MIB: Final = 1 << 20
_WAITING_EACH: Final = 2
"""Connections for every association that may be: room to tell a few that there are too many."""

_ALL: Final = int(socket.MSG_WAITALL)


class Listener:
    """Takes associations until it is closed; one in a process.

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
        self._folder = folder
        self._pseudonyms = pseudonyms
        self._trail = trail
        self._receiving = Receiving(
            settings.max_instance_mb * _MIB, settings.max_receiving_mb * _MIB
        )
        self._server: _Server | None = None
        self._thread = threading.Thread()
        self._process = ExitStack()

    @property
    def port(self) -> int:
        """The port that is bound; 0 before."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and take associations in threads of their own.

        Raises:
            OSError: The port is taken.
        """
        self._set_process()
        host = self._settings.host
        # The library takes names for IPv6.
        numeric = host if ":" in host else socket.gethostbyname(host)
        self._server = self._entity().make_server(
            (numeric, self._settings.port),
            evt_handlers=[(evt.EVT_CONN_OPEN, self._welcome)],
            server_class=_Server,
            request_handler=_Handler,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="listener", daemon=True
        )
        self._thread.start()

    def _entity(self) -> Any:  # noqa: ANN401  pynetdicom is untyped here
        settings = self._settings
        entity = AE(settings.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_UID
        entity.implementation_version_name = IMPLEMENTATION_NAME
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.calling_aes)
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = PDU_BYTES
        entity.acse_timeout = settings.timeout_s
        entity.dimse_timeout = settings.timeout_s
        entity.network_timeout = settings.timeout_s
        entity.add_supported_context(Verification)
        for context in NonPatientObjectPresentationContexts:
            entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        return entity

    def close(self) -> None:
        """Stop; an instance under way is not acknowledged and will be sent again."""
        if self._server is not None:
            # Not the library's, which looks for servers where only its `start_server` puts them.
            BaseServer.shutdown(self._server)
            self._server.hang_up()
            self._server.server_close()
            self._thread.join()
        self._process.close()

    def _set_process(self) -> None:
        """Set what the library has one of in a process, until the listener is closed."""
        before = threading.excepthook

        def note_failure(failure: threading.ExceptHookArgs) -> None:
            # A broken message may end a thread of the library's, and the usual words on that quote
            # the message.
            if not isinstance(failure.thread, DULServiceProvider | Association):
                before(failure)
                return
            log.warning("association_failed", error=failure.exc_type.__name__)
            if isinstance(failure.thread, DULServiceProvider):
                failure.thread.to_user_queue.put(None)  # the other thread may wait for a request

        def any_uid(_uid: str) -> tuple[bool, str]:
            return True, ""

        for owner, name, value in (
            (threading, "excepthook", note_failure),
            # Its own threads look for what comes a thousand times a second.
            (pynetdicom_association, "DULServiceProvider", provider_of),
            # Its own log quotes what was received.
            (pynetdicom_config, "LOG_HANDLER_LEVEL", "none"),
            # Vendors' private classes included: a study must not fail at its sender because of an
            # object in it that we will not use.
            (pynetdicom_config, "UNRESTRICTED_STORAGE_SERVICE", True),
            # Instances are written as they come, into temporary files beside where they will be.
            (pynetdicom_config, "STORE_RECV_CHUNKED_DATASET", True),
            (tempfile, "tempdir", str(self._folder.parts)),
            # A UID that is none is answered by us; else it is an abort, and a warning that quotes.
            (pynetdicom_config, "VALIDATORS", pynetdicom_config.VALIDATORS | {"UI": any_uid}),
            (pydicom_config.settings, "reading_validation_mode", pydicom_config.IGNORE),
        ):
            self._process.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)

    def _welcome(self, event: Any) -> None:  # noqa: ANN401
        """Be there before an association begins."""
        let_wait(event.assoc)
        diary = Diary(self._trail, event.assoc.requestor, self._pseudonyms)
        reception = Reception(event.assoc, self._folder, self._receiving, diary)
        if self._server is not None:
            self._server.receptions[event.address] = reception


class _Server(ThreadedAssociationServer):  # type: ignore[misc]  # pynetdicom is untyped here
    """A thread for each connection, so many and no more.

    Attributes:
        receptions: Of the connections that are open, by address.
    """

    request_queue_size = 64

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        self.receptions: dict[object, Reception] = {}
        self._open: set[socket.socket] = set()
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection."""
        accepted, address = super().get_request()
        return _Connection(accepted, self.ae.network_timeout), address

    def verify_request(self, request: socket.socket, client_address: object) -> bool:  # noqa: ARG002
        """Whether there is a thread for another connection."""
        if len(self._open) >= self.ae.maximum_associations * _WAITING_EACH:
            return False
        self._open.add(request)
        return True

    def close_request(self, request: socket.socket) -> None:
        """Close a connection that has ended."""
        self._open.discard(request)
        super().close_request(request)

    def hang_up(self) -> None:
        """End every connection; their threads see that the peer is gone."""
        for connection in list(self._open):
            with suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Say that a connection ended in a way that nobody thought of, without quoting it."""
        log.error("association_failed", error=type(sys.exception()).__name__)


class _Handler(RequestHandler):  # type: ignore[misc]  # pynetdicom is untyped here
    """Sees one connection through to its end."""

    def handle(self) -> None:
        """Start its association, which has threads of its own, and wait for it."""
        super().handle()
        self.server.receptions.pop(self.client_address).see_out()

    def finish(self) -> None:
        """Close the connection, which the library leaves open when the peer was first."""
        self.server.close_request(self.request)


class _Connection(socket.socket):
    """A connection that takes no PDU larger than any may be, and takes it from the system at once.

    The library believes a stated length of up to 4 GiB, and reads it by 4 KiB.

    Args:
        accepted: Taken over.
        timeout_s: Silence, or time that an answer is not taken, after which it is an error.
    """

    def __init__(self, accepted: socket.socket, timeout_s: float) -> None:
        super().__init__(fileno=accepted.detach())
        self._body = memoryview(b"")
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Not `settimeout`, which would have every read wait for two calls.
        duration = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, duration)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, duration)

    def recv(self, count: int, _flags: int = 0, /) -> Any:  # noqa: ANN401  bytes or a view of them
        """Read as the library does: the head of a PDU, then its body piece by piece.

        Returns:
            Nothing when the PDU is too large or cut off, as at the end of the connection.
        """
        if self._body:
            piece, self._body = self._body[:count], self._body[count:]
            return piece
        head = super().recv(count, _ALL)
        length = int.from_bytes(head[2:], "big")
        if len(head) < count or length > MOST_PDU_BYTES:
            return b""
        body = super().recv(length, _ALL)
        if len(body) < length:
            return b""
        self._body = memoryview(body)
        return head
