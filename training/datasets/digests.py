"""Digests that tell whether files changed, and whether two studies show the same pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.ingest.decode import PixelDecoder
from service.ingest.records import InstanceRecord, Refusal


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def study_digest(path: Path) -> str:
    """SHA-256 over the sorted SHA-256 of the files at a path, whatever they are called.

    Args:
        path: A folder, read with all folders in it, or one file.

    Raises:
        FileNotFoundError: There is nothing there.
    """
    if path.is_file():
        return combined([file_digest(path)])
    if not path.is_dir():
        raise FileNotFoundError(path.name)
    return combined(file_digest(one) for one in sorted(path.rglob("*")) if one.is_file())


def combined(digests: Iterable[str]) -> str:
    """SHA-256 over a set of digests, in any order."""
    return hashlib.sha256("".join(sorted(set(digests))).encode()).hexdigest()


def pixel_digest(records: Sequence[InstanceRecord], decoder: PixelDecoder) -> str:
    """Digest of the pictures of a series, the same under every transfer syntax, name and UID.

    Args:
        records: Instances of an inventory.
        decoder: Compressed pixels are read in its worker.

    Returns:
        SHA-256 over the sorted SHA-256 of the frames. An instance that cannot be decoded counts
        by the bytes of its file.
    """
    frames = [(record, frame) for record in records for frame in record.frames]
    digests = set()
    for (record, _), plane in zip(frames, decoder.decode_frames(frames), strict=True):
        digests.add(file_digest(record.path) if isinstance(plane, Refusal) else array_digest(plane))
    return combined(digests)


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's shape, and of its values as float32."""
    values = np.ascontiguousarray(array, dtype="<f4")
    return hashlib.sha256(str(array.shape).encode() + values.tobytes()).hexdigest()
