"""Assets of Comfy's API: files under ids of their own, and under the hash that its clients know them by."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the assets; they go with the upload that they name."""
    op.execute(
        """
        create table assets (
          id uuid primary key,
          owner text not null,
          sha256 bytea not null,
          blake3 bytea not null check (octet_length(blake3) = 32),
          name text not null,
          media_type text not null,
          created_at timestamptz not null default now(),
          foreign key (sha256, owner) references uploads on delete cascade
        )
        """
    )
    op.execute("create index assets_content on assets (owner, blake3)")
    op.execute("create index assets_upload on assets (sha256, owner)")
