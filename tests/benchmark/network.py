"""Time receiving beside dcmtk's storescp and Orthanc, turn by turn in one run.

    python -m tests.benchmark.network [--instances N] [--rounds N]

Ours and Orthanc have every instance on disk before they acknowledge it; storescp flushes nothing.
What the disk alone takes for that is the floor: the same files, written and flushed one after the
other with their folder. Processor time is the receiver's, all threads, in steps of 10 ms. Senders
are dcmtk's storescu and curl; peers run with TCP_NODELAY=1, without which dcmtk waits 40 ms for
every instance. The exit code is 1 when ours is slower than a peer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from models.durable import write_durably
from service.ingest.safety import Limits
from service.logs import Pseudonyms
from service.pacs.gateway import Gateway
from service.pacs.listener import Listener
from service.pacs.receiving import ReceiveFolder
from service.settings import ListenerSettings, Settings
from tests import builders
from tests.benchmark.table import cpu_s, machine
from tests.integration.pacs.peers import ENVIRONMENT, free_port, orthanc, run, tool, until
from tests.unit.pacs.stand_ins import RememberingJobs

SIZE: Final = 512
BOUNDARY: Final = "b0undary"
TYPE: Final = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody who takes a study: the process, and how to send to it."""

    name: str
    pid: int
    send: Callable[[Path], None]
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Time:
    """How long it took to send to somebody, and for how long its processor was busy."""

    seconds: float
    cpu_s: float


@dataclass
class Race:
    """One way of sending, to us and to peers."""

    name: str
    ours: Receiver
    peers: Sequence[Receiver]
    times: dict[str, list[Time]] = field(default_factory=lambda: defaultdict(list))

    def turn(self, study: Path) -> None:
        """Send once to each."""
        for receiver in (self.ours, *self.peers):
            start, cpu = time.perf_counter(), cpu_s(receiver.pid)
            receiver.send(study)
            taken = Time(time.perf_counter() - start, cpu_s(receiver.pid) - cpu)
            self.times[receiver.name].append(taken)

    @property
    def lost(self) -> bool:
        """Whether a peer was faster."""
        return any(self._ratio(peer) < 1 for peer in self.peers)

    def lines(self, megabytes: float, instances: int) -> Iterator[str]:
        """Rows of the table, ours first."""
        for receiver in (self.ours, *self.peers):
            seconds = self._shortest(receiver)
            times = self.times[receiver.name]
            cpu_ms = sum(each.cpu_s for each in times) / len(times) / instances * 1000
            row = (
                f"{self.name if receiver is self.ours else '':<9}{receiver.name:<9}"
                f"{seconds:>6.2f} s {megabytes / seconds:>4.0f} MB/s {cpu_ms:>5.2f} ms CPU each"
            )
            if receiver is not self.ours:
                flushing = "" if receiver.durable else " (it flushes nothing)"
                row += f"   ours is {self._ratio(receiver):.2f} times as fast{flushing}"
            yield row

    def _shortest(self, receiver: Receiver) -> float:
        return min(each.seconds for each in self.times[receiver.name])

    def _ratio(self, peer: Receiver) -> float:
        return self._shortest(peer) / self._shortest(self.ours)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the races and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.network")
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        _serve(options.serve)
        return 0
    with TemporaryDirectory(prefix="acuity-bench-") as folder, ExitStack() as stack:
        scratch = Path(folder)
        races = list(_races(scratch, stack))
        flushed: list[float] = []
        megabytes = 0.0
        for number in range(options.rounds):
            for race in races:
                # A study of its own each time: what is known already is not written again.
                study = _write_study(scratch / f"{race.name}-{number}", options.instances)
                megabytes = sum(path.stat().st_size for path in study.iterdir()) / 1e6
                race.turn(study)
            flushed.append(_flushed_s(study, scratch / f"flushed-{number}"))
    lines = [
        machine(),
        f"{options.instances} instances, {megabytes:.1f} MB, best of {options.rounds}",
        *(line for race in races for line in race.lines(megabytes, options.instances)),
        f"{'floor':<18}{min(flushed):>6.2f} s {megabytes / min(flushed):>4.0f} MB/s   "
        "the same files written and flushed one by one",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(race.lost for race in races))


def _write_study(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 4000, (count, SIZE, SIZE)).astype(np.uint16)
    for number, instance in enumerate(builders.classic_stack(pixels, study=folder.name)):
        (folder / f"{number:04d}.dcm").write_bytes(builders.to_bytes(instance))
    return folder


def _races(scratch: Path, stack: ExitStack) -> Iterator[Race]:
    pid, rest, dicom = stack.enter_context(_served(scratch / "ours"))
    theirs = free_port()
    (scratch / "storescp").mkdir()
    storescp = stack.enter_context(
        _running("storescp", "-aet", "PEER", "-od", scratch / "storescp", theirs)
    )
    until(lambda: "Accepted" in _echo(theirs))
    peer = stack.enter_context(orthanc(scratch / "orthanc", ("DicomWeb",)))
    yield Race(
        "C-STORE",
        Receiver("ours", pid, _storescu(dicom, "ACUITY")),
        (
            Receiver("storescp", storescp, _storescu(theirs, "PEER"), durable=False),
            Receiver("Orthanc", peer.pid, _storescu(peer.dicom_port, "ORTHANC")),
        ),
    )
    yield Race(
        "STOW-RS",
        Receiver("ours", pid, _curl(f"http://127.0.0.1:{rest}/dicom-web/studies")),
        (Receiver("Orthanc", peer.pid, _curl(f"{peer.dicom_web}/studies")),),
    )


def _flushed_s(study: Path, folder: Path) -> float:
    """How long the disk takes for the files of a study, each durable before the next."""
    contents = [path.read_bytes() for path in sorted(study.iterdir())]
    folder.mkdir()
    start = time.perf_counter()
    for number, content in enumerate(contents):
        write_durably(folder / str(number), content)
    return time.perf_counter() - start


def _echo(port: int) -> str:
    return run("echoscu", "-v", "-aec", "PEER", "127.0.0.1", port, check=False)


def _storescu(port: int, called: str) -> Callable[[Path], None]:
    return lambda study: _send(study, port, called)


def _send(study: Path, port: int, called: str) -> None:
    run("storescu", "-aec", called, "+sd", "127.0.0.1", port, study)


def _curl(url: str) -> Callable[[Path], None]:
    def send(study: Path) -> None:
        body = study.with_suffix(".body")
        if not body.exists():
            body.write_bytes(_related(study))
        answer = run(
            "curl", "-sS", "-f", "-H", f"Content-Type: {TYPE}", "-H",
            "Accept: application/dicom+json", "-H", "Expect:", "--data-binary", f"@{body}", url,
        )  # fmt: skip
        stored = json.loads(answer)["00081199"]["Value"]
        assert len(stored) == sum(1 for _ in study.iterdir())

    return send


def _related(study: Path) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = [head + path.read_bytes() + b"\r\n" for path in sorted(study.iterdir())]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def _running(name: str, *arguments: object) -> Iterator[int]:
    process = subprocess.Popen(
        [tool(name), *map(str, arguments)], env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def _served(folder: Path) -> Iterator[tuple[int, int, int]]:
    """Our listener and our routes in a process of their own: its id, their ports."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.benchmark.network", "--serve", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        rest, dicom = map(int, process.stdout.readline().split())
        until(lambda: _answers(rest), 60)
        yield process.pid, rest, dicom
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _answers(port: int) -> bool:
    return "ok" in run("curl", "-sS", f"http://127.0.0.1:{port}/healthz", check=False)


def _serve(folder: Path) -> None:
    import uvicorn

    from service.api.app import create_app

    settings = Settings(work_dir=folder, quiet_s=3600)
    received = ReceiveFolder(folder / "received", Limits())
    received.open()
    listener = Listener(ListenerSettings(port=0), received, Pseudonyms.from_settings(settings))
    listener.start()
    jobs = RememberingJobs(folder)
    port = free_port()
    sys.stdout.write(f"{port} {listener.port}\n")
    sys.stdout.flush()
    app = create_app(settings, jobs, Gateway(settings, folder, jobs))
    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    raise SystemExit(main())
