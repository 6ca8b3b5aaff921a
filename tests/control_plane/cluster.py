"""A test's own part of a real control plane: nodes that run pods as processes of this machine. How to use it:

    def test_...(cluster: Cluster) -> None:
        cluster.add_image(Image(pattern="busybox", argv=["sh"]))
        node = cluster.add_node("alpha", gpus=[RTX_5090])        # its name is unique: node.name
        cluster.plane.apply(deployment, f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments")
        pod, = cluster.wait_for_pods("app=web")
        assert "hello" in cluster.read_log(pod["metadata"]["name"])

The scheduler, the controllers, Kueue and kube-proxy are real. A container is a process of this machine: it sees this
machine's files (what it writes over them is its own, in memory), the folders that are mounted, its pod's address,
and no process but its own. What it runs, the test says by image; an image that it does not name cannot be pulled.

Pods of `cluster.namespace` run on the nodes of this test only: the namespace selects them by label. A namespace that
the test makes itself needs `cluster.make_namespace(name)`. Cluster-wide objects (PersistentVolumes, ClusterQueues,
priority classes) are shared with tests that run at the same time: put `cluster.name` into their names, and delete them.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

from control_plane.machines import SimulatedGpu, SimulatedNode
from control_plane.network import Network, lend_network
from control_plane.plane import Plane, PlaneError, run_plane
from control_plane.simulator.images import Image
from control_plane.simulator.objects import EMPTY

Json = Any
Value = TypeVar("Value")
SOCKET = "simulator.sock"
PATIENCE_S = 90.0
LOOK_S = 0.2


class SimulatorError(Exception):
    """The simulator refused what a test asked for, or did not start."""


class Simulator:
    """Asks the simulator that runs next to a plane."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / SOCKET)

    def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of `simulator.service.Simulator`. Raises: SimulatorError."""
        connection = http.client.HTTPConnection("simulator", timeout=240)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._socket)
        with connection.sock:
            connection.request("POST", f"/{method}", json.dumps(arguments))
            answer = json.loads(connection.getresponse().read())
        if "error" in answer:
            raise SimulatorError(answer["error"])
        return answer["result"]


@contextmanager
def run_simulator(plane: Plane, network: Network) -> Generator[Simulator]:
    """Run a simulator next to a plane, which must have been started for the same network. Raises: PlaneError."""
    log = plane.folder / "simulator.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", "--ipc", "--"),
                *(sys.executable, "-m", "control_plane.simulator"),
                *("--plane", str(plane.folder), "--network", str(network.index), "--host-process", str(os.getpid())),
            ],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (plane.folder / SOCKET).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise PlaneError(f"the simulator did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)
        yield Simulator(plane.folder)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def run_plane_with_nodes() -> Generator[Plane]:
    """Run a control plane, and a simulator for it. Raises: PlaneError, NetworkError."""
    with lend_network() as network, run_plane(network.host, network.services) as plane, run_simulator(plane, network):
        yield plane


@dataclass(frozen=True, slots=True)
class AddedNode:
    """A node of a test."""

    name: str
    """In the cluster; with the test's own name in it."""
    address: str
    """Where its NodePorts are."""
    disk: Path
    """Its files: `hostPath: /data` is the folder `data` in it."""


class Cluster:
    """The nodes and namespaces of one test."""

    def __init__(self, plane: Plane, simulator: Simulator, namespace: str) -> None:
        self.plane = plane
        self.simulator = simulator
        self.namespace = namespace
        self.name = namespace
        """Part of the names of what is shared with other tests."""
        self.folder = Path(simulator.ask("open_group", group=self.name))
        self._namespaces: list[str] = []
        self._take_namespace(namespace)

    def close(self) -> None:
        """Remove the nodes and the namespaces."""
        for name in self._namespaces:
            # Nothing is made in a namespace that is ending; what is in it ends at once.
            for path in (f"/api/v1/namespaces/{name}", f"/api/v1/namespaces/{name}/pods"):
                with suppress(HTTPError):
                    self.plane.ask("DELETE", path, {"gracePeriodSeconds": 0})
        self.simulator.ask("close_group", group=self.name)

    # ---- what there is

    def add_node(self, name: str, gpus: Sequence[SimulatedGpu] = (), **settings: Any) -> AddedNode:
        """Add a node; `settings`: fields of `SimulatedNode`. Its name gets the test's own added."""
        return self.add_named_node(f"{name}-{self.name}", gpus, **settings)

    def add_named_node(self, full: str, gpus: Sequence[SimulatedGpu] = (), **settings: Any) -> AddedNode:
        """Add a node of exactly this name; a test that has one of that name now is waited for."""
        spec = SimulatedNode(name=full, gpus=gpus, **settings)
        address = self.simulator.ask("add_node", group=self.name, node=asdict(spec))
        return AddedNode(full, address, self.folder / full / "disk")

    def add_image(self, image: Image) -> None:
        """Say what an image stands for, on all nodes of this test."""
        self.simulator.ask("add_image", group=self.name, image=asdict(image))

    def create(self, kind: str, value: Json, group: str = "/api/v1") -> Json:
        """Create an object in the test's namespace; `kind`: its plural, `group`: its API, such as /apis/apps/v1."""
        version = {"apiVersion": group.removeprefix("/apis/").removeprefix("/api/")}
        return self.plane.ask("POST", f"{group}/namespaces/{self.namespace}/{kind}", {**version, **value})

    def make_namespace(self, name: str) -> None:
        """Make a namespace whose pods run on the nodes of this test, once an older one of that name has ended."""
        self.wait_for(lambda: self._try_namespace(name), f"the end of an older namespace {name}")
        self._take_namespace(name)

    @contextmanager
    def lend_object(self, group: str, kind: str, singular: str, spec: Json) -> Generator[str]:
        """Make an object of the whole cluster with the test's own name, and delete it at the end. Yields its name."""
        value = {
            "apiVersion": group.removeprefix("/apis/"),
            "kind": singular,
            "metadata": {"name": self.name},
            "spec": spec,
        }
        self.plane.ask("POST", f"{group}/{kind}", value)
        try:
            yield self.name
        finally:
            self.plane.ask("DELETE", f"{group}/{kind}/{self.name}")

    def export_folder(self, export: str, folder: Path | None) -> None:
        """Export a folder by NFS as `server:path`; None: the server does not answer any more."""
        self.simulator.ask(
            "export_folder", group=self.name, export=export, folder=None if folder is None else str(folder)
        )

    # ---- faults

    def lose_node(self, node: AddedNode) -> None:
        """Stop a node as a power cut does."""
        self.simulator.ask("lose_node", node=node.name)

    def return_node(self, node: AddedNode) -> None:
        """Start a lost node."""
        self.simulator.ask("return_node", node=node.name)

    def slow_node(self, node: AddedNode, seconds: float) -> None:
        """Let a node wait so long before it begins anything."""
        self.simulator.ask("slow_node", node=node.name, seconds=seconds)

    def lose_gpu(self, node: AddedNode, gpu: int, effect: str = "NoExecute") -> None:
        """Lose a GPU: its device plugin reports it as unhealthy, or its DRA driver taints it."""
        self.simulator.ask("lose_gpu", node=node.name, gpu=gpu, effect=effect)

    def return_gpu(self, node: AddedNode, gpu: int) -> None:
        """Bring a lost GPU back."""
        self.simulator.ask("return_gpu", node=node.name, gpu=gpu)

    def set_condition(self, node: AddedNode, kind: str, *, is_true: bool, reason: str, message: str = "") -> None:
        """Set a condition of a node: DiskPressure, MemoryPressure, Ready."""
        self.simulator.ask("set_condition", node=node.name, kind=kind, is_true=is_true, reason=reason, message=message)

    def fail_pulls(self, pattern: str, problem: str | None) -> None:
        """Let pulls of images fail with these words of a container runtime; None lets them work again."""
        self.simulator.ask("fail_pulls", group=self.name, pattern=pattern, problem=problem)

    def kill_container(self, pod: str, container: str | None = None, reason: str | None = None) -> None:
        """Kill a container of a pod; `reason="OOMKilled"` says that it was out of memory."""
        self.simulator.ask("kill_container", namespace=self.namespace, pod=pod, container=container, reason=reason)

    def evict_pod(self, pod: str, message: str) -> None:
        """Evict a pod as the kubelet does under pressure."""
        self.simulator.ask("evict_pod", namespace=self.namespace, pod=pod, message=message)

    # ---- looking

    def list_pods(self, labels: str = "", namespace: str | None = None) -> list[Json]:
        """List pods, by a label selector such as `app=web`."""
        where = f"/api/v1/namespaces/{namespace or self.namespace}/pods?labelSelector={labels}"
        return self.plane.ask("GET", where)["items"]

    def read_pod(self, name: str) -> Json:
        """Read a pod."""
        return self.plane.ask("GET", f"/api/v1/namespaces/{self.namespace}/pods/{name}")

    def read_log(self, pod: str, container: str = "", namespace: str | None = None) -> str:
        """Read what a container wrote."""
        where = f"/api/v1/namespaces/{namespace or self.namespace}/pods/{pod}/log?container={container}"
        return str(self.plane.ask("GET", where))

    def list_events(self, name: str) -> list[tuple[str, str]]:
        """List the reasons and messages of the events about an object."""
        where = f"/api/v1/namespaces/{self.namespace}/events?fieldSelector=involvedObject.name={name}"
        return [(event["reason"], event["message"]) for event in self.plane.ask("GET", where)["items"]]

    def wait_for(self, look: Callable[[], Value | None], what: str) -> Value:
        """Wait until `look` gives something true. Raises: AssertionError with what was waited for, and the pods."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            value = look()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {PATIENCE_S:.0f} s for {what}:\n{self._describe()}")
            time.sleep(LOOK_S)

    def wait_for_pods(self, labels: str, count: int = 1, *, ready: bool = True) -> list[Json]:
        """Wait until exactly so many pods have these labels and are ready (or exist), none of them ending."""

        def look() -> list[Json] | None:
            pods = self.list_pods(labels)
            good = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and (is_ready(pod) or not ready)]
            return good if len(good) == len(pods) == count else None

        return self.wait_for(look, f"{count} pods of {labels}")

    def wait_for_phase(self, name: str, phase: str) -> Json:
        """Wait until a pod is in a phase: Running, Succeeded, Failed."""

        def look() -> Json:
            pod = self.read_pod(name)
            return pod if pod.get("status", EMPTY).get("phase") == phase else None

        return self.wait_for(look, f"{name} in phase {phase}")

    def wait_for_event(self, name: str, reason: str, words: str = "") -> str:
        """Wait for an event about an object. Returns its message."""

        def look() -> str | None:
            events = self.list_events(name)
            return next((text for kind, text in events if kind == reason and words in text), None)

        return self.wait_for(look, f"the event {reason} about {name}")

    def wait_for_page(self, url: str) -> str:
        """Wait until a server of the cluster answers a GET from this machine with success. Returns what it says."""

        def look() -> str | None:
            with suppress(OSError), urlopen(url, timeout=10) as reply:
                return reply.read().decode()
            return None

        return self.wait_for(look, url)

    def _describe(self) -> str:
        lines: list[str] = []
        for pod in self.list_pods():
            name, status = pod["metadata"]["name"], pod.get("status", EMPTY)
            states = [entry["state"] for entry in status.get("containerStatuses") or ()]
            lines.append(f"{name}: {status.get('phase')} on {pod['spec'].get('nodeName')}: {states}")
            lines += [f"    {reason}: {message}" for reason, message in self.list_events(name)]
        log = (self.plane.folder / "simulator.log").read_text(errors="replace")[-2000:]
        return "\n".join([*lines, log])

    def _try_namespace(self, name: str) -> bool:
        try:
            self.plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        except HTTPError as error:
            if error.code != 409:
                raise
            return False
        return True

    def _take_namespace(self, namespace: str) -> None:
        self._namespaces.append(namespace)
        self.simulator.ask("take_namespace", group=self.name, namespace=namespace)


def is_ready(pod: Json) -> bool:
    """Whether a pod's condition Ready is true."""
    conditions = pod.get("status", EMPTY).get("conditions") or ()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
