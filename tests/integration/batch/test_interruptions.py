"""A batch goes on after kill -9 and Ctrl-C as if nothing had been. Long form: tests/soak."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from service.batch.tables import RESULTS_CSV
from tests.batch_kills import assert_like_undisturbed, final, kill_again_and_again, start
from tests.batch_made import write_studies

STUDIES = 15


def test_killed_three_times_it_leaves_what_an_undisturbed_batch_leaves(tmp_path: Path) -> None:
    write_studies(tmp_path / "root", STUDIES)
    kills = kill_again_and_again(
        tmp_path / "root", tmp_path / "killed", workers=2, studies=STUDIES, times=3, seed=8
    )
    assert kills.done[-1] < STUDIES
    assert start(tmp_path / "root", tmp_path / "whole", 1).wait() == 0
    assert_like_undisturbed(tmp_path / "killed", tmp_path / "whole", STUDIES)


def test_stopped_by_the_user_it_writes_what_it_has_and_goes_on(tmp_path: Path) -> None:
    write_studies(tmp_path / "root", 8)
    process = start(tmp_path / "root", tmp_path / "out", 1)
    while final(tmp_path / "out") < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() != 0
    done = final(tmp_path / "out")
    assert 2 <= done < 8
    assert (tmp_path / "out" / RESULTS_CSV).stat().st_size > 0
    assert start(tmp_path / "root", tmp_path / "out", 1).wait() == 0
    assert final(tmp_path / "out") == 8
