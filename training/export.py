"""Turns a trained network into a bundle: ONNX, safetensors, metadata and card, checked as a whole.

The ONNX graph is made from a network that was built anew from the manifest's builder and arguments
and the safetensors just written: what a bundle says of itself is how it is made. The graph is then
run in OpenVINO against that network on several sizes, and nothing is installed unless they agree.

`torch.onnx.export(dynamo=True)` is used. Compared for both first networks (torch 2.13): its graph
holds only the layers (the TorchScript exporter leaves an Identity per weight and is deprecated),
speed in OpenVINO is the same; it takes 6-14 s instead of 0.3 s. It writes source paths into the
graph, which are taken out: equal weights give equal bytes on any machine with the same packages.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from models.errors import BundleError
from models.manifest import (
    CARD,
    METADATA,
    MODEL_ONNX,
    MODEL_SAFETENSORS,
    SCHEMA,
    SECTION,
    Manifest,
    NetworkSpec,
    TensorSpec,
    read_manifest,
    seal,
)
from models.registry import Bundle, install
from models.runtime import Builder, OpenVinoSession, Tensors, TorchSession, load_network
from training.quantise import in_eight_bits

OPSET: Final = 18
"""ONNX operator set; what OpenVINO 2025.4 and later read without conversion."""

PARITY_LIMIT: Final = 1e-3
"""Largest difference between PyTorch and OpenVINO, as a part of the output's largest value."""

EIGHT_BIT_LIMIT: Final = 2e-2
"""Largest mean difference between PyTorch and a graph in eight bits, on the inputs whose ranges it
has, as a part of the output's largest value. What that does to answers the task's own tests say."""

AXIS_NAMES: Final = ("batch", "channel", "slice", "row", "column")

# Steps of a "*" or "32*h" axis that parity is tried on; the first is the one that is traced, and
# no traced size may be 1, which the exporter would take for a constant.
_TRIED_STEPS: Final = (3, 2, 5)


@dataclass(frozen=True, slots=True)
class Figure:
    """A result on the card: what, its value, the set it was measured on, and how to repeat it."""

    name: str
    value: str
    measured_on: str
    command: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a person must know before using the weights."""

    intended_use: str
    training_data: str
    figures: tuple[Figure, ...]
    limitations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BundleDraft:
    """Everything about a bundle but its weights.

    Attributes:
        name: Bundle name.
        version: Semantic version; a version is never overwritten.
        network: Builder, one of those the runtime knows, and its JSON arguments.
        inputs: Name to MONAI tensor format specifier (see `tensor_format`).
        outputs: Name to MONAI tensor format specifier, in the network's order.
        task: One line.
        description: A few sentences.
        card: For people; its intended use and training data go into the metadata too.
        changelog: Version to what it changed.
        preprocessing: How images are brought to the input; read by the stage that uses the network.
        operating_points: Thresholds with the set they were chosen on.
        calibration: How scores become probabilities.
        trained: By which run, for programs; empty where nobody asks.
    """

    name: str
    version: str
    network: NetworkSpec
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    task: str
    description: str
    card: ModelCard
    changelog: Mapping[str, str]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    operating_points: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far OpenVINO was from PyTorch: the largest relative difference over outputs and sizes.

    Attributes:
        largest: Of the graph in float.
        output: Where it was.
        runs: Inputs compared.
        eight_bit: Mean difference of the graph in eight bits; None where the bundle's is in float.
    """

    largest: float
    output: str
    runs: int
    eight_bit: float | None = None

    def __str__(self) -> str:
        told = f"OpenVINO within {self.largest:.1e} of PyTorch"
        if self.eight_bit is None:
            return told
        return f"{told}, in eight bits {self.eight_bit:.1e} from it in the mean"


def tensor_format(
    channels: Sequence[str],
    spatial_shape: Sequence[int | str],
    *,
    kind: str = "image",
    data_format: str = "magnitude",
    value_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """MONAI's tensor format specifier for a float32 tensor.

    Args:
        channels: Meaning of each channel, in order.
        spatial_shape: Sizes after the channel axis: a number, "*", or a multiple like "32*h"; empty
            for a vector.
        kind: MONAI's `type`: "image", "tuples" or "probabilities".
        data_format: MONAI's `format`: "magnitude", "labels", "classes", ...
        value_range: Smallest and largest value, where there is one.
    """
    return {
        "type": kind,
        "format": data_format,
        "modality": "MR",
        "num_channels": len(channels),
        "spatial_shape": list(spatial_shape),
        "dtype": "float32",
        "value_range": list(value_range or ()),
        "is_patch_data": False,
        "channel_def": {str(i): meaning for i, meaning in enumerate(channels)},
    }


def export_bundle(
    network: nn.Module,
    draft: BundleDraft,
    store: Path,
    *,
    examples: Sequence[Tensors] = (),
    eight_bit: Sequence[Tensors] = (),
    builders: Mapping[str, Builder] | None = None,
) -> tuple[Bundle, Parity]:
    """Write a bundle of a trained network into a store, whole or not at all.

    Args:
        network: Trained; only its state is read.
        draft: All else.
        store: Folder of bundles, for example `models.registry.PACKAGED`.
        examples: Inputs to compare the runtimes on, beside random ones: needed where random values
            make no sense to the network.
        eight_bit: Inputs as the network meets them, whose ranges the graph's eight bits span; none
            for a graph in float.
        builders: Where `draft.network.builder` is looked up; None for the runtime's own table.

    Returns:
        The bundle as installed, and how well the runtimes agree.

    Raises:
        BundleError: The manifest is not valid, the weights do not fit the builder, the runtimes
            differ by more than `PARITY_LIMIT`, eight bits by more than `EIGHT_BIT_LIMIT`, or the
            version is taken by other weights.
    """
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    weights = save(state)
    rebuilt = load_network(draft.network, weights, builders).eval()
    content = {MODEL_SAFETENSORS: weights, CARD: render_card(draft).encode()}
    # The graph can only be made once the tensors' names and sizes have passed the manifest's check.
    outline = read_manifest(_metadata(draft, {**content, MODEL_ONNX: b""}))
    trials = [*plain_inputs(outline), *examples]
    content[MODEL_ONNX] = to_onnx(rebuilt, outline, trials[0])
    parity = compare_runtimes(rebuilt, content[MODEL_ONNX], outline, trials)
    if not parity.largest <= PARITY_LIMIT:
        raise BundleError(
            f"OpenVINO differs from PyTorch by {parity.largest:.2e} in {parity.output!r}; "
            f"the limit is {PARITY_LIMIT:.0e}"
        )
    if eight_bit:
        content[MODEL_ONNX] = in_eight_bits(content[MODEL_ONNX], eight_bit)
        away = mean_difference(rebuilt, content[MODEL_ONNX], outline, eight_bit)
        if not away <= EIGHT_BIT_LIMIT:
            raise BundleError(
                f"eight bits differ from PyTorch by {away:.2e}; the limit is {EIGHT_BIT_LIMIT:.0e}"
            )
        parity = replace(parity, eight_bit=away)
    content[METADATA] = _metadata(draft, content, "int8" if eight_bit else "f32")
    return install(content, store), parity


def to_onnx(network: nn.Module, manifest: Manifest, example: Tensors) -> bytes:
    """Make one self-contained ONNX file with the free axes that the manifest states.

    Raises:
        BundleError: The exporter tied an axis to the example's size.
    """
    arguments = tuple(torch.tensor(example[tensor.name]) for tensor in manifest.inputs)
    dynamic = tuple(
        dict.fromkeys(_free_axes(tensor), torch.export.Dim.DYNAMIC) for tensor in manifest.inputs
    )
    with warnings.catch_warnings():
        # torch 2.13 warns of its own use of a name it deprecated (torch.utils._pytree.LeafSpec).
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec", category=FutureWarning)
        program = torch.onnx.export(
            network,
            arguments,
            dynamo=True,
            input_names=[tensor.name for tensor in manifest.inputs],
            output_names=[tensor.name for tensor in manifest.outputs],
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise BundleError("the exporter made no graph")
    model = program.model_proto
    _strip(model)
    _name_axes(model, manifest)
    onnx.checker.check_model(model, full_check=True)
    # Protocol buffers promise no order for equal messages unless asked.
    raw: bytes = model.SerializeToString(deterministic=True)
    return raw


def compare_runtimes(
    network: nn.Module, onnx_bytes: bytes, manifest: Manifest, trials: Sequence[Tensors]
) -> Parity:
    """Run the same inputs through PyTorch and OpenVINO, both in float32 on the CPU.

    Returns:
        The largest difference, each as a part of the largest value PyTorch gives for that output
        (NaN if either gives NaN).
    """
    ours = OpenVinoSession(onnx_bytes, manifest)
    reference = TorchSession(network, manifest, device="cpu")
    differences = []
    for inputs in trials:
        expected, got = reference.run(inputs), ours.run(inputs)
        differences += [(_difference(expected[name], got[name]), name) for name in expected]
    # NaN compares as no larger than anything: put it first by hand.
    largest, output = max(differences, key=lambda pair: (bool(np.isnan(pair[0])), pair[0]))
    return Parity(largest=largest, output=output, runs=len(trials))


def mean_difference(
    network: nn.Module, onnx_bytes: bytes, manifest: Manifest, trials: Sequence[Tensors]
) -> float:
    """Mean difference of OpenVINO from PyTorch as a part of the largest value, of the worst output.

    Args:
        network: In float.
        onnx_bytes: The graph.
        manifest: Says what goes in and comes out.
        trials: Inputs as the network meets them.
    """
    ours = OpenVinoSession(onnx_bytes, manifest)
    reference = TorchSession(network, manifest, device="cpu")
    worst = 0.0
    for inputs in trials:
        expected, got = reference.run(inputs), ours.run(inputs)
        for name, values in expected.items():
            scale = max(float(np.abs(values).max()), 1e-30)
            worst = max(worst, float(np.abs(values - got[name]).mean()) / scale)
    return worst


def render_card(draft: BundleDraft) -> str:
    """Write the model card, Markdown."""
    card = draft.card
    lines = [
        f"# {draft.name} {draft.version}",
        draft.description,
        f"## Intended use\n\n{card.intended_use}",
        f"## Training data\n\n{card.training_data}",
        "## Figures",
        _figure_table(card.figures),
        "## Limitations",
        "\n".join(f"- {limitation}" for limitation in card.limitations),
    ]
    return "\n\n".join(lines) + "\n"


def _figure_table(figures: Sequence[Figure]) -> str:
    if not figures:
        return "None were measured."
    rows = [
        f"| {figure.name} | {figure.value} | {figure.measured_on} | `{figure.command}` |"
        for figure in figures
    ]
    return "\n".join(["| figure | value | measured on | command |", "|---|---|---|---|", *rows])


def _metadata(draft: BundleDraft, content: Mapping[str, bytes], arithmetic: str = "f32") -> bytes:
    files = {name: hashlib.sha256(content[name]).hexdigest() for name in sorted(content)}
    return seal(
        {
            "version": draft.version,
            "changelog": dict(draft.changelog),
            "monai_version": installed_version("monai"),
            "pytorch_version": installed_version("torch").partition("+")[0],
            "numpy_version": installed_version("numpy"),
            "required_packages_version": {"openvino": installed_version("openvino")},
            "task": draft.task,
            "description": draft.description,
            "authors": "The vertebral-acuity authors",
            "copyright": "The vertebral-acuity authors, Apache-2.0",
            "intended_use": draft.card.intended_use,
            "data_source": draft.card.training_data,
            "network_data_format": {"inputs": dict(draft.inputs), "outputs": dict(draft.outputs)},
            SECTION: {
                "schema": SCHEMA,
                "name": draft.name,
                "network": {
                    "builder": draft.network.builder,
                    "arguments": dict(draft.network.arguments),
                },
                "arithmetic": arithmetic,
                "preprocessing": dict(draft.preprocessing),
                "operating_points": dict(draft.operating_points),
                "calibration": dict(draft.calibration),
                **({"trained": dict(draft.trained)} if draft.trained else {}),
                "files": files,
            },
        }
    )


def _free_axes(tensor: TensorSpec) -> tuple[int, ...]:
    """Axes of any size: the batch, and the spatial ones that the manifest does not fix."""
    return (0, *(axis for axis, size in enumerate(tensor.spatial, 2) if isinstance(size, str)))


def plain_inputs(manifest: Manifest) -> list[dict[str, NDArray[np.float32]]]:
    """Normal values at three sizes, none of which has an axis of 1."""
    rng = np.random.default_rng(0)
    return [
        {
            tensor.name: rng.standard_normal(_shape(tensor, steps), np.float32)
            for tensor in manifest.inputs
        }
        for steps in _TRIED_STEPS
    ]


def _shape(tensor: TensorSpec, steps: int) -> tuple[int, ...]:
    """A shape the tensor takes; neighbouring axes differ, so that swapped axes cannot agree."""
    spatial = [
        size if isinstance(size, int) else (steps + axis) * int(size.partition("*")[0] or 1)
        for axis, size in enumerate(tensor.spatial)
    ]
    return (steps, tensor.channels, *spatial)


def _difference(expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    if expected.shape != got.shape:
        return float("inf")
    scale = max(float(np.abs(expected).max()), 1e-30)
    return float(np.abs(expected - got).max()) / scale


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter writes for debugging: source paths, names of modules, shapes."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")


def _name_axes(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Name the free axes; those of the outputs follow from the inputs and stay unnamed."""
    for value, tensor in zip(model.graph.input, manifest.inputs, strict=True):
        sizes = value.type.tensor_type.shape.dim
        for axis in range(len(sizes)):
            if axis in _free_axes(tensor):
                if sizes[axis].WhichOneof("value") == "dim_value":
                    raise BundleError(f"{AXIS_NAMES[axis]} of {tensor.name!r} has become constant")
                sizes[axis].dim_param = AXIS_NAMES[axis]
    for value in model.graph.output:
        for size in value.type.tensor_type.shape.dim:
            if size.WhichOneof("value") == "dim_param":
                size.ClearField("dim_param")
