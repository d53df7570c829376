"""A small MONAI network there and back: exported, verified, run in both runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.errors import BundleError
from models.manifest import NetworkSpec
from models.registry import Bundle, open_verified, resolve, verify
from models.runtime import (
    CpuOptions,
    OpenVinoSession,
    RuntimeUnavailableError,
    TorchSession,
    load_network,
    open_session,
)

if TYPE_CHECKING:
    from torch import nn

    from training.export import BundleDraft

pytestmark = pytest.mark.train
SHAPE = ("*", "4*h", "4*w")


def tiny(arguments: Mapping[str, Any]) -> nn.Module:
    """Two inputs, two outputs, strides that demand multiples of 4."""
    import torch
    from monai.networks.blocks import Convolution
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            norm = ("INSTANCE", {"affine": True})
            self.down = Convolution(
                3, 2, width, kernel_size=(1, 3, 3), strides=(1, 4, 4), norm=norm
            )
            self.across = Convolution(3, width, width, kernel_size=(3, 1, 1), norm=norm)
            self.up = nn.ConvTranspose3d(width, 3, (1, 4, 4), (1, 4, 4))
            self.head = nn.Linear(width + 2, 5)

        def forward(
            self, image: torch.Tensor, flags: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.across(self.down(image))
            pooled = torch.cat((features.mean(dim=(2, 3, 4)), flags), dim=1)
            return torch.softmax(self.up(features), dim=1), self.head(pooled)

    return Tiny(**arguments)


BUILDERS = {"tiny": tiny}


def draft() -> BundleDraft:
    from training.export import BundleDraft, Figure, ModelCard, tensor_format

    fields: dict[str, Any] = {
        "name": "tiny",
        "version": "0.1.0",
        "network": NetworkSpec("tiny", {"width": 6}),
        "inputs": {
            "image": tensor_format(["image", "local contrast"], SHAPE),
            "flags": tensor_format(["stir", "t1"], [], kind="tuples", value_range=(0, 1)),
        },
        "outputs": {
            "structure": tensor_format(["none", "body", "disc"], SHAPE, data_format="labels"),
            "heads": tensor_format([f"head {i}" for i in range(5)], [], kind="tuples"),
        },
        "task": "nothing",
        "description": "A network for tests.",
        "card": ModelCard(
            "tests", "none", (Figure("Dice", "0.5", "nothing", "make test"),), ("knows nothing",)
        ),
        "changelog": {"0.1.0": "first"},
        "preprocessing": {"pixel_mm": 1.5},
    }
    return BundleDraft(**fields)


def seeded(width: int = 6) -> nn.Module:
    import torch

    torch.manual_seed(3)
    return tiny({"width": width})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from training.export import PARITY_LIMIT, export_bundle

    store = tmp_path_factory.mktemp("store")
    made, parity = export_bundle(seeded(), draft(), store, builders=BUILDERS)
    assert parity.largest <= PARITY_LIMIT
    assert parity.runs == 3
    assert [folder.name for folder in (store / "tiny").iterdir()] == ["0.1.0"]
    return made


def inputs(batch: int, *sizes: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    return {
        "image": rng.standard_normal((batch, 2, *sizes)).astype(np.float32),
        "flags": rng.random((batch, 2)).astype(np.float32),
    }


@pytest.mark.parametrize("shape", [(1, 1, 4, 8), (1, 7, 20, 12), (3, 5, 8, 32)])
def test_both_runtimes_give_the_trained_network(bundle: Bundle, shape: tuple[int, ...]) -> None:
    import torch

    content = open_verified(bundle)
    served = OpenVinoSession(content["model.onnx"], bundle.manifest)
    rebuilt = load_network(bundle.network, content["model.safetensors"], BUILDERS)
    on_torch = TorchSession(rebuilt, bundle.manifest, device="cpu")
    given = inputs(*shape)
    with torch.inference_mode():
        expected = seeded().eval()(torch.tensor(given["image"]), torch.tensor(given["flags"]))
    for session in (served, on_torch):
        got = session.run(given)
        for name, want in zip(("structure", "heads"), expected, strict=True):
            assert got[name].dtype == np.float32
            np.testing.assert_allclose(got[name], want.numpy(), atol=1e-4)


def test_open_session_takes_the_cpu_and_says_so(bundle: Bundle) -> None:
    session = open_session(resolve("tiny", bundle_dir=bundle.path.parents[1]), "cpu")
    assert session.device == "cpu"
    assert session.input_names == ("image", "flags")
    assert session.output_names == ("structure", "heads")
    threaded = open_session(bundle, "cpu", CpuOptions(threads=1, cache_dir=bundle.path.parents[2]))
    given = inputs(2, 3, 8, 8)
    np.testing.assert_allclose(threaded.run(given)["heads"], session.run(given)["heads"], atol=1e-5)


def test_results_outlive_the_next_run(bundle: Bundle) -> None:
    session = open_session(bundle, "cpu")
    first = session.run(inputs(1, 2, 8, 8))
    kept = {name: array.copy() for name, array in first.items()}
    session.run(inputs(2, 2, 8, 8))
    session.run({name: array + 1 for name, array in inputs(1, 2, 8, 8).items()})
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)


def test_strided_and_read_only_inputs_are_taken(bundle: Bundle) -> None:
    session = open_session(bundle, "cpu")
    given = inputs(1, 4, 8, 12)
    turned = given["image"].transpose(4, 3, 2, 1, 0).copy().transpose(4, 3, 2, 1, 0)
    turned.setflags(write=False)
    expected = session.run(given)["structure"]
    got = session.run({**given, "image": turned.astype(np.float64)})["structure"]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("device", ["openvino", "torch"])
def test_wrong_inputs_are_refused(bundle: Bundle, device: str) -> None:
    content = open_verified(bundle)
    session = (
        OpenVinoSession(content["model.onnx"], bundle.manifest)
        if device == "openvino"
        else TorchSession(
            load_network(bundle.network, content["model.safetensors"], BUILDERS),
            bundle.manifest,
            device="cpu",
        )
    )
    good = inputs(1, 2, 8, 8)
    for wrong in (
        {"image": good["image"]},
        {**good, "extra": good["flags"]},
        {**good, "image": good["image"][:, :1]},
        {**good, "image": good["image"][..., :6]},
        {**good, "image": good["image"][0]},
    ):
        with pytest.raises(ValueError, match="the network takes"):
            session.run(wrong)


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "card.md", "metadata.json"])
def test_a_flipped_byte_opens_no_session(bundle: Bundle, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "tiny" / "0.1.0"
    folder.mkdir(parents=True)
    for file in bundle.path.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)
    with pytest.raises(BundleError):
        open_session(resolve("tiny", bundle_dir=tmp_path), "cpu")


def test_the_same_weights_give_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    from training.export import export_bundle

    again, _ = export_bundle(seeded(), draft(), tmp_path, builders=BUILDERS)
    assert again.sha256 == bundle.sha256
    assert open_verified(again) == open_verified(bundle)


def test_files_hold_no_path_of_this_machine(bundle: Bundle) -> None:
    root = str(Path(__file__).resolve().parents[3]).encode()
    for data in open_verified(bundle).values():
        assert root not in data
        assert b"site-packages" not in data


def test_runtimes_that_differ_install_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import export

    def other_weights(_: object, manifest: object, example: object) -> bytes:
        import torch

        torch.manual_seed(4)
        return to_onnx(tiny({"width": 6}).eval(), manifest, example)  # type: ignore[arg-type]

    to_onnx = export.to_onnx
    monkeypatch.setattr(export, "to_onnx", other_weights)
    with pytest.raises(BundleError, match="OpenVINO differs"):
        export.export_bundle(seeded(), draft(), tmp_path, builders=BUILDERS)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_fit_the_builder_are_refused(tmp_path: Path) -> None:
    from training.export import export_bundle

    with pytest.raises(BundleError, match="do not fit"):
        export_bundle(seeded(width=8), draft(), tmp_path, builders=BUILDERS)
    with pytest.raises(BundleError, match="no network is called"):
        export_bundle(seeded(), draft(), tmp_path)


def test_the_card_says_how_to_repeat_its_figures(bundle: Bundle) -> None:
    card = open_verified(bundle)["card.md"].decode()
    assert "| Dice | 0.5 | nothing | `make test` |" in card
    assert "- knows nothing" in card
    verify(bundle)


def test_no_gpu_is_a_clear_answer(bundle: Bundle) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RuntimeUnavailableError, match="CUDA"):
        open_session(bundle, "cuda")
    assert open_session(bundle, "auto").device == "cpu"


def test_bf16_only_where_the_cpu_has_it(bundle: Bundle) -> None:
    from models.runtime import silent_openvino

    core = silent_openvino().Core()
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        session = open_session(bundle, "cpu", CpuOptions(precision="bf16"))
        exact = open_session(bundle, "cpu").run(inputs(1, 4, 8, 8))["structure"]
        half = session.run(inputs(1, 4, 8, 8))["structure"]
        np.testing.assert_allclose(half, exact, atol=0.05)
    else:
        with pytest.raises(RuntimeUnavailableError, match="bf16"):
            open_session(bundle, "cpu", CpuOptions(precision="bf16"))


def test_a_missing_openvino_is_said(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailableError, match="not installed"):
        open_session(bundle, "cpu")
