"""Starts a server, runs it, stops it: database, dispatcher, HTTP, in this order, and back.

The first signal stops in order: no new tasks, a grace time for running ones, then they go back to the queue. A second
signal ends the grace time. Killing the server at any moment loses nothing either; this is only kinder.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import structlog
import uvicorn
from fastapi import FastAPI

from corral.cluster import Cluster
from corral.data_dir import Presence, SettingsError, models_dir, prepare_data_dir
from corral.engines.local.leftovers import sweep
from corral.errors import CorralError, Kind
from corral.server import presence
from corral.server.api import create_app, end_streams
from corral.server.connections import make_server_config, raise_descriptor_limit
from corral.server.database import EmbeddedDatabase
from corral.server.reloading import FollowedCluster, look_here, make_rules
from corral.server.services import Services, configure_logs, keep_house
from corral.server.settings import Settings, read_cluster
from corral.slots.registry import Registry
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.migrations import migrate
from corral.tasks.store.pool import open_pool
from corral.weights.store import Store

log = structlog.get_logger()

GRACE_S = 10.0
"""How long running tasks can go on after a first signal."""
DISPATCHER_CONNECTIONS = 3
"""Of its own, so that a burst of requests never makes a freed slot wait: rounds, heartbeat, measured memory."""
WRITE_OUT_S = 15.0
"""How long a stopping server waits for a database that does not answer; what is not written then is run again."""


class ListenError(CorralError):
    """The server cannot listen at its address."""

    code: ClassVar[str] = "server.cannot_listen"
    kind: ClassVar[Kind] = Kind.CONFLICT


class _HttpServer(uvicorn.Server):
    """Uvicorn without its own signal handlers: the runtime decides what a signal means."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


async def serve(settings: Settings, *, ready: Callable[[Presence], None] = lambda _: None) -> None:
    """Run a server until a signal stops it; `ready` is called once it accepts requests.

    Raises: AlreadyRunningError, ClusterFileError, DatabaseNewerError, EmbeddedDatabaseError, ListenError,
    SettingsError.
    """
    configure_logs()
    os.umask(0o077)  # what the server and its engines write is for its owner alone
    prepare_data_dir(settings.data_dir)
    with _stop_quietly_while_starting(), presence.hold_data_dir(settings.data_dir):
        cluster = read_cluster(settings)
        sockets = [_listen(settings)]
        async with _open_database(settings, cluster) as url:
            await _serve(settings, cluster, url, sockets, ready)


@contextmanager
def _stop_quietly_while_starting() -> Generator[None, None, None]:
    """Let a signal end the start in order, database included; `_run` takes the signals over."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    asked = False

    def ask() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    _handle_signals(ask)
    try:
        yield
    except asyncio.CancelledError:
        if not asked:
            raise
        task.uncancel()
        log.info("stopped_while_starting")


async def _serve(
    settings: Settings, cluster: Cluster, url: str, sockets: list[socket.socket], ready: Callable[[Presence], None]
) -> None:
    data_dir = settings.data_dir
    _clear_leftovers(data_dir)
    await migrate(url)
    pool = await open_pool(url)
    dispatching_pool = await open_pool(url, size=DISPATCHER_CONNECTIONS)
    artifacts = ArtifactStore(data_dir / "artifacts")
    artifacts.prepare()
    weights = Store(models_dir(data_dir))
    board = Board()
    here = look_here(cluster, settings, weights.path)
    for problem in here.problems:
        log.warning("machine_differs_from_cluster_file", what=problem.what, where=problem.where, hint=problem.hint)
    dispatcher = Dispatcher(
        url=url,
        pool=dispatching_pool,
        holder=presence.holder_of(data_dir),
        slots=Registry(here.wanted),
        rules=make_rules(here),
        artifacts=artifacts,
        scratch=data_dir / "scratch",
        board=board,
    )
    followed = FollowedCluster(cluster, dispatcher, lambda: look_here(read_cluster(settings), settings, weights.path))
    announced = Presence(
        pid=os.getpid(),
        url=_format_url(settings, sockets[0]),
        token=secrets.token_urlsafe(32),
        started_at=datetime.now(UTC).isoformat(),
    )
    services = Services(
        followed=followed,
        pool=pool,
        board=board,
        artifacts=artifacts,
        weights=weights,
        explain=dispatcher.explain,
        data_dir=data_dir,
        local_token=announced.token,
        loopback=settings.loopback,
        started_at=datetime.now(UTC),
    )
    app = create_app(services)
    gc.collect()
    gc.freeze()  # modules live as long as the server: a full collection of them held the event loop for 30 ms
    housekeeping = asyncio.create_task(
        keep_house(pool, artifacts, lambda: followed.cluster.retention), name="housekeeping"
    )
    try:
        with _reload_on_hangup(followed):
            await _run(dispatcher, app, sockets, lambda: _announce(data_dir, announced, ready))
    finally:
        housekeeping.cancel()
        pool.terminate()
        dispatching_pool.terminate()


@contextmanager
def _reload_on_hangup(followed: FollowedCluster) -> Generator[None, None, None]:
    """Let SIGHUP read the cluster file again while the context lasts; when a terminal closes, it ends the server."""
    reloads: set[asyncio.Task[None]] = set()
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def reload() -> None:
        closed = [stream for stream in terminals if not os.isatty(stream)]
        if closed:
            _write_nowhere(closed)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        task = asyncio.create_task(followed.reload_on_signal(), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _write_nowhere(streams: Iterable[int]) -> None:
    """Point these streams away from a terminal that is closed: writing there raises."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _announce(data_dir: Path, here: Presence, ready: Callable[[Presence], None]) -> None:
    presence.announce(data_dir, here)
    ready(here)


async def _run(
    dispatcher: Dispatcher, app: FastAPI, sockets: list[socket.socket], listening: Callable[[], None]
) -> None:
    http = _HttpServer(make_server_config(app, raise_descriptor_limit()))
    stop, hurry = asyncio.Event(), asyncio.Event()
    _handle_signals(lambda: (hurry if stop.is_set() else stop).set())
    dispatching = asyncio.create_task(dispatcher.run(), name="dispatcher")
    serving = asyncio.create_task(http.serve(sockets=sockets), name="http")
    stopping = asyncio.create_task(stop.wait())
    started = asyncio.create_task(http.listening.wait())
    try:
        await asyncio.wait({started, serving}, return_when=asyncio.FIRST_COMPLETED)
        listening()
        await asyncio.wait({dispatching, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:  # in order, too, when the program that started the server is not there any more to read that it is ready
        started.cancel()
        stopping.cancel()
        await _wind_down(dispatcher, dispatching, hurry)
        end_streams(app)
        http.should_exit = True
        await asyncio.gather(serving, dispatching)


async def _wind_down(dispatcher: Dispatcher, dispatching: asyncio.Task[None], hurry: asyncio.Event) -> None:
    dispatcher.stop()
    hurrying = asyncio.create_task(hurry.wait())
    if dispatcher.running:
        log.info("waiting_for_running_tasks", running=dispatcher.running, grace_s=GRACE_S)
    await asyncio.wait({dispatching, hurrying}, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    dispatcher.release()
    await asyncio.wait({dispatching}, timeout=WRITE_OUT_S)
    if not dispatching.done():
        log.warning("stopped_without_database")
        dispatching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dispatching


def _handle_signals(act: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, act)


def _listen(settings: Settings) -> socket.socket:
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=256)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another port with --port, or stop what uses this one",
        ) from error
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else small answers wait some 40 ms for an ACK
    return listener


def _format_url(settings: Settings, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    any_address = settings.host in ("0.0.0.0", "::", "")
    host = "127.0.0.1" if any_address else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _clear_leftovers(data_dir: Path) -> None:
    """Remove what a server that was killed left: engine processes, and folders of attempts."""
    logs = data_dir / "logs"
    logs.mkdir(exist_ok=True)
    ended = sweep(logs)
    if ended:
        log.info("leftover_processes_ended", count=ended)
    shutil.rmtree(data_dir / "scratch", ignore_errors=True)
    (data_dir / "scratch").mkdir()


@asynccontextmanager
async def _open_database(settings: Settings, cluster: Cluster) -> AsyncGenerator[str, None]:
    """Give the URL of the database, and keep the embedded one running while the context lasts."""
    url = settings.database_url
    if url is None and cluster.database_url_env is not None:
        url = os.environ.get(cluster.database_url_env)
        if url is None:
            raise SettingsError(
                f"the environment variable {cluster.database_url_env} is not set",
                hint="set it to a PostgreSQL URL, or remove `database` from the cluster file for the embedded server",
            )
    if url is not None:
        yield url
        return
    database = EmbeddedDatabase(settings.data_dir / "postgres")
    starting = asyncio.create_task(database.start(), name="embedded-database-start")
    watching: asyncio.Task[None] | None = None
    try:
        url = await asyncio.shield(starting)  # a start that is cut off would leave a server that runs for ever
        watching = asyncio.create_task(database.watch(), name="embedded-database")
        yield url
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await asyncio.gather(starting, return_exceptions=True)
        await database.stop()
