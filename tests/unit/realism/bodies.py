"""Images with box-shaped bodies of known size and signal, in sagittal order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.volume import Role, Volume
from training.realism.specimens import Specimen

PITCH = (4.0, 1.0, 1.0)
SHAPE = (15, 150, 140)
HEIGHT, DEPTH, GAP = 24, 30, 10
"""Of the boxes and of the gaps between them, mm."""

FRONT = 40
LEVELS = {1: "L1", 2: "L2", 3: "L3", 4: "L4"}
SIGNALS = {"marrow": 100.0, "disc": 150.0, "canal": 280.0, "muscle": 70.0, "fat": 310.0}
FAT_MM = 14
AIR_FROM = 130


def affine(pitch: tuple[float, float, float]) -> NDArray[np.float64]:
    """Slices to the left, rows down, columns to the back."""
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[2, 1], matrix[1, 2], matrix[3, 3] = pitch[0], -pitch[1], pitch[2], 1.0
    return matrix


def boxes() -> NDArray[np.uint8]:
    """Four bodies in a straight chain."""
    labels = np.zeros(SHAPE, np.uint8)
    for index in LEVELS:
        top = 8 + (index - 1) * (HEIGHT + GAP)
        labels[3:12, top : top + HEIGHT, FRONT : FRONT + DEPTH] = index
    return labels


def specimen(array: NDArray[np.floating], role: Role = Role.T2, patient: str = "one") -> Specimen:
    """A specimen with the boxes outlined."""
    volume = Volume(array.astype(np.float32), affine(PITCH), role)
    return Specimen(patient, volume, boxes(), LEVELS, None, frozenset(LEVELS))


def image() -> NDArray[np.float64]:
    """Even signals: marrow, discs, a canal behind, muscle beside it, fat under the skin, air."""
    array = np.full(SHAPE, SIGNALS["muscle"])
    array[:, 8:144, FRONT : FRONT + DEPTH] = SIGNALS["disc"]
    array[boxes() > 0] = SIGNALS["marrow"]
    array[5:10, :, FRONT + DEPTH : FRONT + DEPTH + 18] = SIGNALS["canal"]
    array[:, :, AIR_FROM - FAT_MM : AIR_FROM] = SIGNALS["fat"]
    array[:, :, AIR_FROM:] = 0.0
    return array
