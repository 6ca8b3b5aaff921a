"""Energy of tasks, of usage and of devices, as it was measured."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the columns and the table; what was done before has no measured energy."""
    op.execute("alter table tasks add column joules double precision")
    op.execute("alter table usage add column joules double precision, add column metered bigint not null default 0")
    op.execute(
        """
        create table device_energy (
          hour timestamptz not null,
          device text not null,
          joules double precision not null,
          work_joules double precision not null,
          seconds double precision not null,
          worked_s double precision not null,
          primary key (hour, device)
        )
        """
    )
