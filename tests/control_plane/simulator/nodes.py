"""A simulated node: its object and heartbeats, its GPUs, and the pods that are bound to it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

import aiohttp

from control_plane.machines import SimulatedNode
from control_plane.simulator.api import ApiError
from control_plane.simulator.containers import PullError
from control_plane.simulator.devices import DevicePlugin, find_claimed
from control_plane.simulator.environment import make_environment, make_service_variables
from control_plane.simulator.events import Events
from control_plane.simulator.group import Group
from control_plane.simulator.images import Image, find_image
from control_plane.simulator.node_object import Condition, make_node, make_node_status
from control_plane.simulator.objects import EMPTY, Json
from control_plane.simulator.pods import Pod
from control_plane.simulator.slices import DRIVER, make_slice
from control_plane.simulator.supplies import (
    Mounts,
    count_gpus,
    find_pull_problem,
    list_references,
    make_fetch,
    make_token_request,
    write_image_files,
    write_pod_files,
)
from control_plane.simulator.volumes import Disks, Volumes

HEARTBEAT_S = 2.0
"""The plane misses a node after 8 s."""
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"


class Node:
    """A node that runs until it is lost or removed."""

    def __init__(self, spec: SimulatedNode, number: int, group: Group) -> None:
        self.spec = spec
        self.api = group.api
        self.group = group
        self.address = group.network.find_node(number)
        self.events = Events(group.api, spec.name)
        self.folder = group.folder / spec.name
        self.disk = self.folder / "disk"
        self.pods: dict[str, Pod] = {}
        """By uid."""
        self.uuids = {
            f"gpu-{index}": f"GPU-{uuid5(NAMESPACE_DNS, f'{spec.name}/{index}')}" for index in range(len(spec.gpus))
        }
        """Of its GPUs, by their names in its ResourceSlice."""
        self.plugin = DevicePlugin(self.uuids if spec.gpu_mode == "device-plugin" else {})
        self.seconds_per_start = 0.0
        """How long everything waits before it begins: a slow node."""
        self._present = dict.fromkeys(spec.images, True)
        self._conditions: dict[str, Condition] = {}
        self._taints: dict[str, list[Json]] = {}
        self._generation = 1
        self._value: Json = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._services: list[asyncio.Task[None]] = []
        self.is_up = False

    @property
    def path(self) -> str:
        """Of the object."""
        return f"/api/v1/nodes/{self.spec.name}"

    async def start(self) -> None:
        """Register the node, or come back; its pods follow with `take`."""
        self.disk.mkdir(parents=True, exist_ok=True)
        try:
            self._value = await self.api.ask("POST", "/api/v1/nodes", make_node(self.spec, self.group.name))
        except ApiError as error:
            if error.status != 409:
                raise
            self._value = await self.api.ask("GET", self.path)
        self.is_up = True
        await self._beat()
        await self.write_status()
        await self.write_slice()
        self._services = [asyncio.create_task(self.events.run()), asyncio.create_task(self._keep_beating())]

    async def stop(self) -> None:
        """Lose the node: its processes end, and nothing is said about it."""
        self.is_up = False
        for task in self._services:
            task.cancel()
        for pod in self.pods.values():
            pod.abandon()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.pods.clear()
        self._tasks.clear()

    async def remove(self) -> None:
        """Take the node out of the cluster."""
        await self.stop()
        for path in (self.path, f"{LEASES}/{self.spec.name}", f"{SLICES}/{self.spec.name}-{DRIVER}"):
            with suppress(ApiError):
                await self.api.ask("DELETE", path)

    def take(self, value: Json, *, is_gone: bool) -> None:
        """Take note of a pod that is bound to this node."""
        uid = value["metadata"]["uid"]
        pod = self.pods.get(uid)
        if is_gone:
            if pod is not None:
                self._tasks[uid].cancel()
        elif pod is not None:
            pod.update(value)
        elif self.is_up and value.get("status", EMPTY).get("phase") not in ("Succeeded", "Failed"):
            self.pods[uid] = pod = Pod(value, self)
            self._tasks[uid] = task = asyncio.create_task(self._run(pod), name=f"pod {value['metadata']['name']}")
            task.add_done_callback(lambda _: self._forget(uid))
        elif self.is_up and value["metadata"].get("deletionTimestamp"):
            self._tasks[uid] = task = asyncio.create_task(self._finish(value))
            task.add_done_callback(lambda _: self._forget(uid))

    def find_pod(self, namespace: str, name: str) -> Pod | None:
        """Find a pod that runs here."""
        for pod in self.pods.values():
            metadata = pod.value["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return pod
        return None

    def set_condition(self, kind: str, *, is_true: bool, reason: str, message: str) -> None:
        """Set a condition, such as DiskPressure; `write_status` reports it."""
        self._conditions[kind] = (is_true, reason, message)

    def set_device_taints(self, device: str, taints: list[Json]) -> None:
        """Taint a GPU; `write_slice` reports it."""
        self._taints[device] = taints
        self._generation += 1

    async def write_status(self) -> None:
        """Report capacity and conditions."""
        with suppress(ApiError):
            before = self._value.get("status") or EMPTY
            status = make_node_status(self.spec, self.address, self.plugin, self._present, self._conditions, before)
            await self.api.patch(f"{self.path}/status", {"status": status})
            self._value = await self.api.ask("GET", self.path)

    async def write_slice(self) -> None:
        """Publish the GPUs, with a DRA driver."""
        if self.spec.gpu_mode != "dra" or not self.spec.gpus:
            return
        value = make_slice(self._value, self.spec.gpus, self.uuids, self._taints, self._generation)
        where = f"{SLICES}/{value['metadata']['name']}?fieldManager={DRIVER}&force=true"
        await self.api.ask("PATCH", where, value, "application/apply-patch+yaml")

    # ---- what its pods ask for

    def find_folder(self, pod: Json) -> Path:
        """Find the folder of a pod's own."""
        return self.folder / "pods" / pod["metadata"]["uid"]

    def lend_address(self) -> tuple[str, int]:
        """Lend an address."""
        return self.group.addresses.lend()

    def return_address(self, number: int) -> None:
        """Take an address back."""
        self.group.addresses.give_back(number)

    @property
    def hostname(self) -> str:
        """Its label `kubernetes.io/hostname`."""
        return self.spec.labels.get("kubernetes.io/hostname", self.spec.name)

    def find_runtime_problem(self, pod: Json) -> str | None:
        """Find why the pod's runtime class does not work here."""
        name = pod["spec"].get("runtimeClassName")
        if name is None or name in self.spec.runtimes:
            return None
        problem = f'failed to get sandbox runtime: no runtime for "{name}" is configured'
        return f"Failed to create pod sandbox: rpc error: code = Unknown desc = {problem}"

    def read_node(self) -> Json:
        """Read the Node object as it was last written."""
        return self._value

    def make_volumes(self, pod: Json) -> Volumes:
        """Make what mounts the volumes of a pod."""
        disks = Disks(self.disk, self.group.exports)
        return Volumes(pod, self.find_folder(pod), disks, make_fetch(self.api, pod), make_token_request(self.api, pod))

    def admit(self, pod: Json) -> None:
        """Reserve the devices of a pod."""
        for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
            wanted = count_gpus(container)
            if wanted and self.plugin.count(healthy_only=False):
                self.plugin.take(pod["metadata"]["uid"], container["name"], wanted)

    def release(self, pod: Json) -> None:
        """Take the devices of a pod back."""
        self.plugin.release(pod["metadata"]["uid"])

    async def pull(self, pod: Json, container: Json, field: str) -> Image:
        """Get an image, with the kubelet's events."""
        await asyncio.sleep(self.seconds_per_start)
        name, policy = container["image"], container.get("imagePullPolicy", "IfNotPresent")

        def report(reason: str, message: str, *, is_warning: bool = False) -> None:
            self.events.write(pod, reason, message, field=field, is_warning=is_warning)

        image = find_image(self.group.images, name)
        if policy != "Always" and name in self._present and image is not None:
            report("Pulled", f'Container image "{name}" already present on machine and can be accessed by the pod')
            return image
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            report("ErrImageNeverPull", message, is_warning=True)
            raise PullError("ErrImageNeverPull", message)
        report("Pulling", f'Pulling image "{name}"')
        problem = find_pull_problem(self.group, name, image)
        if problem is not None:
            report("Failed", f'Failed to pull image "{name}": {problem}', is_warning=True)
            raise PullError("ErrImagePull", problem)
        assert image is not None
        await asyncio.sleep(image.seconds_to_pull)
        self._present[name] = True
        took = f"{image.seconds_to_pull or 0.1:g}s"
        report(
            "Pulled", f'Successfully pulled image "{name}" in {took} ({took} including waiting). Image size: 1 bytes.'
        )
        return image

    async def configure(
        self, pod: Json, container: Json, image: Image, volumes: Volumes
    ) -> tuple[dict[str, str], Mounts]:
        """Make variables and mounts of a container."""
        fetch = make_fetch(self.api, pod)
        objects = {reference: await fetch(*reference) for reference in list_references(container)}
        services = list(self.group.services.objects.values())
        variables = make_environment(
            pod,
            container,
            image=image.environment,
            services=make_service_variables(
                services, pod["metadata"]["namespace"], links=pod["spec"].get("enableServiceLinks", True)
            ),
            node=self._value,
            find=lambda kind, name: objects.get((kind, name)),
        )
        gpus = count_gpus(container) if self.plugin.count(healthy_only=False) else 0
        uuids = self.plugin.take(pod["metadata"]["uid"], container["name"], gpus) if gpus else []
        uuids += await find_claimed(pod, container, self.uuids, fetch)
        if uuids:
            variables["NVIDIA_VISIBLE_DEVICES"] = ",".join(uuids)
        mounts = [
            *write_pod_files(self.find_folder(pod), pod),
            *write_image_files(self.folder, image),
            *volumes.list_mounts(container, variables),
        ]
        return variables, mounts

    # ---- its tasks

    async def _run(self, pod: Pod) -> None:
        await asyncio.sleep(self.seconds_per_start)
        await pod.run()

    async def _finish(self, value: Json) -> None:
        """Delete a pod that has ended before."""
        metadata = value["metadata"]
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        with suppress(ApiError):
            await self.api.ask("DELETE", f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", body)

    def _forget(self, uid: str) -> None:
        self.pods.pop(uid, None)
        task = self._tasks.pop(uid, None)
        if task is not None and not task.cancelled() and task.exception() is not None:
            logging.getLogger("simulator").error("a pod's task failed", exc_info=task.exception())

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            with suppress(ApiError, aiohttp.ClientError, TimeoutError):
                await self._beat()

    async def _beat(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.spec.name, "leaseDurationSeconds": 40, "renewTime": now}
        try:
            await self.api.patch(f"{LEASES}/{self.spec.name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            await self.api.ask("POST", LEASES, {"metadata": {"name": self.spec.name}, "spec": spec})
