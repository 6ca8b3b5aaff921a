"""What every test may ask for: a PostgreSQL server for the session, and a database of its own per test.

The server is the embedded one that the product uses. A missing server fails the tests; nothing is skipped.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import settings

from corral.server.database import EmbeddedDatabase
from corral.tasks.migrations import migrate
from corral.tasks.store.pool import Pool, open_pool
from doubles.short_folders import lend_short_folder

os.environ.pop("PYTHONUNBUFFERED", None)  # commands that tests start keep their output back, as they do for users
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # and do not compile every module anew
signal.signal(signal.SIGINT, signal.default_int_handler)  # and take Ctrl-C, also where a shell had it ignored
settings.register_profile("corral", deadline=None)  # how long an example takes is the machine's, not the code's
settings.load_profile("corral")

gc.disable()  # what is collected stays until the end: looking through it again and again is a sixth of collecting

TEMPLATE = "corral_template"
WORKERS_PER_CORE = 2
"""Tests that start programs wait for them about 40 % of the time (690 s of processor time in 572 s on two cores)."""


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """With `-n auto`, start more workers than cores; with `-n logical`, leave it to xdist: one per core."""
    if config.option.numprocesses != "auto":
        return None
    return WORKERS_PER_CORE * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """Let garbage be collected again, without another look at all that was collected before."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def keep_umask() -> Iterator[None]:
    """Undo what a server that a test runs in its own process sets: files of later tests would be closed to others."""
    before = os.umask(0)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server whose durability is off (tests kill processes, not the machine), with a migrated template."""
    with lend_short_folder("corral-pg") as folder:
        database = EmbeddedDatabase(folder / "pg")
        url = _with_database(asyncio.run(database.start()), "postgres")
        asyncio.run(_make_template(url))
        yield url
        asyncio.run(database.stop())


async def _make_template(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"create database {TEMPLATE}")
    for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "max_wal_size = '256MB'"):
        await connection.execute(f"alter system set {setting}")
    await connection.execute("select pg_reload_conf()")
    await connection.close()
    await migrate(_with_database(url, TEMPLATE))


def _with_database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of this test alone, with the schema."""
    async with _lend_database(postgres_url) as url:
        yield url


@pytest.fixture
async def other_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A second one, for another server."""
    async with _lend_database(postgres_url) as url:
        yield url


@asynccontextmanager
async def _lend_database(postgres_url: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"create database {name} template {TEMPLATE} strategy wal_log")
    yield _with_database(postgres_url, name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on this test's database."""
    pool = await open_pool(database_url)
    yield pool
    await pool.close()
