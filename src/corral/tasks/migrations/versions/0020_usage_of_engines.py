"""Usage of each engine and door, with the seconds of lanes."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the columns; what was counted before has no engine, no door and no seconds."""
    op.execute(
        """
        alter table usage
          add column engine text,
          add column door text,
          add column seconds double precision not null default 0,
          drop constraint usage_day_key_owner_model_cloud_key,
          add constraint usage_has_one_line_for_each
            unique nulls not distinct (day, key, owner, model, cloud, engine, door)
        """
    )
