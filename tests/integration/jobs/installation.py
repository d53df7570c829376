"""An installation made of real processes that can be killed at any moment, and senders to it."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[3]
FINAL = {"succeeded", "refused", "failed"}

Study = Mapping[str, bytes]
"""Files by name."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def children_of(pid: int) -> list[int]:
    """Processes that a process has started and that still run."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Installation:
    """One service in a work folder, started anew whenever it is found dead.

    Attributes:
        command: Starts it; it prints its URL.
        work_dir: Its work folder, which also holds its log.
        settings: Environment beside ACUITY_WORK_DIR and ACUITY_PORT.
    """

    command: Sequence[str]
    work_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ACUITY_")}
        return kept | {
            "ACUITY_WORK_DIR": str(self.work_dir),
            "ACUITY_PORT": str(self.port),
            **self.settings,
        }

    def start(self) -> None:
        self.starts += 1
        with (self.work_dir / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment(), stdout=log, stderr=log
            )

    def ensure(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()

    def kill_service(self) -> None:
        if self.process is not None:
            kill(self.process.pid)
            self.process.wait()

    def kill_worker(self) -> bool:
        """Kill the inference worker; False when there is none just now."""
        found = children_of(self.process.pid) if self.process is not None else []
        for pid in found:
            kill(pid)
        return bool(found)

    def kill_both(self) -> None:
        found = children_of(self.process.pid) if self.process is not None else []
        self.kill_service()
        for pid in found:
            kill(pid)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill_both()

    def answers(self) -> bool:
        with suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.url}/healthz", timeout=5).status_code == 200
        return False

    def wait_until_there(self, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not self.answers():
            self.ensure()
            assert time.monotonic() < deadline, (self.work_dir / "service.log").read_text()[-4000:]
            time.sleep(0.05)

    def jobs(self) -> list[dict[str, Any]]:
        answer = httpx2.get(f"{self.url}/v1/studies", timeout=60)
        assert answer.status_code == 200, answer.text
        listed: list[dict[str, Any]] = answer.json()["studies"]
        return listed

    def send(self, study: Study) -> str | None:
        """Hand a study in once; its job's id, None when it was not taken."""
        files = [("files", (name, content)) for name, content in study.items()]
        try:
            answer = httpx2.post(f"{self.url}/v1/studies", files=files, timeout=60)
        except httpx2.HTTPError:
            return None
        if answer.status_code == 503:
            return None
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id


@contextmanager
def installed(command: Sequence[str], work_dir: Path, **settings: str) -> Iterator[Installation]:
    installation = Installation(command, work_dir, settings)
    try:
        yield installation
    finally:
        installation.stop()


def stand_in(role: str, seconds: float) -> list[str]:
    return [sys.executable, "-m", "tests.integration.jobs.member", role, str(seconds)]


@dataclass
class Sender:
    """A router that knows nothing but to send again until it is told that a study was taken.

    It goes on to send studies that were taken long ago, as routers do.
    """

    installation: Installation
    random: random.Random
    accepted: dict[int, set[str]] = field(default_factory=dict)
    sent: int = 0
    _due: dict[int, Study] = field(default_factory=dict)
    _known: dict[int, Study] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def add_up_to(self, count: int, studies: Sequence[Study]) -> None:
        """Begin to send the first `count` of some studies."""
        with self._lock:
            for number, study in enumerate(studies[:count]):
                if number not in self._known:
                    self._due[number] = self._known[number] = study

    def run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                due = list(self._due.items())
                again = self.random.choice(list(self._known.items())) if self._known else None
            for number, study in [*due, *([again] if again and not due else [])]:
                self.sent += 1
                job_id = self.installation.send(study)
                if job_id is not None:
                    self.accepted.setdefault(number, set()).add(job_id)
                    with self._lock:
                        self._due.pop(number, None)
            self._stop.wait(self.random.uniform(0.1, 0.6))

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(timeout=90)


@dataclass(frozen=True)
class Plan:
    """When to kill; studies come all the while.

    Attributes:
        kills: So many times.
        longest_s: After a wait of up to so long.
        seed: Of what is killed when.
        patience_s: How long all may take after the last kill.
        wait_share: How often the service may come up before that wait begins.
        most_s: Kills end after so long, however many there were; None for no limit.
    """

    kills: int
    longest_s: float
    seed: int
    patience_s: float
    wait_share: float = 0.7
    most_s: float | None = None


def disturb(installation: Installation, studies: Sequence[Study], plan: Plan) -> Counter[str]:
    """Send studies while processes are killed; return once every study has its end.

    Returns:
        How often each of `service`, `worker` and `both` was killed.
    """
    choose = random.Random(plan.seed)  # noqa: S311 - not a secret
    kills: Counter[str] = Counter()
    sender = Sender(installation, random.Random(plan.seed + 1))  # noqa: S311
    installation.wait_until_there()
    until = math.inf if plan.most_s is None else time.monotonic() + plan.most_s
    with sender.running():
        for number in range(plan.kills):
            if time.monotonic() > until:
                break
            # Studies come evenly over the kills.
            sender.add_up_to(len(studies) * (number + 1) // plan.kills + 1, studies)
            if choose.random() < plan.wait_share:
                installation.wait_until_there()
            time.sleep(choose.uniform(0.0, plan.longest_s))
            kills[_kill_one(installation, choose)] += 1
            installation.ensure()
        sender.add_up_to(len(studies), studies)
        _await_all(installation, sender, len(studies), plan.patience_s)
    assert all(len(ids) == 1 for ids in sender.accepted.values()), "a study got two jobs"
    return kills


def _kill_one(installation: Installation, choose: random.Random) -> str:
    what = choose.choice(("service", "worker", "both"))
    if what == "worker" and not installation.kill_worker():
        what = "service"  # it has just died
    if what == "service":
        installation.kill_service()
    if what == "both":
        installation.kill_both()
    return what


def _await_all(installation: Installation, sender: Sender, count: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        installation.wait_until_there()
        jobs = installation.jobs()
        if len(sender.accepted) == count and all(job["state"] in FINAL for job in jobs):
            return
        assert time.monotonic() < deadline, json.dumps(jobs, indent=1)[-4000:]
        time.sleep(0.5)
