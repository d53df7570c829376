"""Bytes on disk: an instance in the transfer syntax asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

_COMPRESSED: Final = frozenset({JPEGLSLossless, JPEG2000Lossless, RLELossless})
TRANSFER_SYNTAXES: Final = _COMPRESSED | {
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
}
"""Transfer syntaxes that can be written, all without loss."""


def save(
    dataset: FileDataset, values: NDArray[np.integer], path: Path, transfer_syntax_uid: str
) -> None:
    """Write an instance.

    Args:
        dataset: Everything but the pixels; its Pixel Data and transfer syntax are replaced.
        values: (row, column) or (frame, row, column) uint16 or int16.
        path: Replaced when it exists.
        transfer_syntax_uid: One of `TRANSFER_SYNTAXES`.

    Raises:
        ValueError: Another transfer syntax.
    """
    if transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise ValueError("this transfer syntax is not written")
    compressed = transfer_syntax_uid in _COMPRESSED
    stated = ExplicitVRLittleEndian if compressed else UID(transfer_syntax_uid)
    dataset.file_meta.TransferSyntaxUID = stated
    # A new element: that of the slice before may be encapsulated.
    dataset.add_new("PixelData", "OW", np.ascontiguousarray(values).tobytes())
    if compressed:
        dataset.compress(transfer_syntax_uid, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
