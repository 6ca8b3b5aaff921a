"""A real API on a loopback port: real uvicorn, PostgreSQL, artifact store and board; no engine and no dispatcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from corral.cluster.receivers import NotifyTarget
from corral.cluster.values import Cluster, EngineSettings, Node, QueueSettings
from corral.operations.reloading import Edit, ReloadAnswer, ReloadAsked
from corral.scheduling.estimating import Estimate
from corral.server.keys.keeping import make_keys
from corral.server.services import Services
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.store.pool import Pool
from corral.weights.store import Store
from corral.work import SlotId
from doubles.serving import Serving, serving


@dataclass
class InEffect:
    """Stands for the cluster file in effect: reading it again finds a slot that is new and two that drain."""

    cluster: Cluster

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        return ReloadAnswer(
            dry_run=asked.dry_run,
            added=(SlotId("node/cpu1/sleep"),),
            changed=(),
            removed=(Edit(name=SlotId("node/cpu0/sleep"), waits_for="task 1 of ada"),),
            devices=(),
            pending=(Edit(name=SlotId("node/cpu2/sleep"), waits_for="task 2 of ada"),),
            settings=("queues.small.max_queued_per_owner: 2 -> 3",),
            at_next_start=(),
            problems=(),
        )


@pytest.fixture
def services(pool: Pool, database_url: str, tmp_path: Path) -> Services:
    """The parts of a server on loopback, with the `sleep` and `command` engines turned on."""
    artifacts = ArtifactStore(tmp_path / "artifacts")
    artifacts.prepare()
    (tmp_path / "cluster.yaml").write_text("apiVersion: corral/v1\nname: test\nnodes: [{name: node}]\n")
    return Services(
        in_effect=InEffect(
            Cluster(
                name="test",
                nodes=(Node(name="node"),),
                engines={name: EngineSettings(name=name) for name in ("sleep", "command")},
                queues={
                    "default": QueueSettings(name="default"),
                    "small": QueueSettings(name="small", max_queued_per_owner=2),
                },
                notify=(NotifyTarget(to="phone", url_from="A_VARIABLE_THAT_IS_NOT_SET"),),
            )
        ),
        pool=pool,
        keys=make_keys(pool),
        board=Board(),
        artifacts=artifacts,
        weights=Store(tmp_path / "models"),
        explain=lambda _: None,
        estimate=lambda _, *, by=None: Estimate(seen_at=datetime.now(UTC), ends_at=None, done_by=None),
        data_dir=tmp_path,
        cluster_file=tmp_path / "cluster.yaml",
        database_url=database_url,
        local_token="corral_local",
        loopback=True,
        started_at=datetime.now(UTC),
    )


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Serving]:
    """The API, served."""
    async with serving(services) as api:
        yield api
