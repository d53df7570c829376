"""The inference worker from outside: it answers, breaks, hangs, dies, and is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs.job import JobState, Outcome
from service.jobs.launch import COMMAND, launched
from service.jobs.process import WorkerProcess
from service.jobs.worker import YIELDING, Request
from service.settings import Settings

ANSWERS = """
import sys, json
sys.stdin.readline()
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"stage": "ingest"}), flush=True)
    if request["source"].endswith("die"): sys.exit(3)
    if request["source"].endswith("hang"): import time; time.sleep(60)
    print(json.dumps({"outcome": {"state": "succeeded"}}), flush=True)
"""


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    runner = WorkerProcess(
        Settings(job_timeout_s=5.0), command=(sys.executable, "-u", "-c", ANSWERS)
    )
    yield runner
    runner.close()


def request(source: Path, results: Path) -> Request:
    return Request(source=source, results=results, created=0.0)


def run(worker: WorkerProcess, source: str) -> tuple[Outcome, list[str]]:
    stages: list[str] = []
    outcome = worker.run(request(Path(source), Path("/results")), stages.append)
    return outcome, stages


def reason(outcome: Outcome) -> str:
    assert outcome.state is JobState.FAILED
    assert outcome.reason is not None
    return outcome.reason.code


def test_answers_and_tells_its_stages(worker: WorkerProcess) -> None:
    worker.start()
    outcome, stages = run(worker, "/study")
    assert outcome.state is JobState.SUCCEEDED
    assert stages == ["ingest"]
    assert worker.ready


def test_death_fails_the_study_and_not_the_next(worker: WorkerProcess) -> None:
    assert reason(run(worker, "/die")[0]) == "worker_died"
    assert not worker.ready
    assert run(worker, "/study")[0].state is JobState.SUCCEEDED


def test_a_hanging_study_is_ended(worker: WorkerProcess) -> None:
    start = time.monotonic()
    assert reason(run(worker, "/hang")[0]) == "timeout"
    assert time.monotonic() - start < 30
    assert run(worker, "/study")[0].state is JobState.SUCCEEDED


def test_closing_ends_a_running_study(worker: WorkerProcess) -> None:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(run(worker, "/hang")[0]))
    thread.start()
    while not worker.ready:
        time.sleep(0.02)
    worker.close()
    thread.join(20)
    assert reason(outcomes[0]) == "worker_killed"
    assert reason(run(worker, "/study")[0]) == "interrupted"


def test_the_real_worker_says_that_a_bundle_is_missing(tmp_path: Path) -> None:
    real = WorkerProcess(Settings(localiser_bundle="absent"))
    try:
        real.start()
        outcome = real.run(request(tmp_path, tmp_path), lambda _stage: None)
        assert reason(outcome) == "bundle_missing"
        assert not real.ready
    finally:
        real.close()


def test_keys_do_not_reach_the_worker() -> None:
    script = "import sys; sys.stderr.write(sys.stdin.readline()); sys.exit(1)"
    runner = WorkerProcess(
        Settings(api_keys=("secret-key",)),  # type: ignore[arg-type]
        command=(sys.executable, "-c", script),
    )
    try:
        assert b"secret" not in runner._settings.model_dump_json().encode()
        assert runner._settings.api_keys == ()
    finally:
        runner.close()


def test_a_worker_launched_ahead_is_the_first_and_the_next_is_its_like() -> None:
    command = (sys.executable, "-u", "-c", ANSWERS)
    with launched(command) as ahead:
        runner = WorkerProcess(Settings(job_timeout_s=5.0), command=command, launched=ahead)
        runner.start()
        assert run(runner, "/study")[0].state is JobState.SUCCEEDED
        assert ahead.poll() is None
        assert reason(run(runner, "/die")[0]) == "worker_died"
        assert run(runner, "/study")[0].state is JobState.SUCCEEDED
        runner.close()
    assert ahead.poll() is not None


def test_a_worker_launched_ahead_does_not_outlive_its_block() -> None:
    with launched((sys.executable, "-c", "import time; time.sleep(60)")) as ahead:
        assert ahead.poll() is None
    assert ahead.returncode == -signal.SIGKILL


def test_the_real_worker_leaves_in_silence_when_it_gets_no_settings() -> None:
    done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_worker_stands_back_for_whoever_waits_for_an_answer() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with launched() as process:
        deadline = time.monotonic() + 30
        while os.getpriority(os.PRIO_PROCESS, process.pid) == ours and time.monotonic() < deadline:
            time.sleep(0.05)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, ours + YIELDING)
