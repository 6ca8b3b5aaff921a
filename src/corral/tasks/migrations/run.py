"""The migrating process: `python -m corral.tasks.migrations.run <seconds>`, started by `migrate`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from corral.tasks.migrations import LOCKED_OUT, URL_VARIABLE

_LOCK_NOT_AVAILABLE = "55P03"


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
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        sys.exit(LOCKED_OUT)
