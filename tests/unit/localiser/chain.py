"""A chain of box-shaped bodies, and a network that returns its input: no weights needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Affine, Spacing, affine_lps, to_index, to_lps
from models.localiser.classes import Structure
from models.localiser.preprocess import OFFSET_UNIT_MM, PIXEL_MM
from models.runtime import Tensors
from models.volume import Role, Volume

BODY_VALUE = 1000.0
S1_VALUE = 600.0
"""Grey values by which the identity network tells the two classes apart."""


@dataclass(frozen=True)
class Box:
    """A body: centre (3,) LPS mm and full size (left, back, head) in mm."""

    centre: NDArray[np.float64]
    size: tuple[float, float, float] = (44.0, 34.0, 26.0)
    sacral: bool = False


def chain(count: int = 6, pitch_mm: float = 36.0, *, sacrum: bool = True) -> list[Box]:
    """Boxes from head to foot, leaning and shifting to one side so that no flip goes unseen."""
    boxes = []
    for i in range(count):
        centre = np.array([4.0 + 1.5 * i, 10.0 - 3.0 * i + 0.8 * i * i, -pitch_mm * i])
        boxes.append(Box(centre, sacral=sacrum and i == count - 1))
    return boxes


def grid_affine(
    spacing: Spacing, shape: tuple[int, int, int], middle: NDArray[np.float64], tilt: float = 0.0
) -> Affine:
    """A sagittal stack around a point, turned by `tilt` radians in the sagittal plane."""
    along_row = (0.0, np.cos(tilt), np.sin(tilt))
    along_column = (0.0, np.sin(tilt), -np.cos(tilt))
    # Rows to the back and columns to the feet give a normal to the right: step to the left.
    step = (spacing.slice_mm, 0.0, 0.0)
    affine = affine_lps(spacing, (along_row, along_column), (0.0, 0.0, 0.0), step)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def painted(boxes: list[Box], affine: Affine, shape: tuple[int, int, int]) -> Volume:
    """Paint boxes (aligned with the patient) into a volume, with soft edges by supersampling."""
    offsets = (np.arange(4) + 0.5) / 4 - 0.5
    total = np.zeros(shape)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for box in boxes:
        half = np.array(box.size) / 2
        reach = to_index(affine, box.centre + corners * half)
        low = np.clip(np.floor(reach.min(axis=0)).astype(int) - 1, 0, shape)
        high = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 2, 0, shape)
        where = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        places = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in where), indexing="ij"))
        for down in offsets:
            for right in offsets:
                points = to_lps(affine, np.moveaxis(places, 0, -1) + np.array([0.0, down, right]))
                inside = (np.abs(points - box.centre) <= half).all(axis=-1)
                total[where] += (S1_VALUE if box.sacral else BODY_VALUE) * inside
    return Volume(np.asarray(total / 16, np.float32), affine, Role.STIR)


class IdentitySession:
    """Says that bright is body and half-bright S1, and votes for the centre of each blob.

    Answers for squares of `side` by `side` pixels.
    """

    device = "cpu"
    input_names = ("image",)
    output_names = ("structure", "offsets")

    def __init__(self, side: int = 1) -> None:
        self.side = side

    def run(self, inputs: Tensors) -> Tensors:
        """Return the first channel as probabilities."""
        image = inputs["image"][0, 0]
        blobs, count = ndimage.label(image > 0.25)
        structure = np.zeros((1, len(Structure), *image.shape), np.float32)
        offsets = np.zeros((1, 2, *image.shape), np.float32)
        rows, columns = np.indices(image.shape[1:], dtype=np.float32)
        for blob in range(1, count + 1):
            mask = blobs == blob
            level = float(np.percentile(image[mask], 80))
            kind = Structure.BODY if level > 0.8 else Structure.SACRUM_S1
            near = ndimage.binary_dilation(mask, iterations=2)
            structure[0, kind][near] = np.clip(image[near] / level, 0.0, 1.0)
            _, row, column = np.argwhere(mask).mean(axis=0)
            scale = PIXEL_MM / OFFSET_UNIT_MM
            offsets[0, 0][near] = np.broadcast_to((row - rows) * scale, mask.shape)[near]
            offsets[0, 1][near] = np.broadcast_to((column - columns) * scale, mask.shape)[near]
        structure[0, Structure.BACKGROUND] = 1.0 - structure[0, 1:].sum(axis=0)
        answers = {"structure": structure, "offsets": offsets}
        return {name: self._in_squares(values) for name, values in answers.items()}

    def _in_squares(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        *leading, rows, columns = values.shape
        squares = (*leading, rows // self.side, self.side, columns // self.side, self.side)
        return values.reshape(squares).mean(axis=(-3, -1))


def index_of(volume: Volume, point: NDArray[np.float64]) -> tuple[int, int, int]:
    """Nearest voxel to a point."""
    index = np.rint(to_index(volume.affine, point)).astype(int)
    return int(index[0]), int(index[1]), int(index[2])
