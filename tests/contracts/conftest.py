"""Instances of ComfyUI for the contract with it: the double in both its versions, and real ones by URL.

`CORRAL_TEST_COMFYUI` names real instances, with spaces between their URLs; the contract then runs on each of them too,
unchanged. It leaves small files in the folders `corral-contract` there, and expects to be the only client meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest

from doubles.comfyui import ComfyDouble
from doubles.comfyui_client import Instance

REAL = os.environ.get("CORRAL_TEST_COMFYUI", "").split()
LIMIT = 2**20
"""Bytes that the double takes at once; a real instance takes 100 MiB, unless it was started with another limit."""
SECONDS_PER_NODE = 0.02
"""Of the double, so that a workflow of many nodes can be interrupted."""


@pytest.fixture(params=["double-0.3.64", "double-0.27.0", *REAL])
async def comfy(request: pytest.FixtureRequest) -> AsyncIterator[Instance]:
    """An instance, and a client of it."""
    if request.param in REAL:
        async with aiohttp.ClientSession(request.param) as session:
            yield Instance(session)
        return
    modern = request.param == "double-0.27.0"
    async with (
        ComfyDouble(jobs=modern, seconds_per_node=SECONDS_PER_NODE, max_upload_size=LIMIT) as double,
        aiohttp.ClientSession(double.url) as session,
    ):
        yield Instance(session)
