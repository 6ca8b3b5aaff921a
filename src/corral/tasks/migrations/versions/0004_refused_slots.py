"""Slots that lack what a task needs, so that it is not sent there again."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.execute("alter table tasks add column refused_slots text[] not null default '{}'")
