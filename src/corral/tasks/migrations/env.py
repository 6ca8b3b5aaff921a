"""Alembic's entry: connects, takes the lock, runs the scripts in one transaction."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from corral.tasks.migrations import LOCK


def _run(connection: Connection) -> None:
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
    # Whatever comes after a statement that waits for a table waits behind it: a dump of an hour would stop the queue.
    patience = {"patience": f"{context.config.attributes['patience_s'] * 1000:.0f}ms"}
    connection.execute(text("select set_config('lock_timeout', :patience, true)"), patience)
    context.configure(connection=connection)
    context.run_migrations()


async def _migrate(url: str) -> None:
    scheme, rest = url.split("://", 1)
    del scheme
    engine = create_async_engine(f"postgresql+asyncpg://{rest}", poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_migrate(context.config.attributes["url"]))
