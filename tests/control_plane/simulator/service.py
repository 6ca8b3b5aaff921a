"""The simulator as tests ask it: groups of nodes, what images stand for, and faults."""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from control_plane.machines import SimulatedGpu, SimulatedNode
from control_plane.network import GATEWAY, NODES, Network
from control_plane.simulator.api import Api, ApiError, Mirror
from control_plane.simulator.containers import Runner
from control_plane.simulator.controllers import DRIVER_CLASS, Controllers, apply, install
from control_plane.simulator.dns import NameServer
from control_plane.simulator.group import Addresses, Group
from control_plane.simulator.images import Image
from control_plane.simulator.kubelet import Kubelet
from control_plane.simulator.node_object import GROUP_LABEL, SELECTOR
from control_plane.simulator.nodes import Node
from control_plane.simulator.objects import Json
from control_plane.simulator.pods import Pod

SOCKET = "simulator.sock"
REFRESH_S = 5.0
"""How often changed ConfigMaps and Secrets reach containers; up to 60 s with the kubelet."""


class MissingError(Exception):
    """There is no such node, pod or container."""


class Simulator:
    """All nodes of a run; `async with` starts and stops them."""

    def __init__(self, api: Api, folder: Path, network: Network) -> None:
        self._api = api
        self._folder = folder
        self._network = network
        self._addresses = Addresses(network)
        self._groups: dict[str, Group] = {}
        self._nodes: dict[str, Node] = {}
        self._numbers = iter(range(1, NODES + 1))
        self._free_numbers: list[int] = []
        self._changed = asyncio.Condition()
        self._pods = Mirror(api, "/api/v1/pods", self._take_pod)
        self._services = Mirror(api, "/api/v1/services", self._take_service)
        self._slices = Mirror(api, "/apis/discovery.k8s.io/v1/endpointslices")
        self._controllers = Controllers(api, self._services, self._nodes, self._groups.values)
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Simulator:
        mirrors = (self._pods, self._services, self._slices)
        self._tasks = [asyncio.create_task(mirror.run()) for mirror in mirrors]
        await install(self._api)
        self._tasks.append(asyncio.create_task(self._refresh()))
        self._tasks.append(asyncio.create_task(self._controllers.run()))
        for mirror in mirrors:
            await mirror.ready.wait()
        loop = asyncio.get_running_loop()
        names, _ = await loop.create_datagram_endpoint(
            lambda: NameServer(self._services, self._slices), local_addr=(GATEWAY, 53)
        )
        self._stack.callback(names.close)
        kubelet = Kubelet(self._folder, self._network, self._find_pod_at)
        await kubelet.start()
        self._stack.push_async_callback(kubelet.stop)
        application = web.Application()
        application.router.add_post("/{method}", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.UnixSite(runner, str(self._folder / SOCKET)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))
        for task in self._tasks:
            task.cancel()
        await self._stack.aclose()

    # ---- what tests ask for

    async def open_group(self, group: str) -> str:
        """Begin a group. Returns its folder."""
        folder = self._folder / "nodes" / group
        folder.mkdir(parents=True)
        self._groups[group] = Group(group, self._api, self._network, self._addresses, self._services, folder)
        return str(folder)

    async def take_namespace(self, group: str, namespace: str) -> None:
        """Let the pods of a namespace run on the nodes of a group, and on no other."""
        self._groups[group].namespaces.add(namespace)
        annotations = {SELECTOR: f"{GROUP_LABEL}={group}"}
        await self._api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"annotations": annotations}})

    async def close_group(self, group: str) -> None:
        """Remove the nodes of a group, and their files."""
        names = [name for name, node in self._nodes.items() if node.group.name == group]
        await asyncio.gather(*(self.remove_node(name) for name in names))
        shutil.rmtree(self._groups.pop(group).folder, ignore_errors=True)

    async def add_node(self, group: str, node: Json) -> str:
        """Add a node. Returns its address."""
        async with self._changed:
            await self._changed.wait_for(lambda: node["name"] not in self._nodes)  # of another test
        gpus = tuple(SimulatedGpu(**gpu) for gpu in node.pop("gpus"))
        number = self._free_numbers.pop() if self._free_numbers else next(self._numbers)
        added = Node(SimulatedNode(gpus=gpus, **node), number, self._groups[group])
        self._nodes[added.spec.name] = added
        if added.spec.gpu_mode == "dra":
            await apply(self._api, "/apis/resource.k8s.io/v1/deviceclasses", DRIVER_CLASS)
        await added.start()
        self._take_all(added)
        self._controllers.take_nodes()
        return added.address

    async def remove_node(self, node: str) -> None:
        """Take a node out of the cluster; its pods end."""
        removed = self._nodes.pop(node)
        await removed.remove()
        self._free_numbers.insert(0, int(removed.address.rpartition(".")[2]))
        async with self._changed:
            self._changed.notify_all()

    async def lose_node(self, node: str) -> None:
        """Stop a node as a power cut does."""
        await self._find_node(node).stop()

    async def return_node(self, node: str) -> None:
        """Start a lost node."""
        returned = self._find_node(node)
        await returned.start()
        self._take_all(returned)

    async def slow_node(self, node: str, seconds: float) -> None:
        """Let a node wait before it begins anything."""
        self._find_node(node).seconds_per_start = seconds

    async def lose_gpu(self, node: str, gpu: int, effect: str) -> None:
        """Lose a GPU: the device plugin reports it as unhealthy, the DRA driver taints it."""
        owner = self._find_node(node)
        owner.plugin.lost.add(f"gpu-{gpu}")
        owner.set_device_taints(f"gpu-{gpu}", [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": effect}])
        await owner.write_status()
        await owner.write_slice()

    async def return_gpu(self, node: str, gpu: int) -> None:
        """Bring a lost GPU back."""
        owner = self._find_node(node)
        owner.plugin.lost.discard(f"gpu-{gpu}")
        owner.set_device_taints(f"gpu-{gpu}", [])
        await owner.write_status()
        await owner.write_slice()

    async def set_condition(self, node: str, kind: str, is_true: bool, reason: str, message: str) -> None:
        """Set a condition of a node, such as DiskPressure."""
        owner = self._find_node(node)
        owner.set_condition(kind, is_true=is_true, reason=reason, message=message)
        await owner.write_status()

    async def add_image(self, group: str, image: Json) -> None:
        """Say what an image stands for."""
        self._groups[group].images.append(Image(**image))

    async def fail_pulls(self, group: str, pattern: str, problem: str | None) -> None:
        """Let pulls of images fail with the words of a container runtime; None lets them work again."""
        if problem is None:
            self._groups[group].pull_problems.pop(pattern, None)
        else:
            self._groups[group].pull_problems[pattern] = problem

    async def export_folder(self, group: str, export: str, folder: str | None) -> None:
        """Export a folder by NFS as `server:path`; None: the server does not answer any more."""
        if folder is None:
            self._groups[group].exports.pop(export, None)
        else:
            self._groups[group].exports[export] = folder

    async def kill_container(self, namespace: str, pod: str, container: str | None, reason: str | None) -> None:
        """Kill a container; `reason`: OOMKilled, for example."""
        self._find_container(namespace, pod, container).kill(reason)

    async def evict_pod(self, namespace: str, pod: str, message: str) -> None:
        """Evict a pod, as the kubelet does under pressure."""
        self._find_pod(namespace, pod).fail("Evicted", message)

    # ----

    async def _answer(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        try:
            result = await getattr(self, method)(**await request.json())
        except (MissingError, ApiError, KeyError, TypeError) as error:
            logging.getLogger("simulator").exception(method)
            return web.json_response({"error": f"{method}: {error!r}"}, status=400)
        return web.json_response({"result": result})

    def _take_pod(self, value: Json, is_gone: bool) -> None:
        node = self._nodes.get(value["spec"].get("nodeName", ""))
        if node is not None:
            node.take(value, is_gone=is_gone)

    def _take_service(self, value: Json, is_gone: bool) -> None:
        self._controllers.take_service(value, is_gone)

    def _take_all(self, node: Node) -> None:
        for value in self._pods.objects.values():
            if value["spec"].get("nodeName") == node.spec.name:
                node.take(value, is_gone=False)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            for node in list(self._nodes.values()):
                for pod in list(node.pods.values()):
                    await pod.refresh()

    def _find_node(self, name: str) -> Node:
        if name not in self._nodes:
            raise MissingError(f"node {name}; there are {sorted(self._nodes)}")
        return self._nodes[name]

    def _find_pod(self, namespace: str, name: str) -> Pod:
        for node in self._nodes.values():
            pod = node.find_pod(namespace, name)
            if pod is not None:
                return pod
        raise MissingError(f"pod {namespace}/{name}")

    def _find_pod_at(self, address: str, namespace: str, name: str) -> Pod | None:
        nodes = (node for node in self._nodes.values() if node.address == address and node.is_up)
        return next((node.find_pod(namespace, name) for node in nodes), None)

    def _find_container(self, namespace: str, pod: str, name: str | None) -> Runner:
        runner = self._find_pod(namespace, pod).find(name)
        if runner is None:
            raise MissingError(f"container {name} of pod {namespace}/{pod}")
        return runner
