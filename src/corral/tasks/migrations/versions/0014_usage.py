"""Usage of each key, model and day, and which tasks and which writes it has counted already."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the tables; tasks keep the key that submitted them. Tasks that have ended before are not counted."""
    op.execute("alter table tasks add column key text")
    op.execute(
        """
        create table usage (
          day date not null,
          key text,
          owner text not null,
          model text not null,
          cloud text,
          requests bigint not null,
          prompt_tokens bigint not null,
          completion_tokens bigint not null,
          unique nulls not distinct (day, key, owner, model, cloud)
        )
        """
    )
    op.execute(
        """
        create table usage_writers (
          writer uuid primary key,
          sequence bigint not null,
          written_at timestamptz not null default now()
        )
        """
    )
    op.execute("create table usage_followed (story bigint not null)")
    op.execute("insert into usage_followed select coalesce(max(id), 0) from events")
