"""Identifiers and times of a synthetic study: the same case, recipe and seed give the same ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np

STUDY_DATE: Final = "20200101"
_STUDY_START_S: Final = 8 * 3600


@dataclass(frozen=True, slots=True)
class Identity:
    """Deterministic identifiers of one study.

    Attributes:
        seed: Of the patient.
        key: Text that stands for recipe, scanner and chance.
    """

    seed: int
    key: str

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self.uid("study")

    @property
    def frame_uid(self) -> str:
        """Frame of Reference UID, one for the whole study."""
        return self.uid("frame")

    def uid(self, *parts: object) -> str:
        """A UID under 2.25 (PS3.5 B.2) that depends on nothing but seed, key and parts."""
        text = "/".join(map(str, (self.seed, self.key, *parts)))
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        return f"2.25.{number}"

    def rng(self, *parts: object) -> np.random.Generator:
        """A random generator of its own for a part of the study.

        What is drawn for one series must not depend on how many numbers another one took.
        """
        text = "/".join(map(str, (self.seed, self.key, "rng", *parts)))
        return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def series_time(order: int) -> str:
    """Time of day (TM) at which the series of this order in the study began."""
    seconds = _STUDY_START_S + 240 * order
    return f"{seconds // 3600 % 24:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
