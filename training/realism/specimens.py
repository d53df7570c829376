"""An image with its bodies outlined, synthetic or real: all that the measurements here look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.volume import Role, Volume

GROUPS: Final[Mapping[Role, str]] = {
    Role.T1: "T1",
    Role.T2: "T2",
    Role.STIR: "STIR",
    Role.DIXON_WATER: "Dixon water",
}
"""Kinds of sequence that real scans are at hand for, and what they are called in the tables."""

MEASURED_LEVELS: Final = ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")
"""Levels that the measured statistics cover."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A volume with its vertebral bodies outlined.

    Attributes:
        patient: Who; volumes of the same patient never stand on both sides of a split.
        volume: In sagittal order (slices to the left, rows down, columns to the back).
        body: (slice, row, column) uint8; 0 or the body's index.
        levels: Index of each wholly visible body to its level name, cranial to caudal.
        edema: (slice, row, column) float32 edematous part of each voxel; None when not known.
        healthy: Indices of bodies without any disease.
    """

    patient: str
    volume: Volume
    body: NDArray[np.uint8]
    levels: Mapping[int, str]
    edema: NDArray[np.float32] | None = None
    healthy: frozenset[int] = field(default=frozenset())

    @property
    def group(self) -> str:
        """Name of the kind of sequence, as in `GROUPS`."""
        return GROUPS.get(self.volume.role, self.volume.role.value)


def whole_bodies(body: NDArray[np.uint8], levels: Mapping[int, str]) -> dict[int, str]:
    """The bodies of `MEASURED_LEVELS` that are in the image and not cut by an image edge."""
    rims = [body[:, 0], body[:, -1], body[:, :, 0], body[:, :, -1]]
    cut = {int(v) for rim in rims for v in np.unique(rim)}
    seen = {int(v) for v in np.unique(body)} - cut - {0}
    return {i: name for i, name in levels.items() if i in seen and name in MEASURED_LEVELS}
