"""A tiny bundle made by hand, so that tests of the registry need no torch."""

from __future__ import annotations

import hashlib
from typing import Any

from models.manifest import METADATA, SECTION, seal

TENSOR = {
    "type": "image",
    "format": "magnitude",
    "dtype": "float32",
    "num_channels": 2,
    "spatial_shape": ["*", "4*h", "4*w"],
    "value_range": [],
    "is_patch_data": False,
    "channel_def": {"0": "image", "1": "local contrast"},
}


def document(name: str = "localiser", version: str = "1.0.0") -> dict[str, Any]:
    """A metadata document that is right but for its files and seal."""
    texts = (
        "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
        "copyright", "intended_use", "data_source",
    )  # fmt: skip
    return {
        "version": version,
        "changelog": {version: "first"},
        **dict.fromkeys(texts, "text"),
        "required_packages_version": {},
        "network_data_format": {
            "inputs": {"image": dict(TENSOR)},
            "outputs": {"map": dict(TENSOR)},
        },
        SECTION: {
            "schema": 1,
            "name": name,
            "network": {"builder": "tiny", "arguments": {"widths": [4, 8]}},
            "preprocessing": {"pixel_mm": 1.0},
            "operating_points": {},
            "calibration": {},
        },
    }


def content(
    name: str = "localiser", version: str = "1.0.0", weights: bytes = b"w"
) -> dict[str, bytes]:
    """The files of a bundle whose network is no network."""
    files = {
        "model.onnx": b"o" + weights,
        "model.safetensors": b"s" + weights,
        "card.md": b"# card\n",
    }
    metadata = document(name, version)
    metadata[SECTION]["files"] = {k: hashlib.sha256(v).hexdigest() for k, v in files.items()}
    return {**files, METADATA: seal(metadata)}
