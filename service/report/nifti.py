"""NIfTI-1 files of what was found, on the grid of the reference series.

The header is written here and not by SimpleITK: a tilted stack has a sheared affine, and ITK
coerces it to the nearest orthogonal one with nothing but a warning (measured: a tilt of 3 degrees
moves the far slice of a 20-slice stack by 2 mm). Source of the layout: nifti1.h, NIfTI-1.1.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation, Scores
from models.geometry import Affine, spacing_of
from service.report.assemble import label_values

HEADER_BYTES: Final = 348
DATA_OFFSET: Final = 352
"""The header and four zero bytes that say there is no extension."""

GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS
"""16 more asks zlib for the header and the trailer of a gzip file."""

SCANNER_ANATOMICAL: Final = 1
UNITS_MM: Final = 2
INTENT_NONE: Final = 0
INTENT_LABEL: Final = 1002
DATATYPES: Final = {"uint16": 512, "float32": 16}

LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def vertebrae_nifti(localisation: Localisation) -> bytes:
    """Write the label map, with the values of `models.anatomy`, as a `.nii.gz` file."""
    table = label_values(localisation.vertebrae)
    return nifti_gz(table[localisation.labels], localisation.affine, INTENT_LABEL)


def edema_nifti(scores: Scores, localisation: Localisation) -> bytes | None:
    """Write the edema probability map as a `.nii.gz` file; None when there is no map."""
    if scores.edema_map is None:
        return None
    return nifti_gz(scores.edema_map, localisation.affine)


def nifti_gz(array: NDArray[Any], affine: Affine, intent: int = INTENT_NONE) -> bytes:
    """Write a volume as a gzipped single-file NIfTI-1; equal input gives equal bytes.

    Args:
        array: (slice, row, column), uint16 or float32. NIfTI's (i, j, k) are (column, row, slice).
        affine: Index to LPS mm; sheared ones keep their shear.
        intent: NIfTI intent code.

    Returns:
        The file's bytes. The affine is the sform; there is no qform, which cannot hold shear.
    """
    header = _header(array, affine, intent)
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    # Bytes of real numbers hardly repeat but for runs of zeros: looking for more only takes time.
    strategy = zlib.Z_RLE if array.dtype.kind == "f" else zlib.Z_DEFAULT_STRATEGY
    # zlib's own gzip header holds no time of writing, which would make every run's bytes differ.
    packer = zlib.compressobj(6, zlib.DEFLATED, GZIP_WINDOW_BITS, strategy=strategy)
    return packer.compress(header + data) + packer.flush()


def _header(array: NDArray[Any], affine: Affine, intent: int) -> bytes:
    slices, rows, columns = array.shape
    spacing = spacing_of(affine)
    ijk_to_ras = LPS_TO_RAS @ affine[:, [2, 1, 0, 3]]
    header = bytearray(DATA_OFFSET)
    struct.pack_into("<i", header, 0, HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<h", header, 68, intent)
    struct.pack_into("<hh", header, 70, DATATYPES[array.dtype.name], array.dtype.itemsize * 8)
    pitch = (spacing.column_mm, spacing.row_mm, spacing.slice_mm)
    struct.pack_into("<8f", header, 76, 1.0, *pitch, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<fff", header, 108, DATA_OFFSET, 1.0, 0.0)  # then slope and intercept
    struct.pack_into("<B", header, 123, UNITS_MM)
    struct.pack_into("<hh", header, 252, 0, SCANNER_ANATOMICAL)  # qform, sform
    struct.pack_into("<12f", header, 280, *ijk_to_ras[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    return bytes(header)
