"""Makes a graph in eight bits of one in float: filters and what flows between them.

NNCF watches the graph on example inputs and writes the ranges that it saw as QuantizeLinear and
DequantizeLinear pairs, which OpenVINO joins with the filters around them. Weights keep seven bits:
where a CPU adds pairs of products in sixteen bits (AVX2 without VNNI), eight could overflow, and a
bundle must answer alike on every machine.

Source: Krishnamoorthi 2018, arXiv 1806.08342 (ranges after training); NNCF's documentation of
`AdvancedQuantizationParameters.overflow_fix`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import onnx

from models.runtime import Tensors


def in_eight_bits(graph: bytes, examples: Sequence[Tensors]) -> bytes:
    """Quantise an ONNX graph.

    Args:
        graph: In float.
        examples: Inputs as the network meets them; the ranges are those seen on these.

    Returns:
        The graph with the same inputs and outputs, in float. Equal arguments give equal bytes.
    """
    # NNCF reports its use to a server unless told that this is no person's session.
    os.environ["NNCF_CI"] = "1"
    import nncf  # noqa: PLC0415
    from nncf.quantization.advanced_parameters import (  # noqa: PLC0415
        AdvancedQuantizationParameters,
        OverflowFix,
    )

    nncf.set_log_level(logging.ERROR)
    made = nncf.quantize(
        onnx.load_from_string(graph),
        nncf.Dataset(list(examples)),
        subset_size=len(examples),
        # Filter by filter, those before it in eight bits already.
        fast_bias_correction=False,
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    onnx.checker.check_model(made, full_check=True)
    quantised: bytes = made.SerializeToString(deterministic=True)
    return quantised
