"""The error by which ingest gives up on one thing that was given, and goes on with the rest."""

from __future__ import annotations

from typing import ClassVar

from models.errors import AcuityError
from service.ingest.records import Refusal


class RefusedError(AcuityError):
    """A file (or what it should hold) cannot be used; `refusal` is what the report will say.

    Args:
        code: Stable code, for example "truncated".
        reason: One sentence without patient data.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, reason)
