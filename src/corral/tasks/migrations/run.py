"""The migrating process: `python -m corral.tasks.migrations.run <seconds>`, started by `migrate`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from corral.tasks.migrations import LOCKED_OUT, UNAVAILABLE, URL_VARIABLE

_LOCK_NOT_AVAILABLE = "55P03"
_AWAY = ("08", "53", "57P", "58")
"""Classes of what PostgreSQL says when a connection fails, its disk is full, it goes down, or it cannot read a file."""


def make_config() -> Config:
    """Return Alembic's configuration for the scripts of this package."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    return settings


if __name__ == "__main__":
    with_url = make_config()
    with_url.attributes["url"] = os.environ[URL_VARIABLE]
    with_url.attributes["patience_s"] = float(sys.argv[1])
    try:
        command.upgrade(with_url, "head")
    except (DBAPIError, asyncpg.PostgresError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(cause, "sqlstate", None) or ""
        if state == _LOCK_NOT_AVAILABLE:
            sys.exit(LOCKED_OUT)
        is_lost = isinstance(error, OSError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
        if not is_lost and not state.startswith(_AWAY):
            raise
        sys.stderr.write(f"{cause}\n")
        sys.exit(UNAVAILABLE)
