"""Checkpoints: written whole or not at all, read only when they are whole and of the same run."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from training.fit.errors import CheckpointError, OtherRunError

SCHEMA: Final = 1
_MAGIC: Final = b"ACUITYCK"
_HEAD: Final = len(_MAGIC) + 32


def save_checkpoint(path: Path, stored: Mapping[str, Any], mark: Mapping[str, str]) -> None:
    """Write a checkpoint behind its own SHA-256.

    Args:
        path: Replaced when the new one is safely on disk.
        stored: State of the run.
        mark: Digests that say which run it is.
    """
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, "mark": dict(mark), **stored}, buffer)
    data = buffer.getvalue()
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(_MAGIC + hashlib.sha256(data).digest() + data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load_checkpoint(path: Path, mark: Mapping[str, str], device: torch.device) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        CheckpointError: It is cut short, changed, no checkpoint, or of a newer version.
        OtherRunError: It belongs to another recipe or other data.
    """
    raw = path.read_bytes()
    if not raw.startswith(_MAGIC):
        raise CheckpointError("the file is no checkpoint of a training run")
    if hashlib.sha256(raw[_HEAD:]).digest() != raw[len(_MAGIC) : _HEAD]:
        raise CheckpointError("the checkpoint is cut short or was changed (SHA-256 differs)")
    try:
        stored: dict[str, Any] = torch.load(
            io.BytesIO(raw[_HEAD:]), map_location=device, weights_only=True
        )
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError("the checkpoint cannot be read") from error
    if stored["schema"] != SCHEMA:
        raise CheckpointError(f"the checkpoint is of version {stored['schema']}, not {SCHEMA}")
    for name, digest in mark.items():
        if stored["mark"].get(name) != digest:
            what = name.removesuffix("_sha256")
            raise OtherRunError(
                f"the run folder was begun with another {what}; give another --out, or the same "
                f"{what} to go on"
            )
    return stored
