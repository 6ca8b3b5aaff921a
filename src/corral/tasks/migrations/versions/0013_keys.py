"""Tokens as keys of clients: several of one owner, with limits and an end."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add whose a token is, what it can use, how much of it, and until when."""
    op.execute(
        """
        alter table tokens
          add column owner text,
          add column models text[],
          add column requests_per_minute bigint check (requests_per_minute > 0),
          add column tokens_per_minute bigint check (tokens_per_minute > 0),
          add column tokens_per_day bigint check (tokens_per_day > 0),
          add column concurrent bigint check (concurrent > 0),
          add column expires_at timestamptz
        """
    )
    op.execute("update tokens set owner = name")
    op.execute("alter table tokens alter column owner set not null")
