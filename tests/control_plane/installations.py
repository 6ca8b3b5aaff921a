"""An installation of `examples/` on a simulated cluster: applied, switched, verified, examined, and asked for work.

Nodes and namespaces have the names that the example gives them, and so the file is used as it is, but for what its
documents leave open. Corral's own server runs in a pod, with the account and the rights that are rendered for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from chaos.client import PatientClient
from control_plane.cluster import Cluster, is_ready
from corral.data_dir import Presence
from corral.kubernetes.api import Api
from corral.operations.cluster_doctor import examine_cluster
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import apply_layout, observe_target
from corral.operations.deploying.verdict import verify_layout
from corral.operations.deploying.waiting import wait_until_ready
from corral.verifying.values import Mark

Json = dict[str, Any]
EXAMPLES = Path(__file__).parents[2] / "examples"
READY_WITHIN_S = 150.0
_LOOK_S = 0.3
_ENDED = ("succeeded", "failed", "cancelled")
_SHARED = (
    *(f"/apis/kueue.x-k8s.io/v1beta2/{kind}" for kind in ("clusterqueues", "resourceflavors")),
    *(f"/apis/rbac.authorization.k8s.io/v1/{kind}" for kind in ("clusterrolebindings", "clusterroles")),
    "/api/v1/persistentvolumes",
)


class Queue(PatientClient):
    """A client of Corral's server in a pod, over the address that the installation exposes."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(Path("/nowhere"))
        self.server = Presence(pid=0, url=url, token=token, started_at="")

    def find_server(self) -> Presence | None:
        return self.server

    async def __aenter__(self) -> Self:
        return self

    async def submit(self, *tasks: Json) -> list[int]:
        """Submit a batch; gives the numbers of its tasks."""
        accepted = await self.post("/corral/v1/batches", {"name": "work", "tasks": list(tasks)})
        return [task["id"] for task in accepted["tasks"]]

    async def wait_until(self, task: int, *states: str) -> Json:
        """Wait until a task is in one of these states."""
        async with asyncio.timeout(240):
            while True:
                answer = await self.get(f"/corral/v1/tasks/{task}")
                if answer["state"] in states:
                    return answer
                await asyncio.sleep(_LOOK_S)

    async def finish(self, tasks: Iterable[int]) -> list[Json]:
        """Wait until tasks have ended; all of them succeeded."""
        ended = [await self.wait_until(task, *_ENDED) for task in tasks]
        assert {answer["state"] for answer in ended} == {"succeeded"}, [answer["error"] for answer in ended]
        return ended

    async def wait_for_slots(self, engine: str, wanted: Mapping[str, int]) -> list[Json]:
        """Wait until the slots of an engine are so many on each node, and all of them take tasks."""
        async with asyncio.timeout(180):
            while True:
                listed = (await self.get("/corral/v1/slots"))["items"]
                slots = [slot for slot in listed if slot["engine"] == engine]
                nodes = [slot["node"] for slot in slots]
                is_open = all(slot["gate"] == "open" for slot in slots)
                if is_open and {node: nodes.count(node) for node in nodes} == wanted:
                    return slots
                await asyncio.sleep(_LOOK_S)

    async def wait_until_all_work(self, engine: str) -> None:
        """Wait until every slot of an engine has something to do."""
        async with asyncio.timeout(60):
            while True:
                listed = (await self.get("/corral/v1/slots"))["items"]
                if all(slot["tasks"] for slot in listed if slot["engine"] == engine):
                    return
                await asyncio.sleep(_LOOK_S)


@dataclass(kw_only=True)
class Installation:
    """A cluster file and the cluster that it is applied to."""

    cluster: Cluster
    api: Api
    file: FileText
    folder: Path
    name: str
    """Of the file: what it has in the whole cluster is named or labelled so."""
    machines: tuple[str, ...]
    server: str
    """The service of Corral itself."""

    async def apply(self, layout: str | None = None, file: FileText | None = None) -> None:
        """Apply a layout, and wait until it is ready."""
        target = await observe_target(self.api, file or self.file, layout)
        await apply_layout(self.api, target)
        await wait_until_ready(self.api, target.wanted.objects, within_s=READY_WITHIN_S)

    async def list_doubts(self, file: FileText | None = None) -> list[str]:
        """List the checks of `corral verify` that are not ok."""
        verdict = await verify_layout(self.api, file or self.file, None)
        return [f"{check}: {check.evidence}" for check in verdict.checks if check.mark is not Mark.OK]

    async def examine(self, file: FileText | None = None) -> list[tuple[str, str, str]]:
        """List what the doctor finds on this installation, pitfall, object and cause; and containers without answer."""
        answer = await examine_cluster(None, self.cluster.plane.kubeconfig, file or self.file)
        assert answer.unread == {}
        silent = [("no answer", container, "") for container in answer.unanswered]
        findings = [(item.id, item.object, item.cause) for item in answer.items]
        return [finding for finding in findings + silent if self._is_own(finding[1])]

    async def wait_for_findings(self, *wanted: tuple[str, str]) -> list[str]:
        """Wait until the doctor finds pitfalls of objects; gives the causes of all that it finds then."""
        async with asyncio.timeout(60):
            while True:
                findings = await self.examine()
                if {(pitfall, subject) for pitfall, subject, _ in findings} >= {*wanted}:
                    return [cause for _, _, cause in findings]
                await asyncio.sleep(_LOOK_S)

    def _is_own(self, subject: str) -> bool:
        named = subject.rpartition(" ")[2] if subject.count(" ") == 1 else subject
        return f"{self.cluster.namespace}/" in subject or named.startswith((f"{self.name}-", *self.machines))

    async def run(self, *words: str, queue: Queue | None = None) -> tuple[str, str]:
        """Run `corral` as a user does, who can use the queue; gives what it printed, and the notes."""
        path = self.folder / "cluster.yaml"
        path.write_text(self.file.text)
        reached = () if queue is None else ("--url", queue.server.url)
        environment = {"KUBECONFIG": str(self.cluster.plane.kubeconfig), "NO_COLOR": "1"}
        environment |= {} if queue is None else {"CORRAL_TOKEN": queue.server.token}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "corral", *words, "--cluster", str(path), *reached),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert process.returncode == 0, out.decode() + errors.decode()
        return out.decode(), errors.decode()

    def find_pod(self, workload: str) -> Json:
        """Find the only pod of a workload, which is ready."""
        (pod,) = self.cluster.wait_for_pods(f"app.kubernetes.io/name={workload}")
        assert is_ready(pod)
        return pod

    async def run_inside(self, workload: str, container: str, *argv: str) -> str:
        """Run a program in a pod of a workload, with success."""
        pod = self.find_pod(workload)["metadata"]["name"]
        answer = await self.api.run_inside(self.cluster.namespace, pod, container, argv)
        assert answer.exit_code == 0, answer
        return answer.stdout.decode() if isinstance(answer.stdout, bytes) else str(answer.stdout)

    @asynccontextmanager
    async def open_queue(self, url: str) -> AsyncGenerator[Queue]:
        """Connect to Corral's server in its pod, with a token that is made there."""
        words = ("corral", "tokens", "create", "test", "--role", "admin", "--quiet", "--data-dir", "/var/lib/corral")
        token = await self.run_inside(self.server, self.server, *words)
        async with Queue(url, token.strip()) as queue:
            await queue.leading()
            yield queue

    def remove_shared(self) -> None:
        """Delete what it has in the whole cluster."""
        for path in _SHARED:
            self.cluster.plane.ask("DELETE", f"{path}?labelSelector=app.kubernetes.io/part-of={self.name}")
