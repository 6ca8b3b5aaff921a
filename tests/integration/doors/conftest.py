"""A house with doors: a dispatcher and the API in this process, on one board, database and store of files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from corral.cluster.values import Cluster
from corral.operations.reloading import ReloadAnswer, ReloadAsked
from corral.scheduling.estimating import Estimate
from corral.server.keys.keeping import make_keys
from corral.server.services import Services
from corral.tasks.store.pool import Pool
from corral.weights.store import Store
from doubles.serving import Serving, serving
from doubles.yard import Yard


class Fixed:
    """Stands for the cluster file in effect: it stays as it is."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        raise AssertionError(f"nothing reloads here: {asked}")


@pytest.fixture
async def yard(database_url: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Yard]:
    """A dispatcher of this process, which is stopped at the end."""
    yard = Yard(database_url, pool, tmp_path)
    yield yard
    await yard.stop()


class Open(Protocol):
    """Serves the API of a cluster file; `parts` take the place of those of `Services`."""

    def __call__(self, cluster: Cluster, **parts: Any) -> AbstractAsyncContextManager[Serving]: ...


@pytest.fixture
def open_house(yard: Yard, database_url: str, tmp_path: Path) -> Open:
    """Serves the API of a cluster file beside the yard's dispatcher."""
    (tmp_path / "cluster.yaml").write_text("apiVersion: corral/v1\nname: test\nnodes: [{name: node}]\n")
    services = Services(
        in_effect=Fixed(Cluster(name="test", nodes=())),
        pool=yard.pool,
        keys=make_keys(yard.pool),
        board=yard.board,
        artifacts=yard.artifacts,
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

    def open_with(cluster: Cluster, **parts: Any) -> AbstractAsyncContextManager[Serving]:
        return serving(replace(services, in_effect=Fixed(cluster), **parts))

    return open_with
