"""Structured logs: events with codes, counts and pseudonyms, on standard error.

An event never holds a DICOM value, a file name or a message of a foreign exception: only codes of
our own, numbers, and `pseudonym(...)` of identifiers.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from service.settings import Settings

if TYPE_CHECKING:
    import structlog


@dataclass(frozen=True, slots=True, repr=False)
class Pseudonyms:
    """Keyed hashes that stand for identifiers, equal within one key."""

    key: bytes

    @classmethod
    def from_settings(cls, settings: Settings) -> Pseudonyms:
        """Take the site's key, or a fresh one."""
        key = settings.pseudonym_key
        return cls(key.get_secret_value().encode() if key else secrets.token_bytes(32))

    def of(self, identifier: str) -> str:
        """Name `identifier` by 12 hex digits; "none" for an empty one."""
        if not identifier:
            return "none"
        return hmac.new(self.key, identifier.encode(), hashlib.sha256).hexdigest()[:12]


def claim_standard_output() -> TextIO:
    """Take standard output for our own text; what libraries print goes to standard error.

    Returns:
        A stream that is the only way left to the original standard output.
    """
    sys.stdout.flush()
    claimed = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return claimed


def configure(settings: Settings, level: int = logging.INFO) -> None:
    """Send our events from a level on to standard error, and nothing of other libraries.

    Args:
        settings: Of this installation.
        level: Of the standard library's `logging`.
    """
    # It imports rich (0.1 s), for which the worker has no time before its networks are compiled.
    import structlog  # noqa: PLC0415

    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # pydicom and uvicorn quote file names, values and addresses in their messages.
    logging.basicConfig(level=logging.CRITICAL, stream=sys.stderr, force=True)
