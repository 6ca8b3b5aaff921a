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
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import asyncpg
import structlog
from fastapi import FastAPI

from corral.cluster import Cluster
from corral.data_dir import BACKUPS_FOLDER, Presence, models_dir, prepare_data_dir
from corral.engines.cluster_seams import ClusterSeams
from corral.engines.servers.containers import ContainerList
from corral.engines.servers.directory import Directory
from corral.engines.surveying import Surveyor
from corral.notifications.notifier import Notifier
from corral.operations.reloading import LocalCluster
from corral.processes.leftovers import sweep
from corral.processes.outside import end_left
from corral.server import presence
from corral.server.api.app import create_app, end_streams
from corral.server.cluster_instances import ClusterInstances
from corral.server.connections import make_server_config, raise_descriptor_limit
from corral.server.database import open_database
from corral.server.gpu_looks import GpuLooks, describe_own
from corral.server.housekeeping import keep_house
from corral.server.job_files import JOB_FILES_FOLDER, JobFiles
from corral.server.keys.keeping import make_keys
from corral.server.lending import make_hold_book
from corral.server.lent_replicas import LentReplicas
from corral.server.listeners import Listeners
from corral.server.listening import HttpServer, format_people_url, format_url, listen, listen_for_own
from corral.server.on_demand import OnDemandServices
from corral.server.process import (
    configure_logs,
    handle_signals,
    keep_what_start_made,
    reload_on_hangup,
    stop_quietly_while_starting,
)
from corral.server.reloading import ClusterInEffect, make_rules
from corral.server.service_manager import ServiceManager
from corral.server.services import Services
from corral.server.settings import ServerSettings, read_cluster, read_cluster_text
from corral.server.slots_here import localize
from corral.server.tls import follow_files
from corral.slots.registry import Registry
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import LEFTOVER_GRACE_S, ArtifactStore
from corral.tasks.backup.upgrades import upgrade_database
from corral.tasks.board import Board
from corral.tasks.deliveries.delivering import Deliverer
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.store.audit import append_act
from corral.tasks.store.pool import CONNECTION_LOST, Pool, open_pool
from corral.tasks.supervision import supervise
from corral.telemetry.gpu_watch import GpuWatch
from corral.telemetry.ownership import Own
from corral.weights.store import Store

log = structlog.get_logger()

GRACE_S = 10.0
"""How long running tasks can go on after a first signal."""
DISPATCHER_CONNECTIONS = 3
"""Of its own, so that a burst of requests never makes a freed slot wait: rounds, heartbeat, measured memory."""
LAST_WRITE_S = 2.0
"""For the energy of the last seconds, at the end of a server."""
WRITE_OUT_S = 15.0
"""How long a stopping server waits for a database that does not answer; what is not written then is run again."""


MakeLink = Callable[[], str]
"""Makes a link to the console, with a code where one is needed."""
Ready = Callable[[str, MakeLink], None]


async def serve(settings: ServerSettings, *, ready: Ready = lambda _url, _make_link: None) -> None:
    """Run a server until a signal stops it; `ready` is called with its URL once it accepts requests.

    Raises: AlreadyRunningError, ClusterFileError, DatabaseNewerError, EmbeddedDatabaseError, ListenError,
    SettingsError, TlsFilesError.
    """
    configure_logs()
    os.umask(0o077)  # what the server and its engines write is for its owner alone
    prepare_data_dir(settings.data_dir)
    with stop_quietly_while_starting(), presence.hold_data_dir(settings.data_dir):
        cluster = read_cluster(settings)
        context = None if settings.tls is None else settings.tls.make_context()
        listeners = Listeners(settings.host, has_certificate=context is not None)
        ports = _Ports(main=listen(settings), own=listen_for_own(settings), listeners=listeners)
        ports.listeners.take(cluster.gateway)
        alarms = Alarms()
        async with open_database(settings, cluster, alarms) as url:
            await _serve(settings, cluster, url, ports, context, ready, alarms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ports:
    """The sockets of a server; they listen."""

    main: socket.socket
    own: socket.socket | None
    """For commands of this machine, where the main one is encrypted."""
    listeners: Listeners


async def _serve(
    settings: ServerSettings,
    cluster: Cluster,
    url: str,
    ports: _Ports,
    context: ssl.SSLContext | None,
    ready: Ready,
    alarms: Alarms,
) -> None:
    data_dir = settings.data_dir
    manager = ServiceManager(os.environ)
    _clear_leftovers(data_dir)
    async with manager.report_longer_start("saves and migrates the database"):
        saved = await upgrade_database(url, data_dir / BACKUPS_FOLDER, reserve=cluster.server.disk_reserve)
    if saved is not None:
        log.info("database_migrated", saved_before=str(saved.path), bytes=saved.size, schema_before=saved.schema)
    pool = await open_pool(url)
    dispatching_pool = await open_pool(url, size=DISPATCHER_CONNECTIONS)
    artifacts = ArtifactStore(data_dir / "artifacts")
    # A volume of its own is shared with a server that stands by, or leads, and can be writing.
    artifacts.prepare(older_than_s=LEFTOVER_GRACE_S if artifacts.root.is_mount() else 0.0)
    weights = Store(models_dir(data_dir))
    board = Board()
    directory = Directory()

    slots = Registry()

    def read_anew() -> LocalCluster:
        completed = on_cluster.complete(read_cluster(settings))
        return make_local(completed)

    on_cluster = ClusterInstances(
        lambda: in_effect.cluster, partial(read_cluster_text, settings), lambda: in_effect.follow_cluster()
    )

    book = make_hold_book(pool, board, lambda device: dispatcher.devices.look_at(device))

    def find_bound() -> timedelta | None:
        kubernetes = in_effect.cluster.kubernetes
        return None if kubernetes is None else kubernetes.lent_wait

    lent = LentReplicas(
        slots, on_cluster, lambda: board.leading, lambda engine: dispatcher.find_oldest(engine), find_bound
    )
    on_demand = OnDemandServices(slots, on_cluster, lambda: board.leading, lambda: dispatcher.list_waiting())
    seams = ClusterSeams(lender=lent, shelf=JobFiles(data_dir / JOB_FILES_FOLDER, artifacts))
    make_local = partial(
        localize,
        data_dir=data_dir,
        locate=weights.path,
        holds=book,
        directory=directory,
        seams=seams,
        shelf=weights,
    )
    local = make_local(cluster)
    for problem in local.problems:
        log.warning("machine_differs_from_cluster_file", what=problem.what, where=problem.where, hint=problem.hint)
    slots.apply(slots.compare(local.wanted))
    dispatcher = Dispatcher(
        url=url,
        pool=dispatching_pool,
        holder=presence.holder_of(data_dir),
        slots=slots,
        rules=make_rules(local),
        artifacts=artifacts,
        scratch=data_dir / "scratch",
        board=board,
        alarms=alarms,
    )
    dispatcher.guests.explain_start = on_demand.explain
    in_effect = ClusterInEffect(cluster, dispatcher, read_anew, partial(append_act, pool), ports.listeners)
    main_url = format_url(settings, ports.main)
    announced = Presence(
        pid=os.getpid(),
        url=main_url if ports.own is None else f"http://127.0.0.1:{ports.own.getsockname()[1]}",
        token=secrets.token_urlsafe(32),
        started_at=datetime.now(UTC).isoformat(),
    )
    deliverer = Deliverer(pool, artifacts, lambda: in_effect.cluster.output_folders, alarms)
    notifier = Notifier(pool, artifacts, board, alarms, cluster=lambda: in_effect.cluster, epoch=lambda: board.epoch)
    services = Services(
        in_effect=in_effect,
        pool=pool,
        keys=make_keys(pool),
        board=board,
        artifacts=artifacts,
        weights=weights,
        explain=dispatcher.explain,
        explain_several=dispatcher.explain_several,
        explain_start=on_demand.explain,
        list_startable=on_demand.list_models,
        estimate=dispatcher.estimate,
        find_delivery_problem=deliverer.find_problem,
        wake_holds=book.wake,
        guests=dispatcher.guests,
        guest_counts=dispatcher.guests.counts,
        joules=dispatcher.energy.joules,
        data_dir=data_dir,
        cluster_file=settings.cluster_path,
        database_url=url,
        local_token=announced.token,
        loopback=settings.trusts_loopback,
        started_at=datetime.now(UTC),
        alarms=alarms,
        refresh_models=slots.refresh_models,
        listeners=ports.listeners,
        directory=directory,
        surveyor=Surveyor(directory=directory),
        console_url=format_people_url(settings, ports.main, cluster.server.link),
    )
    app = create_app(services)
    gc.collect()
    gc.freeze()  # modules live as long as the server: a full collection of them held the event loop for 30 ms
    housekeeping = asyncio.create_task(
        supervise(
            "housekeeping", lambda: keep_house(pool, artifacts, lambda: in_effect.cluster.retention, alarms), alarms
        ),
        name="housekeeping",
    )
    keeping = asyncio.create_task(supervise("holds", book.run, alarms), name="holds")
    delivering = asyncio.create_task(supervise("deliveries", deliverer.run, alarms), name="deliveries")
    notifying = asyncio.create_task(supervise("outbox", notifier.run, alarms), name="outbox")
    containers = ContainerList(directory)

    async def read_own() -> Own:
        cluster = in_effect.cluster
        return describe_own(cluster, data_dir / "logs", directory, await containers.list_ids(cluster))

    looks = GpuLooks(dispatcher.devices, GpuWatch(), read_own, pool)
    looking = asyncio.create_task(supervise("gpu_looks", looks.run, alarms), name="gpu-looks")
    following = asyncio.create_task(supervise("cluster", on_cluster.run, alarms), name="cluster")
    lending = asyncio.create_task(supervise("lent_replicas", lent.run, alarms), name="lent-replicas")
    scaling = asyncio.create_task(supervise("on_demand", on_demand.run, alarms), name="on-demand")
    watched = asyncio.create_task(manager.keep_alive(), name="watchdog")
    renewing = asyncio.create_task(_renew(settings, context, alarms), name="certificate")
    try:
        with reload_on_hangup(in_effect):
            listening = partial(_announce, announced, manager, main_url, services, ready)
            await _run(dispatcher, app, ports, context, manager, listening)
    finally:
        watched.cancel()
        renewing.cancel()
        looking.cancel()
        following.cancel()
        lending.cancel()
        scaling.cancel()
        housekeeping.cancel()
        delivering.cancel()
        keeping.cancel()
        notifying.cancel()
        await _write_last_energy(dispatcher, pool)
        pool.terminate()
        dispatching_pool.terminate()


async def _write_last_energy(dispatcher: Dispatcher, pool: Pool) -> None:
    """Write the energy of the last seconds, where the database takes it at once."""
    try:
        async with asyncio.timeout(LAST_WRITE_S):
            await dispatcher.energy.write(pool, at_once=True)
    except (*CONNECTION_LOST, asyncpg.PostgresError, TimeoutError) as error:
        log.warning("energy_not_written", error=str(error) or type(error).__name__)


async def _renew(settings: ServerSettings, context: ssl.SSLContext | None, alarms: Alarms) -> None:
    """Take certificates that are renewed, for ever; nothing without TLS."""
    tls = settings.tls
    if tls is not None and context is not None:
        await supervise("certificate", partial(follow_files, tls, context), alarms)


def _announce(here: Presence, manager: ServiceManager, url: str, services: Services, ready: Ready) -> None:
    def make_link() -> str:
        needs_code = not services.trusts_loopback
        return services.link_codes.make_link(services.console_url, needs_code=needs_code)[0]

    keep_what_start_made()
    presence.announce(services.data_dir, here)
    manager.report_ready(url)
    ready(url, make_link)


async def _run(
    dispatcher: Dispatcher,
    app: FastAPI,
    ports: _Ports,
    context: ssl.SSLContext | None,
    manager: ServiceManager,
    listening: Callable[[], None],
) -> None:
    config = make_server_config(app, raise_descriptor_limit(), ports.listeners.explain_refusal)
    http = HttpServer(config, context)
    stop, hurry = asyncio.Event(), asyncio.Event()
    handle_signals(lambda: (hurry if stop.is_set() else stop).set())
    dispatching = asyncio.create_task(dispatcher.run(), name="dispatcher")
    serving = asyncio.create_task(http.serve(sockets=[ports.main]), name="http")
    stopping = asyncio.create_task(stop.wait())
    try:
        if await http.wait_for_start(serving):
            if ports.own is not None:
                await http.open(ports.own)
            ports.listeners.serve(http)
            listening()
        await asyncio.wait({dispatching, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:  # in order, too, when the program that started the server is not there any more to read that it is ready
        stopping.cancel()
        manager.report_stopping()
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


def _clear_leftovers(data_dir: Path) -> None:
    """Remove what a server that was killed left: engine processes, and folders of attempts."""
    logs = data_dir / "logs"
    logs.mkdir(exist_ok=True)
    ended = sweep(logs) + end_left(logs)
    if ended:
        log.info("leftover_processes_ended", count=ended)
    shutil.rmtree(data_dir / "scratch", ignore_errors=True)
    (data_dir / "scratch").mkdir()
