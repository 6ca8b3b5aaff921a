"""What people decided about pictures."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the table; a decision goes with its picture."""
    op.execute(
        """
        create table decisions (
          task_id bigint not null,
          name text not null,
          decision text check (decision in ('favourite', 'keep', 'reject')),
          note text not null default '',
          decided_by text not null,
          decided_at timestamptz not null default now(),
          primary key (task_id, name),
          foreign key (task_id, name) references outputs on delete cascade
        )
        """
    )
