"""Voices that people create, each with the consent of its speaker."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add a row for each voice; its file is an artifact."""
    op.execute(
        """
        create table voices (
          id text primary key,
          owner text not null,
          name text not null,
          consent text not null,
          sha256 bytea not null,
          size bigint not null,
          file_name text not null,
          created_at timestamptz not null default now(),
          constraint an_owners_voices_have_names_of_their_own unique (owner, name)
        )
        """
    )
