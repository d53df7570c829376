"""The checks of `acuity doctor` that reach beyond this machine: database, archives, targets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.checks import Check, Verdict

if TYPE_CHECKING:
    from service.settings import Settings, StoreTarget, Target


def connection_checks(settings: Settings) -> Iterator[Check]:
    """Check what studies come from, go to, and are written down in."""
    yield _database(settings)
    for name, archive in settings.archives.items():
        from service.ingest.safety import Limits  # noqa: PLC0415
        from service.pacs.archives import Archive, ArchiveError  # noqa: PLC0415

        try:
            Archive(archive, Limits()).studies_since(datetime.now(UTC).date())
        except ArchiveError as error:
            yield Check(f"Archive {name}", Verdict.BAD, f"{error.code}: {error}")
        else:
            yield Check(f"Archive {name}", Verdict.GOOD, "answers QIDO-RS")
    for name, target in settings.targets.items():
        yield _target(name, target)


def _database(settings: Settings) -> Check:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from service.jobs.database import connect, database_url, version_of  # noqa: PLC0415

    if settings.database is None and settings.work_dir is None:
        return Check("Database", Verdict.NOTE, "SQLite in a temporary folder, gone afterwards")
    try:
        engine = connect(database_url(settings.database, settings.work_dir or Path()))
        version = version_of(engine)
        kind = engine.dialect.name
        engine.dispose()
    except SQLAlchemyError as error:
        # Its message holds the address and may hold the password.
        return Check("Database", Verdict.BAD, f"cannot be reached ({type(error).__name__})")
    if version.found is None:
        return Check("Database", Verdict.GOOD, f"{kind}, empty; tables are made at the first start")
    if not version.known:
        return Check("Database", Verdict.BAD, f"{kind}, made by a newer version of this software")
    behind = "" if version.current else "; brought up to date at the next start"
    return Check("Database", Verdict.GOOD, f"{kind}, tables {version.found}{behind}")


def _target(name: str, target: Target) -> Check:
    if target.kind != "cstore":
        # Asking a receiver without sending it anything is nothing that all of them know.
        return Check(f"Target {name}", Verdict.GOOD, f"{target.kind}, not asked")
    reached = _echo(target)
    detail = "answers C-ECHO" if reached else "does not answer C-ECHO"
    return Check(f"Target {name}", Verdict.GOOD if reached else Verdict.BAD, detail)


def _echo(target: StoreTarget) -> bool:
    from pynetdicom import AE  # noqa: PLC0415
    from pynetdicom.sop_class import Verification  # noqa: PLC0415

    ours = AE(ae_title=target.calling_ae)
    ours.acse_timeout = ours.dimse_timeout = ours.network_timeout = target.timeout_s
    ours.connection_timeout = target.timeout_s
    ours.add_requested_context(Verification)
    association = ours.associate(target.host, target.port, ae_title=target.ae_title)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status) and status.Status == 0
