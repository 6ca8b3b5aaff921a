"""Conversations of the chat, each its owner's alone."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add conversations and their turns; `words` has what a search looks into."""
    op.execute(
        """
        create table conversations (
          id bigint generated always as identity primary key,
          owner text not null,
          title text not null,
          system text not null,
          models text[] not null,
          bytes bigint not null default 0,
          created_at timestamptz not null default now(),
          changed_at timestamptz not null default now()
        )
        """
    )
    op.execute("create index conversations_of_owner on conversations (owner, changed_at, id)")
    op.execute(
        """
        create table conversation_turns (
          conversation bigint not null references conversations on delete cascade,
          place integer not null check (place >= 1),
          asked text not null,
          images jsonb not null,
          answers jsonb not null,
          words text not null,
          at timestamptz not null default now(),
          primary key (conversation, place)
        )
        """
    )
