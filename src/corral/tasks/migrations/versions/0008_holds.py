"""Devices that are lent to programs of users: since when, until when, and why no longer."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add a row for each hold, next to its task."""
    op.execute(
        """
        create table holds (
          task_id bigint primary key references tasks on delete cascade,
          ttl interval not null check (ttl > interval '0'),
          expires_at timestamptz not null,
          lasts interval check (lasts > interval '0'),
          granted_at timestamptz,
          slots text[] not null default '{}',
          devices text[] not null default '{}',
          ends_at timestamptz,
          ending text,
          ended text
        )
        """
    )
    op.execute("create index holds_open on holds (task_id) where ended is null")
