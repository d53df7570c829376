"""Tables come about by migrations, on SQLite and PostgreSQL, and are those that the code means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, insert, inspect, select

from service.jobs import database
from service.jobs.database import JOBS, METADATA, connect, database_url, migrate
from service.pacs.tables import CURSORS, RETRIEVALS
from tests.integration.jobs.postgres import cluster, programs


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    if programs() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    kind: str = request.param
    url = None if kind == "sqlite" else request.getfixturevalue("postgres")
    opened = connect(database_url(url, tmp_path))
    assert opened.dialect.name == kind
    yield opened
    with opened.begin() as connection:
        for name in inspect(connection).get_table_names():
            connection.exec_driver_sql(f'DROP TABLE "{name}"')
    opened.dispose()


def test_an_empty_database_gets_the_tables_that_the_code_means(engine: Engine) -> None:
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "acuity_version", "compare_type": True}
        )
        assert compare_metadata(context, _all_tables()) == []


def _all_tables() -> MetaData:
    assert {CURSORS, RETRIEVALS} <= set(METADATA.tables.values())
    return METADATA


def test_jobs_of_the_first_version_are_kept(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    row = {
        "job_id": "0" * 32,
        "attempt": 1,
        "state": "succeeded",
        "received_at": 1.5,
        "files": 3,
        "study_instance_uid": "1.2.3",
        "files_used": 2,
        "source": "uploads/one",
    }
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(insert(JOBS).values(**row))
        connection.commit()
    migrate(engine)
    with engine.connect() as connection:
        kept = connection.execute(select(JOBS)).one()
    assert (kept.job_id, kept.received_at, kept.deaths) == ("0" * 32, 1.5, 0)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite:////tmp/a", "sqlite:////tmp/a"),
    ],
)
def test_urls(given: str, used: str) -> None:
    assert database_url(given, Path("/nowhere")) == used
