"""A batch in a process of its own that is killed again and again, held to an undisturbed one."""

from __future__ import annotations

import csv
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from service.batch.discovery import JOURNAL, STATE
from service.batch.tables import RESULTS_CSV, RESULTS_PARQUET, STUDIES_CSV
from service.jobs.database import connect, database_url

NOT_TIMES = slice(0, 12)
"""Columns of studies.csv that do not tell how long something took."""


@dataclass(frozen=True)
class Kills:
    """What was done to a batch.

    Attributes:
        done: How many studies were final when each kill came.
    """

    done: tuple[int, ...]


def start(root: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """Begin the batch, or go on with it; on the database that the environment names, if any."""
    command = (sys.executable, "-m", "tests.batch_made", str(root), str(out), str(workers))
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def kill_again_and_again(
    root: Path, out: Path, *, workers: int, studies: int, times: int, seed: int
) -> Kills:
    """Kill a batch so many times at random moments, then let it come to its end.

    Two kills of ten come while it starts up; the others once it has gone on a little, so that they
    are spread over the whole of it.
    """
    rng = random.Random(seed)  # noqa: S311  moments, not secrets
    done: list[int] = []
    for number in range(times):
        process = start(root, out, workers)
        if number % 5 == 4:
            time.sleep(rng.uniform(0.0, 3.0))
        else:
            _await(process, out, (number + rng.random()) * studies / (times + 1))
            time.sleep(rng.uniform(0.0, 0.3))
        assert process.poll() is None, "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        done.append(final(out))
    assert start(root, out, workers).wait() == 0
    return Kills(tuple(done))


def _await(process: subprocess.Popen[bytes], out: Path, wanted: float) -> None:
    while final(out) < wanted:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.05)


def final(out: Path) -> int:
    """How many studies of a batch are final."""
    path = out / STATE / JOURNAL
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        asked = "SELECT count(*) FROM studies WHERE state <> 'found'"
        return int(connection.execute(asked).fetchone()[0])
    except sqlite3.OperationalError:  # its tables are not made yet
        return 0
    finally:
        connection.close()


def assert_like_undisturbed(
    disturbed: Path, undisturbed: Path, studies: int, database: str | None = None
) -> None:
    """Every study once, and the same tables byte by byte.

    Args:
        disturbed, undisturbed: Folders of the results.
        studies: How many there are.
        database: URL of the one that the disturbed batch shared.
    """
    for name in (RESULTS_CSV, RESULTS_PARQUET):
        assert (disturbed / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert study_lines(disturbed) == study_lines(undisturbed)
    folders = [path.name for path in disturbed.iterdir() if (path / "report.json").exists()]
    assert len(folders) == studies
    url = database_url(database, disturbed / STATE / "work")
    assert jobs_by_study(url) == dict.fromkeys(folders, 1)
    assert not list((disturbed / STATE / "gathered").iterdir())
    assert not list((disturbed / STATE / "scratch").iterdir())


def study_lines(out: Path) -> list[list[str]]:
    """studies.csv without its times."""
    with (out / STUDIES_CSV).open(newline="") as file:
        return [line[NOT_TIMES] for line in csv.reader(file)]


def jobs_by_study(database: str) -> dict[str, int]:
    """How many jobs each study has in the queue's records; every one must be final."""
    engine = connect(database)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT study_instance_uid, state FROM jobs")).all()
    engine.dispose()
    assert {row.state for row in rows} <= {"succeeded", "refused"}
    return dict(Counter(row.study_instance_uid for row in rows))
