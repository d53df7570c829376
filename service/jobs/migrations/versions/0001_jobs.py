"""Jobs and workers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(32)),
        sa.Column("outcome", sa.Text),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("files_used", sa.Integer, nullable=False),
        sa.Column("superseded_by", sa.String(32)),
        sa.Column("supersedes", sa.String(32)),
        sa.Column("batch", sa.String(64)),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("upload", sa.Text),
    )
    op.create_index("jobs_received", "jobs", ["received_at"])
    op.create_index("jobs_study", "jobs", ["study_instance_uid"])
    op.create_index("jobs_state", "jobs", ["state"])
    op.create_index("jobs_batch", "jobs", ["batch"])
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.String(64), primary_key=True),
        sa.Column("seen_at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("workers")
    op.drop_table("jobs")
