"""The pictures among outputs, newest first: a gallery asks for nothing else."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add the index; other outputs cost nothing."""
    op.execute("create index outputs_pictures on outputs (task_id, name) where media_type like 'image/%'")
