"""Prompts of ComfyUI's clients: the names they gave to tasks, and to files that they uploaded."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the prompts by owner and name, and the names of input files; both go with what they name."""
    op.execute(
        """
        create table prompts (
          task_id bigint primary key references tasks on delete cascade,
          owner text not null,
          id text not null,
          facts jsonb not null default '{}',
          hidden boolean not null default false,
          constraint a_prompt_has_its_name_for_itself unique (owner, id)
        )
        """
    )
    op.execute("create index prompts_of on prompts (owner, task_id) where not hidden")
    op.execute(
        """
        create table input_files (
          owner text not null,
          folder text not null check (folder in ('input', 'temp', 'output')),
          name text not null,
          sha256 bytea not null,
          primary key (owner, folder, name),
          foreign key (sha256, owner) references uploads on delete cascade
        )
        """
    )
    op.execute("create index input_files_content on input_files (sha256, owner)")
