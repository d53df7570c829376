"""500 studies, killed ten times. The short form: tests/integration/batch/test_interruptions.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.batch_kills import assert_like_undisturbed, kill_again_and_again, start
from tests.batch_made import write_studies

STUDIES = 500
KILLS = 10


@pytest.mark.soak
def test_killed_ten_times_it_leaves_what_an_undisturbed_batch_leaves(tmp_path: Path) -> None:
    write_studies(tmp_path / "root", STUDIES)
    kills = kill_again_and_again(
        tmp_path / "root", tmp_path / "killed", workers=2, studies=STUDIES, times=KILLS, seed=500
    )
    sys.stderr.write(f"killed with {kills.done} of {STUDIES} studies final\n")
    assert len(kills.done) == KILLS
    assert start(tmp_path / "root", tmp_path / "whole", 1).wait() == 0
    assert_like_undisturbed(tmp_path / "killed", tmp_path / "whole", STUDIES)
