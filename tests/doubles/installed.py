"""The installed command, run as a user runs it: a process, its exit code, its two outputs."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corral.weights.catalogue import PIPER_EN_US_JOE, SMOLLM2, WHISPER_TINY_EN
from corral.weights.store import Store
from doubles.short_folders import lend_short_folder

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "first-batch.yaml"
CORRAL = Path(sys.executable).parent / "corral"


@contextmanager
def a_home(*, models: Path | None = None) -> Iterator[Path]:
    """A short folder with the examples and a data directory `data`; `models` are linked into it."""
    with lend_short_folder("corral-e2e") as folder:
        (folder / "examples").symlink_to(REPOSITORY / "examples")
        (folder / "data" / "models").mkdir(parents=True)
        for model in models.iterdir() if models else ():
            if not model.name.startswith("."):
                shutil.copytree(model, folder / "data" / "models" / model.name, copy_function=os.link)
        yield folder


async def the_models() -> Path:
    """Return a store with the models of the examples, kept between test runs."""
    store = Store(REPOSITORY / ".cache" / "models")
    for entry in (SMOLLM2, WHISPER_TINY_EN, PIPER_EN_US_JOE):
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


class Terminal:
    """A command on a terminal of its own, as a person sees it and types into it."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid = pid
        self._descriptor = descriptor
        self._seen = ""

    def until(self, text: str) -> str:
        """Return what the command shows up to and with `text`; fail with all of it when it ends before."""
        while text not in self._seen:
            try:
                shown = os.read(self._descriptor, 65536)
            except OSError:  # how Linux says that the other side of a terminal is closed
                shown = b""
            assert shown, f"it ended without {text!r}:\n{self._seen}"
            self._seen += shown.decode(errors="replace")
        before, _, self._seen = self._seen.partition(text)
        return before + text

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._descriptor, text.encode())

    def rest(self) -> str:
        """Return what it shows until its end."""
        with contextlib.suppress(OSError):
            while shown := os.read(self._descriptor, 65536):
                self._seen += shown.decode(errors="replace")
        return self._seen.replace("\r\n", "\n")

    def exit_code(self) -> int:
        """Wait for the end and return the exit code."""
        with contextlib.suppress(OSError):
            while os.read(self._descriptor, 65536):
                pass
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


@contextmanager
def a_terminal(home: Path, *arguments: str, columns: int = 120) -> Iterator[Terminal]:
    """Run a command on a terminal of so many columns."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(home)
        size = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm"}
        os.execve(CORRAL, [str(CORRAL), *arguments], {**os.environ, **size, "CORRAL_DATA_DIR": str(home / "data")})
    try:
        yield Terminal(pid, descriptor)
    finally:
        os.close(descriptor)  # a command that still runs loses its terminal, and ends
