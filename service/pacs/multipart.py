"""A multipart/related stream as files: STOW-RS requests (PS3.18 8.6.1) and WADO-RS answers alike.

The bytes of a part are written as they come and are never parsed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from models.errors import AcuityError

RELATED_TYPE: Final = "multipart/related"
DICOM_TYPE: Final = "application/dicom"

_MAX_HEADER: Final = 8 << 10


class MultipartError(AcuityError):
    """The stream is no multipart, or ends before its last boundary."""

    code = "malformed_multipart"


class TooManyPartsError(AcuityError):
    """More parts, or a larger part, than one request may have."""

    code = "content_too_large"


@dataclass(frozen=True, slots=True)
class RelatedType:
    """A Content-Type of multipart/related.

    Attributes:
        boundary: Between the parts.
        part_type: What the parts are, where they do not say so themselves.
    """

    boundary: bytes
    part_type: str

    @classmethod
    def parse(cls, content_type: str) -> RelatedType | None:
        """Read a header; None when it is of another type or has no boundary."""
        media_type, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if media_type.decode("latin-1") != RELATED_TYPE or not boundary:
            return None
        part_type = options.get(b"type", DICOM_TYPE.encode()).decode("latin-1")
        return cls(boundary, part_type.partition(";")[0].strip().lower())


@dataclass(frozen=True, slots=True)
class Part:
    """One part, on disk."""

    path: Path
    media_type: str


class PartWriter:
    """Writes the parts of a stream into a folder, under numbers.

    Args:
        folder: Empty folder.
        related: Of the stream.
        max_parts: Most parts.
        max_part_bytes: Largest part.
    """

    def __init__(
        self, folder: Path, related: RelatedType, max_parts: int, max_part_bytes: int
    ) -> None:
        self.parts: list[Part] = []
        self._folder = folder
        self._part_type = related.part_type
        self._max_parts = max_parts
        self._max_part_bytes = max_part_bytes
        self._file: BinaryIO | None = None
        self._size = 0
        self._name = bytearray()
        self._value = bytearray()
        self._media_type = related.part_type
        self._complete = False
        self._parser = MultipartParser(
            related.boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._add(self._name, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(self._value, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_file,
                "on_part_data": self._add_data,
                "on_part_end": self.close,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Parse one piece of the stream.

        Raises:
            MultipartError: It is no multipart.
            TooManyPartsError: Beyond a limit.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MultipartError("the multipart body cannot be parsed") from error

    def finish(self) -> None:
        """Check that the stream came to its end.

        Raises:
            MultipartError: It was cut off.
        """
        if not self._complete:
            raise MultipartError("the multipart body ends too early")

    def close(self) -> None:
        """Close the file of a part, a cut-off one included."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin_part(self) -> None:
        self._media_type = self._part_type
        self._name.clear()
        self._value.clear()

    def _add(self, text: bytearray, piece: bytes) -> None:
        text += piece
        if len(text) > _MAX_HEADER:
            raise MultipartError("a part's header is too long")

    def _end_header(self) -> None:
        if self._name.strip().lower() == b"content-type":
            stated = bytes(self._value).decode("latin-1")
            self._media_type = stated.partition(";")[0].strip().lower()
        self._name.clear()
        self._value.clear()

    def _open_file(self) -> None:
        if len(self.parts) == self._max_parts:
            raise TooManyPartsError("the request has too many parts")
        path = self._folder / f"{len(self.parts):05d}"
        self._file = path.open("xb")
        self._size = 0
        self.parts.append(Part(path, self._media_type))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._max_part_bytes:
            raise TooManyPartsError("a part is larger than one instance may be")
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._complete = True
