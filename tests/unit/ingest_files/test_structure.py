"""The walk over a dataset: what it accepts, where it stops, what it refuses."""

from __future__ import annotations

import io
import struct

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits
from service.ingest.structure import Structure, measure_fragments, read_structure
from tests import builders

PIXELS = builders.ramp(3, 40, 48)


def structure_of(data: bytes, limits: Limits | None = None) -> Structure:
    return read_structure(io.BytesIO(data), len(data), limits or Limits())


def code_of(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        structure_of(data, limits)
    return caught.value.refusal.code


def part10(dataset: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return (
        b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid + dataset
    )


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    stated = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    long = vr in (b"SQ", b"OW", b"OB", b"UN")
    return head + (struct.pack("<HL", 0, stated) if long else struct.pack("<H", stated)) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content) if length is None else length) + content


ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
NAME = element(0x00100010, b"PN", b"Built^^^")


def nested(depth: int, *, defined: bool) -> bytes:
    if not defined:
        opening = element(0x00081140, b"SQ", b"", 0xFFFFFFFF) + item(b"", 0xFFFFFFFF)
        return opening * depth + NAME + (ITEM_END + SEQUENCE_END) * depth
    content = NAME
    for _ in range(depth):
        content = element(0x00081140, b"SQ", item(content))
    return content


@pytest.mark.parametrize("syntax", builders.NATIVE_SYNTAXES)
def test_pixels_are_found_where_they_are(syntax: str) -> None:
    data = builders.to_bytes(builders.enhanced_instance(PIXELS), syntax)
    found = structure_of(data)
    assert found.transfer_syntax_uid == syntax
    assert found.pixels is not None
    assert found.pixels.length == PIXELS.nbytes
    end = found.pixels.offset + PIXELS.nbytes
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    assert data[found.pixels.offset : end] == PIXELS.astype(order).tobytes()
    assert found.encoding.implicit == (syntax == ImplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", builders.NATIVE_SYNTAXES)
@pytest.mark.parametrize("cut", ["preamble", "meta"])
def test_dataset_without_preamble_or_meta(syntax: str, cut: str) -> None:
    data = builders.to_bytes(builders.classic_stack(PIXELS)[0], syntax)
    start = 132 if cut == "preamble" else structure_of(data).dataset_offset
    found = structure_of(data[start:])
    assert found.transfer_syntax_uid == syntax
    assert found.stated == (cut == "preamble")
    assert found.pixels is not None
    assert found.pixels.length == PIXELS[0].nbytes


def test_deflated_dataset_is_not_looked_into() -> None:
    data = builders.to_bytes(builders.classic_stack(PIXELS)[0], DeflatedExplicitVRLittleEndian)
    found = structure_of(data)
    assert found.transfer_syntax_uid == DeflatedExplicitVRLittleEndian
    assert found.header == b""


def test_header_longer_than_the_first_window() -> None:
    dataset = builders.classic_stack(PIXELS)[0]
    dataset.add_new(0x00091001, "OB", bytes(300_000))
    data = builders.to_bytes(dataset)
    found = structure_of(data)
    assert found.pixels is not None
    assert data[found.pixels.offset :] == dataset.PixelData


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize(
    ("depth", "refused"), [(6, False), (32, False), (33, True), (100, True), (20_000, True)]
)
def test_depth(depth: int, *, defined: bool, refused: bool) -> None:
    if defined and depth > 1000:
        depth = 1000  # built by copying; deeper adds nothing
    data = part10(nested(depth, defined=defined))
    if refused:
        assert code_of(data) == "too_deep"
    else:
        assert structure_of(data).header == nested(depth, defined=defined)


def test_deep_nesting_in_implicit_vr_is_seen_too() -> None:
    content = b""
    for _ in range(200):
        inner = item(content, 0xFFFFFFFF) + ITEM_END + SEQUENCE_END
        content = struct.pack("<HHL", 0x0008, 0x1140, 0xFFFFFFFF) + inner
    assert code_of(part10(content, ImplicitVRLittleEndian)) == "too_deep"


def test_unknown_vr_of_undefined_length_is_an_implicit_sequence() -> None:
    implicit = struct.pack("<HHL", 0x0010, 0x0010, 8) + b"Built^^^"
    inner = item(implicit, 0xFFFFFFFF) + ITEM_END + SEQUENCE_END
    data = element(0x00091001, b"UN", inner, 0xFFFFFFFF) + NAME
    assert structure_of(part10(data)).header == data


def test_implicit_items_in_an_explicit_dataset() -> None:
    implicit = struct.pack("<HHL", 0x0010, 0x0010, 8) + b"Built^^^"
    data = element(0x00081140, b"SQ", item(implicit)) + NAME
    assert structure_of(part10(data)).header == data


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (element(0x00080018, b"UI", b"1.2.3.4.", 0xFFF0), "truncated"),
        (element(0x00091001, b"OB", b"1234", 0xFFFFFFF0), "truncated"),
        (element(0x00081140, b"SQ", item(NAME, 0xFFFFFFF0)), "truncated"),
        (element(0x00081140, b"SQ", item(NAME), 0xFFFFFFF0), "truncated"),
        (element(0x00081140, b"SQ", item(NAME), 10), "truncated"),
        (element(0x00081140, b"SQ", item(NAME), 0xFFFFFFFF), "truncated"),
        (element(0x00081140, b"SQ", NAME, len(NAME)), "malformed"),
        (NAME + SEQUENCE_END, "malformed"),
        (NAME + b"\0\0\0", "truncated"),
        (b"", "truncated"),
    ],
)
def test_lengths_and_delimiters_that_lie(dataset: bytes, expected: str) -> None:
    assert code_of(part10(dataset)) == expected


def test_number_of_elements_and_size_of_the_header_are_limited() -> None:
    assert code_of(part10(NAME * 50), Limits(elements=49)) == "too_many_elements"
    many = element(0x00081140, b"SQ", item(b"") * 50)
    assert code_of(part10(many), Limits(elements=49)) == "too_many_elements"
    large = part10(element(0x00091001, b"OB", bytes(1 << 18)) + NAME)
    assert code_of(large, Limits(header_bytes=1 << 17)) == "header_too_large"


@pytest.mark.parametrize(
    "data", [b"hello, this is a text file\n", b"\x08", bytes(500), b"\x08\x00" + b"\xff" * 40]
)
def test_other_files_are_not_dicom(data: bytes) -> None:
    assert code_of(data) == "not_dicom"


def test_empty_file() -> None:
    assert code_of(b"") == "empty_file"


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_fragments_are_measured_to_their_end(syntax: str) -> None:
    data = builders.to_bytes(builders.compressed(builders.enhanced_instance(PIXELS), syntax))
    found = structure_of(data)
    assert found.pixels is not None
    assert found.pixels.length is None
    file = io.BytesIO(data)
    length, first = measure_fragments(file, found.pixels.offset, len(data), Limits())
    assert data[found.pixels.offset + length - 8 :][:8] == SEQUENCE_END
    assert data[first - 8 :][:4] == b"\xfe\xff\x00\xe0"


@pytest.mark.parametrize("cut", [3, 8, 500])
def test_cut_fragments_are_truncated(cut: int) -> None:
    instance = builders.compressed(builders.enhanced_instance(PIXELS), RLELossless)
    data = builders.to_bytes(instance)[:-cut]
    found = structure_of(data)
    assert found.pixels is not None
    with pytest.raises(RefusedError) as caught:
        measure_fragments(io.BytesIO(data), found.pixels.offset, len(data), Limits())
    assert caught.value.refusal.code == "truncated_pixel_data"


def test_number_of_fragments_is_limited() -> None:
    data = item(b"") + item(b"12") * 10 + SEQUENCE_END
    with pytest.raises(RefusedError) as caught:
        measure_fragments(io.BytesIO(data), 0, len(data), Limits(fragments=8))
    assert caught.value.refusal.code == "too_many_fragments"
