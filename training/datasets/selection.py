"""Rows of a manifest that are used for something, and the digest that stands for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from training.datasets.errors import DatasetError
from training.datasets.manifest import Manifest
from training.datasets.rows import Split


class NothingChosenError(DatasetError):
    """No row of the manifest is in the splits asked for."""

    code: ClassVar[str] = "nothing_chosen"


def chosen(manifest: Manifest, splits: Sequence[str]) -> Manifest:
    """Rows of some splits, all without any named.

    Raises:
        NothingChosenError: There are none.
    """
    wanted = {Split(name) for name in splits} or set(Split)
    rows = tuple(row for row in manifest.rows if row.split in wanted)
    if not rows:
        raise NothingChosenError(f"no row of the manifest is in {', '.join(sorted(wanted))}")
    return replace(manifest, rows=rows)


def data_digest(manifest: Manifest) -> str:
    """SHA-256 of what labels and pixels a manifest's rows stand for, wherever it lies."""
    told = sorted(row.model_dump_json(exclude={"study_path", "mask_path"}) for row in manifest.rows)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
