"""When batches should be done, and since when it is known that one will not be."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add what batches ask for, and when it was first seen that it cannot be met."""
    op.execute("alter table batches add column by timestamptz, add column by_missed_at timestamptz")
    op.execute("create index batches_with_deadline on batches (by) where by is not null")
