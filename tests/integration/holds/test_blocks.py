"""A block of a Python program has devices for its time, and is left with the reason when they are taken back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import corral
from chaos.client import PatientClient
from corral.client.holding import HoldLostError
from corral.client.remote_errors import RemoteInvalidError
from corral.tasks.store.pool import Pool

HOLDS = "/corral/v1/holds"


async def list_holds(client: PatientClient) -> list[str]:
    return [hold["state"] for hold in (await client.get(HOLDS))["items"]]


async def lose(pool: Pool) -> None:
    """Let the server say that the holder must stop, as at the end of its time."""
    await pool.execute("update holds set ends_at = now() where ended is null")


async def test_async_block_has_the_device_and_gives_it_back(client: PatientClient, folder: Path) -> None:
    async with corral.hold(memory="1Gi", cpu=True, data_dir=folder / "data", program="a block") as lent:
        lent.check()
        (hold,) = (await client.get(HOLDS))["items"]
        assert (hold["state"], hold["program"], hold["memory"]) == ("granted", "a block", 2**30)
        assert [device.device for device in lent.devices] == ["here/cpu0"]
        assert lent.environment["CORRAL_HOLD"] == str(hold["id"]) == str(lent.id)

    assert await list_holds(client) == []


async def test_error_in_an_async_block_gives_the_device_back_and_goes_on(client: PatientClient, folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with corral.hold(cpu=True, data_dir=folder / "data"):
            raise ZeroDivisionError

    assert await list_holds(client) == []


async def test_async_block_whose_hold_is_lost_is_interrupted_with_the_reason(
    client: PatientClient, folder: Path, pool: Pool
) -> None:
    async def lose_hold() -> None:
        async with asyncio.timeout(30), corral.hold(cpu=True, data_dir=folder / "data"):
            await lose(pool)
            await asyncio.Event().wait()

    with pytest.raises(HoldLostError, match="its time is over"):
        await lose_hold()

    assert await list_holds(client) == []


async def test_async_block_that_is_cancelled_while_it_waits_leaves_the_queue(
    client: PatientClient, folder: Path
) -> None:
    async with corral.hold(cpu=True, data_dir=folder / "data"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), corral.hold(cpu=True, data_dir=folder / "data"):
                pytest.fail("the device is another's")
        assert await list_holds(client) == ["granted"]


async def test_block_that_asks_for_what_is_not_there_is_refused(client: PatientClient, folder: Path) -> None:
    with pytest.raises(RemoteInvalidError, match="no GPU"):
        async with corral.hold(data_dir=folder / "data"):
            pytest.fail("there is no GPU here")
    with pytest.raises(RemoteInvalidError, match="no GPU"):
        await asyncio.to_thread(corral.hold(data_dir=folder / "data").__enter__)


async def test_block_in_a_thread_has_the_device_and_learns_that_it_is_lost(
    client: PatientClient, folder: Path, pool: Pool
) -> None:
    began, end = threading.Event(), threading.Event()

    def work() -> str:
        with corral.hold(cpu=True, data_dir=folder / "data") as lent:
            began.set()
            end.wait(30)
            lent.check()
        return "not interrupted"

    working = asyncio.create_task(asyncio.to_thread(work))
    await asyncio.to_thread(began.wait, 30)
    assert await list_holds(client) == ["granted"]
    await lose(pool)
    async with asyncio.timeout(30):
        while (await list_holds(client)) != ["ending"]:  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0.05)
    await asyncio.sleep(6)  # the holder asks every five seconds
    end.set()

    with pytest.raises(HoldLostError, match="its time is over"):
        await working
    assert await list_holds(client) == []


SCRIPT = """\
import os, sys, time, corral
try:
    with corral.hold(cpu=True, data_dir=sys.argv[1]) as lent:
        print("granted", flush=True)
        for _ in range(600):
            time.sleep(0.1)
except corral.client.holding.HoldLostError as error:
    print(error.what, flush=True)
"""


async def test_block_in_the_main_thread_is_interrupted(client: PatientClient, folder: Path, pool: Pool) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT, str(folder / "data")), stdout=asyncio.subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"granted\n"
    began_at = time.monotonic()
    await lose(pool)

    printed = (await process.stdout.read()).decode()

    assert "its time is over" in printed
    assert time.monotonic() - began_at < 20
    assert await list_holds(client) == []


def test_importing_the_package_loads_no_client() -> None:
    script = "import sys, corral; assert not {'aiohttp', 'asyncio', 'corral.client'} & sys.modules.keys()"

    subprocess.run([sys.executable, "-c", script], check=True)
