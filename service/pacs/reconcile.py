"""What an archive holds and we missed: routers forget what they could not send, archives do not.

Two sources. QIDO-RS lists the studies of the last days. Orthanc's list of changes says what became
stable since it was last read, and is read from there on. Of every study found, the instances that
were never received here are looked for; only where there are some is it pulled. Our own results in
an archive are no MR series, so they cause no pull.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import requests
import structlog
from sqlalchemy import Engine, insert, select, update

from service.logs import Pseudonyms
from service.pacs.archives import Archive, ArchiveError, session_for
from service.pacs.receiving import ReceiveFolder, digest_of
from service.pacs.retrieval import Retrievals
from service.pacs.tables import CURSORS
from service.settings import ArchiveSettings

log = structlog.get_logger()

CHANGES_AT_ONCE: Final = 1000
STABLE: Final = frozenset({"StableStudy", "StableSeries"})


class Reconciler:
    """Looks through the archives for what we do not have.

    Args:
        archives: Settings and clients, by name.
        retrievals: Where missing studies are asked for.
        folder: What was received.
        engine: Keeps how far each list of changes was read.
        pseudonyms: For logs.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        archives: Mapping[str, tuple[ArchiveSettings, Archive]],
        retrievals: Retrievals,
        folder: ReceiveFolder,
        engine: Engine,
        pseudonyms: Pseudonyms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archives = archives
        self._retrievals = retrievals
        self._folder = folder
        self._engine = engine
        self._pseudonyms = pseudonyms
        self._clock = clock

    def run(self) -> tuple[str, ...]:
        """Look through every archive once.

        Returns:
            Names of archives that could not be asked; they are to be asked again later.
        """
        unreached = []
        for name, (settings, archive) in self._archives.items():
            try:
                self._reconcile(name, settings, archive)
            except ArchiveError as error:
                log.warning("reconcile_waits", archive=name, code=error.code)
                unreached.append(name)
        return tuple(unreached)

    def follow(self) -> None:
        """Read on in the lists of changes of those archives that have one."""
        for name, (settings, archive) in self._archives.items():
            if settings.orthanc_url is None:
                continue
            try:
                self._follow(name, settings, archive)
            except ArchiveError as error:
                log.warning("changes_wait", archive=name, code=error.code)

    def _reconcile(self, name: str, settings: ArchiveSettings, archive: Archive) -> None:
        if settings.reconcile_days:
            today = datetime.fromtimestamp(self._clock(), UTC).date()
            first = today - timedelta(days=settings.reconcile_days)
            self._request_missing(name, archive, archive.studies_since(first))
        if settings.orthanc_url is not None:
            self._follow(name, settings, archive)

    def _follow(self, name: str, settings: ArchiveSettings, archive: Archive) -> None:
        changes = OrthancChanges(settings)
        position = self._position(name)
        while True:
            page = changes.after(position)
            self._request_missing(name, archive, changes.studies(page))
            # After the requests are durable, so that a page is read again rather than lost.
            if page.last > position:
                position = page.last
                self._keep_position(name, position)
            if page.done:
                return

    def _request_missing(
        self, name: str, archive: Archive, studies: Iterator[str] | tuple[str, ...]
    ) -> None:
        asked = 0
        for study_uid in dict.fromkeys(studies):
            if self._misses(archive, study_uid):
                # It may be on its way into the archive still.
                self._retrievals.request(study_uid, name, complete=False)
                asked += 1
        if asked:
            log.info("studies_missed", archive=name, count=asked)

    def _misses(self, archive: Archive, study_uid: str) -> bool:
        here = self._folder.instances(study_uid)
        for series in archive.series_of(study_uid):
            if not here:
                return True
            held = archive.instances_of(study_uid, series.series_uid)
            if any(digest_of(uid) not in here for uid in held):
                return True
        return False

    def _position(self, name: str) -> int:
        with self._engine.connect() as connection:
            found = connection.execute(
                select(CURSORS.c.position).where(CURSORS.c.archive == name)
            ).scalar()
        return int(found or 0)

    def _keep_position(self, name: str, position: int) -> None:
        with self._engine.begin() as connection:
            moved = connection.execute(
                update(CURSORS).where(CURSORS.c.archive == name).values(position=position)
            )
            if moved.rowcount == 0:
                connection.execute(insert(CURSORS).values(archive=name, position=position))


class ChangesPage:
    """One page of Orthanc's list of changes.

    Attributes:
        last: Sequence number of its last change.
        done: Whether no more follow for now.
        resources: Orthanc's own paths of what became stable, in order, each once.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.last = int(document["Last"])
        self.done = bool(document["Done"])
        self.resources = tuple(
            dict.fromkeys(
                str(change["Path"])
                for change in document["Changes"]
                if change["ChangeType"] in STABLE
            )
        )


class OrthancChanges:
    """Reads Orthanc's list of changes (`GET /changes`)."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self._root = str(settings.orthanc_url).rstrip("/")
        self._timeout_s = settings.timeout_s
        self._session = session_for(settings)

    def after(self, position: int) -> ChangesPage:
        """The changes after a sequence number.

        Raises:
            ArchiveError: Orthanc cannot be asked.
        """
        document = self._get("/changes", since=position, limit=CHANGES_AT_ONCE)
        try:
            return ChangesPage(document)
        except (KeyError, TypeError, ValueError) as error:
            raise ArchiveError("the list of changes is not Orthanc's") from error

    def studies(self, page: ChangesPage) -> Iterator[str]:
        """Study Instance UIDs of what became stable; what was deleted since is passed over.

        Raises:
            ArchiveError: Orthanc cannot be asked.
        """
        for path in page.resources:
            study = path if path.startswith("/studies/") else f"{path}/study"
            document = self._get(study, missing_is_empty=True)
            uid = document.get("MainDicomTags", {}).get("StudyInstanceUID")
            if isinstance(uid, str):
                yield uid

    def _get(self, path: str, *, missing_is_empty: bool = False, **query: int) -> Mapping[str, Any]:
        try:
            response = self._session.get(
                f"{self._root}{path}", params=query, timeout=self._timeout_s
            )
            if response.status_code == requests.codes.not_found and missing_is_empty:
                return {}
            response.raise_for_status()
            document = response.json()
        except requests.RequestException as error:
            raise ArchiveError("Orthanc cannot be asked") from error
        if not isinstance(document, dict):
            raise ArchiveError("Orthanc's answer is no object")
        return document
