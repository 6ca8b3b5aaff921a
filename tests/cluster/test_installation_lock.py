"""An installation is changed by one program at a time: the lock in its state, and what becomes of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from control_plane.plane import Plane
from corral.deploying.lock import BusyInstallationError, Lock, LostLockError, put_lock, read_lock
from corral.deploying.state import name_state, read_state
from corral.kubernetes.api import Api, open_api
from corral.operations.deploying.locking import hold_installation


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[Api]:
    """A connection as an administrator."""
    async with open_api(kubeconfig=plane.kubeconfig) as opened:
        yield opened


async def read(api: Api, namespace: str) -> Lock | None:
    return read_lock(read_state(await api.get(name_state(namespace)), "yard", namespace))


async def put(api: Api, namespace: str, lock: Lock) -> None:
    state = read_state(await api.get(name_state(namespace)), "yard", namespace)
    await api.apply(put_lock(state, lock).write(), force=True)


async def test_two_at_once_are_refused_and_one_after_the_other_is_not(api: Api, namespace: str) -> None:
    async with hold_installation(api, "yard", namespace, "corral apply", renew_s=0.2):
        with pytest.raises(BusyInstallationError, match="corral apply on"):
            async with hold_installation(api, "yard", namespace, "corral switch", stale_s=5):
                pytest.fail("both hold the installation")
    assert await read(api, namespace) is None
    async with hold_installation(api, "yard", namespace, "corral switch") as keeper:
        await keeper.write(replace(keeper.state, layout="edge"))
        lock = await read(api, namespace)
        assert lock is not None
        assert lock.command == "corral switch"
    assert read_state(await api.get(name_state(namespace)), "yard", namespace).layout == "edge"


async def test_of_many_that_begin_at_the_same_moment_one_holds_it(api: Api, namespace: str) -> None:
    held: list[int] = []

    async def hold(number: int) -> None:
        async with hold_installation(api, "yard", namespace, f"run {number}", renew_s=0.2, stale_s=8):
            held.append(number)
            assert len(held) == 1
            await asyncio.sleep(1)
            held.remove(number)

    results = await asyncio.gather(*map(hold, range(4)), return_exceptions=True)
    assert all(result is None or isinstance(result, BusyInstallationError) for result in results)
    assert None in results


async def test_lock_of_a_program_that_died_here_is_taken_at_once_and_one_elsewhere_when_it_is_stale(
    api: Api, namespace: str
) -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    async with hold_installation(api, "yard", namespace, "corral apply"):
        lock = await read(api, namespace)
    assert lock is not None
    await put(api, namespace, replace(lock, process=ended.pid))
    async with asyncio.timeout(5):
        async with hold_installation(api, "yard", namespace, "corral apply"):
            pass
    await put(api, namespace, replace(lock, machine="another", token="another"))
    async with asyncio.timeout(20):
        async with hold_installation(api, "yard", namespace, "corral apply", stale_s=2):
            pass


async def test_program_whose_lock_was_taken_stops(api: Api, namespace: str) -> None:
    async def work() -> None:
        async with hold_installation(api, "yard", namespace, "corral apply", renew_s=0.2):
            lock = await read(api, namespace)
            assert lock is not None
            await put(api, namespace, replace(lock, command="other", host="elsewhere", token="another"))
            await asyncio.sleep(20)

    with pytest.raises(LostLockError, match="taken over by other on elsewhere"):
        await work()
    lock = await read(api, namespace)
    assert lock is not None
    assert lock.token == "another"
