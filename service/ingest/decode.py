"""From records to pixels: float32 planes in which bright means signal, or a refusal.

Native pixels are read here: their length was compared with Rows x Columns, and numpy takes bytes
as they are, so there is nothing in them to attack. Everything compressed is decoded by a worker
process that has little memory, is given little time and is replaced when it dies
(`service.ingest.decode_worker`); its answers are checked like any other input.

What is done to stored values, in this order:

1. Bits beyond Bits Stored (overlays of old) are removed and the sign is extended.
2. MONOCHROME1 is turned round within the range of Bits Stored (what a writer of inverted images
   subtracts from), the same for every frame, so that slices keep their relation.
3. Rescale slope and intercept are applied (PS3.3 C.11.1).
4. Padding (PS3.3 C.7.5.1.1.2) is given the lowest value of the frame's other pixels, so that it
   looks like air; a frame of nothing but padding becomes 0.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from service.ingest.records import FrameRecord, InstanceRecord, PixelLayout, Refusal
from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits

REASONS: Final = {
    "codestream_damaged": "a compressed frame has no readable header",
    "codestream_dimensions_differ": "a compressed frame is not of the size the header says",
    "decode_crashed": "the decoder ended while it read the pixels",
    "decode_failed": "no decoder could read the pixels",
    "decode_gave_up": "too many decoders died on this input",
    "decode_out_of_memory": "the decoder needed more memory than it is given",
    "decode_timeout": "the decoder took too long",
    "decode_unavailable": "the decoder did not start",
    "truncated_pixel_data": "the pixels end too early",
}
"""Every code with which decoding refuses a frame."""

_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
_READ_BYTES: Final = 1 << 20
_ANSWER_LINE_BYTES: Final = 4096
_KINDS: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name) for name in ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4")
}

Outcome = NDArray[np.float32] | Refusal
_Job = tuple[int, InstanceRecord, FrameRecord]


class PixelDecoder:
    """Decodes frames; a context manager around a worker that starts when it is first needed.

    For one thread at a time.

    Args:
        limits: Memory and time of the worker, and how often it may die.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._worker: _Worker | None = None
        self._deaths = 0

    def __enter__(self) -> PixelDecoder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, None when none runs."""
        return None if self._worker is None else self._worker.pid

    def decode_frames(self, frames: Sequence[tuple[InstanceRecord, FrameRecord]]) -> list[Outcome]:
        """Decode frames.

        Args:
            frames: Which frames, of any instances in any order.

        Returns:
            In the same order, (row, column) float32 in the series' rescaled units, or why not.
            A worker that dies takes the rest of that instance's frames with it, and no other's.
        """
        jobs: list[_Job] = [(place, *frame) for place, frame in enumerate(frames)]
        compressed = [job for job in jobs if job[1].layout and job[1].layout.encapsulated]
        if compressed:
            self._start_worker()  # comes up while native pixels are read
        outcomes: dict[int, Outcome] = {}
        for place, instance, frame in jobs:
            if not (instance.layout and instance.layout.encapsulated):
                outcomes[place] = _read_native(instance, frame)
        compressed.sort(key=lambda job: (job[1].path, job[2].number))
        for _, group in groupby(compressed, key=lambda job: job[1].path):
            outcomes.update(self._decode_instance(list(group)))
        return [outcomes[place] for place in range(len(jobs))]

    def _start_worker(self) -> _Worker | None:
        if self._worker is None and self._deaths < self._limits.decode_deaths:
            try:
                self._worker = _Worker(self._limits)
            except OSError:  # the system has no process to give
                self._deaths += 1
        return self._worker

    def _decode_instance(self, jobs: list[_Job]) -> Iterator[tuple[int, Outcome]]:
        """Answer the jobs of one instance, which are sorted: the worker reads it front to back."""
        numbers = sorted({frame.number for _, _, frame in jobs})
        answers: dict[int, NDArray[Any] | Refusal] = {}
        worker = self._start_worker()
        code = (
            "decode_unavailable" if self._deaths < self._limits.decode_deaths else "decode_gave_up"
        )
        if worker is not None:
            try:
                answers.update(zip(numbers, worker.decode(jobs[0][1], numbers), strict=True))
            except RefusedError as error:
                code = error.refusal.code
                self._deaths += 1
                self.close()
        for place, instance, frame in jobs:
            answer = answers.get(frame.number, _refusal(code))
            yield place, _finish_answer(answer, instance, frame)


def _refusal(code: str) -> Refusal:
    return Refusal(code, REASONS[code])


def _finish_answer(
    answer: NDArray[Any] | Refusal, instance: InstanceRecord, frame: FrameRecord
) -> Outcome:
    if isinstance(answer, Refusal) or instance.layout is None:
        return answer if isinstance(answer, Refusal) else _refusal("truncated_pixel_data")
    return to_signal(answer, instance, frame, instance.layout)


def _read_native(instance: InstanceRecord, frame: FrameRecord) -> Outcome:
    layout = instance.layout
    if layout is None:
        return _refusal("truncated_pixel_data")
    count = instance.rows * instance.columns
    kind = np.dtype(
        f"{'<' if layout.little_endian else '>'}{'i' if layout.signed else 'u'}"
        f"{instance.bits_allocated // 8}"
    )
    start = (frame.number - 1) * count * kind.itemsize
    if start + count * kind.itemsize > layout.length:
        return _refusal("truncated_pixel_data")
    try:
        stored = np.fromfile(instance.path, kind, count, offset=layout.offset + start)
    except OSError:
        return _refusal("truncated_pixel_data")
    if stored.size < count:
        return _refusal("truncated_pixel_data")
    plane = stored.reshape(instance.rows, instance.columns)
    return to_signal(plane, instance, frame, layout)


def to_signal(
    stored: NDArray[Any], instance: InstanceRecord, frame: FrameRecord, layout: PixelLayout
) -> NDArray[np.float32]:
    """Turn stored values into signal, as the module's docstring says.

    Args:
        stored: (row, column) integers as they were in the file.
        instance: For the photometric interpretation.
        frame: For rescale and padding.
        layout: For bits and sign.

    Returns:
        (row, column) float32, C order.
    """
    values = stored_values(stored, layout)
    signal = values.astype(np.float32)
    if instance.photometric == "MONOCHROME1":
        signal = np.float32(sum(_stored_range(layout))) - signal
    slope, intercept = frame.rescale
    if (slope, intercept) != (1.0, 0.0):
        signal = signal * np.float32(slope) + np.float32(intercept)
    if frame.padding is not None:
        low, high = frame.padding
        padding = (values >= low) & (values <= high)
        if padding.any():
            valid = signal[~padding]
            signal[padding] = valid.min() if valid.size else 0.0
    return signal


def stored_values(stored: NDArray[Any], layout: PixelLayout) -> NDArray[Any]:
    """Stored values as integers: bits outside Bits Stored removed, sign extended (PS3.5 8.1.1)."""
    bits = stored.dtype.itemsize * 8
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if layout.bits_stored >= bits or layout.high_bit >= bits:
        return native
    integer = np.dtype(f"{'i' if layout.signed else 'u'}{stored.dtype.itemsize}")
    up = bits - 1 - layout.high_bit
    # Shifting up drops what lies above the high bit; shifting a signed number down keeps its sign.
    return (native.view(integer) << up) >> (bits - layout.bits_stored)


def _stored_range(layout: PixelLayout) -> tuple[int, int]:
    span = 1 << layout.bits_stored
    return (-span // 2, span // 2 - 1) if layout.signed else (0, span - 1)


@dataclass(frozen=True, slots=True)
class _Deadline:
    """A point in time after which waiting ends."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> _Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        return max(0.0, self.at - time.monotonic())


class _Worker:
    """One decode process. Any failure to answer well and in time is a `RefusedError`.

    After one it must be killed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH")])
            ),
            # Each thread pool reserves address space, which is capped; codecs use one thread.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [
                sys.executable,
                "-m",
                "service.ingest.decode_worker",
                str(limits.decode_memory_bytes),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
        )
        self._selector = selectors.DefaultSelector()
        self._output = _pipe(self._process.stdout)
        self._input = _pipe(self._process.stdin)
        self._selector.register(self._output, selectors.EVENT_READ)
        self._pending = bytearray()
        self._ready = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def kill(self) -> None:
        """End the process at once and collect it."""
        self._process.kill()
        self._process.wait()
        self._selector.close()
        self._output.close()
        self._input.close()

    def decode(
        self, instance: InstanceRecord, numbers: list[int]
    ) -> Iterator[NDArray[Any] | Refusal]:
        """Stored values, or the worker's refusal, per frame number (ascending, from 1).

        Raises:
            RefusedError: `decode_unavailable`, `decode_crashed`, `decode_timeout`.
        """
        self._await_ready()
        self._send(_request(instance, [number - 1 for number in numbers]))
        for _ in numbers:
            yield self._answer(instance)

    def _await_ready(self) -> None:
        if self._ready:
            return
        try:
            self._line(_Deadline.after(self._limits.decode_start_timeout_s))
        except RefusedError as error:
            raise _refused("decode_unavailable") from error
        self._ready = True

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._input.write(json.dumps(request).encode("utf-8") + b"\n")
        except OSError as error:
            raise _refused("decode_crashed") from error

    def _answer(self, instance: InstanceRecord) -> NDArray[Any] | Refusal:
        deadline = _Deadline.after(self._limits.decode_timeout_s)
        answer = self._line(deadline)
        if (code := answer.get("refused")) is not None:
            return _refusal(code if code in REASONS else "decode_failed")
        kind, size = _stated_kind(answer), answer.get("bytes")
        if size != instance.rows * instance.columns * kind.itemsize:
            raise _refused("decode_crashed")
        values = np.frombuffer(self._read(size, deadline), kind)
        return values.reshape(instance.rows, instance.columns)

    def _line(self, deadline: _Deadline) -> dict[str, Any]:
        while (end := self._pending.find(b"\n")) < 0:
            if len(self._pending) > _ANSWER_LINE_BYTES:
                raise _refused("decode_crashed")
            self._fill(deadline)
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise _refused("decode_crashed") from error
        if not isinstance(answer, dict):
            raise _refused("decode_crashed")
        return answer

    def _read(self, size: int, deadline: _Deadline) -> bytes:
        while len(self._pending) < size:
            self._fill(deadline)
        payload = bytes(self._pending[:size])
        del self._pending[:size]
        return payload

    def _fill(self, deadline: _Deadline) -> None:
        if not self._selector.select(deadline.left):
            raise _refused("decode_timeout")
        chunk = self._output.read(_READ_BYTES)
        if not chunk:
            raise _refused("decode_crashed")
        self._pending += chunk


def _refused(code: str) -> RefusedError:
    return RefusedError(code, REASONS[code])


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the worker was started without pipes")
    return pipe


def _stated_kind(answer: dict[str, Any]) -> np.dtype[Any]:
    kind = _KINDS.get(str(answer.get("dtype")))
    if kind is None:
        raise _refused("decode_crashed")
    return kind


def _request(instance: InstanceRecord, frames: list[int]) -> dict[str, Any]:
    """The line that the worker's docstring describes."""
    layout = instance.layout
    if layout is None:
        raise _refused("truncated_pixel_data")
    return {
        "path": str(instance.path.resolve()),
        "offset": layout.offset,
        "length": layout.length,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "rows": instance.rows,
        "columns": instance.columns,
        "bits_allocated": instance.bits_allocated,
        "bits_stored": layout.bits_stored,
        "signed": layout.signed,
        "photometric": instance.photometric,
        "frame_count": len(instance.frames),
        "frames": frames,
    }
