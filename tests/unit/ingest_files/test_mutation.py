"""Whatever is done to a valid file, it ends as a record or a refusal; nothing is ever raised."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.ingest.decode import PixelDecoder
from service.ingest.inventory import take_inventory
from service.ingest.records import Inventory, Refusal
from service.ingest.safety import Limits
from tests import builders

PIXELS = builders.ramp(2, 6, 8)
KINDS = (
    "explicit",
    "implicit",
    "big endian",
    "deflated",
    "enhanced",
    "dicomdir",
    "headerless",
    "rle",
)
LIMITS = Limits(file_bytes=1 << 22, total_bytes=1 << 24)


@cache
def valid(kind: str) -> bytes:
    """A small file that is in order."""
    dataset = builders.classic_stack(PIXELS)[0]
    syntaxes = dict(
        zip(("implicit", "explicit", "big endian"), builders.NATIVE_SYNTAXES, strict=True)
    )
    syntaxes["deflated"] = builders.DeflatedExplicitVRLittleEndian
    if kind in syntaxes:
        return builders.to_bytes(dataset, syntaxes[kind])
    if kind == "dicomdir":
        with tempfile.TemporaryDirectory() as folder:
            return builders.dicomdir(Path(folder), [("A", "B"), ("C",)]).read_bytes()
    if kind == "rle":
        return builders.to_bytes(builders.compressed(dataset, builders.RLELossless))
    data = builders.to_bytes(builders.enhanced_instance(PIXELS))
    return data if kind == "enhanced" else data[data.index(b"\x08\x00\x08\x00CS") :]


def take(data: bytes) -> tuple[Inventory, list[object]]:
    """Inventory of the bytes and its native frames decoded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        inventory = take_inventory(path, LIMITS, Path(folder))
        native = [
            (record, frame)
            for record in inventory.records
            for frame in record.frames
            if record.layout and not record.layout.encapsulated
        ]
        with PixelDecoder(LIMITS) as decoder:
            return inventory, list(decoder.decode_frames(native))


def check(data: bytes) -> None:
    inventory, outcomes = take(data)
    assert len(inventory.records) + len(inventory.refused) >= 1
    for refused in inventory.refused:
        assert refused.refusal.code
    for outcome in outcomes:
        assert isinstance(outcome, Refusal | np.ndarray)


QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@QUICK
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_truncated_anywhere(kind: str, data: st.DataObject) -> None:
    whole = valid(kind)
    check(whole[: data.draw(st.integers(0, len(whole)))])


@settings(QUICK, max_examples=120)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=6),
)
def test_overwritten_anywhere(kind: str, changes: list[tuple[float, bytes]]) -> None:
    damaged = bytearray(valid(kind))
    for place, written in changes:
        start = int(place * (len(damaged) - 1))
        damaged[start : start + len(written)] = written
    check(bytes(damaged))


@QUICK
@given(kind=st.sampled_from(KINDS), places=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_piece_cut_out_or_doubled(kind: str, places: tuple[float, float]) -> None:
    whole = valid(kind)
    first, last = (int(place * len(whole)) for place in places)
    check(whole[:first] + whole[last:])


@QUICK
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\0" * 128 + b"DICM", b"PK\x03\x04", b"\x08\0"])
)
def test_bytes_of_no_meaning(noise: bytes, start: bytes) -> None:
    check(start + noise)
