"""Holds an installation: takes the lock in its state, renews it while work goes on, and writes the state meanwhile.

Each write names the version of the object that it replaces, so that two programs cannot both have taken the lock.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import uuid4

from corral.deploying.lock import (
    RENEW_S,
    STALE_S,
    BusyInstallationError,
    Lock,
    LostLockError,
    is_same_run,
    put_lock,
    read_lock,
)
from corral.deploying.state import State, name_state, read_state
from corral.errors import CorralError
from corral.kubernetes.errors import ChangedMeanwhileError, RefusedError
from corral.operations.deploying.stepping import Objects
from corral.processes.kernel import identify_machine
from corral.work import Json

_LOOK_S = 1.0


class StateKeeper:
    """The state of an installation that this program holds."""

    def __init__(self, cluster: Objects, state: State, version: str, lock: Lock) -> None:
        self._cluster = cluster
        self._state = state
        self._version = version
        self._lock = lock
        self._writing = asyncio.Lock()

    @property
    def state(self) -> State:
        """The state as it was written last, without the lock."""
        return put_lock(self._state, None)

    async def write(self, state: State) -> None:
        """Write the state. Raises: LostLockError, UnreachableError."""
        async with self._writing:
            await self._write(put_lock(state, self._lock))

    async def renew(self) -> None:
        """Renew the lock. Raises: as `write`."""
        async with self._writing:
            self._lock = replace(self._lock, renewals=self._lock.renewals + 1)
            await self._write(put_lock(self._state, self._lock))

    async def release(self) -> None:
        """Give the installation back."""
        async with self._writing:
            await self._write(self.state)

    async def _write(self, state: State) -> None:
        try:
            value = await self._cluster.apply(state.write(self._version), force=True)
        except ChangedMeanwhileError as error:
            taken = await self._find_other()
            by = "" if taken is None else f" by {taken}"
            raise LostLockError(
                f"the installation {state.cluster} was taken over{by}: {error.what}",
                where=str(state.key),
                hint="look at what the other program does, then run the command again",
            ) from error
        self._state, self._version = state, value["metadata"]["resourceVersion"]

    async def _find_other(self) -> Lock | None:
        with suppress(CorralError):
            live = await self._cluster.get(self._state.key)
            lock = read_lock(read_state(live, self._state.cluster, self._state.namespace))
            return None if is_same_run(lock, self._lock) else lock
        return None


@asynccontextmanager
async def hold_installation(
    cluster: Objects, name: str, namespace: str, command: str, *, stale_s: float = STALE_S, renew_s: float = RENEW_S
) -> AsyncGenerator[StateKeeper]:
    """Hold the installation of a cluster file; its namespace must be there.

    A holder that has died is replaced: at once if it was on this machine, else after `stale_s` without a renewal.
    Raises: BusyInstallationError; LostLockError when another program has taken it over meanwhile.
    """
    lock = Lock(
        command=command,
        host=socket.gethostname(),
        machine=_identify_processes(),
        process=os.getpid(),
        token=uuid4().hex,
    )
    keeper = await _take(cluster, name, namespace, lock, stale_s)
    working = asyncio.current_task()
    lost: list[LostLockError] = []

    async def renew() -> None:
        while True:
            await asyncio.sleep(renew_s)
            try:
                await keeper.renew()
            except LostLockError as error:
                lost.append(error)
                if working is not None:
                    working.cancel()
                return
            except CorralError:  # an API server that is away: the work meets it as well
                continue

    renewing = asyncio.create_task(renew())
    try:
        yield keeper
    except asyncio.CancelledError:
        if lost and working is not None:
            working.uncancel()
            raise lost[0] from None
        raise
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        if not lost:
            with suppress(CorralError):  # it becomes stale by itself
                await keeper.release()


async def _take(cluster: Objects, name: str, namespace: str, lock: Lock, stale_s: float) -> StateKeeper:
    while True:
        value = await _read_or_make(cluster, name, namespace)
        state = read_state(value, name, namespace)
        other = read_lock(state)
        if other is not None and not _has_died(other):
            await _watch(cluster, state, other, stale_s)
        version = value["metadata"]["resourceVersion"]
        keeper = StateKeeper(cluster, state, version, lock)
        try:
            await keeper.write(state)
        except LostLockError:  # another program was faster
            continue
        return keeper


async def _read_or_make(cluster: Objects, name: str, namespace: str) -> Json:
    """Read the object that has the state; where there is none, make it without content, which only one program can."""
    key = name_state(namespace)
    value = await cluster.get(key)
    if value is not None:
        return value
    empty = State(cluster=name, namespace=namespace).write()
    del empty["data"]
    with suppress(RefusedError):
        await cluster.create(empty)
    value = await cluster.get(key)
    if value is None:
        raise ChangedMeanwhileError(f"{key} was deleted meanwhile", hint="run the command again")
    return value


async def _watch(cluster: Objects, state: State, other: Lock, stale_s: float) -> None:
    """Watch a lock until it counts as stale or is released. Raises: BusyInstallationError when it is renewed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + stale_s
    while loop.time() < until:
        await asyncio.sleep(min(_LOOK_S, stale_s / 4))
        live = read_lock(read_state(await cluster.get(state.key), state.cluster, state.namespace))
        if live is None:
            return
        if live != other:
            raise BusyInstallationError(
                f"the installation {state.cluster} is being changed by {live}",
                where=str(state.key),
                hint="wait until it has ended, then run the command again",
            )


def _has_died(lock: Lock) -> bool:
    """Return whether the holder was a process of this machine that has ended."""
    if lock.machine != _identify_processes():
        return False
    try:
        os.kill(lock.process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _identify_processes() -> str:
    """Return a name of this machine's processes: containers of one machine do not see those of another."""
    with suppress(OSError):
        return f"{identify_machine()} {os.readlink('/proc/self/ns/pid')}"
    return identify_machine()
