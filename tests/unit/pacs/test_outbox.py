"""Deliveries: one per report and target, tried with growing waits, kept over restarts, signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from service.jobs.database import METADATA, OUTBOX, connect
from service.jobs.job import JobState
from service.pacs.outbox import Outbox
from service.pacs.senders import NotDeliveredError, sender_for
from service.pacs.tables import DurableQueue, retry_after_s
from service.settings import StowTarget, WebhookTarget
from tests.unit.pacs.stand_ins import RememberingJobs

STOW = StowTarget(kind="stow", url="http://127.0.0.1:9/dicom-web")
SHARED = "shared"
HOOK = WebhookTarget(kind="webhook", url="http://127.0.0.1:9/hook", secret=SHARED)
JOB = "a" * 32


@dataclass
class Remembering:
    """A sender that fails as often as it is told to."""

    failures: int = 0
    sent: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def send(self, delivery_id: str, files: Sequence[Path], body: bytes) -> None:
        self.ids.append(delivery_id)
        if self.failures:
            self.failures -= 1
            raise NotDeliveredError("target_unavailable")
        self.sent.append((delivery_id, [path.name for path in files], body))


@dataclass
class Clock:
    now: float = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'acuity.sqlite'}")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender() -> Remembering:
    return Remembering()


@pytest.fixture
def outbox(engine: Engine, jobs: RememberingJobs, sender: Remembering, clock: Clock) -> Outbox:
    return opened(engine, jobs, sender, clock)


def opened(
    engine: Engine, jobs: RememberingJobs, sender: Remembering, clock: Clock, **targets: object
) -> Outbox:
    set_up = targets or {"pacs": STOW}
    senders = dict.fromkeys(set_up, sender)
    return Outbox(DurableQueue(engine, OUTBOX), jobs, set_up, senders, 3600, clock)


def report(jobs: RememberingJobs, job_id: str = JOB, state: JobState = JobState.SUCCEEDED) -> None:
    folder = jobs.results(job_id)
    folder.mkdir(parents=True)
    for name in ("sr.dcm", "seg.dcm", "report.json"):
        (folder / name).write_bytes(b"")
    jobs.finish(job_id, state=state)


def rows(engine: Engine) -> list[tuple[str, str, int]]:
    with engine.connect() as connection:
        return [
            (row.target, row.state, row.attempts)
            for row in connection.execute(select(OUTBOX).order_by(OUTBOX.c.target))
        ]


def test_a_report_is_delivered_once(
    outbox: Outbox, jobs: RememberingJobs, sender: Remembering, engine: Engine
) -> None:
    report(jobs)
    assert outbox.dispatch() == 1
    assert outbox.dispatch() == 0
    assert outbox.work()
    assert not outbox.work()
    assert [files for _, files, _ in sender.sent] == [["seg.dcm", "sr.dcm"]]
    assert rows(engine) == [("pacs", "done", 1)]


def test_waits_grow_and_the_delivery_keeps_its_id(
    outbox: Outbox, jobs: RememberingJobs, sender: Remembering, clock: Clock
) -> None:
    report(jobs)
    outbox.dispatch()
    sender.failures = 5
    began = clock.now
    tried = []
    for second in range(100):
        clock.now = began + second
        if outbox.work():
            tried.append(second)
    assert tried == [0, 2, 6, 14, 30, 62]
    assert len(set(sender.ids)) == 1
    assert len(sender.sent) == 1
    assert [retry_after_s(attempts) for attempts in (10, 11, 1000)] == [900.0, 900.0, 900.0]


def test_what_waits_outlives_the_process(
    outbox: Outbox, jobs: RememberingJobs, sender: Remembering, engine: Engine, clock: Clock
) -> None:
    report(jobs)
    outbox.dispatch()
    sender.failures = 1
    outbox.work()
    clock.now += 3
    again = opened(engine, jobs, sender, clock)
    assert again.dispatch() == 0
    assert again.work()
    assert len(sender.sent) == 1


def test_a_delivery_that_died_half_way_is_tried_again(
    outbox: Outbox, jobs: RememberingJobs, sender: Remembering, engine: Engine, clock: Clock
) -> None:
    report(jobs)
    outbox.dispatch()
    # Claimed by a process that never came back.
    assert DurableQueue(engine, OUTBOX).claim(clock.now) is not None
    assert not outbox.work()
    clock.now += 301
    assert outbox.work()
    assert len(sender.sent) == 1


def test_after_its_time_a_person_has_to_see_to_it(
    outbox: Outbox, jobs: RememberingJobs, sender: Remembering, engine: Engine, clock: Clock
) -> None:
    report(jobs)
    outbox.dispatch()
    sender.failures = 99
    outbox.work()
    clock.now += 4000
    outbox.work()
    assert rows(engine) == [("pacs", "failed", 2)]
    clock.now += 10_000
    assert not outbox.work()


def test_objects_go_to_archives_and_messages_to_webhooks(
    engine: Engine, jobs: RememberingJobs, sender: Remembering, clock: Clock
) -> None:
    outbox = opened(engine, jobs, sender, clock, pacs=STOW, hook=HOOK)
    report(jobs)
    # A refused study has a report and no objects.
    jobs.finish("b" * 32, state=JobState.REFUSED)
    jobs.finish("c" * 32, state=JobState.FAILED)
    assert outbox.dispatch() == 2
    while outbox.work():
        pass
    assert sorted((bool(files), bool(body)) for _, files, body in sender.sent) == [
        (False, True),
        (False, True),
        (True, False),
    ]
    messages = [json.loads(body) for _, _, body in sender.sent if body]
    assert {(message["job_id"], message["state"]) for message in messages} == {
        (JOB, "succeeded"),
        ("b" * 32, "refused"),
    }


def test_a_target_that_is_set_later_gets_what_ends_later(
    engine: Engine, jobs: RememberingJobs, sender: Remembering, clock: Clock
) -> None:
    before = Outbox(DurableQueue(engine, OUTBOX), jobs, {}, {}, 3600, clock)
    report(jobs)
    assert before.dispatch() == 1
    after = opened(engine, jobs, sender, clock)
    report(jobs, "d" * 32)
    assert after.dispatch() == 1
    assert rows(engine) == [("pacs", "waiting", 0)]


@pytest.fixture
def hook() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]], list[int]]]:
    """A receiver: where it is, what it got, and the statuses it will answer."""
    got: list[tuple[dict[str, str], bytes]] = []
    statuses: list[int] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            got.append((dict(self.headers), self.rfile.read(length)))
            self.send_response(statuses.pop(0) if statuses else 204)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got, statuses
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_proves_where_it_comes_from(
    hook: tuple[str, list[tuple[dict[str, str], bytes]], list[int]],
) -> None:
    url, got, _ = hook
    sender = sender_for(WebhookTarget(kind="webhook", url=url, secret=SHARED))
    sender.send("delivery-1", (), b'{"event": "report.ready"}')
    ((headers, body),) = got
    assert headers["X-Acuity-Delivery"] == "delivery-1"
    parts = dict(part.split("=", 1) for part in headers["X-Acuity-Signature"].split(","))
    signed = f"{parts['t']}.".encode() + body
    assert parts["v1"] == hmac.new(SHARED.encode(), signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("status", [301, 400, 500])
def test_any_other_answer_is_no_delivery(
    hook: tuple[str, list[tuple[dict[str, str], bytes]], list[int]], status: int
) -> None:
    url, got, statuses = hook
    statuses.append(status)
    sender = sender_for(WebhookTarget(kind="webhook", url=url, secret=SHARED))
    with pytest.raises(NotDeliveredError) as error:
        sender.send("delivery-1", (), b"{}")
    assert error.value.reason == f"http_{status}"
    assert len(got) == 1  # and nobody else was told


def stow_answer(*reasons: int) -> bytes:
    items = [{"00081197": {"vr": "US", "Value": [reason]}} for reason in reasons]
    return json.dumps({"00081198": {"vr": "SQ", "Value": items}} if items else {}).encode()


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (200, stow_answer(), None),
        (202, stow_answer(0x0111), None),  # there already
        (409, stow_answer(0x0111, 0x0111), None),
        (202, stow_answer(0x0111, 0xA700), "instance_refused"),
        (409, stow_answer(0xC000), "instance_refused"),
        (409, stow_answer(), "http_409"),
        (200, b"<xml/>", "answer_not_understood"),
        (200, b"[]", "answer_not_understood"),
        (503, b"", "http_503"),
    ],
)
def test_what_an_archive_says_of_objects(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    answer: bytes,
    reason: str | None,
) -> None:
    import requests

    def post(_session: object, url: str, data: Iterator[bytes], **_: object) -> requests.Response:
        assert url == "http://127.0.0.1:9/dicom-web/studies"
        assert b"".join(data).count(b"Content-Type: application/dicom\r\n") == 1
        response = requests.Response()
        response.status_code, response._content = status, answer
        return response

    monkeypatch.setattr(requests.Session, "post", post)
    path = tmp_path / "sr.dcm"
    path.write_bytes(b"DICM")
    sender = sender_for(STOW)
    if reason is None:
        sender.send("delivery-1", [path], b"")
        return
    with pytest.raises(NotDeliveredError) as error:
        sender.send("delivery-1", [path], b"")
    assert error.value.reason == reason
