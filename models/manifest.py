"""The manifest of a bundle: its metadata.json, read strictly and by hand.

The file holds the mandatory fields of MONAI's bundle specification
(docs.monai.io/en/stable/mb_specification.html, "metadata.json File"), so that MONAI's tools can
read it, and one section of our own:

    "vertebral_acuity": {
        "schema": 1,
        "name": "localiser",
        "network": {"builder": "localiser", "arguments": {...}},   which code makes the network
        "arithmetic": "int8",   of the graph ("f32" without); the weights beside it are in float
        "preprocessing": {...}, "operating_points": {...}, "calibration": {...},
        "files": {"model.onnx": "<sha256>", "model.safetensors": "<sha256>", "card.md": "<sha256>"},
        "sha256": "<seal>"
    }

The seal is the SHA-256 of metadata.json itself with the seal's 64 digits read as zeros. As the file
holds the digests of all others, the seal stands for the whole bundle: change one byte anywhere and
either a file no longer matches or the seal does not. It finds damage and mix-ups; it is no
signature, whoever can write the folder can make a new seal.

Nothing in a manifest is ever executed: MONAI's `$expression` strings are plain text here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from models.errors import BundleError

SCHEMA: Final = 1
"""Version of our own section; a reader refuses every other one."""

SECTION: Final = "vertebral_acuity"
MODEL_ONNX: Final = "model.onnx"
MODEL_SAFETENSORS: Final = "model.safetensors"
CARD: Final = "card.md"
METADATA: Final = "metadata.json"

REQUIRED_FILES: Final = (MODEL_ONNX, MODEL_SAFETENSORS, CARD)
"""Files every bundle lists; it may list more."""

MAX_METADATA_BYTES: Final = 1 << 20

_UNSEALED: Final = "0" * 64
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SIZE: Final = re.compile(r"\*|[1-9][0-9]{0,3}\*[a-z]")
_VERSION: Final = re.compile(
    r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_MONAI_TEXT: Final = (
    "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
    "copyright", "intended_use", "data_source",
)  # fmt: skip
_TENSOR_TEXT: Final = ("type", "format", "dtype")


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Which code makes the network, by a name that the runtime knows, and with what arguments."""

    builder: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of the network, batch first.

    Attributes:
        name: Of the tensor.
        channels: Size of axis 1.
        spatial: Sizes of the axes after it: a number, or a text: "*" for any, "32*h" for a
            multiple of 32. No other of MONAI's expressions is read.
    """

    name: str
    channels: int
    spatial: tuple[int | str, ...]

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a shape that the network was not made for.

        OpenVINO takes sizes that the network cannot join again after shrinking and answers with
        something; only the manifest knows.

        Raises:
            ValueError: It does not fit.
        """
        wanted: tuple[int | str, ...] = ("*", self.channels, *self.spatial)
        if len(shape) != len(wanted) or not all(map(_fits, shape, wanted)):
            sizes = ", ".join(str(size) for size in wanted)
            raise ValueError(f"{self.name} has shape {shape}, the network takes ({sizes})")


def _fits(size: int, wanted: int | str) -> bool:
    if isinstance(wanted, int):
        return size == wanted
    step = 1 if wanted == "*" else int(wanted.partition("*")[0])
    return size > 0 and size % step == 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What metadata.json says, checked.

    Attributes:
        name: Bundle name, for example "localiser".
        version: Semantic version.
        metadata: The whole document, read-only (objects are mappings, lists are tuples).
        network: How to build the network for PyTorch.
        inputs: In the order in which the network takes them.
        outputs: In the order in which the network gives them.
        files: File name to SHA-256 of every other file of the bundle.
        sha256: The seal, which stands for the whole bundle.
    """

    name: str
    version: str
    metadata: Mapping[str, Any]
    network: NetworkSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: Mapping[str, str]
    sha256: str


def is_bundle_name(text: str) -> bool:
    """Whether `text` may name a bundle: lower case, digits, "-" and "_", at most 64."""
    return _NAME.fullmatch(text) is not None


def is_file_name(text: str) -> bool:
    """Whether `text` may name a file of a bundle: no folders, no leading dot."""
    return _FILE_NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether `text` is MAJOR.MINOR.PATCH with an optional pre-release (semver.org, 2 and 9)."""
    return _VERSION.fullmatch(text) is not None


def version_key(version: str) -> tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]:
    """Sort key by semantic precedence: 0.9.0 < 0.10.0-rc.2 < 0.10.0-rc.10 < 0.10.0.

    Raises:
        BundleError: Not a semantic version.

    Source: semver.org 2.0.0, clause 11.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise BundleError(f"{version!r} is not a version like 1.0.0")
    major, minor, patch, pre_release = match.groups()
    identifiers = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in (pre_release or "").split(".")
    )
    return int(major), int(minor), int(patch), pre_release is None, identifiers


def seal(metadata: Mapping[str, Any]) -> bytes:
    """Write metadata as the bytes of metadata.json, with its seal filled in.

    Args:
        metadata: The document; `metadata["vertebral_acuity"]["sha256"]` is ignored if present.

    Returns:
        UTF-8 JSON, the same for equal documents with equal key order.
    """
    section = {**metadata[SECTION], "sha256": _UNSEALED}
    unsealed = json.dumps(
        {**metadata, SECTION: section}, indent=2, ensure_ascii=False, allow_nan=False
    )
    digest = hashlib.sha256(f"{unsealed}\n".encode()).hexdigest()
    return f"{unsealed}\n".replace(_UNSEALED, digest).encode()


def read_manifest(raw: bytes) -> Manifest:
    """Check the bytes of a metadata.json and return what they say.

    Raises:
        BundleError: Not JSON, a field missing or of the wrong kind, or the seal does not match.
    """
    document = _Node(_parse(raw), METADATA)
    section = document.node(SECTION)
    if section.value.get("schema") != SCHEMA:
        section.refuse("schema", f"must be {SCHEMA}")
    digest = section.text("sha256", _SHA256)
    if hashlib.sha256(raw.replace(digest.encode(), _UNSEALED.encode())).hexdigest() != digest:
        raise BundleError(f"{METADATA} was changed: it does not match its own SHA-256")
    for key in _MONAI_TEXT:
        document.text(key)
    document.node("required_packages_version")
    for key in ("preprocessing", "operating_points", "calibration"):
        section.node(key)
    tensors = document.node("network_data_format")
    network = section.node("network")
    metadata = _frozen(document.value)
    return Manifest(
        name=section.text("name", _NAME),
        version=document.text("version", _VERSION),
        metadata=metadata,
        network=NetworkSpec(
            builder=network.text("builder", _NAME),
            arguments=_frozen(network.node("arguments").value),
        ),
        inputs=_tensors(tensors.node("inputs")),
        outputs=_tensors(tensors.node("outputs")),
        files=_files(section.node("files")),
        sha256=digest,
    )


@dataclass(frozen=True, slots=True)
class _Node:
    """A JSON object and the path to it, so that a refusal says where."""

    value: dict[str, Any]
    where: str

    def refuse(self, key: str, why: str) -> NoReturn:
        raise BundleError(f"{self.where}: {key} {why}")

    def node(self, key: str) -> _Node:
        value = self.value.get(key)
        if not isinstance(value, dict):
            self.refuse(key, "must be an object")
        return _Node(value, f"{self.where}: {key}")

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.value.get(key)
        if not isinstance(value, str) or not value:
            self.refuse(key, "must be a text")
        if pattern is not None and pattern.fullmatch(value) is None:
            self.refuse(key, "is not of the right form")
        return value


def _tensors(tensors: _Node) -> tuple[TensorSpec, ...]:
    """Read MONAI's tensor format specifiers, in file order."""
    if not tensors.value:
        raise BundleError(f"{tensors.where} names no tensor")
    return tuple(_tensor(name, tensors.node(name)) for name in tensors.value)


def _tensor(name: str, tensor: _Node) -> TensorSpec:
    for key in _TENSOR_TEXT:
        tensor.text(key)
    channels = tensor.value.get("num_channels")
    if type(channels) is not int or channels < 1:
        tensor.refuse("num_channels", "must be a positive integer")
    if set(tensor.node("channel_def").value) != {str(i) for i in range(channels)}:
        tensor.refuse("channel_def", 'must describe every channel, "0" to the last')
    spatial = tensor.value.get("spatial_shape")
    if not isinstance(spatial, list) or not all(map(_is_size, spatial)):
        tensor.refuse("spatial_shape", 'must list numbers, "*" or multiples like "32*h"')
    if not isinstance(tensor.value.get("value_range"), list):
        tensor.refuse("value_range", "must be a list")
    if not isinstance(tensor.value.get("is_patch_data"), bool):
        tensor.refuse("is_patch_data", "must be true or false")
    return TensorSpec(name, channels, tuple(spatial))


def _is_size(value: object) -> bool:
    if isinstance(value, str):
        return _SIZE.fullmatch(value) is not None
    return type(value) is int and value > 0


def _files(files: _Node) -> Mapping[str, str]:
    for name in files.value:
        if not is_file_name(name) or name == METADATA:
            raise BundleError(f"{files.where}: a file name is not allowed")
        files.text(name, _SHA256)
    for name in REQUIRED_FILES:
        if name not in files.value:
            files.refuse(name, "is not listed")
    return MappingProxyType(dict(files.value))


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_METADATA_BYTES:
        raise BundleError(f"{METADATA} is larger than {MAX_METADATA_BYTES} bytes")
    try:
        document = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    # A deep enough nest of brackets makes the parser run out of stack.
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{METADATA} is not valid JSON") from error
    if not isinstance(document, dict):
        raise BundleError(f"{METADATA} must be an object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two values under one key would let two readers see two documents."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _frozen(value: Any) -> Any:  # noqa: ANN401 - JSON is any of six kinds
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value
