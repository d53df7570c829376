"""The database behind the jobs: SQLite in the work folder, or PostgreSQL by URL."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)

METADATA: Final = MetaData()


class WaitState(StrEnum):
    """Where a row stands."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


def queue_columns() -> list[Column[Any]]:
    """Columns of a table whose rows are tried until they are done or given up."""
    return [
        Column("id", String(64), primary_key=True),
        Column("state", String(16), nullable=False),
        Column("attempts", Integer, nullable=False, default=0),
        Column("created_at", Float, nullable=False),
        Column("next_at", Float, nullable=False),
        Column("code", String(64)),
    ]


JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("job_id", String(32), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("files", Integer, nullable=False),
    Column("stage", String(32)),
    Column("outcome", Text),
    Column("study_instance_uid", String(64), nullable=False),
    Column("files_used", Integer, nullable=False),
    Column("superseded_by", String(32)),
    Column("supersedes", String(32)),
    Column("batch", String(64)),
    Column("source", Text, nullable=False),
    Column("upload", Text),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Index("jobs_received", "received_at"),
    Index("jobs_study", "study_instance_uid"),
    Index("jobs_state", "state"),
    Index("jobs_batch", "batch"),
)
"""One row per study handed in. Times are seconds since the epoch; `upload` is the folder that is
removed when the job is final, None where the source belongs to somebody else. `study_instance_uid`
is what the headers say until the study was read. `deaths` counts runs that were begun and not yet
brought to an end: it grows when a process dies."""

WORKERS: Final = Table(
    "workers",
    METADATA,
    Column("worker_id", String(64), primary_key=True),
    Column("seen_at", Float, nullable=False),
)
"""Who works, and when each was last heard of, by the database's clock where it has one."""

TALLIES: Final = Table(
    "tallies",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("total", Float, nullable=False),
)
"""What finished jobs came to, for metrics; it outlives the jobs and holds no patient data."""

OUTBOX: Final = Table(
    "pacs_outbox",
    METADATA,
    *queue_columns(),
    Column("target", String(64), nullable=False),
    Column("job_id", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Index("pacs_outbox_due", "state", "next_at"),
)
"""One row per report and target: what is owed to whom, and how it stands."""

DISPATCHED: Final = Table(
    "pacs_dispatched",
    METADATA,
    Column("job_id", String(64), primary_key=True),
    Column("dispatched_at", Float, nullable=False),
    Index("pacs_dispatched_at", "dispatched_at"),
)
"""Reports whose deliveries were written down."""

API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("key_id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
)
"""Keys of clients: never the key, only the SHA-256 of its secret."""

VERSION_TABLE: Final = "acuity_version"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def database_url(url: str | None, work_dir: Path) -> str:
    """The URL that is set, or that of an SQLite file in the work folder."""
    if url is None:
        return f"sqlite:///{work_dir / 'acuity.sqlite'}"
    # SQLAlchemy would take psycopg 2 for the URLs that everybody writes.
    scheme, separator, rest = url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        scheme = "postgresql+psycopg"
    return f"{scheme}{separator}{rest}"


def connect(url: str) -> Engine:
    """Open a database; SQLite is set up to survive a power cut and to wait for its writers.

    Args:
        url: SQLAlchemy URL.
    """
    # A server's connection may be gone since it was last used; a file's is not.
    engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  DB-API
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


@dataclass(frozen=True, slots=True)
class TableVersion:
    """Which tables a database has.

    Attributes:
        found: Name of the last migration that was made, None for an empty database.
        known: Whether this software knows it.
        current: Whether it is this software's own.
    """

    found: str | None
    known: bool
    current: bool


def version_of(engine: Engine) -> TableVersion:
    """Look which tables a database has; changes nothing."""
    from alembic.config import Config  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        found = context.get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    return TableVersion(found, found in known, found == scripts.get_current_head())


def migrate(engine: Engine) -> None:
    """Bring the tables up to this version; two processes that start together do it one by one."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_lock(7208451)")
            connection.commit()
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
            connection.commit()
        finally:
            if engine.dialect.name == "postgresql":
                connection.rollback()
                connection.exec_driver_sql("SELECT pg_advisory_unlock(7208451)")
                connection.commit()
