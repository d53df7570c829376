from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from service.ingest.safety import Limits
from service.pacs.receiving import Admission, ReceiveFolder
from tests import builders
from tests.unit.pacs.stand_ins import RememberingJobs

Receive = Callable[..., list[Admission]]


@pytest.fixture
def folder(tmp_path: Path) -> ReceiveFolder:
    made = ReceiveFolder(tmp_path / "received", Limits())
    made.open()
    return made


@pytest.fixture
def jobs(tmp_path: Path) -> RememberingJobs:
    return RememberingJobs(tmp_path)


@pytest.fixture
def receive(folder: ReceiveFolder) -> Receive:
    """Bring instances into the receive folder, as every way from the network does."""

    def admit(*datasets: FileDataset) -> list[Admission]:
        admissions = []
        for dataset in datasets:
            part = folder.new_part()
            part.write_bytes(builders.to_bytes(dataset))
            admissions.append(folder.admit(part))
        return admissions

    return admit
