"""The tables that the code reads are those that the migrations make."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect

from service.jobs.database import METADATA, connect, migrate
from service.pacs.tables import CURSORS, RETRIEVALS


def test_migrations_make_these_tables(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'acuity.sqlite'}")
    migrate(engine)
    found = inspect(engine)
    assert {CURSORS, RETRIEVALS} <= set(METADATA.sorted_tables)
    for table in METADATA.sorted_tables:
        columns = {column["name"]: column for column in found.get_columns(table.name)}
        assert {name: each["nullable"] for name, each in columns.items()} == {
            column.name: bool(column.nullable) for column in table.columns
        }
        indexes = {(each["name"], *each["column_names"]) for each in found.get_indexes(table.name)}
        assert indexes == {
            (index.name, *(column.name for column in index.columns)) for index in table.indexes
        }
    migrate(engine)  # again, as at every start
    engine.dispose()
