from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from doubles.comfyui import ComfyDouble
from doubles.comfyui_workflows import ComfyStranger
from doubles.remote_reports import KeptReports

QUICK = Timings(
    check_s=1,
    request_s=2,
    submit_s=1,
    transfer_idle_s=2,
    reconnect_s=5,
    settle_s=0.2,
    poll_s=0.05,
    cancel_s=2,
    release_s=1,
    retry_s=0.01,
)


@pytest.fixture(params=[False, True], ids=["old", "with-jobs"])
async def comfy(request: pytest.FixtureRequest) -> AsyncIterator[ComfyDouble]:
    async with ComfyDouble(jobs=request.param) as double:
        yield double


@pytest.fixture
async def engine(comfy: ComfyDouble) -> AsyncIterator[ComfyUi]:
    engine = ComfyUi(comfy.url, timings=QUICK)
    yield engine
    await engine.close()


@pytest.fixture
def reports() -> KeptReports:
    return KeptReports()


@pytest.fixture
async def quick_to_give_up(comfy: ComfyDouble) -> AsyncIterator[ComfyUi]:
    engine = ComfyUi(comfy.url, timings=replace(QUICK, check_s=0.1, reconnect_s=0.1))
    yield engine
    await engine.close()


@pytest.fixture
async def stranger(comfy: ComfyDouble) -> AsyncIterator[ComfyStranger]:
    async with aiohttp.ClientSession(comfy.url) as session:
        yield ComfyStranger(session)
