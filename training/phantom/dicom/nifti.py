"""Label maps as NIfTI-1, written so that equal maps are equal files.

Source: the NIfTI-1 header (nifti1.h); orientation by the sform, in RAS mm.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine

_UINT8: Final = 2
_MM: Final = 2
_SCANNER_SPACE: Final = 1
_GZIP_LEVEL: Final = 4
"""Label maps are mostly zero: higher levels cost time and save nothing."""


def write_labels(path: Path, labels: NDArray[np.uint8], affine: Affine) -> None:
    """Write a (slice, row, column) label map.

    Args:
        path: Ends in ".nii.gz".
        labels: uint8; stored with columns fastest, as SimpleITK shows it.
        affine: Index (slice, row, column) to LPS mm.
    """
    slices, rows, columns = labels.shape
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [2, 1, 0, 3]]
    pitch = np.linalg.norm(ras[:3, :3], axis=0)
    quaternion, handedness = _quaternion(ras[:3, :3] / pitch)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _UINT8, 8)
    struct.pack_into("<8f", header, 76, handedness, *pitch, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    struct.pack_into("<B", header, 123, _MM)
    struct.pack_into("<2h", header, 252, _SCANNER_SPACE, _SCANNER_SPACE)
    struct.pack_into("<6f", header, 256, *quaternion, *ras[:3, 3])
    struct.pack_into("<12f", header, 280, *ras[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    with (
        path.open("wb") as file,
        gzip.GzipFile(
            filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0
        ) as packed,
    ):
        packed.write(bytes(header))
        packed.write(np.ascontiguousarray(labels).tobytes())


def _quaternion(axes: NDArray[np.float64]) -> tuple[tuple[float, float, float], float]:
    """(b, c, d) of the rotation and the handedness (qfac) of the voxel axes."""
    handedness = 1.0 if np.linalg.det(axes) > 0 else -1.0
    turn = axes * np.array([1.0, 1.0, handedness])
    # The eigenvector of the largest eigenvalue is stable for every rotation (Bar-Itzhack 2000).
    symmetric = np.zeros((4, 4))
    symmetric[0, 0] = np.trace(turn)
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        symmetric[0, i + 1] = symmetric[i + 1, 0] = turn[k, j] - turn[j, k]
        for m in range(3):
            symmetric[i + 1, m + 1] = turn[i, m] + turn[m, i] - (i == m) * np.trace(turn)
    vector = np.linalg.eigh(symmetric)[1][:, -1]
    vector = vector if vector[0] >= 0 else -vector
    return (float(vector[1]), float(vector[2]), float(vector[3])), handedness
