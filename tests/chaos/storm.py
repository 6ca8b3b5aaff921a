"""A storm: a real server under load while its parts are killed at random; and what is left of it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.client import PatientClient
from chaos.kept import Kept, comfyui, corral_up, keeping
from chaos.killer import WEIGHTS, Killer
from chaos.load import OWNERS, Planned, plan
from chaos.outage import OWN_BATCH, outage
from chaos.report import Report
from chaos.small_disk import SmallDisk, mount_small_disk
from chaos.verdict import TERMINAL, Findings, judge_machine, judge_queue
from corral.cli.exits import CODES
from corral.errors import Kind
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.store.pool import open_pool

CPU_SLOTS = 3
SECONDS_PER_IMAGE = 0.2
POLL_S = 0.25
NO_ROOM = CODES[Kind.UNAVAILABLE]
"""The exit code of a server that finds no room on the disk when it starts."""

CLUSTER = """\
apiVersion: corral/v1
name: storm
nodes:
  - name: here
    gpus: []
    cpu: {{slots: {slots}}}
engines:
  sleep: {{enabled: true}}
  command: {{enabled: true}}
  comfyui:
    instances:
{instances}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a storm is."""

    tasks: int
    kills: int
    batches: int
    drain_s: float
    """How long no task may end before all have, once nothing fails any more."""
    pace: float = 1.0
    """Stretches every task, so that the queue is busy for as long as the kills go on."""
    first_kills: int = 0
    """How often the server is killed before it has ever been ready: `initdb` and migrations are cut off."""
    outage_s: float | None = None
    """How long the database stands still after the last kill; None leaves that out."""
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    """How often each kind of fault is drawn."""
    haste: float = 1.0
    """Shortens the waits between faults, and how long those last that end by themselves."""


async def storm(folder: Path, *, seed: int, size: Size, say: Callable[[str], None] = lambda _: None) -> Report:
    """Run a storm in an empty folder whose path is short, and judge what is left.

    Root's data directory is on a small disk, which is full now and then; the report says where that is left out.
    """
    with mount_small_disk(folder / "disk") as disk:
        return await _storm(folder, disk, seed, size, say)


async def _storm(folder: Path, disk: SmallDisk | None, seed: int, size: Size, say: Callable[[str], None]) -> Report:
    report = Report(seed, disk_is_small=disk is not None)
    data_dir = folder / "disk" / "data"
    planned = plan(seed=seed, tasks=size.tasks, batches=size.batches, pace=size.pace)
    instances = {f"comfy{index}": _instance(folder, index, size.pace) for index in range(2)}
    server = corral_up(data_dir, _cluster_file(folder, instances), folder / "server.log")
    doubles = {name: kept for name, (kept, _) in instances.items()}
    async with keeping(server, *doubles.values()), PatientClient(data_dir) as client:
        killer = Killer(
            seed=seed,
            server=server,
            instances=doubles,
            data_dir=data_dir,
            disk=disk,
            weights=size.weights,
            haste=size.haste,
        )
        for _ in range(size.first_kills):
            await asyncio.sleep(killer.first_pause_s())
            server.kill()
        await _Rage(client, killer, planned, size, report, say).run()
        if size.outage_s is not None:
            say(f"the database stands still for {size.outage_s:g} s")
            report.problems += await outage(client, data_dir, seconds=size.outage_s, slots=CPU_SLOTS)
        await _drain(client, planned, size, report)
        report.findings = await _judge(data_dir, planned)
        code = await server.stop()
        report.starts = {kept.name: kept.starts for kept in (server, *doubles.values())}
        report.requests = client.tries
    report.problems += report.findings.problems
    if any(kill.kind == "full disk" for kill in report.kills):  # a start that finds no room says so, and ends
        report.starts["server without room"] = server.unexpected.count(NO_ROOM)
        server.unexpected = [code for code in server.unexpected if code != NO_ROOM]
    report.problems += [f"{kept.name} ended by itself with {kept.unexpected}" for kept in _ended(server, doubles)]
    if code != 0:
        report.problems.append(f"the server's exit code was {code} when it was asked to stop")
    report.problems += judge_machine(data_dir)
    return report


def _ended(server: Kept, doubles: dict[str, Kept]) -> list[Kept]:
    return [kept for kept in (server, *doubles.values()) if kept.unexpected]


def _instance(folder: Path, index: int, pace: float) -> tuple[Kept, int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    name = f"comfy{index}"
    return comfyui(name, port, folder / f"{name}.log", seconds_per_image=SECONDS_PER_IMAGE * pace), port


def _cluster_file(folder: Path, instances: dict[str, tuple[Kept, int]]) -> Path:
    lines = [f"      - {{name: {name}, url: 'http://127.0.0.1:{port}'}}" for name, (_, port) in instances.items()]
    path = folder / "cluster.yaml"
    path.write_text(CLUSTER.format(slots=CPU_SLOTS, instances="\n".join(lines)))
    return path


@dataclass(slots=True)
class _Rage:
    """The part of a storm in which batch after batch is submitted while the kills go on."""

    client: PatientClient
    killer: Killer
    planned: Sequence[Planned]
    size: Size
    report: Report
    say: Callable[[str], None]
    submitting: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    async def run(self) -> None:
        await self.client.leading()
        tokens = {owner: await _token(self.client, owner) for owner in OWNERS}
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while len(self.report.kills) < self.size.kills:
                for batch in self._due():
                    self.submitting.append(group.create_task(_submit(self.client, batch, tokens[batch.owner])))
                await asyncio.sleep(self.killer.pause_s())
                self._kill(started)
        self.report.storm_s = time.monotonic() - started

    def _due(self) -> Sequence[Planned]:
        """Batches are spread over the kills, so that there is work to the end."""
        due = 1 + len(self.report.kills) * self.size.batches // self.size.kills
        return self.planned[len(self.submitting) : due]

    def _kill(self, started: float) -> None:
        kill = self.killer.kill()
        if kill is not None:
            self.report.kills.append(kill)
            count = f"fault {len(self.report.kills):4} of {self.size.kills}"
            self.say(f"{time.monotonic() - started:6.1f} s  {count}: {kill.kind}")


async def _token(client: PatientClient, owner: str) -> str:
    return (await client.post("/corral/v1/tokens", {"name": owner, "role": "admin"}))["token"]


async def _submit(client: PatientClient, batch: Planned, token: str) -> None:
    await client.post("/corral/v1/batches", batch.body, key=batch.name, token=token)


async def _drain(client: PatientClient, planned: Sequence[Planned], size: Size, report: Report) -> None:
    """Wait until every task has ended, or none has for too long."""
    started = moved = time.monotonic()
    ended = 0
    while True:
        batches = (await client.get("/corral/v1/batches?limit=500"))["items"]
        batches = [batch for batch in batches if batch["name"] != OWN_BATCH]
        if len(batches) == len(planned) and all(batch["done"] for batch in batches):
            break
        before, ended = ended, sum(batch["states"].get(state, 0) for batch in batches for state in TERMINAL)
        moved = time.monotonic() if ended > before else moved
        if time.monotonic() - moved > size.drain_s:
            left = {batch["name"]: batch["states"] for batch in batches if not batch["done"]}
            report.problems.append(f"no task ended for {size.drain_s:g} s: {left}")
            break
        await asyncio.sleep(POLL_S)
    report.drain_s = time.monotonic() - started


async def _judge(data_dir: Path, planned: Sequence[Planned]) -> Findings:
    pool = await open_pool(database_url(data_dir))
    try:
        return await judge_queue(pool, planned, ArtifactStore(data_dir / "artifacts"))
    finally:
        await pool.close()


def database_url(data_dir: Path) -> str:
    """Return the URL of the embedded database of a data directory."""
    return f"postgresql://postgres:@/corral?host={data_dir / 'postgres'}"
