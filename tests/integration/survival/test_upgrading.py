"""A database of version 0.1.0 is saved, migrated, worked on, and put back; whatever fails leaves it as it was.

`of_0_1_0` has a dump of a server of that version at work, and how it was made.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
from pathlib import Path

import asyncpg
import pytest

import of_0_1_0
from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from corral.tasks.backup.dumps import DumpError, dump_database, fill_database
from corral.tasks.backup.upgrades import (
    KEPT,
    DatabaseConnectedError,
    NoUpgradeBackupError,
    RollbackBrokenOffError,
    RollbackDeniedError,
    UpgradeBackup,
    find_upgrade_backup,
    list_upgrade_backups,
    roll_back,
    upgrade_database,
)
from corral.tasks.migrations import HEAD, DatabaseLockedError, MigrationError, migrate, read_revision
from corral.units import Bytes

OLD = Path(of_0_1_0.__file__).parent
OLD_SCHEMA = "0001"
NOTHING = Bytes(0)
MADE = "2daf798c2aa0624902e6b6fd23e414e019a0306154cfbb15f2528aa238f74fae"


@pytest.fixture
async def old_url(database_url: str) -> str:
    """A database as version 0.1.0 left it."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("drop schema public cascade; create schema public")
    await connection.close()
    await fill_database(database_url, OLD / "database.dump")
    return database_url


async def look(url: str) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the schema of a database, and its tasks with their states."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select name, state::text from tasks order by id")
    await connection.close()
    return await read_revision(url), [(row["name"], row["state"]) for row in rows]


BEFORE = [
    ("made", "succeeded"),
    ("broken", "failed"),
    ("waits", "queued"),
    ("needs", "waiting"),
    ("dropped", "cancelled"),
    ("cut-off", "running"),
]
"""Tasks of the dump."""


async def corral(*arguments: str, url: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", *arguments),
        env={"PATH": "/usr/bin:/bin", "CORRAL_DATABASE_URL": url, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_a_queue_of_the_first_version_goes_on_after_an_upgrade_and_can_go_back(
    short_folder: Path, old_url: str
) -> None:
    data = short_folder / "data"
    data.mkdir(mode=0o710)
    shutil.copytree(OLD / "artifacts", data / "artifacts")
    cluster = short_folder / "cluster.yaml"
    shutil.copy(OLD / "cluster.yaml", cluster)
    server = corral_up(data, cluster, short_folder / "up.log", env={"CORRAL_DATABASE_URL": old_url})

    async with keeping(server), PatientClient(data) as client:
        await client.post("/corral/v1/queues/closed/resume", {})
        for task in (3, 4, 6):
            ended = await client.get(f"/corral/v1/tasks/{task}/wait?timeout=60")
            assert (task, ended["state"]) == (task, "succeeded")
        outputs = (await client.get("/corral/v1/tasks/3"))["outputs"]
        assert [output["sha256"] for output in outputs if output["name"] == "again.txt"] == [MADE]
        assert [token["name"] for token in (await client.get("/corral/v1/tokens"))["items"]] == ["ada"]
        assert [upload["name"] for upload in (await client.get("/corral/v1/uploads"))["items"]] == ["in.txt"]
        assert (await corral("rollback", "--yes", "--data-dir", str(data), url=old_url))[0] != 0, "a server runs"
        await server.stop()
    assert (await look(old_url))[0] == HEAD

    code, text = await corral("rollback", "--yes", "--data-dir", str(data), "--cluster", str(cluster), url=old_url)

    assert code == 0, text
    assert f"with schema {OLD_SCHEMA}" in text
    assert await look(old_url) == (OLD_SCHEMA, BEFORE)


async def test_a_migration_that_fails_leaves_the_old_state_and_says_where_it_is_saved(
    old_url: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(old_url)
    await connection.execute("create table audit (id int)")

    with pytest.raises(MigrationError) as caught:
        await upgrade_database(old_url, tmp_path, reserve=NOTHING)

    assert await look(old_url) == (OLD_SCHEMA, BEFORE)
    (backup,) = list_upgrade_backups(tmp_path)
    assert caught.value.hint is not None
    assert str(backup.path) in caught.value.hint

    await connection.execute("drop table audit")
    await connection.close()
    assert await upgrade_database(old_url, tmp_path, reserve=NOTHING) is not None
    assert await look(old_url) == (HEAD, BEFORE)


async def test_a_database_that_cannot_be_saved_is_not_migrated(old_url: str, tmp_path: Path) -> None:
    with pytest.raises(NoUpgradeBackupError, match=r"1048576\.0 TiB are kept in reserve"):
        await upgrade_database(old_url, tmp_path, reserve=Bytes(2**60))
    assert (await look(old_url), list(tmp_path.iterdir())) == ((OLD_SCHEMA, BEFORE), [])


async def test_what_a_killed_start_has_begun_to_save_takes_no_room_for_ever(old_url: str, tmp_path: Path) -> None:
    (tmp_path / "schema-0001-20260101T000000Z.begun").write_bytes(b"half")

    backup = await upgrade_database(old_url, tmp_path, reserve=NOTHING)

    assert backup is not None
    assert list(tmp_path.iterdir()) == [backup.path]


async def test_a_rollback_leaves_other_schemas_of_the_database_as_they_are(old_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(old_url)
    await connection.execute("create schema other; create table other.facts (fact text)")
    backup = await upgrade_database(old_url, tmp_path, reserve=NOTHING)
    assert backup is not None
    await connection.execute("insert into other.facts values ('newer')")
    await connection.close()

    await roll_back(old_url, backup)

    connection = await asyncpg.connect(old_url)
    assert await connection.fetchval("select fact from other.facts") == "newer"
    await connection.close()
    assert await look(old_url) == (OLD_SCHEMA, BEFORE)


async def test_a_user_who_does_not_own_the_schema_is_told_what_a_rollback_needs(old_url: str, tmp_path: Path) -> None:
    backup = await upgrade_database(old_url, tmp_path, reserve=NOTHING)
    assert backup is not None
    role = f"tenant_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(old_url)
    await connection.execute(f"create role {role} login; grant all on schema public to {role}")
    await connection.close()

    with pytest.raises(RollbackDeniedError, match="must be owner of schema public; nothing was changed"):
        await roll_back(old_url.replace("//postgres", f"//{role}"), backup)

    assert await look(old_url) == (HEAD, BEFORE)


async def test_nothing_is_saved_where_nothing_is_migrated(database_url: str, tmp_path: Path) -> None:
    assert await upgrade_database(database_url, tmp_path, reserve=NOTHING) is None
    assert list(tmp_path.iterdir()) == []


async def test_the_newest_backups_are_kept(old_url: str, tmp_path: Path) -> None:
    for day in range(1, 6):
        (tmp_path / f"schema-0001-2026010{day}T000000Z.dump").write_bytes(b"old")
    (tmp_path / "mine.dump").write_bytes(b"of the user")

    taken = await upgrade_database(old_url, tmp_path, reserve=NOTHING)

    kept = [backup.path.name for backup in list_upgrade_backups(tmp_path)]
    assert taken is not None
    assert kept == [taken.path.name, "schema-0001-20260105T000000Z.dump", "schema-0001-20260104T000000Z.dump"]
    assert len(kept) == KEPT
    assert (tmp_path / "mine.dump").exists()


async def upgraded(url: str, folder: Path) -> UpgradeBackup:
    await upgrade_database(url, folder, reserve=NOTHING)
    return find_upgrade_backup(folder, None)


async def test_a_rollback_that_fails_leaves_the_database_as_it_was(old_url: str, tmp_path: Path) -> None:
    backup = await upgraded(old_url, tmp_path)
    content = backup.path.read_bytes()
    backup.path.write_bytes(content[: len(content) // 2])

    with pytest.raises(DumpError):
        await roll_back(old_url, backup)

    assert await look(old_url) == (HEAD, BEFORE)


async def test_a_rollback_that_was_killed_is_seen_and_can_be_done_again(old_url: str, tmp_path: Path) -> None:
    backup = await upgraded(old_url, tmp_path)
    connection = await asyncpg.connect(old_url)
    await connection.execute("alter schema public rename to corral_before_rollback; create schema public")
    await connection.close()

    with pytest.raises(RollbackBrokenOffError, match="killed before its end"):
        await upgrade_database(old_url, tmp_path, reserve=NOTHING)
    await roll_back(old_url, backup)

    assert await look(old_url) == (OLD_SCHEMA, BEFORE)


async def test_what_was_rolled_back_can_be_upgraded_and_saved_again(old_url: str, tmp_path: Path) -> None:
    await roll_back(old_url, await upgraded(old_url, tmp_path))
    assert await upgrade_database(old_url, tmp_path, reserve=NOTHING) is not None
    await dump_database(old_url, tmp_path / "again")
    assert await look(old_url) == (HEAD, BEFORE)


async def test_a_database_in_use_is_not_rolled_back(old_url: str, tmp_path: Path) -> None:
    backup = await upgraded(old_url, tmp_path)
    connection = await asyncpg.connect(old_url)
    with pytest.raises(DatabaseConnectedError, match="other connections to the database are open: 1"):
        await roll_back(old_url, backup)
    await connection.close()


async def test_a_migration_does_not_wait_for_ever_behind_a_reader_of_a_table(old_url: str) -> None:
    """A dump holds every table for as long as it takes, and all who come after the migration would wait with it."""
    reader = await asyncpg.connect(old_url)
    async with reader.transaction():
        await reader.execute("lock table tasks in access share mode")
        with pytest.raises(DatabaseLockedError, match="holds a table"):
            await migrate(old_url, lock_patience_s=0.1)
        assert await look(old_url) == (OLD_SCHEMA, BEFORE)
    await reader.close()
    await migrate(old_url)
    assert (await read_revision(old_url)) == HEAD
