"""A batch on a PostgreSQL: shared with `acuity worker` on another machine, and killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from tests.batch_kills import assert_like_undisturbed, kill_again_and_again, start
from tests.batch_made import write_studies
from tests.integration.jobs.postgres import cluster, programs

SAMPLES = Path(__file__).parents[3] / "data_samples"
CLI = (sys.executable, "-m", "service.cli")
STUDIES = 40

pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")


def most_workers(engine: Engine, batch: subprocess.Popen[str]) -> int:
    """How many workers were on the queue at the same time, until a batch has ended."""
    most = 0
    while batch.poll() is None:
        with engine.connect() as connection:
            most = max(most, connection.execute(text("SELECT count(*) FROM workers")).scalar_one())
        time.sleep(0.2)
    return most


def test_two_workers_here_and_one_elsewhere_read_a_batch(tmp_path: Path) -> None:
    work_dir = tmp_path / "shared"
    work_dir.mkdir()
    with cluster() as url, ExitStack() as stack:
        environment = {**os.environ, "ACUITY_DATABASE": url, "ACUITY_WORK_DIR": str(work_dir)}
        elsewhere = stack.enter_context(
            subprocess.Popen(
                [*CLI, "worker"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        )
        stack.callback(elsewhere.terminate)
        assert elsewhere.stdout is not None
        assert elsewhere.stdout.readline() == b"reading studies\n"
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        stack.callback(engine.dispose)
        with engine.connect() as connection:
            (other,) = connection.scalars(text("SELECT worker_id FROM workers"))
        command = [*CLI, "batch", str(SAMPLES), "--out", str(tmp_path / "out")]
        batch = stack.enter_context(
            subprocess.Popen(
                [*command, "--workers", "2", "--formats", "json"],
                env=environment, stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        assert most_workers(engine, batch) == 3
        assert batch.stdout is not None
        assert batch.stdout.readline() == "3 studies: 3 reported\n"
        assert batch.returncode == 0
        assert len(list((tmp_path / "out").glob("*/report.json"))) == 3
        with engine.connect() as connection:
            states = connection.execute(text("SELECT state FROM jobs WHERE batch IS NOT NULL"))
            assert [row.state for row in states] == ["succeeded"] * 3
            readers = connection.scalars(text("SELECT executor_id FROM dbos.workflow_status"))
            # It waited for work before the batch began, and takes one study at a time.
            assert 1 <= list(readers).count(other) < 3


def test_killed_on_a_shared_database_it_leaves_what_an_undisturbed_batch_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, killed, whole = (tmp_path / name for name in ("root", "killed", "whole"))
    write_studies(root, STUDIES)
    with cluster() as url, monkeypatch.context() as patched:
        patched.setenv("ACUITY_DATABASE", url)
        patched.setenv("ACUITY_WORK_DIR", str(tmp_path / "shared"))
        kills = kill_again_and_again(root, killed, workers=2, studies=STUDIES, times=2, seed=8)
        assert 0 < kills.done[-1] < STUDIES
        patched.undo()
        assert start(root, whole, 1).wait() == 0
        assert_like_undisturbed(killed, whole, STUDIES, url)


def test_a_database_without_a_shared_folder_is_refused(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ACUITY_WORK_DIR"}
    command = [*CLI, "batch", str(SAMPLES), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--database", "postgresql://nobody@127.0.0.1:1/none"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no_work_dir" in done.stderr
    assert not (tmp_path / "out").exists()
