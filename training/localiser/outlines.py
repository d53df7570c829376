"""Truth as readers outline it, and as the network is asked for it.

The painted label of a body is its geometry. Readers' masks differ from it by kind of image: on
water images, where muscle beside a body is bright, they are wider, 58 mm in the lumbar spine
where bodies measure 47 mm. The rule was chosen by looking at them, as the card says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from models.volume import Role

WATER_WIDTH: Final = 1.4
"""How much wider than a body its outline on water images is asked to be.

Readers' are a quarter wider; a network that was asked for a quarter drew 50 mm on real images."""


def asked_for(
    structure: NDArray[np.uint8],
    body: NDArray[np.uint8],
    role: Role,
    numbers: Mapping[str, int],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels that the network is to give.

    Args:
        structure: (slices, rows, columns) `Structure` truth.
        body: Same grid; 0 or the body's index.
        role: What the image is.
        numbers: Level to body index.

    Returns:
        (structure, body): water images outlined `WATER_WIDTH` times as wide, C2 as its own class.
    """
    if role is Role.DIXON_WATER:
        structure, body = _widened(structure, body)
    if "C2" in numbers:
        structure = structure.copy()
        structure[body == numbers["C2"]] = Structure.C2
    return structure, body


def _widened(
    structure: NDArray[np.uint8], body: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Stretch each body's outline sideways about its middle, over background alone."""
    structure, wide = structure.copy(), body.copy()
    for index in np.unique(body[body > 0]):
        mask = body == index
        area = mask.sum(axis=(1, 2))
        middle = float(area @ np.arange(len(area)) / area.sum())
        source = np.rint(middle + (np.arange(len(area)) - middle) / WATER_WIDTH).astype(np.intp)
        added = mask[source] & (structure == Structure.BACKGROUND)
        wide[added] = index
        structure[added] = structure[mask][0]
    return structure, wide
