"""The yardsticks of the benchmark: a wrong one would flatter us in silence."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest

from models.runtime import silent_openvino
from tests.benchmark.floors import best_of, gemm_flops_per_second, read_seconds, write_seconds
from tests.benchmark.flops import count_macs
from tests.benchmark.peer import Plan, build, plan_for
from tests.benchmark.table import Line, stage_table


@pytest.mark.train
def test_macs_of_known_layers() -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], strides=[1, 2, 2], pads=[0, 1, 1, 0, 1, 1]),
            helper.make_node("Conv", ["a", "g"], ["b"], group=6),
            helper.make_node("ConvTranspose", ["b", "t"], ["c"], strides=[1, 2, 2]),
            helper.make_node("ReduceMean", ["c"], ["m"], axes=[2, 3, 4], keepdims=0),
            helper.make_node("Gemm", ["m", "f"], ["y"], transB=1),
        ],
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, "d", "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [
            weight("w", 6, 2, 1, 3, 3),
            weight("g", 6, 1, 3, 1, 1),
            weight("t", 6, 4, 1, 2, 2),
            weight("f", 5, 4),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    # Per image of 5 x 8 x 12: the strided convolution leaves 5 x 4 x 6, the next one 3 x 4 x 6.
    strided = (6 * 5 * 4 * 6) * (2 * 9)
    grouped = (6 * 3 * 4 * 6) * 3
    transposed = (6 * 3 * 4 * 6) * (4 * 4)
    product = 4 * 5
    counted = count_macs(model.SerializeToString(), {"x": (3, 2, 5, 8, 12)})
    assert counted == 3 * (strided + grouped + transposed + product)


def test_plan_of_a_thick_sliced_volume() -> None:
    plan = plan_for((16, 384, 384), (4.4, 0.78, 0.78))
    assert plan.patch == (16, 320, 320)
    assert plan.strides == (
        (1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)
    )  # fmt: skip
    assert plan.kernels == ((1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5)
    assert plan.tiles == 2 * 2
    assert plan.forwards == 32


def test_plan_of_an_isotropic_volume_halves_all_axes_alike() -> None:
    plan = plan_for((16, 16, 16), (1.0, 1.0, 1.0))
    assert plan == Plan((16, 16, 16), ((3, 3, 3),) * 3, ((1, 1, 1), (2, 2, 2), (2, 2, 2)), 1)


def test_patches_are_padded_to_what_can_be_halved() -> None:
    plan = plan_for((13, 300, 250), (4.0, 1.0, 1.0))
    for size, patch, *strides in zip((13, 300, 250), plan.patch, *plan.strides, strict=True):
        assert patch >= size
        assert patch % prod(strides) == 0
    assert plan.tiles == 1


@pytest.mark.train
def test_the_peer_is_as_large_as_nnunet_makes_it() -> None:
    network = build(plan_for((16, 384, 384), (4.4, 0.78, 0.78)), channels=1, classes=7)
    assert 30e6 < sum(parameter.numel() for parameter in network.parameters()) < 46e6


@pytest.mark.train
def test_the_peer_runs_on_its_patch() -> None:
    import torch

    plan = plan_for((8, 16, 16), (2.0, 1.0, 1.0))
    with torch.inference_mode():
        answer = build(plan, channels=1, classes=7)(torch.zeros((1, 1, *plan.patch)))
    assert answer.shape == (1, 7, *plan.patch)


def test_floors_are_times_of_this_machine(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}" for i in range(3)]
    for file in files:
        file.write_bytes(bytes(1000))
    assert 0 < read_seconds(files) < 1
    assert 0 < write_seconds([1000, 2000], tmp_path) < 5
    assert 1e8 < gemm_flops_per_second(1) < 1e13
    ticks = iter([1, 2, 3])
    assert best_of(lambda: next(ticks), times=3) >= 0
    assert next(ticks, None) is None
    assert silent_openvino().__name__ == "openvino"


def test_the_table_sets_stages_beside_floors() -> None:
    table = stage_table([Line("ingest", 0.09, 0.03, "reading"), Line("total", 0.1, None, "")])
    rows = [row.split() for row in table.splitlines()]
    assert rows[1] == ["ingest", "90.0", "30.0", "3.0", "reading"]
    assert rows[2] == ["total", "100.0"]
