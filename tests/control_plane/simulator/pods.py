"""Runs one pod on a simulated node: its network, volumes and containers, its status, and its end."""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from control_plane.network import connect_pod
from control_plane.simulator.api import ApiError
from control_plane.simulator.containers import Runner, Surroundings
from control_plane.simulator.devices import NoDeviceError
from control_plane.simulator.events import Events, format_time
from control_plane.simulator.images import Image
from control_plane.simulator.objects import EMPTY, Json
from control_plane.simulator.processes import Sandbox
from control_plane.simulator.status import Record, make_status
from control_plane.simulator.volumes import VolumeError, Volumes

if TYPE_CHECKING:
    from control_plane.simulator.api import Api

COALESCE_S = 0.02
"""Changes of a status within this time are written at once."""
RETRY_S = 1.0


class Host(Protocol):
    """The node, in the words of a pod."""

    api: Api
    events: Events
    address: str

    def find_folder(self, pod: Json) -> Path:
        """Find the folder of a pod's own."""
        ...

    def lend_address(self) -> tuple[str, int]:
        """Lend an address of the cluster, with its number."""
        ...

    def return_address(self, number: int) -> None:
        """Take an address back."""
        ...

    def make_volumes(self, pod: Json) -> Volumes:
        """Make what mounts the volumes of a pod."""
        ...

    def admit(self, pod: Json) -> None:
        """Reserve the devices of a pod. Raises: NoDeviceError."""
        ...

    def release(self, pod: Json) -> None:
        """Take the devices of a pod back."""
        ...

    async def pull(self, pod: Json, container: Json, field: str) -> Image:
        """Get an image. Raises: PullError."""
        ...

    async def configure(
        self, pod: Json, container: Json, image: Image, volumes: Volumes
    ) -> tuple[dict[str, str], list[tuple[str, str, bool]]]:
        """Make variables and mounts of a container. Raises: ConfigurationError."""
        ...

    def find_runtime_problem(self, pod: Json) -> str | None:
        """Find why the pod's runtime class does not work here."""
        ...

    def read_node(self) -> Json:
        """Read the Node object."""
        ...


class Pod:
    """A pod from its binding to its end."""

    def __init__(self, value: Json, host: Host) -> None:
        self.value = value
        self._host = host
        self.runners: list[Runner] = []
        self.address = ""
        self._number: int | None = None
        self.sandbox: Sandbox | None = None
        self._around: Surroundings | None = None
        self._started_at = format_time()
        self._dirty = asyncio.Event()
        self._deletion = asyncio.Event()
        self._kill = asyncio.Event()
        self._shortened = asyncio.Event()
        """Set when a deletion is asked for again with less time, as `kubectl delete --grace-period` does."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: tuple[str, str] | None = None
        self._is_abandoned = False
        self._volumes = host.make_volumes(value)
        self._waiting = [
            Record(entry["name"], entry["image"], kind, {"waiting": {"reason": reason}})
            for entry, kind, reason in _list_containers(value["spec"])
        ]
        """States of the containers before there are any."""
        if value["metadata"].get("deletionTimestamp"):
            self._deletion.set()

    @property
    def path(self) -> str:
        """Of the object."""
        metadata = self.value["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def update(self, value: Json) -> None:
        """Take a newer version of the object."""
        before, self.value = self._grace(), value
        if value["metadata"].get("deletionTimestamp"):
            if value["metadata"].get("deletionGracePeriodSeconds") == 0:
                self._kill.set()
            elif self._deletion.is_set() and self._grace() < before:
                self._shortened.set()
            self._deletion.set()
        if self._around is not None:
            for spec in value["spec"].get("ephemeralContainers") or ():
                if self.find(spec["name"]) is None:
                    self._start_ephemeral(spec, self._around)

    def find(self, name: str | None) -> Runner | None:
        """Find a container by name; the only or first one without."""
        if name is None:
            return next((runner for runner in self.runners if runner.record.kind == "main"), None)
        return next((runner for runner in self.runners if runner.record.name == name), None)

    async def run(self) -> None:
        """Run it until it is deleted; cancelled, its processes end without a word."""
        writing = asyncio.create_task(self._write_statuses())
        living = asyncio.create_task(self._live())
        try:
            deletion = asyncio.create_task(self._deletion.wait())
            await asyncio.wait({living, deletion}, return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                living.result()
            await deletion
            await self._terminate()
            living.cancel()
            await asyncio.wait({living})
            writing.cancel()
            await self._write_status()
            self._host.release(self.value)  # as the kubelet: the object of a pod goes when its devices are free
            await self._delete()
        finally:
            writing.cancel()
            living.cancel()
            await self._clean()

    def abandon(self) -> None:
        """End its processes without a word: its node is gone."""
        self._is_abandoned = True
        for runner in self.runners:
            runner.abandon()

    def fail(self, reason: str, message: str) -> None:
        """End it as failed, as an eviction by the kubelet does."""
        self._failure = (reason, message)
        self._host.events.write(self.value, reason, message, is_warning=True)
        for runner in self.runners:
            runner.abandon()
        self._mark()

    async def refresh(self) -> None:
        """Write its ConfigMaps and Secrets anew."""
        with suppress(VolumeError, ApiError, aiohttp.ClientError, TimeoutError):
            await self._volumes.refresh()

    async def _live(self) -> None:
        try:
            self._host.admit(self.value)
        except NoDeviceError as error:
            self._failure = ("UnexpectedAdmissionError", f"Pod was rejected: {error}")
            self._host.events.write(self.value, "UnexpectedAdmissionError", str(error), is_warning=True)
            self._mark()
            return
        spec = self.value["spec"]
        self._mark()
        await self._mount()
        await self._check_runtime()
        around = self._around = await self._make_surroundings()
        self.runners = [Runner(entry, kind, around) for entry, kind, _ in _list_containers(spec)]
        for runner in self.runners:
            runner.record.restarts = _count_restarts(self.value, runner.record.name)
        self._mark()
        self.update(self.value)
        if not await self._run_inits():
            return
        mains = [runner for runner in self.runners if runner.record.kind == "main"]
        async with asyncio.TaskGroup() as group:
            for runner in mains:
                group.create_task(self._run_main(runner))
        if not self._deletion.is_set():
            await self._stop_sidecars(self._grace())
            await self._release()

    async def _run_main(self, runner: Runner) -> None:
        await runner.run()

    async def _mount(self) -> None:
        while True:
            try:
                await self._volumes.mount(self._host.read_node())
            except VolumeError as error:
                self._host.events.write(self.value, "FailedMount", str(error), is_warning=True)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                self._host.events.write(self.value, "FailedMount", str(error), is_warning=True)
            else:
                return
            await asyncio.sleep(RETRY_S)

    async def _check_runtime(self) -> None:
        while (problem := self._host.find_runtime_problem(self.value)) is not None:
            self._host.events.write(self.value, "FailedCreatePodSandBox", problem, is_warning=True)
            await asyncio.sleep(RETRY_S)

    async def _make_surroundings(self) -> Surroundings:
        spec, metadata = self.value["spec"], self.value["metadata"]
        on_host = bool(spec.get("hostNetwork"))
        self.sandbox = await Sandbox.start(on_host=on_host)
        if on_host:
            self.address = self._host.address
        else:
            self.address, self._number = self._host.lend_address()
            connect_pod(self.sandbox.process_id, self.address, self._number)
        # Variables of containers read it, and the status below writes it.
        status = self.value.setdefault("status", {})
        status |= {"podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": self._host.address}
        folder = self._host.find_folder(self.value)
        folder.mkdir(parents=True, exist_ok=True)
        return Surroundings(
            pod=self.value,
            folder=folder,
            events=self._host.events,
            sandbox=self.sandbox,
            address=self.address,
            hostname="" if on_host else spec.get("hostname") or metadata["name"][:63],
            pull=lambda container, field: self._host.pull(self.value, container, field),
            configure=lambda container, image: self._host.configure(self.value, container, image, self._volumes),
            changed=self._mark,
        )

    async def _run_inits(self) -> bool:
        for runner in self.runners:
            if runner.record.kind == "init":
                if await runner.run() != 0:
                    self._mark()
                    await self._release()
                    return False
            elif runner.record.kind == "sidecar":
                self._keep(asyncio.create_task(runner.run()))
                await runner.started.wait()
        return True

    def _start_ephemeral(self, spec: Json, around: Surroundings) -> None:
        runner = Runner(spec, "ephemeral", around)
        self.runners.append(runner)
        name = spec.get("targetContainerName")
        self._keep(asyncio.create_task(runner.run(self.find(name) if name else None)))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _grace(self) -> float:
        metadata, spec = self.value["metadata"], self.value["spec"]
        seconds = metadata.get("deletionGracePeriodSeconds")
        return float(spec.get("terminationGracePeriodSeconds", 30) if seconds is None else seconds)

    async def _terminate(self) -> None:
        killing = asyncio.create_task(self._kill.wait())
        while True:
            stopping = asyncio.create_task(self._stop_all(self._grace()))
            shortening = asyncio.create_task(self._shortened.wait())
            await asyncio.wait({stopping, killing, shortening}, return_when=asyncio.FIRST_COMPLETED)
            shortening.cancel()
            if stopping.done() or self._kill.is_set():
                break
            # As the kubelet (pod_workers.go): less time ends the stop that is under way, hooks too, and begins another.
            self._shortened.clear()
            stopping.cancel()
            await asyncio.wait({stopping})
        killing.cancel()
        for runner in self.runners:
            runner.abandon()
        stopping.cancel()  # a hook is not waited for
        await asyncio.wait({stopping})

    async def _stop_all(self, grace_s: float) -> None:
        running = [runner for runner in self.runners if runner.record.kind != "sidecar"]
        await asyncio.gather(*(runner.stop(grace_s) for runner in running))
        await self._stop_sidecars(grace_s)

    async def _stop_sidecars(self, grace_s: float) -> None:
        for runner in reversed(self.runners):
            if runner.record.kind == "sidecar":
                await runner.stop(grace_s)

    def _mark(self) -> None:
        self._dirty.set()

    async def _write_statuses(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(COALESCE_S)
            self._dirty.clear()
            try:
                await self._write_status()
            except (aiohttp.ClientError, TimeoutError):
                self._dirty.set()
                await asyncio.sleep(RETRY_S)

    async def _write_status(self) -> None:
        if self._is_abandoned:
            return
        records = [runner.record for runner in self.runners] or self._waiting
        status = make_status(
            self.value,
            records,
            addresses=(self._host.address, self.address),
            started_at=self._started_at,
            has_network=self.sandbox is not None,
        )
        if self._failure is not None:
            status |= {"phase": "Failed", "reason": self._failure[0], "message": self._failure[1]}
        self.value["status"] = {**(self.value.get("status") or EMPTY), **status}
        body = {"metadata": {"uid": self.value["metadata"]["uid"]}, "status": status}
        try:
            await self._host.api.patch(f"{self.path}/status", body)
        except ApiError as error:
            if error.status not in (404, 409):  # it is gone, or a newer one has its name
                logging.getLogger("simulator").error("%s: %s", self.path, error)

    async def _delete(self) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.value["metadata"]["uid"]}}
        while not self._is_abandoned:
            try:
                await self._host.api.ask("DELETE", self.path, body)
            except ApiError:
                return
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _release(self) -> None:
        """Give back its network, address and devices: its containers have ended."""
        if self.sandbox is not None:
            await self.sandbox.stop()
        if self._number is not None:
            self._host.return_address(self._number)
            self._number = None
        self._host.release(self.value)

    async def _clean(self) -> None:
        for runner in self.runners:
            runner.abandon()
        for task in self._tasks:
            task.cancel()
        await self._release()
        shutil.rmtree(self._host.find_folder(self.value), ignore_errors=True)


def _count_restarts(pod: Json, name: str) -> int:
    """Count the restarts of a container; it ran before its node was lost, when it has an id."""
    status = pod.get("status") or EMPTY
    for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if entry["name"] == name and entry.get("containerID"):
            return entry["restartCount"] + 1
    return 0


def _list_containers(spec: Json) -> list[tuple[Json, str, str]]:
    has_inits = bool(spec.get("initContainers"))
    inits = [
        (entry, "sidecar" if entry.get("restartPolicy") == "Always" else "init", "PodInitializing")
        for entry in spec.get("initContainers") or ()
    ]
    return [
        *inits,
        *((entry, "main", "PodInitializing" if has_inits else "ContainerCreating") for entry in spec["containers"]),
    ]
