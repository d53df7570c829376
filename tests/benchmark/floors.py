"""What this machine can do at best, measured in the same run as everything else.

A stage is set beside the time the machine needs for that part of its work that nobody can leave
out: reading the study's bytes, the multiplications of a network, writing the report's bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from models.runtime import silent_openvino

MATRIX = 1536
"""Side of the square matrices; three of them, 28 MB, do not fit the caches of two cores."""


def best_of(action: Callable[[], object], times: int = 5) -> float:
    """Shortest of several runs, in seconds: what the machine can do when nothing interferes."""
    seconds = []
    for _ in range(times):
        start = perf_counter()
        action()
        seconds.append(perf_counter() - start)
    return min(seconds)


def gemm_flops_per_second(threads: int) -> float:
    """Rate of a float32 matrix product in OpenVINO, the library the networks run in."""
    openvino = silent_openvino()
    shape = openvino.PartialShape([MATRIX, MATRIX])
    left, right = (
        openvino.opset13.parameter(shape, openvino.Type.f32, name) for name in ("left", "right")
    )
    product = openvino.opset13.matmul(left, right, transpose_a=False, transpose_b=False)
    compiled = openvino.Core().compile_model(
        openvino.Model([product], [left, right]),
        "CPU",
        {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"},
    )
    rng = np.random.default_rng(0)
    operands = [rng.random((MATRIX, MATRIX), np.float32) for _ in range(2)]
    request = compiled.create_infer_request()
    seconds = best_of(lambda: request.infer(operands, share_inputs=True, share_outputs=True))
    return 2 * MATRIX**3 / seconds


def read_seconds(files: Sequence[Path]) -> float:
    """Time to read files once, from the page cache where they lie in it."""
    return best_of(lambda: [file.read_bytes() for file in files])


def write_seconds(sizes: Sequence[int], folder: Path) -> float:
    """Time to write files of these sizes and have them on the disk, as the writers do."""
    payloads = [os.urandom(size) for size in sizes]

    def write() -> None:
        for number, payload in enumerate(payloads):
            with (folder / f"floor-{number}").open("wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())

    return best_of(write, times=3)
