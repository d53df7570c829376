"""Stored values become signal, whatever the encoding; a codec that dies takes nothing with it."""

from __future__ import annotations

import base64
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
    RLELossless,
)

from service.ingest.decode import Outcome, PixelDecoder, stored_values
from service.ingest.records import FrameRecord, InstanceRecord, Inventory, PixelLayout, Refusal
from service.ingest.safety import MIB, Limits
from tests import builders

Take = Callable[..., Inventory]
PIXELS = builders.ramp(3, 40, 48)

HTJ2K_CODESTREAM = base64.b64decode(
    "/0//UQApQAAAAAAoAAAAIAAAAAAAAAAAAAAAKAAAACAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB"
    "/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAM0AAf+TwAAqAKv7U/gB"
    "QjQAwAASQAATgABHdAC2aIsAwjQAwAASwAAVQO0AQnQAWtRCiwAYwHdWAMAAFRAABXB0mqbX4It1ACqqUKFCxeAQRkIB"
    "7LgAwAAVsAAFrhhjjDHG7+p6enACeAAQISAgICAgICAg/v6GPYxge/Yxgey8AMAALVgABdMAiIiIiIiIiIj8f4Cnp6en"
    "p6enwn0AeBzHcRzHcRzHcRzHcRzH/3ogEIHv2EIHv2EIHv2EIHv2EIHstwH/2Q=="
)
"""`HTJ2K_PIXELS` as OpenJPH 0.26 encodes them; no encoder of this syntax is installed here."""
HTJ2K_PIXELS = (np.add.outer(np.arange(32) * 61, np.arange(40) * 13) % 4001).astype(np.uint16)


@pytest.fixture(scope="module")
def decoder() -> Iterator[PixelDecoder]:
    with PixelDecoder(Limits()) as shared:
        yield shared


@pytest.fixture
def decode(take: Take, decoder: PixelDecoder) -> Callable[..., list[Outcome]]:
    def run(dataset: FileDataset, syntax: str | None = None) -> list[Outcome]:
        return decoder.decode_frames(frames_of(take(builders.to_bytes(dataset, syntax))))

    return run


Decode = Callable[..., list[Outcome]]


def frames_of(inventory: Inventory) -> list[tuple[InstanceRecord, FrameRecord]]:
    return [(record, frame) for record in inventory.records for frame in record.frames]


def planes(outcomes: list[Outcome]) -> NDArray[np.float32]:
    assert not [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    stacked = np.stack([outcome for outcome in outcomes if not isinstance(outcome, Refusal)])
    assert stacked.dtype == np.float32
    return stacked


def code(outcome: Outcome) -> str:
    assert isinstance(outcome, Refusal)
    return outcome.code


def slice_of(stored: NDArray[Any], **changes: object) -> FileDataset:
    dataset = builders.classic_stack(stored[None])[0]
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    "syntax",
    [*builders.NATIVE_SYNTAXES, DeflatedExplicitVRLittleEndian, *builders.LOSSLESS_SYNTAXES],
)
@pytest.mark.parametrize("kind", ["single", "multi", "signed", "bytes"])
def test_every_lossless_encoding_gives_the_same_pixels(
    decode: Decode, syntax: str, kind: str
) -> None:
    stored: NDArray[Any] = PIXELS
    if kind == "signed":
        stored = (PIXELS.astype(np.int32) - 2000).astype(np.int16)
    if kind == "bytes":
        stored = (PIXELS % 251).astype(np.uint8)
    dataset = builders.enhanced_instance(stored)
    if kind == "single":
        dataset = slice_of(stored[1])
        stored = stored[1:2]
    if syntax in builders.LOSSLESS_SYNTAXES:
        dataset = builders.compressed(dataset, syntax)
    assert np.array_equal(planes(decode(dataset, syntax)), stored)


def test_jpeg_lossless_of_any_predictor(decode: Decode) -> None:
    dataset = builders.compressed(slice_of(PIXELS[0]), JPEGLosslessSV1)
    dataset.file_meta.TransferSyntaxUID = JPEGLossless
    assert np.array_equal(planes(decode(dataset))[0], PIXELS[0])


def test_high_throughput_jpeg_2000(decode: Decode) -> None:
    dataset = slice_of(HTJ2K_PIXELS)
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset.PixelData = encapsulate([HTJ2K_CODESTREAM])
    dataset["PixelData"].is_undefined_length = True
    assert np.array_equal(planes(decode(dataset))[0], HTJ2K_PIXELS)


@pytest.mark.parametrize("syntax", [JPEGLSNearLossless, JPEG2000])
def test_lossy_encodings_come_close_and_are_flagged(
    take: Take, decoder: PixelDecoder, syntax: str
) -> None:
    smooth = np.add.outer(np.arange(64) * 20, np.arange(64) * 9).astype(np.uint16)
    dataset = slice_of(smooth)
    options = {"jls_error": 3} if syntax == JPEGLSNearLossless else {"j2k_cr": [4]}
    dataset.compress(syntax, generate_instance_uid=False, **options)
    inventory = take(builders.to_bytes(dataset))
    assert inventory.records[0].lossy
    assert np.abs(planes(decoder.decode_frames(frames_of(inventory)))[0] - smooth).max() <= 8


def test_jpeg_baseline_of_8_bits(take: Take, decoder: PixelDecoder) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    dataset = builders.compressed(slice_of(smooth), JPEGBaseline8Bit)
    inventory = take(builders.to_bytes(dataset))
    assert inventory.records[0].lossy
    assert np.abs(planes(decoder.decode_frames(frames_of(inventory)))[0] - smooth).max() <= 4


def test_jpeg_extended_of_12_bits_is_refused(decode: Decode) -> None:
    dataset = builders.compressed(slice_of(PIXELS[0]), JPEGLosslessSV1)
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    assert code(decode(dataset)[0]) == "decode_failed"


def test_rescale_is_applied(decode: Decode) -> None:
    dataset = slice_of(PIXELS[0], RescaleSlope=0.8, RescaleIntercept=-3.0)
    np.testing.assert_allclose(planes(decode(dataset))[0], PIXELS[0] * 0.8 - 3.0, rtol=1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_monochrome1_is_turned_round_within_bits_stored(decode: Decode, *, signed: bool) -> None:
    bright = PIXELS[0]
    dataset = slice_of((4095 - bright).astype(np.uint16))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.RescaleSlope, dataset.RescaleIntercept = 2.0, 1.0
    if signed:
        # bright + (4095 - bright) - 2048: the sum of the two ends of the range is -1.
        dataset.PixelRepresentation = 1
        dataset.PixelData = (4095 - bright.astype(np.int32) - 2048).astype("<i2").tobytes()
    expected = (bright.astype(np.float64) - (2048 if signed else 0)) * 2.0 + 1.0
    assert np.array_equal(planes(decode(dataset))[0], expected)


def test_padding_becomes_the_lowest_other_value(decode: Decode) -> None:
    stored = (PIXELS[0] + 10).astype(np.uint16)
    stored[:5] = 60000
    dataset = slice_of(stored, RescaleSlope=2.0, RescaleIntercept=0.0)
    dataset.add_new(0x00280120, "US", 60000)
    expected = stored * 2.0
    expected[:5] = stored[5:].min() * 2.0
    assert np.array_equal(planes(decode(dataset))[0], expected)


def test_frame_of_nothing_but_padding_is_zero(decode: Decode) -> None:
    dataset = slice_of(np.full((40, 48), 7, np.uint16))
    dataset.add_new(0x00280120, "US", 7)
    assert not planes(decode(dataset)).any()


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_overlay_bits_are_removed_and_the_sign_is_extended(
    decode: Decode, syntax: str | None
) -> None:
    values = (PIXELS[0].astype(np.int32) - 2000).astype(np.int16)
    overlaid = (values.view(np.uint16) & 0x0FFF) | 0xA000
    dataset = slice_of(overlaid, BitsStored=12, HighBit=11, PixelRepresentation=1)
    if syntax:
        dataset = builders.compressed(dataset, syntax)
    assert np.array_equal(planes(decode(dataset))[0], values)


@pytest.mark.parametrize(
    ("stored", "bits", "high", "signed", "expected"),
    [
        (np.array([0x1234], np.uint16), 8, 11, False, [0x23]),
        (np.array([0xF80F], np.uint16), 8, 11, True, [-128]),
        (np.array([0xFF], np.uint8), 8, 7, False, [255]),
        (np.array([-5], np.int16), 16, 15, True, [-5]),
        (np.array([0x0FFF], np.int16), 12, 11, True, [-1]),
    ],
)
def test_stored_values(
    stored: NDArray[Any], bits: int, high: int, expected: list[int], *, signed: bool
) -> None:
    layout = PixelLayout(0, 0, False, True, bits, high, signed)  # noqa: FBT003
    assert stored_values(stored, layout).tolist() == expected


def test_order_of_the_answers_is_that_of_the_question(take: Take, decoder: PixelDecoder) -> None:
    native = frames_of(take(builders.to_bytes(builders.enhanced_instance(PIXELS))))
    packed = builders.compressed(builders.enhanced_instance(PIXELS, series="b"), RLELossless)
    compressed = frames_of(take(builders.to_bytes(packed)))
    asked = [compressed[2], native[1], compressed[0], native[0], compressed[2]]
    expected = PIXELS[[2, 1, 0, 0, 2]]
    assert np.array_equal(planes(decoder.decode_frames(asked)), expected)


def test_no_worker_is_started_for_native_pixels(take: Take) -> None:
    with PixelDecoder(Limits()) as decoder:
        planes(decoder.decode_frames(frames_of(take(builders.to_bytes(slice_of(PIXELS[0]))))))
        assert decoder.worker_pid is None


def test_file_that_shrank_or_went_away(take: Take, decoder: PixelDecoder) -> None:
    (native,) = frames_of(take(builders.to_bytes(slice_of(PIXELS[0]))))
    packed = builders.compressed(slice_of(PIXELS[0]), RLELossless)
    (compressed,) = frames_of(take(builders.to_bytes(packed)))
    for instance, _ in (native, compressed):
        os.truncate(instance.path, instance.path.stat().st_size - 100)
    assert code(decoder.decode_frames([native])[0]) == "truncated_pixel_data"
    assert code(decoder.decode_frames([compressed])[0]) in {"decode_failed", "truncated_pixel_data"}
    for instance, _ in (native, compressed):
        instance.path.unlink()
    outcomes = decoder.decode_frames([native, compressed])
    assert [code(outcome) for outcome in outcomes] == ["truncated_pixel_data", "decode_failed"]


def test_record_that_asks_for_frames_that_are_not_there(take: Take, decoder: PixelDecoder) -> None:
    packed = builders.compressed(builders.enhanced_instance(PIXELS), RLELossless)
    (instance,) = take(builders.to_bytes(packed)).records
    more = (*instance.frames, replace(instance.frames[0], number=4))
    longer = replace(instance, frames=more)
    outcomes = decoder.decode_frames([(longer, frame) for frame in more])
    assert code(outcomes[-1]) in {"truncated_pixel_data", "decode_failed"}


def test_damaged_codestream_is_refused_and_the_next_is_read(
    take: Take, decoder: PixelDecoder
) -> None:
    packed = builders.compressed(slice_of(PIXELS[0]), JPEG2000Lossless)
    data = bytearray(builders.to_bytes(packed))
    start = data.index(b"\xff\x93") + 2  # start of the first tile's data
    data[start : start + 400] = b"\xff" * 400
    good = take(builders.to_bytes(packed))
    outcomes = decoder.decode_frames(frames_of(take(bytes(data))) + frames_of(good))
    assert isinstance(outcomes[0], Refusal) or not np.array_equal(outcomes[0], PIXELS[0])
    assert np.array_equal(planes(outcomes[1:])[0], PIXELS[0])


class TestWorkerDeath:
    """Each test has a worker of its own, stopped or killed while it owes an answer."""

    @pytest.fixture
    def frames(self, take: Take) -> list[tuple[InstanceRecord, FrameRecord]]:
        packed = builders.compressed(builders.enhanced_instance(PIXELS), RLELossless)
        return frames_of(take(builders.to_bytes(packed)))

    def stopped(self, decoder: PixelDecoder) -> int:
        pid = decoder.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        return pid

    def test_killed_worker_is_replaced(
        self, frames: list[tuple[InstanceRecord, FrameRecord]]
    ) -> None:
        with PixelDecoder(Limits()) as decoder:
            planes(decoder.decode_frames(frames))
            pid = self.stopped(decoder)
            threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
            outcomes = decoder.decode_frames(frames)
            assert [code(outcome) for outcome in outcomes] == ["decode_crashed"] * 3
            assert np.array_equal(planes(decoder.decode_frames(frames)), PIXELS)
            assert decoder.worker_pid not in (None, pid)

    def test_worker_that_hangs_is_killed_and_too_many_deaths_end_it(
        self, frames: list[tuple[InstanceRecord, FrameRecord]]
    ) -> None:
        with PixelDecoder(Limits(decode_timeout_s=3.0, decode_deaths=1)) as decoder:
            planes(decoder.decode_frames(frames))
            pid = self.stopped(decoder)
            assert {code(o) for o in decoder.decode_frames(frames)} == {"decode_timeout"}
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
            assert {code(o) for o in decoder.decode_frames(frames)} == {"decode_gave_up"}

    @pytest.mark.parametrize("interpreter", ["/bin/false", "/nowhere/python"])
    def test_worker_that_cannot_start(
        self,
        frames: list[tuple[InstanceRecord, FrameRecord]],
        monkeypatch: pytest.MonkeyPatch,
        interpreter: str,
    ) -> None:
        monkeypatch.setattr(sys, "executable", interpreter)
        with PixelDecoder(Limits()) as decoder:
            assert {code(o) for o in decoder.decode_frames(frames)} == {"decode_unavailable"}
            assert decoder.worker_pid is None

    def test_codestream_that_needs_more_memory_than_there_is(self, take: Take) -> None:
        dataset = builders.compressed(slice_of(PIXELS[0]), JPEG2000Lossless)
        siz = bytearray(dataset.PixelData)
        start = siz.index(b"\xff\x4f\xff\x51")
        for place in (8, 12, 24, 28):  # Xsiz, Ysiz, XTsiz, YTsiz
            siz[start + place : start + place + 4] = (8000).to_bytes(4, "big")
        dataset.PixelData = bytes(siz)
        dataset.Rows = dataset.Columns = 8000
        frames = frames_of(take(builders.to_bytes(dataset)))
        with PixelDecoder(Limits(decode_memory_bytes=800 * MIB)) as decoder:
            outcome = decoder.decode_frames(frames)[0]
            assert code(outcome) in {"decode_out_of_memory", "decode_crashed", "decode_failed"}

    def test_closing_ends_the_worker(
        self, frames: list[tuple[InstanceRecord, FrameRecord]]
    ) -> None:
        with PixelDecoder(Limits()) as decoder:
            planes(decoder.decode_frames(frames))
            pid = decoder.worker_pid
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_syntaxes_that_are_read_have_a_codec() -> None:
    from service.ingest.decode_worker import PLUGINS
    from service.ingest.headers import NATIVE_SYNTAXES, READ_SYNTAXES

    assert {UID(syntax) for syntax in PLUGINS} == READ_SYNTAXES - NATIVE_SYNTAXES
