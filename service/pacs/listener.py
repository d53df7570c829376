"""The C-STORE SCP behind `acuity listen`: every storage class in every encoding, as received.

An instance's bytes go to disk exactly as they came, behind a file header that names their encoding
(PS3.10 7.1). Success is answered once they are durable. A sender whose AE title is not on the list
is rejected; what our own results are, when they come back, is acknowledged and not kept.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial
from socketserver import BaseServer
from typing import Any, Final

import structlog
from pynetdicom import AE, evt
from pynetdicom import _config as pynetdicom_config
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import Verification
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from service.ingest.refusals import RefusedError
from service.logs import Pseudonyms
from service.pacs.identity import InstanceIdentity
from service.pacs.receiving import Admission, ReceiveFolder, StorageFullError
from service.settings import ListenerSettings

log = structlog.get_logger()

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
OTHER_INSTANCE: Final = 0xA900
NOT_UNDERSTOOD: Final = 0xC000
"""C-STORE status codes (PS3.4 Table B.2-1)."""

PDU_BYTES: Final = 128 << 10
"""Largest PDU we take: dcmtk's most. The default of 16 KiB makes eight times as many of them."""

MOST_PDU_BYTES: Final = 1 << 20
"""Beyond what was agreed for data by more than any association request needs."""

_PREAMBLE: Final = b"\0" * 128 + b"DICM"
_MIB: Final = 1 << 20


class OtherInstanceError(Exception):
    """The dataset is not the instance that the request names."""


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
        self._folder = folder
        self._pseudonyms = pseudonyms
        self._receiving = _Receiving(
            settings.max_instance_mb * _MIB, settings.max_receiving_mb * _MIB
        )
        self._server: Any = None
        self._thread = threading.Thread()

    @property
    def port(self) -> int:
        """The port that is bound."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Bind and take associations in threads of their own.

        Raises:
            OSError: The port is taken.
        """
        # The library's own log quotes what was received; ours says what is worth knowing.
        pynetdicom_config.LOG_HANDLER_LEVEL = "none"
        # Any class and encoding that is proposed, vendors' private ones included: a study must not
        # fail at its sender because of an object in it that we will not use.
        pynetdicom_config.UNRESTRICTED_STORAGE_SERVICE = True
        settings = self._settings
        entity = AE(settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.calling_aes)
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = PDU_BYTES
        entity.acse_timeout = settings.timeout_s
        entity.dimse_timeout = settings.timeout_s
        entity.network_timeout = settings.timeout_s
        entity.add_supported_context(Verification)
        self._server = entity.make_server(
            (settings.host, settings.port),
            server_class=ThreadedAssociationServer,
            evt_handlers=self._handlers(),
            request_handler=_BoundedHandler,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="listener", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; an instance under way is not acknowledged and will be sent again."""
        if self._server is None:
            return
        # Not the library's: it looks for the server where only `start_server` puts one.
        BaseServer.shutdown(self._server)
        self._server.server_close()
        self._thread.join()

    def _handlers(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        return [
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._note_pdu),
            (evt.EVT_CONN_CLOSE, self._forget),
            (evt.EVT_REJECTED, self._note_rejection),
        ]

    def _store(self, event: Any) -> int:  # noqa: ANN401  pynetdicom is untyped
        try:
            return self._take(event)
        finally:
            self._receiving.forget(id(event.assoc))

    def _take(self, event: Any) -> int:  # noqa: ANN401
        request = event.request
        named = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))

        def check(identity: InstanceIdentity) -> None:
            if (identity.sop_class_uid, identity.sop_instance_uid) != named:
                raise OtherInstanceError

        part = self._folder.new_part()
        try:
            self._folder.check_room()
            with part.open("xb") as file:
                file.write(_PREAMBLE + encode_file_meta(event.file_meta))
                file.write(request.DataSet.getbuffer())
            admission = self._folder.admit(part, check)
        except RefusedError as error:
            log.info("instance_refused", code=error.refusal.code)
            return NOT_UNDERSTOOD
        except OtherInstanceError:
            log.info("instance_refused", code="other_instance")
            return OTHER_INSTANCE
        except (StorageFullError, OSError) as error:
            log.warning("instance_not_stored", code="disk_full", error=type(error).__name__)
            return OUT_OF_RESOURCES
        finally:
            part.unlink(missing_ok=True)
        if admission is Admission.OWN:
            log.info("own_object_ignored")
        return SUCCESS

    def _note_pdu(self, event: Any) -> None:  # noqa: ANN401
        if not self._receiving.add(id(event.assoc), event.pdu.pdu_length):
            log.warning("association_ended", code="content_too_large")
            event.assoc.abort()

    def _forget(self, event: Any) -> None:  # noqa: ANN401
        self._receiving.forget(id(event.assoc))

    def _note_rejection(self, event: Any) -> None:  # noqa: ANN401
        calling = str(event.assoc.requestor.ae_title)
        log.warning("association_rejected", calling=self._pseudonyms.of(calling))


class _BoundedHandler(RequestHandler):  # type: ignore[misc]  # pynetdicom is untyped
    """Makes associations whose socket reads no more than a PDU may have.

    The library's own reading believes a stated length of up to 4 GiB, and takes it by 4 KiB.
    """

    def _create_association(self) -> Any:  # noqa: ANN401
        association = super()._create_association()
        association.dul.socket.recv = partial(_receive, self.request)
        return association


def _receive(source: socket.socket, count: int) -> bytearray:
    """Read so many bytes; fewer when the connection ends."""
    if count > MOST_PDU_BYTES:
        raise OSError("a PDU is larger than was agreed")
    content = bytearray(count)
    received = 0
    with memoryview(content) as view:
        while received < count and (got := source.recv_into(view[received:])):
            received += got
    del content[received:]
    return content


class _Receiving:
    """Bytes of the instances that associations are in the middle of, which are in memory."""

    def __init__(self, most_each: int, most_together: int) -> None:
        self._most_each = most_each
        self._most_together = most_together
        self._bytes: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, association: int, count: int) -> bool:
        """Count bytes; False when they are too many."""
        with self._lock:
            size = self._bytes[association] = self._bytes.get(association, 0) + count
            return size <= self._most_each and sum(self._bytes.values()) <= self._most_together

    def forget(self, association: int) -> None:
        """Begin anew, after an instance or at the end."""
        with self._lock:
            self._bytes.pop(association, None)
