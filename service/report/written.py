"""When a result was written, by whose word, and what it takes the place of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Written:
    """The standing of a result that is written.

    Attributes:
        created: With a time zone. Equal results of equal time have equal bytes.
        verified_by: Name of the reader who verified the report, "" while preliminary.
        verifying_organization: The reader's; DICOM asks for one beside the name.
        supersedes: `content_key` of the report that this one takes the place of, "" for the first.
    """

    created: datetime
    verified_by: str = ""
    verifying_organization: str = ""
    supersedes: str = ""

    @classmethod
    def now(cls) -> Written:
        """A first report, written now."""
        return cls(created=datetime.now(UTC))
