"""The database and the program speak of the same states."""

from __future__ import annotations

from pathlib import Path

from alembic.script import ScriptDirectory

from corral.scheduling.values import Gate, TaskClass
from corral.tasks.lifecycle import TaskState
from corral.tasks.migrations import HEAD, KNOWN
from corral.tasks.migrations.run import make_config
from corral.tasks.store.pool import Pool


async def values_of(pool: Pool, enum: str) -> set[str]:
    rows = await pool.fetch("select unnest(enum_range(null::%s))::text as value" % enum)  # noqa: UP031 (our own names)
    return {row["value"] for row in rows}


async def test_sql_states_are_the_lifecycles_states(pool: Pool) -> None:
    assert await values_of(pool, "task_state") == set(TaskState)


async def test_sql_classes_are_the_policys_classes(pool: Pool) -> None:
    assert await values_of(pool, "task_class") == set(TaskClass)


async def test_sql_gates_are_those_that_people_set(pool: Pool) -> None:
    assert await values_of(pool, "gate") == set(Gate) - {Gate.UNHEALTHY}


def test_head_is_the_newest_migration_and_every_migration_is_known() -> None:
    scripts = ScriptDirectory.from_config(make_config())
    assert scripts.get_current_head() == HEAD
    assert {script.revision for script in scripts.walk_revisions()} == KNOWN


def test_every_migration_only_goes_forward() -> None:
    scripts = Path(__file__).parents[2] / "src/corral/tasks/migrations/versions"
    assert all("def downgrade" not in script.read_text() for script in scripts.glob("*.py"))
