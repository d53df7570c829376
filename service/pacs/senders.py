"""One delivery of one message: by STOW-RS, C-STORE or a signed webhook.

What is sent twice is there once: our objects' UIDs are derived from what they say, so an archive
that has one keeps one, and a webhook carries an id by which its receiver can tell.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol
from uuid import uuid4

import requests

from models.errors import AcuityError
from service.pacs.archives import session_for
from service.pacs.stow import ANSWER_TYPE
from service.settings import StoreTarget, StowTarget, Target, WebhookTarget

SIGNATURE_HEADER: Final = "X-Acuity-Signature"
DELIVERY_HEADER: Final = "X-Acuity-Delivery"

_CHUNK: Final = 1 << 20
_FAILED_SOP_SEQUENCE: Final = "00081198"
_FAILURE_REASON: Final = "00081197"

DUPLICATE: Final = 0x0111
"""Duplicate SOP Instance (PS3.7 C.5.6): the archive has it, so it was delivered before."""


class NotDeliveredError(AcuityError):
    """A delivery did not happen; it is to be tried again.

    Args:
        code: Stable code.
    """

    code: ClassVar[str] = "not_delivered"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sender(Protocol):
    """Sends the files of a result, or a message about it, to one target."""

    def send(self, delivery_id: str, files: Sequence[Path], body: bytes) -> None:
        """Deliver.

        Args:
            delivery_id: The same at every try.
            files: DICOM objects; none for a webhook.
            body: Message of a webhook.

        Raises:
            NotDeliveredError: It could not be delivered, for now.
            OSError: A file cannot be read.
        """


def sender_for(target: Target) -> Sender:
    """The sender of a configured target."""
    if isinstance(target, StowTarget):
        return StowSender(target)
    if isinstance(target, StoreTarget):
        return StoreSender(target)
    return WebhookSender(target)


class StowSender:
    """Sends objects by STOW-RS (PS3.18 10.5), their bytes as they lie on disk."""

    def __init__(self, target: StowTarget) -> None:
        self._target = target
        self._session = session_for(target)

    def send(self, delivery_id: str, files: Sequence[Path], body: bytes) -> None:  # noqa: ARG002
        """Deliver all files in one request; one that fails fails all, to be sent again."""
        boundary = uuid4().hex
        try:
            response = self._session.post(
                f"{str(self._target.url).rstrip('/')}/studies",
                data=_related(files, boundary),
                headers={
                    "Content-Type": (
                        f'multipart/related; type="application/dicom"; boundary={boundary}'
                    ),
                    "Accept": ANSWER_TYPE,
                },
                timeout=self._target.timeout_s,
            )
        except requests.RequestException as error:
            raise NotDeliveredError("target_unavailable") from error
        if response.status_code not in (200, 202, 409):
            raise NotDeliveredError(f"http_{response.status_code}")
        try:
            failures = [
                item[_FAILURE_REASON]["Value"][0]
                for item in response.json().get(_FAILED_SOP_SEQUENCE, {}).get("Value", ())
            ]
        except (ValueError, AttributeError, LookupError, TypeError) as error:
            raise NotDeliveredError("answer_not_understood") from error
        if any(failure != DUPLICATE for failure in failures):
            raise NotDeliveredError("instance_refused")
        if response.status_code == requests.codes.conflict and not failures:
            raise NotDeliveredError("http_409")


def _related(files: Sequence[Path], boundary: str) -> Iterator[bytes]:
    for path in files:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


class StoreSender:
    """Sends objects by C-STORE."""

    def __init__(self, target: StoreTarget) -> None:
        self._target = target

    def send(self, delivery_id: str, files: Sequence[Path], body: bytes) -> None:  # noqa: ARG002
        """Deliver all files in one association."""
        from pydicom import dcmread  # noqa: PLC0415
        from pynetdicom import AE, build_context  # noqa: PLC0415

        target = self._target
        datasets = [dcmread(path) for path in files]  # our own objects, of known size
        entity = AE(target.calling_ae)
        entity.acse_timeout = entity.dimse_timeout = target.timeout_s
        entity.network_timeout = entity.connection_timeout = target.timeout_s
        kinds = {(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) for dataset in datasets}
        association = entity.associate(
            target.host,
            target.port,
            contexts=[build_context(*kind) for kind in sorted(kinds)],
            ae_title=target.ae_title,
        )
        if not association.is_established:
            raise NotDeliveredError("target_unavailable")
        try:
            for dataset in datasets:
                _check_stored(_store(association, dataset))
        finally:
            association.release()


def _store(association: Any, dataset: Any) -> int | None:  # noqa: ANN401  pynetdicom is untyped
    try:
        status = association.send_c_store(dataset)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise NotDeliveredError("class_not_accepted") from error
    return int(status.Status) if status else None


def _check_stored(status: int | None) -> None:
    if status is None:
        raise NotDeliveredError("no_answer")
    # Warnings (Bxxx) say that it was stored (PS3.4 B.2.3).
    if status not in (0, DUPLICATE) and status >> 12 != 0xB:
        raise NotDeliveredError(f"status_{status:04x}")


class WebhookSender:
    """Posts a message whose signature proves where it comes from and when it was made."""

    def __init__(self, target: WebhookTarget) -> None:
        self._target = target
        self._session = session_for(target)

    def send(self, delivery_id: str, files: Sequence[Path], body: bytes) -> None:  # noqa: ARG002
        """Deliver the message; any 2xx status is a success."""
        stamp = int(time.time())
        secret = self._target.secret.get_secret_value().encode()
        try:
            response = self._session.post(
                str(self._target.url),
                data=body,
                headers={
                    "Content-Type": "application/json",
                    DELIVERY_HEADER: delivery_id,
                    SIGNATURE_HEADER: f"t={stamp},v1={signature(secret, stamp, body)}",
                },
                timeout=self._target.timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise NotDeliveredError("target_unavailable") from error
        if not 200 <= response.status_code < 300:
            raise NotDeliveredError(f"http_{response.status_code}")


def signature(secret: bytes, stamp: int, body: bytes) -> str:
    """HMAC SHA-256 over `<stamp>.<body>`, in hex.

    A receiver computes it too, compares in constant time, and refuses stamps that are old.
    """
    return hmac.new(secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
