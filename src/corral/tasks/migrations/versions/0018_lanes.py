"""Several tasks of one model on a slot, each in a lane of its own."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Let each lane of a slot have one task."""
    op.execute("alter table slot_leases add column lane smallint not null default 0 check (lane >= 0)")
    op.execute("alter table slot_leases drop constraint slot_leases_pkey, add primary key (slot, lane)")
    op.execute(
        """
        comment on table slot_leases is
          'One row per lane of a slot in use: the primary key is the promise that no lane gets two tasks.
        A task is deleted only after it ended, which frees its lanes: a foreign key would guard nothing.'
        """
    )
