"""How a DICOM byte stream is laid out: walked without recursion, under limits, before parsing.

pydicom reads nested sequences by recursion, believes lengths and inflates what calls itself
deflated. So every stream is walked here first, with pydicom's own tolerance for odd encodings
(PS3.5 7.1 to 7.5, and what writers do instead), and pydicom is given only the header's bytes,
whose depth, lengths and number of elements are then known to be sane.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Final, NamedTuple, NoReturn

from pydicom.datadict import dictionary_VR
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
PIXEL_DATA: Final = 0x7FE00010

_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
_FIRST_WINDOW: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a dataset is encoded: VRs written or not, byte order."""

    implicit: bool
    little_endian: bool


@dataclass(frozen=True, slots=True)
class PixelValue:
    """Where the value of the pixel element lies; `length` None when it is undefined."""

    tag: int
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Structure:
    """The layout of one file.

    Attributes:
        transfer_syntax_uid: As stated in the file meta information; guessed for a dataset
            without it.
        stated: Whether it was stated.
        dataset_offset: Where the dataset begins.
        encoding: As found at the first element, which some writers state wrongly.
        header: The dataset's bytes up to its pixels; empty for a deflated dataset.
        pixels: None when there are none.
    """

    transfer_syntax_uid: str
    stated: bool
    dataset_offset: int
    encoding: Encoding
    header: bytes
    pixels: PixelValue | None


class _Start(NamedTuple):
    offset: int
    transfer_syntax_uid: str | None


class _WindowError(Exception):
    """More of the file must be in memory to go on."""

    def __init__(self, wanted: int) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def explicit_head() -> bytes:
    """Preamble and file meta information of an Explicit VR Little Endian dataset that follows."""
    syntax = ExplicitVRLittleEndian.encode("ascii") + b"\0"
    element = b"\x02\x00\x10\x00UI" + len(syntax).to_bytes(2, "little") + syntax
    return b"\0" * 128 + b"DICM" + element


def read_structure(file: IO[bytes], size: int, limits: Limits) -> Structure:
    """Walk a file of `size` bytes up to its pixels.

    Raises:
        RefusedError: `empty_file`, `not_dicom`, `truncated`, `malformed`, `too_deep`,
            `too_many_elements`, `header_too_large`.
    """
    if size == 0:
        raise RefusedError("empty_file", "the file is empty")
    window = _FIRST_WINDOW
    while True:
        file.seek(0)
        head = file.read(min(window, size))
        try:
            return _read_head(head, size, limits)
        except _WindowError as error:
            if len(head) < min(window, size):
                raise RefusedError("truncated", "the file shrank while it was read") from None
            if error.wanted > limits.header_bytes:
                raise RefusedError("header_too_large", "the header exceeds its limit") from None
            window = max(window * 4, error.wanted)


def _read_head(head: bytes, size: int, limits: Limits) -> Structure:
    start = _find_dataset(head, size)
    syntax = start.transfer_syntax_uid
    if syntax == DeflatedExplicitVRLittleEndian:
        return Structure(
            syntax,
            stated=True,
            dataset_offset=start.offset,
            encoding=Encoding(implicit=False, little_endian=True),
            header=b"",
            pixels=None,
        )
    encoding = _encoding_at(head, start.offset, syntax)
    walk = _Walk(head, size, encoding, limits)
    try:
        pixels = walk.run(start.offset)
    except RefusedError:
        if syntax is None and walk.elements < 3:
            _not_dicom()
        raise
    if walk.position > len(head):
        raise _WindowError(walk.position)
    return Structure(
        syntax or _guessed_syntax(encoding),
        syntax is not None,
        start.offset,
        encoding,
        head[start.offset : walk.position],
        pixels,
    )


def _not_dicom() -> NoReturn:
    raise RefusedError("not_dicom", "the file is not DICOM")


def _find_dataset(head: bytes, size: int) -> _Start:
    """Skip preamble and file meta information (PS3.10 7.1), both of which may be missing."""
    if head[128:132] == b"DICM":
        return _skip_meta(head, 132, size)
    if head[:2] == b"\x02\x00" and head[4:6].isalpha() and head[4:6].isupper():
        return _skip_meta(head, 0, size)
    # A bare dataset begins with group 0008 in either byte order.
    if head[:2] in (b"\x08\x00", b"\x00\x08") and len(head) >= 16:
        return _Start(0, None)
    _not_dicom()


def _skip_meta(head: bytes, position: int, size: int) -> _Start:
    syntax: str | None = None
    while position + 8 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, position)
        if group != 0x0002:
            break
        position += 8
        if vr in _LONG_VRS:
            if position + 4 > len(head):
                break
            (length,) = struct.unpack_from("<L", head, position)
            position += 4
        if element == 0x0010:
            syntax = head[position : position + length].decode("ascii", "replace").strip(" \0")
        position += length
    if position + 8 > size:
        raise RefusedError("truncated", "the file ends before its dataset")
    if position + 8 > len(head):
        raise _WindowError(position + 8)
    return _Start(position, syntax or None)


def _encoding_at(head: bytes, offset: int, syntax: str | None) -> Encoding:
    first = head[offset : offset + 8]
    if len(first) < 8:
        raise RefusedError("truncated", "the file ends before its dataset")
    # A bare dataset begins with a group below 256: the byte order shows in it.
    little_endian = first[1] == 0 if syntax is None else syntax != ExplicitVRBigEndian
    return Encoding(not _looks_like_vr(first[4:6]), little_endian)


def _looks_like_vr(two: bytes) -> bool:
    return len(two) == 2 and 0x40 < two[0] < 0x5B and 0x40 < two[1] < 0x5B


@lru_cache(maxsize=4096)
def _is_sequence(tag: int) -> bool:
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:  # private, or unknown to this edition of the standard
        return False


def _guessed_syntax(encoding: Encoding) -> str:
    if not encoding.little_endian:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if encoding.implicit else ExplicitVRLittleEndian


class _Open(NamedTuple):
    """A dataset, sequence or run of fragments that the walk is inside of.

    `end` is where it ends, None when a delimiter says so; `bound` is where the innermost
    container of known length ends, which nothing inside may cross.
    """

    kind: str
    end: int | None
    bound: int
    implicit: bool


class _Walk:
    """One pass over a dataset, element by element, with its own stack instead of recursion."""

    def __init__(self, head: bytes, size: int, encoding: Encoding, limits: Limits) -> None:
        self._head = head
        self._order = "<" if encoding.little_endian else ">"
        self._tag_and_length = struct.Struct(f"{self._order}HHL")
        self._tag_and_vr = struct.Struct(f"{self._order}HH2sH")
        self._long = struct.Struct(f"{self._order}L")
        self._limits = limits
        self._open = [_Open("dataset", size, size, encoding.implicit)]
        self._depth = 0
        self.position = 0
        self.elements = 0

    def run(self, start: int) -> PixelValue | None:
        """Walk from `start` to the pixels or the end; `position` is then where it stopped."""
        self.position = start
        while True:
            if not self._close_finished():
                return None
            inside = self._open[-1]
            if inside.kind == "dataset":
                if not inside.implicit:
                    self._skip_plain_elements(inside)
                    if self.position >= inside.bound:
                        continue
                found = self._element(inside)
                if found:
                    return found
            else:
                self._item(inside)

    def _close_finished(self) -> bool:
        """Leave containers whose stated end is reached; False at the end of the dataset."""
        while (end := self._open[-1].end) is not None and self.position >= end:
            if self.position > end:
                _truncated()
            if len(self._open) == 1:
                return False
            self._leave()
        return True

    def _leave(self) -> None:
        if self._open.pop().kind != "dataset":
            self._depth -= 1

    def _enter_sequence(self, kind: str, length: int, bound: int, *, implicit: bool) -> None:
        self._depth += 1
        if self._depth > self._limits.depth:
            raise RefusedError("too_deep", "sequences are nested too deeply")
        self._push(kind, length, bound, implicit=implicit)

    def _push(self, kind: str, length: int, bound: int, *, implicit: bool) -> None:
        if length == UNDEFINED:
            self._open.append(_Open(kind, None, bound, implicit))
            return
        end = self.position + length
        if end > bound:
            _truncated()
        self._open.append(_Open(kind, end, end, implicit))

    def _require(self, count: int, bound: int) -> None:
        if self.position + count > bound:
            _truncated()
        if self.position + count > len(self._head):
            raise _WindowError(self.position + count)

    def _item(self, inside: _Open) -> None:
        """Read an item's tag, or the delimiter, inside a sequence or a run of fragments."""
        self._require(8, inside.bound)
        group, element, length = self._tag_and_length.unpack_from(self._head, self.position)
        tag = group << 16 | element
        self.position += 8
        if tag == SEQUENCE_END and inside.end is None:
            self._leave()
            return
        if tag != ITEM:
            raise RefusedError("malformed", "a sequence holds something that is not an item")
        self._count()
        if inside.kind == "fragments":
            self._skip(length, inside.bound)
            return
        implicit = inside.implicit
        if not implicit and self.position + 6 <= inside.bound:
            # Some writers encode the items of an explicit dataset implicitly.
            self._require(6, inside.bound)
            vr = self._head[self.position + 4 : self.position + 6]
            implicit = length != 0 and not _looks_like_vr(vr)
        self._push("dataset", length, inside.bound, implicit=implicit)

    def _skip_plain_elements(self, inside: _Open) -> None:
        """Pass over a run of elements with a short VR, which are nine in ten, without ceremony."""
        head, unpack = self._head, self._tag_and_vr.unpack_from
        position, bound = self.position, inside.bound
        last = min(bound, len(head)) - 8
        while position <= last:
            group, _, vr, length = unpack(head, position)
            if vr not in _SHORT_VRS or group >= 0x7FE0:
                break
            position += 8 + length
            self.elements += 1
        self.position = position
        if position > bound:
            _truncated()
        if self.elements > self._limits.elements:
            _too_many_elements()

    def _element(self, inside: _Open) -> PixelValue | None:
        self._require(8, inside.bound)
        head, position = self._head, self.position
        vr: bytes | None = None
        if inside.implicit:
            group, element, length = self._tag_and_length.unpack_from(head, position)
        else:
            group, element, vr, length = self._tag_and_vr.unpack_from(head, position)
        tag = group << 16 | element
        if tag == ITEM_END and inside.end is None:
            self.position += 8
            self._leave()
            return None
        if group == 0xFFFE:
            raise RefusedError("malformed", "a delimiter stands where an element belongs")
        self.position += 8
        if vr is not None:
            vr, length = self._explicit_length(vr, length, inside)
        if tag in PIXEL_TAGS and len(self._open) == 1:
            return self._pixels(tag, length, position)
        self._count()
        self._value(tag, vr, length, inside)
        return None

    def _explicit_length(self, vr: bytes, short: int, inside: _Open) -> tuple[bytes | None, int]:
        if vr in _LONG_VRS:
            self._require(4, inside.bound)
            (length,) = self._long.unpack_from(self._head, self.position)
            self.position += 4
            return vr, length
        if b"AA" <= vr <= b"ZZ":
            return vr, short
        # pydicom reads such an element as if it were implicit, and so must we.
        (length,) = self._long.unpack_from(self._head, self.position - 4)
        return None, length

    def _value(self, tag: int, vr: bytes | None, length: int, inside: _Open) -> None:
        if length == UNDEFINED:
            # UN of undefined length is an implicit sequence (PS3.5 6.2.2).
            fragments = vr is not None and vr not in (b"SQ", b"UN")
            implicit = inside.implicit or vr != b"SQ"
            kind = "fragments" if fragments else "sequence"
            self._enter_sequence(kind, length, inside.bound, implicit=implicit)
        elif vr == b"SQ" or (vr in (None, b"UN") and _is_sequence(tag)):
            implicit = inside.implicit or vr != b"SQ"
            self._enter_sequence("sequence", length, inside.bound, implicit=implicit)
        else:
            self._skip(length, inside.bound)

    def _skip(self, length: int, bound: int) -> None:
        self.position += length
        if self.position > bound:
            _truncated()

    def _count(self) -> None:
        self.elements += 1
        if self.elements > self._limits.elements:
            _too_many_elements()

    def _pixels(self, tag: int, length: int, element_start: int) -> PixelValue:
        offset, self.position = self.position, element_start
        return PixelValue(tag, offset, None if length == UNDEFINED else length)


def _too_many_elements() -> NoReturn:
    raise RefusedError("too_many_elements", "the header has too many elements")


def _truncated() -> NoReturn:
    raise RefusedError("truncated", "an element's length runs past the end of its container")


def measure_fragments(file: IO[bytes], offset: int, size: int, limits: Limits) -> tuple[int, int]:
    """Walk the fragments of encapsulated pixels (PS3.5 A.4).

    Args:
        file: Of the instance.
        offset: Of the pixel element's value: the basic offset table's item.
        size: Of the file.
        limits: For the number of fragments.

    Returns:
        (length, first): bytes of the whole value, and where the first fragment's bytes begin.

    Raises:
        RefusedError: `truncated_pixel_data`, `malformed`, `too_many_fragments`.
    """
    position, first = offset, 0
    for index in range(limits.fragments + 2):
        # A file cut between two fragments looks whole but for its missing delimiter.
        if position + 8 > size:
            raise RefusedError("truncated_pixel_data", "the compressed pixels end too early")
        file.seek(position)
        group, element, length = struct.unpack("<HHL", file.read(8))
        tag = group << 16 | element
        position += 8
        if tag == SEQUENCE_END:
            if not first:
                raise RefusedError("truncated_pixel_data", "there are no compressed pixels")
            return position - offset, first
        if tag != ITEM:
            raise RefusedError("malformed", "the compressed pixels are not a run of fragments")
        if index == 1:
            first = position
        position += length
    raise RefusedError("too_many_fragments", "the pixels lie in too many fragments")
