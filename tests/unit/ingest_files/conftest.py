from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service.ingest.inventory import take_inventory
from service.ingest.records import Inventory
from service.ingest.safety import Limits

Take = Callable[..., Inventory]


@pytest.fixture
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    """Take the inventory of a path, or of bytes written to a file first."""

    def run(source: Path | bytes, limits: Limits | None = None) -> Inventory:
        if isinstance(source, bytes):
            path = tmp_path_factory.mktemp("given") / "file"
            path.write_bytes(source)
            source = path
        return take_inventory(source, limits or Limits(), tmp_path_factory.mktemp("workspace"))

    return run


@pytest.fixture
def code_of(take: Take) -> Callable[..., str]:
    """The code with which a single file is refused."""

    def run(source: Path | bytes, limits: Limits | None = None) -> str:
        inventory = take(source, limits)
        assert not inventory.records
        assert len(inventory.refused) == 1
        return inventory.refused[0].refusal.code

    return run
