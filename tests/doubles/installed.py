"""The installed command, run as a user runs it: a process, its exit code, its two outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corral.weights.catalogue import CATALOGUE
from corral.weights.store import Store

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "first-batch.yaml"
CORRAL = Path(sys.executable).parent / "corral"


@contextmanager
def a_home(*, models: Path | None = None) -> Iterator[Path]:
    """A short folder with the examples and a data directory `data`; `models` are linked into it."""
    folder = Path(tempfile.mkdtemp(prefix="corral-e2e-", dir="/tmp"))  # short: a socket's path lies below it
    try:
        (folder / "examples").symlink_to(REPOSITORY / "examples")
        (folder / "data" / "models").mkdir(parents=True)
        for model in models.iterdir() if models else ():
            if not model.name.startswith("."):
                shutil.copytree(model, folder / "data" / "models" / model.name, copy_function=os.link)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def the_models() -> Path:
    """Return a store with every model of the catalogue, kept between test runs."""
    store = Store(REPOSITORY / ".cache" / "models")
    for entry in CATALOGUE:
        await store.pull(entry.name)
    return REPOSITORY / ".cache" / "models"


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in the folder, on its data directory."""
    environment = {**os.environ, "CORRAL_DATA_DIR": str(home / "data"), "NO_COLOR": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [CORRAL, *arguments], cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = start(home, *arguments)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
