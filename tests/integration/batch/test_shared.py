"""A batch on a PostgreSQL that it shares with `acuity worker` on another machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.integration.jobs.postgres import cluster, programs

SAMPLES = Path(__file__).parents[3] / "data_samples"
CLI = (sys.executable, "-m", "service.cli")

pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")


def test_two_workers_here_and_one_elsewhere_read_a_batch(tmp_path: Path) -> None:
    work_dir = tmp_path / "shared"
    work_dir.mkdir()
    with cluster() as url:
        environment = {**os.environ, "ACUITY_DATABASE": url, "ACUITY_WORK_DIR": str(work_dir)}
        elsewhere = subprocess.Popen(
            [*CLI, "worker"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert elsewhere.stdout is not None
            assert elsewhere.stdout.readline() == b"reading studies\n"
            command = [*CLI, "batch", str(SAMPLES), "--out", str(tmp_path / "out")]
            command += ["--workers", "2", "--formats", "json"]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=900, check=False
            )
        finally:
            elsewhere.terminate()
            elsewhere.wait(timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("3 studies: 3 reported")
        reports = list((tmp_path / "out").glob("*/report.json"))
        assert len(reports) == 3
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            states = connection.execute(text("SELECT state FROM jobs WHERE batch IS NOT NULL"))
            assert [row.state for row in states] == ["succeeded"] * 3
            workers = connection.execute(text("SELECT count(*) FROM workers")).scalar_one()
        engine.dispose()
        assert workers >= 3


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
