"""Batches that wait for cheap power."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add when a batch can start."""
    op.execute('alter table batches add column "when" text check ("when" = \'cheap\')')
