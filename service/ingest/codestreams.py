"""What a compressed frame says of its own size, read before any codec sees it.

A codec allocates what the codestream asks for, whatever Rows and Columns are: a JPEG 2000 header
patched to 30000 x 30000 costs gigabytes or aborts the process.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from service.ingest.refusals import RefusedError

HEAD_BYTES: Final = 1 << 16
"""As much of a frame as is looked at; segments before the frame header are rarely this long."""

_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN: Final = 0xDA
_SIZ: Final = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class FrameSize:
    """Rows, columns and components of one compressed frame."""

    rows: int
    columns: int
    components: int


def check_frame_size(frame: bytes, transfer_syntax_uid: str, rows: int, columns: int) -> None:
    """Compare a frame's own size with the header's.

    Args:
        frame: The compressed frame, or its first `HEAD_BYTES`.
        transfer_syntax_uid: Says which codestream it is.
        rows: Of the header.
        columns: Of the header.

    Raises:
        RefusedError: `codestream_damaged` when no size is found, `codestream_dimensions_differ`.
    """
    if transfer_syntax_uid == RLELossless:
        return  # carries no size; its output is checked against Rows x Columns
    try:
        size = _frame_size(frame, transfer_syntax_uid)
    except (struct.error, IndexError):
        size = None
    if size is None:
        raise RefusedError("codestream_damaged", "a compressed frame has no readable header")
    if size != FrameSize(rows, columns, 1):
        raise RefusedError(
            "codestream_dimensions_differ", "a compressed frame is not of the size the header says"
        )


def _frame_size(frame: bytes, transfer_syntax_uid: str) -> FrameSize | None:
    if transfer_syntax_uid in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        return _jpeg_size(frame)
    if transfer_syntax_uid in JPEG2000TransferSyntaxes:
        return _jpeg_2000_size(frame)
    return None


def _jpeg_size(frame: bytes) -> FrameSize | None:
    """Find the frame header among the marker segments (ITU T.81 B.1.1, T.87 C.2.2)."""
    if frame[:2] != b"\xff\xd8":
        return None
    position = 2
    while frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _STANDALONE:
            position += 2
        elif marker in _START_OF_FRAME:
            rows, columns, components = struct.unpack_from(">HHB", frame, position + 5)
            return FrameSize(rows, columns, components)
        elif marker == _START_OF_SCAN:
            return None
        else:
            position += 2 + struct.unpack_from(">H", frame, position + 2)[0]
    return None


def _jpeg_2000_size(frame: bytes) -> FrameSize | None:
    """Read SIZ (ITU T.800 A.5.1); some writers wrap the codestream in JP2 boxes."""
    start = frame.find(_SIZ)
    if start < 0:
        return None
    x_end, y_end, x_start, y_start = struct.unpack_from(">LLLL", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    return FrameSize(y_end - y_start, x_end - x_start, components)
