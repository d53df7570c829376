"""The network side put together: what runs beside the jobs, in one process at a time.

`acuity serve` and `acuity listen` may share a work folder. Each can receive; only the one that
holds the lock submits studies, pulls and delivers. When it ends, however it ends, the next one
takes over.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import structlog

from service.ingest.safety import Limits
from service.jobs.database import OUTBOX, connect, database_url, migrate
from service.jobs.job import Jobs
from service.logs import Pseudonyms
from service.pacs.archives import Archive
from service.pacs.completeness import Watch
from service.pacs.outbox import Outbox
from service.pacs.receiving import ReceiveFolder
from service.pacs.reconcile import Reconciler
from service.pacs.retrieval import Retrievals
from service.pacs.senders import sender_for
from service.pacs.tables import RETRIEVALS, DurableQueue
from service.settings import Settings

log = structlog.get_logger()

WATCH_S: Final = 0.25
WORK_S: Final = 0.5
DISPATCH_S: Final = 1.0
FOLLOW_S: Final = 60.0
"""How often each loop looks for work."""

STALE_PART_S: Final = 3600.0
"""Age of a part file that no process can still be writing."""


class Gateway:
    """Everything between the network and the jobs, but for the listener and the routes.

    Args:
        settings: Of this installation.
        work_dir: Where the receive folder lies.
        jobs: Where studies go and results come from.
    """

    def __init__(self, settings: Settings, work_dir: Path, jobs: Jobs) -> None:
        pseudonyms = Pseudonyms.from_settings(settings)
        limits = limits_of(settings)
        self.folder = ReceiveFolder(work_dir / "received", limits, settings.min_free_mb << 20)
        self.folder.open()
        engine = connect(database_url(settings.database, work_dir))
        migrate(engine)
        archives = {name: Archive(each, limits) for name, each in settings.archives.items()}
        self._engine = engine
        self.retrievals = Retrievals(
            DurableQueue(engine, RETRIEVALS), archives, self.folder, pseudonyms
        )
        self.outbox = Outbox(
            DurableQueue(engine, OUTBOX),
            jobs,
            settings.targets,
            {name: sender_for(target) for name, target in settings.targets.items()},
            settings.delivery_give_up_h * 3600,
        )
        self._watch = Watch(
            self.folder,
            jobs,
            quiet_s=settings.quiet_s,
            keep_s=settings.keep_received_h * 3600,
            pseudonyms=pseudonyms,
        )
        self._reconciler = Reconciler(
            {name: (settings.archives[name], archive) for name, archive in archives.items()},
            self.retrievals,
            self.folder,
            engine,
            pseudonyms,
        )
        self._lead = _Lead(work_dir / "received" / "leader.lock")
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin the loops; returns at once."""
        self._run("intake", WATCH_S, lambda: self._watch.sweep() > 0)
        self._run("leftovers", STALE_PART_S, self._clear_parts)
        self._run("retrievals", WORK_S, self.retrievals.work)
        self._run("dispatch", DISPATCH_S, lambda: self.outbox.dispatch() > 0)
        self._run("deliveries", WORK_S, self.outbox.work)
        self._run("reconcile", FOLLOW_S, _Reconciling(self._reconciler))

    def close(self) -> None:
        """End the loops; what they were doing comes up again with the next start."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._lead.give_up()
        self._engine.dispose()

    def forget(self, study_instance_uid: str) -> bool:
        """Remove what was received of a study; whether there was anything."""
        return self.folder.forget(study_instance_uid)

    def _clear_parts(self) -> bool:
        count = self.folder.clear_parts(STALE_PART_S)
        if count:
            log.info("parts_cleared", count=count)
        return False

    def _run(self, name: str, every_s: float, step: Callable[[], bool]) -> None:
        thread = threading.Thread(
            target=self._loop, args=(name, every_s, step), name=name, daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _loop(self, name: str, every_s: float, step: Callable[[], bool]) -> None:
        """Do a step, at once again while there is work, until closed."""
        while not self._closing.is_set():
            busy = False
            leading = self._lead.take()
            try:
                busy = leading and step()
            except Exception as error:  # noqa: BLE001  a loop's border: it must outlive one step
                log.error("loop_failed", loop=name, error=type(error).__name__)  # noqa: TRY400
            if not busy:
                self._closing.wait(every_s if leading else WATCH_S)


class _Reconciling:
    """A step that looks through archives until each was reached once, then follows changes."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._waiting = True

    def __call__(self) -> bool:
        if self._waiting:
            self._waiting = bool(self._reconciler.run())
        else:
            self._reconciler.follow()
        return False


class _Lead:
    """A lock on a file that the operating system frees when its process ends, even by kill -9."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._taking = threading.Lock()

    def take(self) -> bool:
        """Whether this process leads now."""
        with self._taking:
            if self._file is not None:
                return True
            file = self._path.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._file = file
            return True

    def give_up(self) -> None:
        """Let another process lead."""
        with self._taking:
            if self._file is not None:
                self._file.close()
                self._file = None


def limits_of(settings: Settings) -> Limits:
    """The limits on what comes from outside, as they are set."""
    given = settings.limits.model_dump(exclude_none=True)
    return Limits(**given)
