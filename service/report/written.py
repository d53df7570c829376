"""When a result was written, by whose word, and what it takes the place of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Written:
    """The standing of a result that is written.

    Attributes:
        created: With a time zone. Equal results of equal time have equal bytes, so a job that is
            done over gives the time at which it was taken on.
        verified_by: Name of the reader who verified the report, "" while preliminary.
        verifying_organization: The reader's; DICOM asks for one beside the name.
        supersedes: `content_key` of the report that this one takes the place of, "" for the first.
        supersedes_verified: That report had been verified.
    """

    created: datetime
    verified_by: str = ""
    verifying_organization: str = ""
    supersedes: str = ""
    supersedes_verified: bool = False

    @classmethod
    def now(cls) -> Written:
        """A first report, written now."""
        return cls(created=datetime.now(UTC))
