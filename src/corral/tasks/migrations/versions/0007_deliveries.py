"""Outputs that are written to a folder by themselves: where to, and whether they are."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add what batches ask for, and a row for each task whose outputs are written."""
    op.execute("alter table batches add column outputs text")
    op.execute(
        """
        create table deliveries (
          task_id bigint primary key references tasks on delete cascade,
          batch_id bigint,
          root text not null,
          path text not null,
          written_at timestamptz,
          problem jsonb
        )
        """
    )
    op.execute("create index deliveries_open on deliveries (root, task_id) where written_at is null")
    op.execute("create index deliveries_of_batch on deliveries (batch_id)")
