"""Runs a bundle's network: OpenVINO on CPU, PyTorch on GPU, behind one `Session`.

Serving needs neither torch nor MONAI; both are imported only where a GPU is used. OpenVINO itself
is imported on first use.

Sessions hold no shape: every size the network takes may be sent. Measured with a 1.2 M parameter
anisotropic 3-D net on two AVX2 cores: a model compiled with dynamic sizes runs as fast as one
compiled for the size (0.21 s for 16x384x384, the same to 2 %), and the first run of a new size
costs 0.1 s more either way, while a model per size costs another 0.1 s to compile and its own
memory. So there is one compiled model and no cache of sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import AcuityError, BundleError
from models.manifest import MODEL_ONNX, MODEL_SAFETENSORS, Manifest, NetworkSpec, TensorSpec
from models.registry import Bundle, open_verified

if TYPE_CHECKING:
    from torch import nn

Device = Literal["auto", "cpu", "cuda"]
Tensors = Mapping[str, NDArray[np.float32]]
Builder = Callable[[Mapping[str, Any]], "nn.Module"]


class RuntimeUnavailableError(AcuityError):
    """The device or precision asked for cannot be had on this machine."""

    code: ClassVar[str] = "runtime_unavailable"


class Session(Protocol):
    """An opened network. `run` may be called from several threads; calls take turns."""

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
        ...

    @property
    def input_names(self) -> tuple[str, ...]:
        """What `run` takes."""
        ...

    @property
    def output_names(self) -> tuple[str, ...]:
        """What `run` gives."""
        ...

    def run(self, inputs: Tensors) -> Tensors:
        """Run the network once.

        Args:
            inputs: One array per input name, batch first, in the layout of the bundle's
                `network_data_format`.

        Returns:
            One new array per output name.

        Raises:
            ValueError: The names or shapes are not those of the network.
        """
        ...


@dataclass(frozen=True, slots=True)
class CpuOptions:
    """How OpenVINO uses the CPU.

    Attributes:
        threads: Cores to use; None for all that the process may run on.
        precision: "f32", or "bf16" by explicit choice where the CPU has it: about half the time,
            and results that differ in the third digit.
        cache_dir: Folder for compiled models; None compiles anew in each process (0.1 s).
    """

    threads: int | None = None
    precision: Literal["f32", "bf16"] = "f32"
    cache_dir: Path | None = None


def open_session(
    bundle: Bundle, device: Device = "auto", options: CpuOptions | None = None
) -> Session:
    """Verify a bundle and open its network.

    Args:
        bundle: From `models.registry`.
        device: "auto" takes a GPU when there is one and torch can use it, else the CPU.
        options: For the CPU.

    Raises:
        BundleError: A file of the bundle was changed, or its network cannot be built.
        RuntimeUnavailableError: The device or the runtime for it is not there.
    """
    content = open_verified(bundle)
    cuda = device != "cpu" and _cuda_usable()
    if device == "cuda" and not cuda:
        raise RuntimeUnavailableError(
            "no CUDA device that torch can use (it needs the [train] extra and a driver)"
        )
    if cuda:
        network = load_network(bundle.network, content[MODEL_SAFETENSORS])
        return TorchSession(network, bundle.manifest, device="cuda")
    return OpenVinoSession(content[MODEL_ONNX], bundle.manifest, options)


def silent_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry and its model converter.

    Importing `openvino` imports its converter, which on import opens `openvino_telemetry`: that
    writes a client id under the home folder and sends an event to a server. An entry of None in
    `sys.modules` makes both look not installed, a case that OpenVINO provides for; the import also
    takes 0.1 s instead of 0.2 s.

    Raises:
        RuntimeUnavailableError: OpenVINO is not installed.
    """
    for name in ("openvino_telemetry", "openvino.tools.ovc"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeUnavailableError(
            "OpenVINO is not installed: no runtime for the CPU"
        ) from error
    module: ModuleType = openvino
    return module


class OpenVinoSession:
    """A network in ONNX on the CPU."""

    device: Final = "cpu"

    def __init__(self, onnx: bytes, manifest: Manifest, options: CpuOptions | None = None) -> None:
        """Compile the network.

        Args:
            onnx: The model, from memory: the bytes that were verified are the bytes that run.
            manifest: Says what goes in and comes out.
            options: Threads and precision.

        Raises:
            BundleError: OpenVINO cannot read the model, or it is not what the manifest says.
            RuntimeUnavailableError: OpenVINO or the precision is not there.
        """
        options = options or CpuOptions()
        core = silent_openvino().Core()
        if options.precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise RuntimeUnavailableError("this CPU has no bf16 arithmetic: use f32")
        try:
            compiled = core.compile_model(core.read_model(onnx), "CPU", _cpu_config(options))
        except RuntimeError as error:
            raise BundleError("the ONNX model cannot be read") from error
        self._inputs = manifest.inputs
        self.input_names, self.output_names = _names(manifest)
        ports = (compiled.inputs, compiled.outputs)
        if tuple(tuple(port.any_name for port in side) for side in ports) != _names(manifest):
            raise BundleError("the ONNX model and its manifest name different inputs or outputs")
        self._request = compiled.create_infer_request()
        self._lock = Lock()

    def run(self, inputs: Tensors) -> Tensors:
        """Run the network once; see `Session.run`."""
        arrays = _arrays(inputs, self._inputs)
        with self._lock:
            # Inputs are only read; outputs are copied, since the request reuses its memory.
            results = self._request.infer(arrays, share_inputs=True, share_outputs=False)
            return {name: np.asarray(results[name], np.float32) for name in self.output_names}


class TorchSession:
    """A PyTorch network on a GPU (or, for comparison, on the CPU)."""

    def __init__(self, network: nn.Module, manifest: Manifest, *, device: str) -> None:
        """Move the network to its device.

        Args:
            network: Takes tensors in the order of the manifest's inputs; gives one tensor, or a
                tuple in the order of its outputs.
            manifest: Says what goes in and comes out.
            device: "cuda" or "cpu".
        """
        self.device = device
        self._inputs = manifest.inputs
        self.input_names, self.output_names = _names(manifest)
        self._network = network.to(device).eval()
        self._lock = Lock()

    def run(self, inputs: Tensors) -> Tensors:
        """Run the network once; see `Session.run`."""
        import torch  # noqa: PLC0415

        arrays = _arrays(inputs, self._inputs)
        # TF32 would round products to ten bits: results must not depend on the kind of GPU.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with self._lock, torch.inference_mode(), exact:
            tensors = [torch.tensor(arrays[name], device=self.device) for name in self.input_names]
            answer = self._network(*tensors)
        outputs = (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)
        return {
            name: output.float().cpu().numpy()
            for name, output in zip(self.output_names, outputs, strict=True)
        }


def load_network(
    spec: NetworkSpec, weights: bytes, builders: Mapping[str, Builder] | None = None
) -> nn.Module:
    """Build the PyTorch network that a manifest names and fill in its weights.

    Args:
        spec: Builder and its arguments.
        weights: A safetensors file, from memory.
        builders: Where the builder is looked up; None for `BUILDERS`.

    Raises:
        BundleError: The builder is unknown, or arguments or weights do not fit it.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    known = BUILDERS if builders is None else builders
    if spec.builder not in known:
        raise BundleError(f"no network is called {spec.builder!r} here")
    try:
        network = known[spec.builder](spec.arguments)
        network.load_state_dict(load(weights))
    # load_state_dict reports missing, surplus and misshapen weights as RuntimeError.
    except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"network {spec.builder!r}: weights or arguments do not fit") from error
    return network


def _build_localiser(arguments: Mapping[str, Any]) -> nn.Module:
    from models.localiser.network import LocaliserNetwork, ServedLocaliser  # noqa: PLC0415

    return ServedLocaliser(LocaliserNetwork(**arguments))


def _build_scorer(arguments: Mapping[str, Any]) -> nn.Module:
    from models.scorer.network import ScorerNetwork  # noqa: PLC0415

    return ScorerNetwork(**arguments)


def _build_explained_scorer(arguments: Mapping[str, Any]) -> nn.Module:
    from models.scorer.evidence import ExplainedScorer  # noqa: PLC0415

    return ExplainedScorer(**arguments)


BUILDERS: Final[Mapping[str, Builder]] = {
    "localiser": _build_localiser,
    "scorer": _build_scorer,
    "explained_scorer": _build_explained_scorer,
}
"""Every network a manifest may name; nothing else that it says is ever imported or called."""


def _cpu_config(options: CpuOptions) -> dict[str, str | int]:
    config: dict[str, str | int] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": options.precision,
    }
    if options.threads is not None:
        config["INFERENCE_NUM_THREADS"] = options.threads
    if options.cache_dir is not None:
        config["CACHE_DIR"] = str(options.cache_dir)
    return config


def _cuda_usable() -> bool:
    """Whether torch sees a GPU; where there is no driver, torch (2 s) is not even imported."""
    if not any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    if any(find_spec(name) is None for name in ("torch", "monai", "safetensors")):
        return False
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


def _names(manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        tuple(tensor.name for tensor in manifest.inputs),
        tuple(tensor.name for tensor in manifest.outputs),
    )


def _arrays(inputs: Tensors, wanted: tuple[TensorSpec, ...]) -> dict[str, NDArray[np.float32]]:
    """Check names and shapes; what comes back is contiguous float32."""
    names = [tensor.name for tensor in wanted]
    if set(inputs) != set(names):
        raise ValueError(f"the network takes {', '.join(names)}")
    for tensor in wanted:
        tensor.check(inputs[tensor.name].shape)
    return {name: np.ascontiguousarray(inputs[name], np.float32) for name in names}
