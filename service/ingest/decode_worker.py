"""The process in which codecs run: `python -m service.ingest.decode_worker MEMORY_BYTES`.

It reads one JSON request per line and answers each frame asked for with one JSON line, followed
by the stored values as raw bytes where there are any. It has no more memory than it is given, can
write no file, and may be killed at any time: nothing depends on its end.

Protocol:
    request   {"path", "offset", "length", "transfer_syntax_uid", "rows", "columns",
               "bits_allocated", "bits_stored", "signed", "photometric", "frame_count",
               "frames": [0, 4, …]}, frames ascending and counted from 0
    answer    {"dtype": "<u2", "bytes": 524288} and that many bytes, (row, column) order, or
              {"refused": code}
    at start  {"ready": true}
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from collections.abc import Iterator
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder

from service.ingest.codestreams import check_frame_size
from service.ingest.refusals import RefusedError

PLUGINS: Final[dict[str, tuple[str, ...]]] = {
    uid.RLELossless: ("pydicom",),
    uid.JPEGBaseline8Bit: ("gdcm", "pillow"),
    uid.JPEGExtended12Bit: ("gdcm", "pillow"),
    uid.JPEGLossless: ("gdcm",),
    uid.JPEGLosslessSV1: ("gdcm",),
    uid.JPEGLSLossless: ("pyjpegls", "gdcm"),
    uid.JPEGLSNearLossless: ("pyjpegls", "gdcm"),
    uid.JPEG2000Lossless: ("pylibjpeg", "gdcm"),
    uid.JPEG2000: ("pylibjpeg", "gdcm"),
    uid.HTJ2KLossless: ("pylibjpeg",),
    uid.HTJ2KLosslessRPCL: ("pylibjpeg",),
    uid.HTJ2K: ("pylibjpeg",),
}
"""Transfer syntax to the codecs tried for it, best first."""

Request = dict[str, Any]


def main() -> None:
    """Answer requests on standard input until it closes."""
    answers = _private_output()
    warnings.simplefilter("ignore")  # a codec's remarks; nobody reads this process's output
    _confine(int(sys.argv[1]))
    _answer(answers, {"ready": True})
    for line in sys.stdin.buffer:
        request: Request = json.loads(line)
        for answer, payload in _decode(request):
            _answer(answers, answer, payload)


def _private_output() -> IO[bytes]:
    """Keep the pipe for answers; what codecs print goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _confine(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # A core file would hold the patient's image.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(answers: IO[bytes], answer: dict[str, Any], payload: bytes = b"") -> None:
    answers.write(json.dumps(answer).encode("ascii") + b"\n")
    answers.write(payload)
    answers.flush()


def _decode(request: Request) -> Iterator[tuple[dict[str, Any], bytes]]:
    """One answer per frame asked for; frames after a damaged run of fragments are refused too."""
    wanted: list[int] = request["frames"]
    answered = 0
    try:
        for frame in _frames(request):
            yield _decode_frame(frame, request)
            answered += 1
    except MemoryError:
        failed = "decode_out_of_memory"
    except Exception:  # noqa: BLE001 - the process boundary: codecs raise anything
        failed = "decode_failed"
    else:
        failed = "truncated_pixel_data"
    for _ in wanted[answered:]:
        yield {"refused": failed}, b""


def _frames(request: Request) -> Iterator[bytes]:
    """The compressed bytes of the frames asked for."""
    wanted = set(request["frames"])
    with open(request["path"], "rb") as file:  # noqa: PTH123 - a descriptor is all that is needed
        file.seek(request["offset"])
        value = file.read(request["length"])
    frames = generate_frames(value, number_of_frames=request["frame_count"])
    for index, frame in enumerate(frames):
        if index in wanted:
            yield frame
        if index >= max(wanted):
            return


def _decode_frame(frame: bytes, request: Request) -> tuple[dict[str, Any], bytes]:
    syntax = request["transfer_syntax_uid"]
    failed = "decode_failed"
    try:
        check_frame_size(frame, syntax, request["rows"], request["columns"])
        _check_run_length(frame, request)
    except RefusedError as error:
        return {"refused": error.refusal.code}, b""
    for plugin in PLUGINS[syntax]:
        stored = _try_codec(frame, plugin, request)
        if not isinstance(stored, str):
            little = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
            return {"dtype": little.dtype.str, "bytes": little.nbytes}, little.tobytes()
        failed = stored
    return {"refused": failed}, b""


def _check_run_length(frame: bytes, request: Request) -> None:
    """Refuse RLE much longer than its image, which takes pydicom minutes to unpack in Python.

    The clumsiest encoder needs two bytes for one (PS3.5 G.3.1).
    """
    native = request["rows"] * request["columns"] * request["bits_allocated"] // 8
    if request["transfer_syntax_uid"] == uid.RLELossless and len(frame) > 2 * native + 1024:
        raise RefusedError("codestream_damaged", "a compressed frame is longer than its image")


def _try_codec(frame: bytes, plugin: str, request: Request) -> NDArray[Any] | str:
    """(row, column) stored values of one frame, or the code of why there are none."""
    try:
        return _run_codec(frame, plugin, request)
    except MemoryError:
        return "decode_out_of_memory"
    except Exception:  # noqa: BLE001 - the process boundary: codecs raise anything
        return "decode_failed"


def _run_codec(frame: bytes, plugin: str, request: Request) -> NDArray[Any]:
    options: dict[str, Any] = {
        "number_of_frames": 1,
        "rows": request["rows"],
        "columns": request["columns"],
        "samples_per_pixel": 1,
        "bits_allocated": request["bits_allocated"],
        "bits_stored": request["bits_stored"],
        "pixel_representation": int(request["signed"]),
        "photometric_interpretation": request["photometric"],
        "pixel_keyword": "PixelData",
    }
    stored, _ = get_decoder(request["transfer_syntax_uid"]).as_array(
        encapsulate([frame], has_bot=False), index=0, raw=True, decoding_plugin=plugin, **options
    )
    if stored.shape != (request["rows"], request["columns"]):
        raise ValueError("the codec gave another shape")
    return np.ascontiguousarray(stored)


if __name__ == "__main__":
    main()
