"""What the tests of servers that Corral runs share: instances whose programs are doubles, each ended and swept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from corral.cluster.run_values import Run
from corral.cluster.values import EngineSettings, Instance
from corral.engines.servers.building import build_instance_server
from corral.engines.servers.directory import Directory
from corral.engines.servers.engine import InstanceServer
from corral.processes.restarts import RestartRules
from doubles.instance_servers import MakeServer
from doubles.local_engines import running_below
from doubles.remote_reports import KeptReports


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def reports() -> KeptReports:
    return KeptReports()


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
async def make_server(logs: Path, directory: Directory) -> AsyncIterator[MakeServer]:
    """Make the engine of an instance of ComfyUI; afterwards nothing of it runs."""
    async with AsyncExitStack() as made:

        def make(run: Run, *, gpu: str | None = None, rules: RestartRules | None = None) -> InstanceServer:
            instance = Instance(name="desk", run=run)
            server = build_instance_server(
                EngineSettings(name="comfyui"), instance, gpu=gpu, log_dir=logs, directory=directory, rules=rules
            )
            made.push_async_callback(server.close)
            return server

        yield make
    assert running_below(logs) == []
