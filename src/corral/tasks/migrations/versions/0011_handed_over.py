"""Devices that users gave to other programs by hand, for a time or until they take them back."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add a row for each device that is given away."""
    op.execute(
        """
        create table handed_over (
          device text primary key,
          owner text not null,
          since timestamptz not null default now(),
          until timestamptz check (until > since),
          at_once boolean not null default false
        )
        """
    )
