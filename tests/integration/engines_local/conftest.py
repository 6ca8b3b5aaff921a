"""The real models, a reporter, and engines that leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from corral.engines.building import Device, build
from corral.weights.store import Store
from corral.work import Engine
from doubles.local_engines import Remembering, real_models, running_below

BuildEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def models() -> Store:
    return real_models()


@pytest.fixture
def report() -> Remembering:
    return Remembering()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
async def engine(models: Store, logs: Path) -> AsyncIterator[BuildEngine]:
    """Builds engines as the server does, one slot each, and closes them."""
    async with AsyncExitStack() as open_engines:

        def make(name: str, **options: Any) -> Engine:  # the engine's options, in the spelling of the cluster file
            built = build(
                name, device=Device(name="cpu0"), threads=1, options=options, locate=models.path, log_dir=logs
            )
            open_engines.push_async_callback(built.close)
            return built

        yield make
    assert running_below(logs) == []
