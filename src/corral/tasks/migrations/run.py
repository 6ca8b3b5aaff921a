"""The migrating process: `python -m corral.tasks.migrations.run`, started by `migrate`."""

from __future__ import annotations

import os
from pathlib import Path

from alembic import command
from alembic.config import Config

from corral.tasks.migrations import URL_VARIABLE


def make_config() -> Config:
    """Return Alembic's configuration for the scripts of this package."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    return settings


if __name__ == "__main__":
    with_url = make_config()
    with_url.attributes["url"] = os.environ[URL_VARIABLE]
    command.upgrade(with_url, "head")
