"""Labels of tasks and batches; the index holds labelled tasks alone, so that others cost nothing."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and the index that a filter uses."""
    for table in ("tasks", "batches"):
        op.execute(f"alter table {table} add column labels jsonb not null default '{{}}'")
    op.execute("create index tasks_labels on tasks using gin (labels jsonb_path_ops) where labels <> '{}'")
