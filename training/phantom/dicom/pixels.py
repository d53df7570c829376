"""How pixels are stored: bits, sign, rescale, padding and transfer syntax."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.volume import Volume

STORED_MAXIMUM: Final = 4095
"""Largest value a scan hands over (12 bits)."""


@dataclass(frozen=True, slots=True)
class PixelStyle:
    """How a scanner stores the values of an image.

    Attributes:
        bits_stored: 12 or 16 of 16 allocated; 16 bits are used to three quarters.
        signed: Pixel Representation 1.
        slope, intercept: Rescale; both None leaves the attributes out.
        padding: Pixel Padding Value, or None.
        padded_columns: Columns on each side that hold padding instead of an image.
    """

    bits_stored: int = 12
    signed: bool = False
    slope: float | None = None
    intercept: float | None = None
    padding: int | None = None
    padded_columns: int = 0

    def __post_init__(self) -> None:
        if self.bits_stored not in (12, 16):
            raise ValueError("bits stored must be 12 or 16")
        low, high = self.span
        if self.padding is not None and not low <= self.padding <= high:
            raise ValueError("the padding value does not fit the stored bits")
        if (self.slope is None) != (self.intercept is None) or self.slope == 0:
            raise ValueError("a rescale has a slope other than 0 and an intercept")
        if self.signed and self.bits_stored < 16:
            raise ValueError("signed pixels of 12 bits cannot hold a magnitude image")

    @property
    def span(self) -> tuple[int, int]:
        """Smallest and largest stored value."""
        if self.signed:
            return -(1 << self.bits_stored - 1), (1 << self.bits_stored - 1) - 1
        return 0, (1 << self.bits_stored) - 1

    @property
    def gain(self) -> int:
        """Stored steps per step of the scan, to use the bits there are."""
        return max(1, 3 * (self.span[1] + 1) // (4 * (STORED_MAXIMUM + 1)))


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """The values in the file and the volume a reader gets from them.

    Attributes:
        values: (slice, row, column) uint16 or int16.
        volume: With the values after rescale; padded voxels hold the smallest of the others of
            their slice, which is what air looks like.
    """

    values: NDArray[np.integer]
    volume: Volume


def store(volume: Volume, style: PixelStyle) -> StoredPixels:
    """Turn a scan (whole numbers 0..4095) into stored values."""
    kind = np.int16 if style.signed else np.uint16
    values = (volume.array * np.float32(style.gain)).astype(kind)
    rescaled = values.astype(np.float32)
    if style.slope is not None and style.intercept is not None:
        rescaled = (values * style.slope + style.intercept).astype(np.float32)
    if style.padding is not None and style.padded_columns:
        edge = style.padded_columns
        values[:, :, :edge] = values[:, :, -edge:] = style.padding
        padding = values == style.padding
        air = np.where(padding, np.float32(np.inf), rescaled).min(axis=(1, 2))
        rescaled = np.where(padding, air[:, None, None], rescaled)
    return StoredPixels(values, replace(volume, array=rescaled))


def describe_pixels(dataset: Dataset, style: PixelStyle, shape: tuple[int, int]) -> None:
    """Write the Image Pixel attributes (PS3.3 C.7.6.3) but for the pixels."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = style.bits_stored
    dataset.HighBit = style.bits_stored - 1
    dataset.PixelRepresentation = int(style.signed)
    if style.padding is not None:
        dataset.add_new("PixelPaddingValue", "SS" if style.signed else "US", style.padding)


def describe_range(dataset: Dataset, values: NDArray[np.integer], *, signed: bool) -> None:
    """Write the smallest and largest stored value of an image."""
    kind = "SS" if signed else "US"
    dataset.add_new("SmallestImagePixelValue", kind, int(values.min()))
    dataset.add_new("LargestImagePixelValue", kind, int(values.max()))


def window(array: NDArray[np.float32]) -> tuple[int, int]:
    """Window centre and width from dark to the 99th percentile, in rescaled values."""
    sample = array[::2, ::2, ::2]
    top = max(2, int(np.percentile(sample, 99)))
    return top // 2, top
