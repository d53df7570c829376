"""How much arithmetic a network needs for given input sizes, counted from its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Final

from models.runtime import silent_openvino

Shape = tuple[int, ...]


def count_macs(onnx: bytes, shapes: Mapping[str, Shape]) -> int:
    """Count multiply-accumulates of convolutions and matrix products; all else is left out.

    Args:
        onnx: The model.
        shapes: Input name to shape.

    Returns:
        Multiply-accumulates; a floating-point operation count is twice that.
    """
    model = silent_openvino().Core().read_model(onnx)
    model.reshape({name: list(shape) for name, shape in shapes.items()})
    macs = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in _COUNTS:
            shapes_in = [tuple(port.get_shape()) for port in node.inputs()]
            macs += _COUNTS[kind](shapes_in[0], shapes_in[1], tuple(node.output(0).get_shape()))
    return macs


def _convolution(_image: Shape, weights: Shape, output: Shape) -> int:
    """Every output value sums over the weights (out, in, *kernel) of its own channel."""
    return prod(output) * prod(weights[1:])


def _group_convolution(_image: Shape, weights: Shape, output: Shape) -> int:
    """Weights are (group, out, in, *kernel), each group by itself."""
    return prod(output) * prod(weights[2:])


def _transposed_convolution(image: Shape, weights: Shape, _output: Shape) -> int:
    """Every input value is spread over the weights (in, out, *kernel) of its own channel."""
    return prod(image) * prod(weights[1:])


def _group_transposed_convolution(image: Shape, weights: Shape, _output: Shape) -> int:
    return prod(image) * prod(weights[2:])


def _matrix_product(left: Shape, _right: Shape, output: Shape) -> int:
    """(..., rows, inner) by (..., inner, columns), either of them possibly transposed.

    Whatever the layout, the left matrix holds rows x inner values.
    """
    return prod(output) * prod(left[-2:]) // output[-2]


_COUNTS: Final[Mapping[str, Callable[[Shape, Shape, Shape], int]]] = {
    "Convolution": _convolution,
    "GroupConvolution": _group_convolution,
    "ConvolutionBackpropData": _transposed_convolution,
    "GroupConvolutionBackpropData": _group_transposed_convolution,
    "MatMul": _matrix_product,
}
