"""What waits on the network: pulls, deliveries, and how far archives were read."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _waiting() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("code", sa.String(64)),
    ]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "pacs_retrievals",
        *_waiting(),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("instances", sa.Integer),
        sa.Column("complete", sa.Boolean, nullable=False),
    )
    op.create_index("pacs_retrievals_due", "pacs_retrievals", ["state", "next_at"])
    op.create_table(
        "pacs_outbox",
        *_waiting(),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
    )
    op.create_index("pacs_outbox_due", "pacs_outbox", ["state", "next_at"])
    op.create_table(
        "pacs_dispatched",
        sa.Column("job_id", sa.String(64), primary_key=True),
        sa.Column("dispatched_at", sa.Float, nullable=False),
    )
    op.create_index("pacs_dispatched_at", "pacs_dispatched", ["dispatched_at"])
    op.create_table(
        "pacs_cursors",
        sa.Column("archive", sa.String(64), primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("pacs_cursors", "pacs_dispatched", "pacs_outbox", "pacs_retrievals"):
        op.drop_table(table)
