"""The order that an owner gives its own tasks."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the column; tasks of before go by age."""
    op.execute("alter table tasks add column precedence bigint not null default 0")
