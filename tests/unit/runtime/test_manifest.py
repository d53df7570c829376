from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BundleError
from models.manifest import METADATA, SECTION, TensorSpec, read_manifest, seal, version_key
from tests.unit.runtime.bundles import content, document


def sealed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A sealed document after `change` was made to it: only the check of fields can refuse it."""
    metadata = json.loads(content()[METADATA])
    change(metadata)
    return seal(metadata)


def test_reads_what_the_file_says() -> None:
    manifest = read_manifest(content("scorer", "1.2.3-rc.1")[METADATA])
    assert (manifest.name, manifest.version) == ("scorer", "1.2.3-rc.1")
    assert manifest.inputs == (TensorSpec("image", 2, ("*", "4*h", "4*w")),)
    assert manifest.network.arguments["widths"] == (4, 8)
    assert set(manifest.files) == {"model.onnx", "model.safetensors", "card.md"}
    with pytest.raises(TypeError):
        manifest.metadata["version"] = "9.9.9"  # type: ignore[index]


def test_seal_is_found_again_and_is_stable() -> None:
    raw = content()[METADATA]
    assert seal(json.loads(raw)) == raw
    assert read_manifest(raw).sha256 == json.loads(raw)[SECTION]["sha256"]


@settings(deadline=None)
@given(st.data())
def test_any_changed_byte_is_refused(data: st.DataObject) -> None:
    raw = bytearray(content()[METADATA])
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError):
        read_manifest(bytes(raw))


CHANGES = {
    "schema": lambda m: m[SECTION].update(schema=2),
    "name": lambda m: m[SECTION].update(name="../x"),
    "version": lambda m: m.update(version="1.0"),
    "task": lambda m: m.pop("task"),
    "authors": lambda m: m.update(authors=""),
    "calibration": lambda m: m[SECTION].pop("calibration"),
    "builder": lambda m: m[SECTION]["network"].update(builder="os.system"),
    "arguments": lambda m: m[SECTION]["network"].update(arguments=[]),
    "card.md is not listed": lambda m: m[SECTION]["files"].pop("card.md"),
    "file name": lambda m: m[SECTION]["files"].update({"../card.md": "0" * 64}),
    "model.onnx": lambda m: m[SECTION]["files"].update({"model.onnx": "abc"}),
    "num_channels": lambda m: m["network_data_format"]["inputs"]["image"].update(num_channels=True),
    "channel_def": lambda m: m["network_data_format"]["inputs"]["image"].update(num_channels=3),
    "spatial_shape": lambda m: m["network_data_format"]["inputs"]["image"].update(
        spatial_shape=["__import__('os')"]
    ),
    "no tensor": lambda m: m["network_data_format"].update(outputs={}),
}


@pytest.mark.parametrize("said", CHANGES)
def test_a_wrong_field_is_named(said: str) -> None:
    with pytest.raises(BundleError, match=said):
        read_manifest(sealed(CHANGES[said]))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b"[" * 100_000,
        b" " * (1 << 20) + b"{}",
    ],
    ids=["empty", "list", "not utf-8", "key twice", "nan", "deep", "large"],
)
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleError):
        read_manifest(raw)


def test_an_unsealed_document_is_refused() -> None:
    metadata = document()
    metadata[SECTION]["files"] = json.loads(content()[METADATA])[SECTION]["files"]
    with pytest.raises(BundleError, match="sha256"):
        read_manifest(json.dumps(metadata).encode())


def test_versions_are_ordered_by_meaning() -> None:
    # semver.org clause 11, its own example, between two releases.
    ordered = [
        "0.9.0", "0.10.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta",
        "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "2.0.0",
    ]  # fmt: skip
    shuffled = sorted(ordered)
    assert shuffled != ordered
    assert sorted(shuffled, key=version_key) == ordered
    with pytest.raises(BundleError):
        version_key("01.0.0")


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((1, 2, 5, 8, 4), True),
        ((3, 2, 1, 4, 12), True),
        ((1, 3, 5, 8, 4), False),
        ((1, 2, 5, 6, 4), False),
        ((1, 2, 0, 8, 4), False),
        ((2, 5, 8, 4), False),
    ],
)
def test_a_tensor_knows_its_shapes(shape: tuple[int, ...], *, fits: bool) -> None:
    tensor = TensorSpec("image", 2, ("*", "4*h", "4*w"))
    if fits:
        tensor.check(shape)
    else:
        with pytest.raises(ValueError, match="image has shape"):
            tensor.check(shape)
