"""The node where a task must run, and the one where it would rather run."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns."""
    op.execute("alter table tasks add column node text, add column prefer_node text")
