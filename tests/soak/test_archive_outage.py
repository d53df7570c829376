"""The archive is away for two minutes while results wait. Run by `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.pacs.outage import BEFORE, results_after

pytestmark = pytest.mark.soak

AWAY_S = 120.0


# pynetdicom leaves a refused connection's socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_results_arrive_once_after_two_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = results_after(tmp_path, AWAY_S)
    with capsys.disabled():
        print("\ntries until delivered:", dict(tries))  # noqa: T201
    for delivery, count in tries.items():
        assert count == 1 if delivery.endswith(BEFORE) else count > 2
