"""New identifiers for old ones: consistent under one key, and not to be turned back without it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final
from uuid import UUID

STANDARD_ROOT: Final = "1.2.840.10008."
"""UIDs below it name classes, syntaxes and frames that the standard defines, not anything of ours
(PS3.6 A)."""


@dataclass(frozen=True, slots=True, repr=False)
class Identities:
    """Derives identifiers with a secret key.

    Attributes:
        key: Whoever has it can test which old identifier a new one came from.
    """

    key: bytes

    def uid(self, old: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) for another; the standard's own and "" stay as they are."""
        if not old or old.startswith(STANDARD_ROOT):
            return old
        return f"2.25.{UUID(bytes=self._digest('uid', old)[:16], version=4).int}"

    def patient(self, patient_id: str) -> str:
        """A Patient ID for another; a patient without one has the one of ""."""
        return f"ANON-{self._digest('patient', patient_id).hex()[:16].upper()}"

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.new(self.key, f"{kind}\0{old}".encode(), hashlib.sha256).digest()
