"""A clinician takes a draft over: who, when, and of which bytes."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import ClassVar

from models.errors import AcuityError
from service.planning.document import DocumentStatus, PlanningDocument, Signature

MAX_NAME = 200


class SignatureError(AcuityError):
    """A draft that cannot be signed, or a name that is none."""

    code = "signature_invalid"
    exit_code: ClassVar[int] = 2


def to_json(document: PlanningDocument) -> bytes:
    """Write the document; the same document gives the same bytes."""
    return f"{document.model_dump_json(indent=2)}\n".encode()


def sign(document: PlanningDocument, name: str, *, now: datetime) -> PlanningDocument:
    """Sign a draft.

    Args:
        document: The draft.
        name: Of the clinician, as it is to be printed.
        now: Time of signing, with its time zone.

    Raises:
        SignatureError: It is signed already, or the name is empty, too long or not printable.
    """
    if document.status is not DocumentStatus.DRAFT:
        raise SignatureError("the document is signed already")
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise SignatureError(f"a printable name of at most {MAX_NAME} characters is needed")
    digest = hashlib.sha256(to_json(document)).hexdigest()
    signature = Signature(name=name, signed=now, document_sha256=digest)
    return document.model_copy(update={"status": DocumentStatus.SIGNED, "signature": signature})
