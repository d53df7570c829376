"""What each value of a structure map means: the localiser's classes."""

from __future__ import annotations

from enum import IntEnum


class Structure(IntEnum):
    """Voxel classes, in the order of the network's output channels."""

    BACKGROUND = 0
    BODY = 1
    DISC = 2
    CANAL = 3
    SACRUM_S1 = 4
    SACRUM_LOWER = 5
    POSTERIOR_ELEMENTS = 6
    CORD = 7
    RIB = 8
    C2 = 9
