"""A restore into a database outside the data directory: leases in it have ended; what failed says that it is full."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from corral.server.restoring import DatabaseFilledError, restore_backup
from corral.server.services import Services
from corral.server.settings import ServerSettings
from corral.tasks.store.pool import connect
from doubles import queue_life
from doubles.serving import Serving

CLUSTER = """
apiVersion: corral/v1
name: test
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
"""
SLEEP = {"engine": "sleep", "inputs": {"seconds": 0}}
REFUSE_UPDATES = """
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$;
    create trigger refuse before update on tasks for each statement execute function refuse()
"""


@pytest.fixture
def saved(services: Services, tmp_path: Path) -> Path:
    """A file into which `save` writes."""
    services.cluster_file.write_text(CLUSTER)
    return tmp_path / "saved.tar"


@pytest.fixture
async def empty_database(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database without tables."""
    name = f"empty_{uuid4().hex[:12]}"
    admin = await connect(postgres_url)
    await admin.execute(f"create database {name} template template0")
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


async def save(api: Serving, path: Path) -> None:
    answered = await api.get("/corral/v1/backup")
    assert answered.status == 200, answered.body
    path.write_bytes(answered.body)


async def test_leases_have_ended_in_a_restored_database(
    api: Serving, services: Services, saved: Path, empty_database: str, tmp_path: Path
) -> None:
    task = (await api.post("/corral/v1/tasks", SLEEP)).json["id"]
    await api.post("/corral/v1/tasks", SLEEP)
    await queue_life.start(services.pool, task)
    await save(api, saved)

    await restore_backup(saved, ServerSettings(data_dir=tmp_path / "new", database_url=empty_database))

    connection = await connect(empty_database)
    rows = await connection.fetch("select id, lease_until < now() as ended from tasks order by id")
    await connection.close()
    assert [row["ended"] for row in rows] == [True, None]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["artifacts", "cluster.yaml", "server.lock"]


async def test_restore_that_fails_when_the_database_is_filled_says_what_to_do(
    api: Serving, services: Services, saved: Path, empty_database: str, tmp_path: Path
) -> None:
    await services.pool.execute(REFUSE_UPDATES)
    await save(api, saved)

    with pytest.raises(DatabaseFilledError, match="no room") as failed:
        await restore_backup(saved, ServerSettings(data_dir=tmp_path / "new", database_url=empty_database))

    assert failed.value.hint is not None
    assert "drop the database" in failed.value.hint
    assert not any((tmp_path / "new").iterdir())
