"""What of the network must survive: pulls that were promised, deliveries that wait.

A row that is due is claimed by moving its next try into the future, so of several processes one
gets it, and what a process was doing when it died comes up again by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Engine,
    Index,
    Integer,
    Row,
    String,
    Table,
    and_,
    select,
    update,
)

from service.jobs.database import METADATA, WaitState, queue_columns

FIRST_RETRY_S: Final = 2.0
LAST_RETRY_S: Final = 900.0
"""Waits between tries double from the first to the last."""

LEASE_S: Final = 300.0
"""After so long without a word a claimed row is due again; longer than any one try takes."""

RETRIEVALS: Final = Table(
    "pacs_retrievals",
    METADATA,
    *queue_columns(),
    Column("source", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("instances", Integer),
    Column("complete", Boolean, nullable=False),
    Index("pacs_retrievals_due", "state", "next_at"),
)

CURSORS: Final = Table(
    "pacs_cursors",
    METADATA,
    Column("archive", String(64), primary_key=True),
    Column("position", BigInteger, nullable=False),
)


def retry_after_s(attempts: int) -> float:
    """Seconds to wait after a try that failed; `attempts` counts that one."""
    doublings = min(max(attempts - 1, 0), 30)
    return float(min(FIRST_RETRY_S * 2**doublings, LAST_RETRY_S))


@dataclass(frozen=True, slots=True)
class DurableQueue:
    """Rows of one table that are to be worked off, one at a time.

    Attributes:
        engine: Of the database.
        table: With the queue's columns.
    """

    engine: Engine
    table: Table

    def claim(self, now: float) -> Row[Any] | None:
        """Take the row that is due longest, or None; its `attempts` counts this try."""
        table = self.table
        due = (
            select(table)
            .where(and_(table.c.state == WaitState.WAITING, table.c.next_at <= now))
            .order_by(table.c.next_at)
            .limit(1)
        )
        with self.engine.begin() as connection:
            row = connection.execute(due).first()
            if row is None:
                return None
            taken = connection.execute(
                update(table)
                .where(and_(table.c.id == row.id, table.c.next_at == row.next_at))
                .values(attempts=row.attempts + 1, next_at=now + LEASE_S)
            )
            if taken.rowcount != 1:
                return None
            return connection.execute(select(table).where(table.c.id == row.id)).one()

    def get(self, row_id: str) -> Row[Any] | None:
        """A row by its id, or None."""
        with self.engine.connect() as connection:
            return connection.execute(select(self.table).where(self.table.c.id == row_id)).first()

    def note(self, row_id: str, **values: object) -> None:
        """Write down how a row stands now."""
        with self.engine.begin() as connection:
            connection.execute(update(self.table).where(self.table.c.id == row_id).values(**values))

    def try_again(self, row: Row[Any], now: float, code: str) -> None:
        """Let a row wait for its next try."""
        self.note(row.id, next_at=now + retry_after_s(row.attempts), code=code)
