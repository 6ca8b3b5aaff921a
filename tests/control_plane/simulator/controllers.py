"""What K3s brings along: its storage class with a provisioner, its runtime classes, its load balancer.

The provisioner makes a folder on the node that the scheduler has chosen; the load balancer gives a Service the
addresses of all nodes. Both as K3s 1.36 does, with its names.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import aiohttp

from control_plane.simulator.api import Api, ApiError, Mirror
from control_plane.simulator.group import Group
from control_plane.simulator.nodes import Node
from control_plane.simulator.objects import EMPTY, Json

PROVISIONER = "rancher.io/local-path"
STORAGE = "/var/lib/rancher/k3s/storage"
SELECTED = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
RETRY_S = 1.0
OBJECTS: Mapping[str, list[Json]] = {
    "/apis/storage.k8s.io/v1/storageclasses": [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "local-path",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ],
    "/apis/node.k8s.io/v1/runtimeclasses": [
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": name}
        for name in ("nvidia", "nvidia-experimental")
    ],
}
DRIVER_CLASS: Json = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "DeviceClass",
    "metadata": {"name": "gpu.nvidia.com"},
    "spec": {
        "extendedResourceName": "nvidia.com/gpu",
        "selectors": [
            {
                "cel": {
                    "expression": "device.driver == 'gpu.nvidia.com' && "
                    "device.attributes['gpu.nvidia.com'].type == 'gpu'"
                }
            }
        ],
    },
}
"""What the chart of NVIDIA's DRA driver installs."""


async def apply(api: Api, path: str, value: Json) -> None:
    """Apply an object of the whole cluster."""
    where = f"{path}/{value['metadata']['name']}?fieldManager=simulator&force=true"
    await api.ask("PATCH", where, value, "application/apply-patch+yaml")


async def install(api: Api) -> None:
    """Make the objects that K3s makes."""
    for path, values in OBJECTS.items():
        for value in values:
            await apply(api, path, value)


class Controllers:
    """Provisions volumes and gives Services addresses, for the nodes of the simulator."""

    def __init__(
        self, api: Api, services: Mirror, nodes: Mapping[str, Node], groups: Callable[[], Iterable[Group]]
    ) -> None:
        self._api = api
        self._nodes = nodes
        self._groups = groups
        self._services = services
        self._claims = Mirror(api, "/api/v1/persistentvolumeclaims", self._take_claim)
        self._volumes = Mirror(api, "/api/v1/persistentvolumes", self._take_volume)
        self._work: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()

    async def run(self) -> None:
        """Follow claims, volumes and Services until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._claims.run())
            group.create_task(self._volumes.run())
            while True:
                kind, value = await self._work.get()
                with suppress(ApiError, aiohttp.ClientError, TimeoutError):
                    match kind:
                        case "claim":
                            await self._provision(value)
                        case "volume":
                            await self._reclaim(value)
                        case _:
                            await self._give_addresses(value)

    def take_service(self, value: Json, is_gone: bool) -> None:
        """Take note of a Service."""
        if not is_gone and value["spec"].get("type") == "LoadBalancer":
            self._work.put_nowait(("service", value))

    def take_nodes(self) -> None:
        """Take note of nodes that came or went."""
        for value in self._services.objects.values():
            self.take_service(value, is_gone=False)

    def _take_claim(self, value: Json, is_gone: bool) -> None:
        annotations = value["metadata"].get("annotations") or EMPTY
        provisioner = annotations.get("volume.kubernetes.io/storage-provisioner")
        is_waiting = not value["spec"].get("volumeName") and provisioner == PROVISIONER and SELECTED in annotations
        if not is_gone and is_waiting:
            self._work.put_nowait(("claim", value))

    def _take_volume(self, value: Json, is_gone: bool) -> None:
        annotations = value["metadata"].get("annotations") or EMPTY
        is_ours = annotations.get(PROVISIONED_BY) == PROVISIONER
        if not is_gone and is_ours and value["status"].get("phase") == "Released":
            self._work.put_nowait(("volume", value))

    async def _provision(self, claim: Json) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        node = self._nodes.get(metadata["annotations"][SELECTED])
        if node is None:
            return
        storage = await self._api.ask("GET", f"/apis/storage.k8s.io/v1/storageclasses/{spec['storageClassName']}")
        name = f"pvc-{metadata['uid']}"
        path = f"{STORAGE}/{name}_{metadata['namespace']}_{metadata['name']}"
        folder = node.disk / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.hostname]}
        volume = {
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": storage.get("reclaimPolicy", "Delete"),
                "storageClassName": spec["storageClassName"],
                "hostPath": {"path": path, "type": "DirectoryOrCreate"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        await self._api.ask("POST", "/api/v1/persistentvolumes", volume)

    async def _reclaim(self, volume: Json) -> None:
        if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
            return
        for node in self._nodes.values():
            shutil.rmtree(node.disk / volume["spec"]["hostPath"]["path"].lstrip("/"), ignore_errors=True)
        await self._api.ask("DELETE", f"/api/v1/persistentvolumes/{volume['metadata']['name']}")

    async def _give_addresses(self, service: Json) -> None:
        metadata = service["metadata"]
        names = {group.name for group in self._groups() if metadata["namespace"] in group.namespaces}
        nodes = [node for node in self._nodes.values() if node.group.name in names]
        wanted = [{"ip": address, "ipMode": "VIP"} for address in sorted(node.address for node in nodes)]
        if wanted and (service.get("status", EMPTY).get("loadBalancer") or EMPTY).get("ingress") != wanted:
            path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
            await self._api.patch(path, {"status": {"loadBalancer": {"ingress": wanted}}})
