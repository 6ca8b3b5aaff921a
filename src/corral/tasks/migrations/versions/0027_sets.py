"""Sets of pictures, each picture's takes, and what was measured of them."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add sets; a picture has at most one take that is under way, and one that is kept."""
    op.execute(
        """
        create table sets (
          id bigint generated always as identity primary key,
          owner text not null,
          key text,
          name text not null,
          file jsonb not null,
          created_at timestamptz not null default now(),
          changed_at timestamptz not null default now(),
          unique (owner, name)
        )
        """
    )
    op.execute(
        """
        create table set_pictures (
          set_id bigint not null references sets on delete cascade,
          key text not null,
          wanted boolean not null default true,
          state text not null check (state in ('open', 'accepted', 'rejected', 'failed', 'cancelled')),
          task jsonb not null,
          checks jsonb not null,
          first_seed bigint not null,
          settings jsonb not null,
          sources jsonb not null,
          digest bytea not null,
          primary key (set_id, key)
        )
        """
    )
    op.execute(
        """
        create table set_takes (
          set_id bigint not null,
          key text not null,
          number integer not null check (number >= 1),
          round integer not null check (round >= 0),
          seed bigint not null,
          state text not null check (state in (
            'planned', 'making', 'checking', 'accepted', 'rejected', 'failed', 'cancelled', 'replaced')),
          settings jsonb not null,
          task bigint,
          checks bigint[] not null default '{}',
          output text,
          sha256 bytea,
          phash text,
          measurements jsonb not null default '{}',
          reasons text[] not null default '{}',
          planned_at timestamptz not null default now(),
          ended_at timestamptz,
          primary key (set_id, key, number),
          foreign key (set_id, key) references set_pictures on delete cascade,
          check (state in ('planned', 'cancelled') or task is not null or reasons <> '{}')
        )
        """
    )
    op.execute(
        "create unique index set_takes_under_way on set_takes (set_id, key)"
        " where state in ('planned', 'making', 'checking')"
    )
    op.execute("create index set_takes_task on set_takes (task)")
    op.execute("create unique index set_takes_accepted on set_takes (set_id, key) where state = 'accepted'")
