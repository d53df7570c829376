"""Truth as readers outline it, and as the network is asked for it.

The painted label of a body is its geometry. Readers' masks differ from it by kind of image: on
water images, where muscle beside a body is bright, they go on into the slices that the side wall
only partly fills. Masks of real water images are wider by about one slice on each side; the rule
was chosen by looking at them, which the card says.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from models.volume import Role


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
        (structure, body) with water images outlined one slice wider, and C2 as its own class.
    """
    if role is Role.DIXON_WATER:
        structure, body = _into_partial_slices(structure, body)
    if "C2" in numbers:
        structure = structure.copy()
        structure[body == numbers["C2"]] = Structure.C2
    return structure, body


def _into_partial_slices(
    structure: NDArray[np.uint8], body: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Carry each body's outline on, over background, into the next slice towards the sides."""
    structure, wide = structure.copy(), body.copy()
    for index in np.unique(body[body > 0]):
        mask = body == index
        area = mask.sum(axis=(1, 2))
        middle = round(float(area @ np.arange(len(area)) / area.sum()))
        carried = np.zeros_like(mask)
        carried[middle + 1 :] = mask[middle:-1]
        carried[:middle] = mask[1 : middle + 1]
        added = carried & (structure == Structure.BACKGROUND)
        wide[added] = index
        structure[added] = structure[mask][0]
    return structure, wide
