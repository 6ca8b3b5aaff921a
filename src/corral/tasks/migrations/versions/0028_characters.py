"""Characters with all their revisions, and their reference images."""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the tables; a revision of a character is never changed."""
    op.execute(
        """
        create table characters (
          id bigint generated always as identity primary key,
          owner text not null,
          name text not null,
          revision integer not null check (revision >= 1),
          unique (owner, name)
        )
        """
    )
    op.execute(
        """
        create table character_revisions (
          character_id bigint not null references characters on delete cascade,
          revision integer not null check (revision >= 1),
          content jsonb,
          changed_by text not null,
          changed_at timestamptz not null default now(),
          primary key (character_id, revision)
        )
        """
    )
    op.execute(
        """
        create table character_images (
          owner text not null,
          sha256 bytea not null check (length(sha256) = 32),
          name text not null,
          size bigint not null,
          media_type text not null,
          primary key (owner, sha256)
        )
        """
    )
    op.execute("create index character_images_sha256 on character_images (sha256)")
