"""Invitations: links by which a person gets a token, once."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add a row for each invitation that is open; it goes when it is used."""
    op.execute(
        """
        create table invitations (
          name text primary key,
          role text not null,
          hash bytea not null unique,
          fields jsonb not null,
          invited_by text not null,
          created_at timestamptz not null default now(),
          expires_at timestamptz not null
        )
        """
    )
