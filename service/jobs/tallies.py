"""What a finished job adds to the figures that metrics show: counts and sums, no patient data.

They are kept in the database, written with the job's own end, so that each job is counted once
whatever dies, and all processes of an installation show the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from service.jobs.database import TALLIES
from service.jobs.job import Outcome, Tally

OUTCOMES: Final = "outcomes"
"""Label: state of the job."""
REASONS: Final = "reasons"
"""Label: code of a refusal or failure."""
CALLS: Final = "calls"
"""Label: question and answer, as in `edema/present`."""
STAGES: Final = "stages"
"""Label: stage and the bucket's upper limit in seconds, as in `localise/0.5`."""

STAGE_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""Upper limits of the buckets that stage times are counted in; what is longer is in `+Inf`."""


def tallies_of(outcome: Outcome) -> tuple[Tally, ...]:
    """What one finished job adds."""
    return tuple(sorted(_tallies_of(outcome), key=lambda tally: (tally.name, tally.label)))


def _tallies_of(outcome: Outcome) -> Iterator[Tally]:
    yield Tally(OUTCOMES, outcome.state.value, 1, 0.0)
    if outcome.reason is not None:
        yield Tally(REASONS, outcome.reason.code[:64], 1, 0.0)
    for label, count in Counter(outcome.calls).items():
        yield Tally(CALLS, label[:64], count, 0.0)
    for stage, milliseconds in outcome.stages_ms.items():
        seconds = milliseconds / 1000
        bucket = next((f"{limit:g}" for limit in STAGE_BUCKETS_S if seconds <= limit), "+Inf")
        yield Tally(STAGES, f"{stage}/{bucket}"[:64], 1, seconds)


def add_to_tallies(connection: Connection, tallies: tuple[Tally, ...]) -> None:
    """Add to what is there. Sorted tallies of two processes cannot wait for each other in a ring.

    Args:
        connection: Inside a transaction.
        tallies: Of `tallies_of`.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for tally in tallies:
        row = dialect.insert(TALLIES).values(
            name=tally.name, label=tally.label, count=tally.count, total=tally.total
        )
        connection.execute(
            row.on_conflict_do_update(
                index_elements=["name", "label"],
                set_={
                    "count": TALLIES.c.count + row.excluded.count,
                    "total": TALLIES.c.total + row.excluded.total,
                },
            )
        )
