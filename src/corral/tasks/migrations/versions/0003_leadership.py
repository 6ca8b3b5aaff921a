"""Who leads: an epoch that each leader raises and its rounds are guarded by, and beats that show that it lives."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table and its only row.

    The epoch is a key, so that a beat does not wait for a round that holds the epoch (`for key share`), and a takeover
    does.
    """
    op.execute(
        """
        create table leadership (
          id boolean primary key default true check (id),
          epoch bigint not null unique default 0,
          beats bigint not null default 0
        )
        """
    )
    op.execute("insert into leadership default values")
