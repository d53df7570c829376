"""What one association sends: each instance on its way to disk, and the status it is answered with.

pynetdicom writes an instance to a file as it comes, and calls here: with the bytes that arrived, in
the thread that reads them, and with the whole instance, in the thread that answers.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import IO, Any, Final

import structlog
from pynetdicom import evt
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from service.audit import Deed, Event, Outcome, Trail
from service.ingest.refusals import RefusedError
from service.ingest.safety import check_uid
from service.logs import Pseudonyms
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

MOST_IN_MEMORY: Final = 1 << 20
"""Of a message that is no instance: pynetdicom keeps it in memory."""

READ_WHEN_FULL: Final = 16 << 20
"""How much of an instance is read, for it to be answered, when the disk has no room for it."""


class OtherInstanceError(Exception):
    """The dataset is not the instance that the request names."""


class Receiving:
    """Bytes of the instances that associations are in the middle of."""

    def __init__(self, most_each: int, most_together: int) -> None:
        self._most_each = most_each
        self._most_together = most_together
        self._together = 0
        self._lock = threading.Lock()

    def add(self, count: int, size: int) -> bool:
        """Count bytes of an instance that has `size` of them now; False when they are too many."""
        with self._lock:
            self._together += count
            return size <= self._most_each and self._together <= self._most_together

    def forget(self, size: int) -> None:
        """Count the bytes of an instance no more."""
        with self._lock:
            self._together -= size


class Diary:
    """What goes into the trail about one association: each study that came in, once.

    Args:
        trail: None keeps none.
        sender: pynetdicom's `ServiceUser`, who is known by name once an association is answered.
        pseudonyms: For the log, which has no names.
    """

    def __init__(self, trail: Trail | None, sender: Any, pseudonyms: Pseudonyms) -> None:  # noqa: ANN401
        self._trail = trail
        self._sender = sender
        self._pseudonyms = pseudonyms
        self._noted: set[str] = set()

    def received(self, study_instance_uid: str) -> None:
        """Note the first instance of a study, before it is acknowledged."""
        if study_instance_uid not in self._noted:
            self._noted.add(study_instance_uid)
            self._note(Deed(Event.IMPORT, *self._who, study_instance_uid=study_instance_uid))

    def rejected(self) -> None:
        """Note that somebody was turned away."""
        calling = self._pseudonyms.of(self._sender.ae_title)
        log.warning("association_rejected", calling=calling)
        self._note(Deed(Event.REFUSED, *self._who, Outcome.MINOR_FAILURE))

    @property
    def _who(self) -> tuple[str, str]:
        return f"ae:{self._sender.ae_title}", self._sender.address

    def _note(self, deed: Deed) -> None:
        if self._trail is None:
            return
        try:
            self._trail.settle(self._trail.note(deed))
        except OSError as error:
            log.critical("audit_not_written", error=type(error).__name__)


class Reception:
    """Takes what one association sends.

    Args:
        association: pynetdicom's, not yet started.
        folder: Where instances go.
        receiving: What all associations together are receiving.
        diary: Of this association.
    """

    def __init__(
        self,
        association: Any,  # noqa: ANN401
        folder: ReceiveFolder,
        receiving: Receiving,
        diary: Diary,
    ) -> None:
        self._association = association
        self._folder = folder
        self._receiving = receiving
        self._diary = diary
        self._size = 0
        self._files: dict[str, tuple[IO[bytes], int]] = {}
        self._aborted = False
        association.bind(evt.EVT_ACSE_SENT, self._note_answer)
        association.bind(evt.EVT_DATA_RECV, self._note_data)
        association.bind(evt.EVT_DIMSE_RECV, self._note_message)
        association.bind(evt.EVT_C_STORE, self._store)
        association.bind(evt.EVT_CONN_CLOSE, self._note_end)

    def see_out(self) -> None:
        """Wait for the association to end, and leave nothing of what it did not bring to an end."""
        self._association.join()
        self._association.dul.kill_dul()  # where a fault has ended the one thread alone
        self._association.dul.join()
        self._keep(self._association.dimse.message)
        for name, (file, size) in self._files.items():
            file.close()
            Path(name).unlink(missing_ok=True)
            self._size += size
        self._receiving.forget(self._size)
        if not self._association.is_released:
            log.info("association_ended", code="aborted" if self._aborted else "peer_gone")

    def _note_answer(self, event: Any) -> None:  # noqa: ANN401
        """Write down a rejection before it is sent."""
        if isinstance(event.primitive, A_ASSOCIATE) and event.primitive.result:
            self._diary.rejected()

    def _note_data(self, event: Any) -> None:  # noqa: ANN401
        """Count the bytes of a PDU before they are written."""
        self._keep(self._association.dimse.message)
        self._size += len(event.data)
        if not self._receiving.add(len(event.data), self._size):
            self._abort("content_too_large")
        elif self._size > MOST_IN_MEMORY and not isinstance(
            self._association.dimse.message, C_STORE_RQ
        ):
            self._abort("protocol")
        elif self._size > READ_WHEN_FULL:
            try:
                self._folder.check_room()
            except StorageFullError:
                self._abort("disk_full")

    def _note_message(self, event: Any) -> None:  # noqa: ANN401
        """Count a message that is complete until it is answered."""
        if not self._keep(event.message, self._size):
            self._receiving.forget(self._size)
        self._size = 0
        if not isinstance(event.message, C_STORE_RQ | C_ECHO_RQ):
            self._abort("protocol")

    def _keep(self, message: Any, size: int = 0) -> bool:  # noqa: ANN401
        """Remember the file that the library writes a message to, and add to its size.

        The library tells of a file only once its message is whole, and of some never.
        """
        file: IO[bytes] | None = getattr(message, "_data_set_file", None)
        if file is None:
            return False
        _, before = self._files.get(file.name, (file, 0))
        self._files[file.name] = (file, before + size)
        return True

    def _note_end(self, _event: object) -> None:
        """Have the library not wait for a request on a connection that was closed without any."""
        if self._association.requestor.primitive is None:
            self._association.dul.to_user_queue.put(None)

    def _abort(self, code: str) -> None:
        if not self._aborted:
            self._aborted = True
            log.warning("association_aborted", code=code)
            self._association.abort(block=False)

    def _store(self, event: Any) -> int:  # noqa: ANN401
        """Answer a C-STORE request; only an instance that is taken stays on the disk."""
        part: Path | None = event.dataset_path
        if part is None:
            return NOT_UNDERSTOOD
        _, size = self._files.pop(str(part))
        try:
            if self._aborted:
                # The library's state machine breaks on an answer after an abort.
                self._association.dul.join()
                return OUT_OF_RESOURCES
            return self._take(event, part)
        finally:
            part.unlink(missing_ok=True)
            self._receiving.forget(size)

    def _take(self, event: Any, part: Path) -> int:  # noqa: ANN401
        named = (str(event.request.AffectedSOPClassUID), str(event.request.AffectedSOPInstanceUID))
        study = ""

        def check(identity: InstanceIdentity) -> None:
            nonlocal study
            if (identity.sop_class_uid, identity.sop_instance_uid) != named:
                raise OtherInstanceError
            study = identity.study_instance_uid

        if named[0] != event.context.abstract_syntax:
            return _refused(CLASS_NOT_SUPPORTED, "class_not_agreed")
        try:
            check_uid(named[1])
        except RefusedError as error:
            return _refused(INVALID_INSTANCE, error.refusal.code)
        try:
            self._folder.check_room()
            if self._folder.admit(part, check) is Admission.OWN:
                log.info("own_object_ignored")
        except RefusedError as error:
            return _refused(NOT_UNDERSTOOD, error.refusal.code)
        except OtherInstanceError:
            return _refused(OTHER_INSTANCE, "other_instance")
        except (StorageFullError, OSError) as error:
            log.warning("instance_not_stored", code="disk_full", error=type(error).__name__)
            return OUT_OF_RESOURCES
        self._diary.received(study)
        return SUCCESS


def _refused(status: int, code: str) -> int:
    log.info("instance_refused", code=code)
    return status
