"""Which patient trains and which one judges: decided by the patient alone, the same every time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from training.datasets.errors import DatasetError
from training.datasets.rows import Split


@dataclass(frozen=True, slots=True)
class SplitRule:
    """Shares of the patients, and what the draw depends on beside the patient.

    A patient keeps the same split when others are added, in whatever order and on any machine.

    Attributes:
        validation: Share of the patients, 0 to 1.
        test: Likewise; the rest trains.
        salt: Another one gives another draw.
    """

    validation: float = 0.15
    test: float = 0.15
    salt: str = "vertebral-acuity"

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test > 1:
            raise DatasetError("the shares of validation and test must add up to at most 1")

    def of(self, patient_key: str) -> Split:
        """The split of a patient."""
        digest = hashlib.sha256(f"{self.salt}\n{patient_key}".encode()).digest()
        drawn = int.from_bytes(digest[:8], "big") / 2**64
        if drawn < self.test:
            return Split.TEST
        return Split.VALIDATION if drawn < self.test + self.validation else Split.TRAIN
