"""The Harvis installation, whole: from one pod on one GPU to two machines, a third one, and back.

Its own manifests leave 3 of 3 pods of `workstation` Pending after the documented switch: the pods of the layout before
have the GPUs, and a claim of the other node has the volume. Here its queue goes on meanwhile, in a pod of the cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.cluster import AddedNode, Cluster
from control_plane.installations import EXAMPLES, Installation, Queue
from control_plane.machines import RTX_3090_TI, RTX_4090
from control_plane.plane import Plane
from control_plane.stand_ins import make_corral, make_ollama, make_server
from corral.kubernetes.api import open_api
from corral.operations.cluster_file import FileText

pytestmark = pytest.mark.timeout(900)  # a server starts in its pod, and layouts change twice
Json = dict[str, Any]
DOOR = 30080
"""The port of every node that the file exposes."""


@pytest.fixture
def nodes(cluster: Cluster, tmp_path: Path) -> dict[str, AddedNode]:
    """The machines, an export for models of speech, and the images; those of our own are on the nodes already."""
    for image in (
        make_ollama(seconds_per_token=0.2),
        make_corral(),
        make_server("harvis-backend:*", 8000),
        make_server("ghcr.io/berriai/litellm-non_root:*", 4000),
    ):
        cluster.add_image(image)
    exported = tmp_path / "export"
    exported.mkdir()
    exported.chmod(0o777)
    cluster.export_folder("nas.local:/models", exported)
    own: Json = {"gpu_mode": "dra", "images": ["harvis-backend:1.0", "corral:0.1.0"]}
    gpus = {"pop-os": RTX_4090, "pop-os-343570d8": RTX_3090_TI, "pop-os-3": RTX_4090}
    return {name: cluster.add_named_node(name, gpus=[gpu], **own) for name, gpu in gpus.items()}


def write_file(*, has_third: bool) -> FileText:
    """The example, with the place of the export that its documents leave open; or with the third node they plan."""
    value = yaml.safe_load((EXAMPLES / "harvis" / "cluster.yaml").read_text())
    (nfs,) = [storage for storage in value["storage"] if storage["kind"] == "nfs"]
    nfs |= {"server": "nas.local", "path": "/models"}
    value["gateway"]["ollama"]["allow"] = ["10.64.0.0/10"]  # the pods of the simulated clusters
    if has_third:
        value["nodes"].append({"name": "pop-os-3", "gpus": [{"model": "RTX 4090", "index": 0}]})
        value["storage"].append({"name": "third-cache", "kind": "local", "node": "pop-os-3", "size": "100Gi"})
        more = {"name": "ollama-3", "engines": ["ollama"], "gpus": 1, "models": ["llama3"], "storage": ["third-cache"]}
        value["services"].append(more)
        value["layouts"]["workstation"]["services"]["ollama-3"] = {"node": "pop-os-3", "gpus": [0]}
    return FileText(text=yaml.safe_dump(value, sort_keys=False))


@pytest.fixture
async def harvis(
    plane: Plane, cluster: Cluster, nodes: dict[str, AddedNode], tmp_path: Path
) -> AsyncIterator[Installation]:
    """The installation, with nothing applied yet."""
    cluster.make_namespace("ai-agents")
    cluster.namespace = "ai-agents"
    secret = {"kind": "Secret", "metadata": {"name": "litellm"}}
    keys = {"LITELLM_MASTER_KEY": "sk-test", "OPENAI_API_KEY": "sk-test"}
    cluster.create("secrets", {**secret, "stringData": keys})
    async with open_api(kubeconfig=plane.kubeconfig) as api:
        installation = Installation(
            cluster=cluster,
            api=api,
            file=write_file(has_third=False),
            folder=tmp_path,
            name="harvis",
            machines=tuple(nodes),
            server="frontend",
        )
        yield installation
        installation.remove_shared()


def make_words(count: int, tokens: int = 8) -> list[Json]:
    inputs = {"prompt": "word " * tokens, "options": {"num_predict": tokens}}
    return [{"engine": "ollama", "model": "llama3", "inputs": inputs}] * count


async def check_health(harvis: Installation, file: FileText | None = None) -> None:
    """The doctor finds nothing, and every check of the layout is ok."""
    assert await harvis.examine(file) == []
    assert await harvis.list_doubts(file) == []


async def test_from_one_gpu_to_three_and_back_with_work_on_each_way_and_faults_between(
    harvis: Installation, nodes: dict[str, AddedNode]
) -> None:
    cluster, first = harvis.cluster, nodes["pop-os"]
    await harvis.apply("edge")
    assert harvis.find_pod("merged-ollama-backend")["spec"]["nodeName"] == first.name
    await check_health(harvis)
    async with harvis.open_queue(f"http://{first.address}:{DOOR}") as queue:
        await queue.wait_for_slots("ollama", {first.name: 1})
        await switch_to_two_machines(harvis, queue, first)
        await check_health(harvis)
        assert (await queue.get("/api/voices"))["pod"].startswith("harvis-ai-backend-workstation")
        models = await harvis.run_inside(
            *("harvis-ai-backend-workstation", "backend", "sh", "-c", "curl --silent --fail $OLLAMA_URL/api/tags")
        )
        assert "llama3" in models  # through the door; edge has pulled it to the same volume

        await lose_a_gpu(harvis, queue, first)
        await lose_a_third_node(harvis, queue, nodes["pop-os-3"])

        out, _ = await harvis.run("switch", "edge", "--within", "150s", queue=queue)
        assert out.startswith("switched  to edge (was workstation)")
        await queue.finish(await queue.submit(*make_words(1)))
    assert harvis.find_pod("merged-ollama-backend")["spec"]["nodeName"] == first.name
    assert cluster.list_pods("app.kubernetes.io/name=ollama-3") == []
    await check_health(harvis)


async def switch_to_two_machines(harvis: Installation, queue: Queue, first: AddedNode) -> None:
    """What runs ends before its pod does, and what waits runs in the new layout."""
    tasks = await queue.submit(*make_words(1, tokens=30), *make_words(2))
    await queue.wait_until(tasks[0], "running")
    out, notes = await harvis.run("switch", "workstation", "--within", "150s", queue=queue)
    assert out.startswith("switched  to workstation (was edge)")
    assert "task to its end" in notes
    ended = await queue.finish(tasks)
    assert {(answer["attempts"], answer["losses"]) for answer in ended} == {(0, 0)}
    (slot,) = await queue.wait_for_slots("ollama", {first.name: 1})
    assert slot["instance"].startswith("harvis-ai-ollama-workstation")
    assert harvis.find_pod("harvis-ai-backend-workstation")["spec"]["nodeName"] == "pop-os-343570d8"
    assert harvis.cluster.list_pods("app.kubernetes.io/name=merged-ollama-backend") == []


async def lose_a_gpu(harvis: Installation, queue: Queue, node: AddedNode) -> None:
    """The driver taints the device: its pod goes, the slot too, the cause is named, and work waits for the GPU."""
    harvis.cluster.lose_gpu(node, 0)
    await queue.wait_for_slots("ollama", {})
    (task,) = await queue.submit(*make_words(1))
    waiting = ("K04", "Pod ai-agents/harvis-ai-ollama-workstation-0")
    causes = await harvis.wait_for_findings(waiting)
    assert any(f"of {node.name} is tainted" in cause for cause in causes), causes
    assert any(doubt.startswith(f"bad GPUs of {node.name}") for doubt in await harvis.list_doubts())
    harvis.cluster.return_gpu(node, 0)
    await queue.finish([task])


async def lose_a_third_node(harvis: Installation, queue: Queue, third: AddedNode) -> None:
    """With a third node there are two Ollama; when it is lost, what ran there runs on the other one."""
    file = write_file(has_third=True)
    await harvis.apply(file=file)
    slots = {"pop-os": 1, third.name: 1}
    await queue.wait_for_slots("ollama", slots)
    await check_health(harvis, file)
    tasks = await queue.submit(*make_words(4, tokens=30))
    await queue.wait_until_all_work("ollama")
    harvis.cluster.lose_node(third)
    ended = await queue.finish(tasks)
    assert sum(answer["losses"] for answer in ended) == 1
    await queue.wait_for_slots("ollama", {"pop-os": 1})
    await harvis.wait_for_findings(("K21", f"Node {third.name}"))
    harvis.cluster.return_node(third)
    await queue.wait_for_slots("ollama", slots)
