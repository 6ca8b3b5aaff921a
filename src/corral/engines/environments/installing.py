"""Builds an environment of an engine with uv, from its locked file, and puts it into use in one step.

Killed in the middle, it leaves a folder that nothing uses; the next time goes on there, with what is already in uv's
cache. The packages are wheels with the hashes of the locked file: nothing of theirs runs while they are installed. Then
the engine's modules are imported once, by the new Python, before it is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import ClassVar

import psutil

from corral.engine_facts import EngineEnvironment, EngineKind
from corral.engines.environments.finding import (
    CURRENT,
    FACTS,
    Environments,
    InstalledEnvironment,
    find_packages,
    find_python,
    link_code,
    read_environment,
    replace_link,
)
from corral.errors import CorralError, Kind, did_you_mean
from corral.files import sync_folder, write_whole
from corral.processes.bounded_log import BoundedLog
from corral.processes.child import ChildProcess
from corral.processes.leftovers import MARK, make_mark

_LOCK_FILE = ".lock"
_LOG_FILE = "install.log"
_KEEPER = ("-P", "-m", "corral.processes.keeper", "2", "[]")
"""Ends uv when this process ends, however that is; two seconds for it to finish a file."""


class UvMissingError(CorralError):
    """uv, which builds environments, is not on this machine."""

    code: ClassVar[str] = "environment.no_uv"
    kind: ClassVar[Kind] = Kind.MISSING


class EnvironmentBusyError(CorralError):
    """Another process builds an environment of the engine."""

    code: ClassVar[str] = "environment.busy"
    kind: ClassVar[Kind] = Kind.CONFLICT


class EnvironmentFailedError(CorralError):
    """The environment could not be built, or its packages cannot be imported; what was in use still is."""

    code: ClassVar[str] = "environment.failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class NoEnvironmentError(CorralError):
    """The engine has no environment of this name."""

    code: ClassVar[str] = "environment.unknown"
    kind: ClassVar[Kind] = Kind.MISSING


def find_uv(environment: Mapping[str, str] = os.environ, beside: Path = Path(sys.executable).parent) -> str:
    """Find uv on PATH, or in the folder of the Python that runs Corral. Raises: UvMissingError."""
    path = shutil.which("uv", path=environment.get("PATH")) or shutil.which("uv", path=str(beside))
    if path is None:
        hint = "install it with `pip install uv` or as docs.astral.sh/uv says, then run this again"
        raise UvMissingError("environments of engines are built with uv, and there is no `uv` on PATH", hint=hint)
    return path


def choose_environment(kind: EngineKind, variant: str | None) -> EngineEnvironment:
    """Return an environment of an engine, its first one where no variant is named. Raises: NoEnvironmentError."""
    if not kind.environments:
        hint = f"pip install 'corral[{kind.name}]'" if kind.library else None
        raise NoEnvironmentError(f"the engine {kind.name!r} has no environment of its own", hint=hint)
    variants = {environment.variant: environment for environment in kind.environments}
    if variant is None:
        return kind.environments[0]
    if variant not in variants:
        hint = did_you_mean(variant, variants, otherwise=f"it has: {', '.join(variants)}")
        raise NoEnvironmentError(f"{kind.name} has no variant {variant!r}", hint=hint)
    return variants[variant]


def read_lock(environment: EngineEnvironment) -> str:
    """Return the text of a locked file."""
    return files("corral.engines.environments.locks").joinpath(environment.lock).read_text(encoding="utf-8")


def compute_digest(environment: EngineEnvironment) -> str:
    """Return a name for what an environment is built from: the locked file, and the version of Python."""
    python = f"{sys.implementation.cache_tag}\n"
    return hashlib.sha256((python + read_lock(environment)).encode()).hexdigest()[:16]


async def install(
    kind: EngineKind, environment: EngineEnvironment, environments: Environments, report: Callable[[str], None]
) -> InstalledEnvironment:
    """Build an environment and put it into use; one that is in use already is left as it is.

    `report` gets each line that uv prints. Raises: UvMissingError, EnvironmentBusyError, EnvironmentFailedError.
    """
    assert environments.folder is not None, "there is a data directory wherever something is installed"
    folder = environments.folder / kind.name
    try:
        return await _install(kind, environment, environments, folder, report)
    except OSError as error:
        what = f"the environment of {kind.name} cannot be written: {error.strerror or error}"
        raise EnvironmentFailedError(what, where=str(folder), hint="look at its permissions and the disk") from error


async def _install(
    kind: EngineKind,
    environment: EngineEnvironment,
    environments: Environments,
    folder: Path,
    report: Callable[[str], None],
) -> InstalledEnvironment:
    folder.mkdir(parents=True, exist_ok=True)
    digest = compute_digest(environment)
    with _hold(folder, kind.name):
        installed = environments.read(kind.name)
        if installed is not None and (installed.variant, installed.digest) == (environment.variant, digest):
            return installed
        uv = find_uv()
        target = folder / f"{environment.variant}-{digest}"
        _remove_unused(folder, keep=(target, *([installed.folder] if installed else [])))
        await _build(kind, environment, target, _Steps(uv, folder / _LOG_FILE, report))
        facts = {
            "engine": kind.name,
            "variant": environment.variant,
            "digest": digest,
            "packages": sum(1 for _ in find_packages(target).glob("*.dist-info")),
            "installed_at": datetime.now(UTC).isoformat(),
        }
        write_whole(target / FACTS, json.dumps(facts, indent=2) + "\n")
        replace_link(folder / CURRENT, Path(target.name))
        sync_folder(folder)
        _remove_unused(folder, keep=(target,))
        ready = read_environment(folder / CURRENT)
    assert ready is not None, "it was written just now"
    return ready


async def _build(kind: EngineKind, environment: EngineEnvironment, target: Path, steps: _Steps) -> None:
    interrupted = target.exists()
    (target / FACTS).unlink(missing_ok=True)
    with as_file(files("corral.engines.environments.locks").joinpath(environment.lock)) as lock:
        await steps.run_uv(
            "venv", "--quiet", "--allow-existing", "--python", sys.executable, "--no-python-downloads", target
        )
        # A package that was cut off can look whole: its list of files is written with the others, in no order.
        again = ("--reinstall",) if interrupted else ()
        chosen = ("--require-hashes", "--only-binary", ":all:", *again)
        await steps.run_uv("pip", "sync", "--python", find_python(target), *chosen, lock)
    link_code(target)
    worker = (kind.worker or kind.served or "").partition(":")[0]
    needed = ", ".join(filter(None, (kind.library, worker if kind.worker else None)))
    await steps.run(str(find_python(target)), "-P", "-c", f"import {needed}")


class _Steps:
    """Programs that are run one after the other, and what they print."""

    def __init__(self, uv: str, log: Path, report: Callable[[str], None]) -> None:
        self._uv = uv
        self._log = BoundedLog(log, follow=report)
        self._folder = log.parent

    async def run_uv(self, *arguments: object) -> None:
        """Run uv. Raises: EnvironmentFailedError."""
        await self.run(self._uv, *map(str, arguments))

    async def run(self, *command: str) -> None:
        """Run a program; it ends with this process. Raises: EnvironmentFailedError."""
        environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        # Trust what the machine trusts, as pip does: some networks have a certificate of their own.
        environment = {"UV_SYSTEM_CERTS": "1", "NO_COLOR": "1", **environment, MARK: make_mark(self._folder)}
        process = await ChildProcess.start((sys.executable, *_KEEPER, *command), environment, self._log)
        try:
            await process.wait()
        finally:
            await process.end(grace_s=0.0)
        if process.exit_code != 0:
            hint = "look at its lines above, then run the command again: it goes on where it was"
            program = Path(command[0]).name
            raise EnvironmentFailedError(f"{program} failed: {process.describe_end()}", hint=hint)


@contextmanager
def _hold(folder: Path, engine: str) -> Generator[None]:
    """Keep others from building the engine's environment; the kernel lets go of it however this process ends."""
    with (folder / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            what = f"an environment of {engine} is being installed by another process"
            raise EnvironmentBusyError(what, where=str(folder), hint="wait for it, then run this again") from error
        yield


def _remove_unused(folder: Path, *, keep: tuple[Path, ...]) -> None:
    """Remove environments of earlier versions, except those that a process was started from."""
    kept = {path.name for path in keep}
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in kept and not _is_used(entry):
            shutil.rmtree(entry, ignore_errors=True)


def _is_used(folder: Path) -> bool:
    beginning = f"{folder.resolve()}{os.sep}"
    for process in psutil.process_iter():
        try:
            if any(argument.startswith(beginning) for argument in process.cmdline()[:1]):
                return True
        except psutil.Error:
            continue
    return False
