"""The Harvis installation: from one pod on one GPU to two machines and back, as its documents describe it.

Its own manifests leave 3 of 3 pods of `workstation` Pending after the documented switch: the pods of the layout before
have the GPUs, and a claim of the other node has the volume.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml

from control_plane.cluster import AddedNode, Cluster
from control_plane.machines import RTX_3090_TI, RTX_4090
from control_plane.plane import Plane
from control_plane.stand_ins import make_ollama, make_server
from corral.kubernetes.api import Api, open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import apply_layout, observe_target
from corral.operations.deploying.switching import Options, Switched, Switching
from corral.operations.deploying.verifying import look_at_layout
from corral.operations.deploying.waiting import wait_until_ready
from corral.verifying.values import Mark

Json = dict[str, Any]
EXAMPLE = Path(__file__).parents[2] / "examples" / "harvis" / "cluster.yaml"
LITELLM = "ghcr.io/berriai/litellm-non_root:*"


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[Api]:
    """A connection as an administrator."""
    async with open_api(kubeconfig=plane.kubeconfig) as opened:
        yield opened


@pytest.fixture
def nodes(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[AddedNode, AddedNode]]:
    """The two machines, an export for models of speech, and the images; those of our own are on both nodes already."""
    for image in (
        make_ollama(),
        make_server("harvis-backend:*", 8000),
        make_server("nginxinc/nginx-unprivileged:*", 8080),
        make_server(LITELLM, 4000),
        make_server("corral:*", 7433),
    ):
        cluster.add_image(image)
    exported = tmp_path / "export"
    exported.mkdir()
    exported.chmod(0o777)
    cluster.export_folder("nas.local:/models", exported)
    settings: Json = {"gpu_mode": "dra", "images": ["harvis-backend:1.0", "corral:0.1.0"]}
    yield (
        cluster.add_node("pop-os", gpus=[RTX_4090], **settings),
        cluster.add_node("pop-os-343570d8", gpus=[RTX_3090_TI], **settings),
    )
    kueue = "/apis/kueue.x-k8s.io/v1beta2"
    for path in (f"{kueue}/resourceflavors", f"{kueue}/clusterqueues", "/api/v1/persistentvolumes"):
        cluster.plane.ask("DELETE", f"{path}?labelSelector=app.kubernetes.io/part-of={cluster.name}")


def write_file(cluster: Cluster, nodes: tuple[AddedNode, AddedNode]) -> FileText:
    """The example, with names of the test's own, and the place of the export that the documents leave open."""
    port = 30100 + crc32(cluster.name.encode()) % 2600  # tests beside this one use the example, too
    text = re.sub(r"(kind: nodePort, port:) \d+", rf"\1 {port}", EXAMPLE.read_text())
    text = re.sub(r"pop-os(?!-343570d8)\b", nodes[0].name, text.replace("pop-os-343570d8", "SECOND"))
    value = yaml.safe_load(text.replace("SECOND", nodes[1].name))
    value["name"] = cluster.name
    value["kubernetes"]["namespace"] = cluster.namespace
    value["engines"].pop("ollama", None)
    volume = f"{cluster.name}-models"
    (nfs,) = [storage for storage in value["storage"] if storage["kind"] == "nfs"]
    nfs |= {"server": "nas.local", "path": "/models"}
    written = yaml.safe_dump(value, sort_keys=False)
    return FileText(text=written.replace("nfs-ml-models-cache", volume))


async def switch(api: Api, file: FileText, layout: str) -> Switched:
    """Switch as the command does, without a server."""
    target = await observe_target(api, file, layout)
    return await Switching(cluster=api, target=target, queue=None, options=Options(within_s=90.0)).run()


async def list_bad(api: Api, file: FileText) -> list[str]:
    """The checks of the active layout that are not good."""
    target = await observe_target(api, file, None)
    return [str(check) for check in await look_at_layout(api, target.wanted) if check.mark is Mark.BAD]


def find_node(cluster: Cluster, workload: str) -> str:
    """The node of the pod of a workload, which is ready."""
    (pod,) = cluster.wait_for_pods(f"app.kubernetes.io/name={workload}")
    return pod["spec"]["nodeName"]


async def test_switched_there_and_back_every_pod_is_ready_where_the_layout_says(
    api: Api, cluster: Cluster, nodes: tuple[AddedNode, AddedNode]
) -> None:
    secret = {"kind": "Secret", "metadata": {"name": "litellm"}}
    keys = {"LITELLM_MASTER_KEY": "sk-test", "OPENAI_API_KEY": "sk-test"}
    cluster.create("secrets", {**secret, "stringData": keys})
    file = write_file(cluster, nodes)
    target = await observe_target(api, file, "edge")
    await apply_layout(api, target)
    await wait_until_ready(api, target.wanted.objects, within_s=90)
    assert find_node(cluster, "merged-ollama-backend") == nodes[0].name

    there = await switch(api, file, "workstation")
    assert there.layout == "workstation"
    assert find_node(cluster, "harvis-ai-ollama-workstation") == nodes[0].name
    assert find_node(cluster, "harvis-ai-backend-workstation") == nodes[1].name
    assert cluster.list_pods("app.kubernetes.io/name=merged-ollama-backend") == []
    assert await list_bad(api, file) == []
    # The models that edge has pulled are on the volume of the node still. `OLLAMA_URL` is a door of the server, which
    # its stand-in here does not have: Ollama is asked itself, at its new address.
    (backend,) = cluster.wait_for_pods("app.kubernetes.io/name=harvis-ai-backend-workstation")
    answer = await api.run_inside(
        cluster.namespace,
        backend["metadata"]["name"],
        "backend",
        ["curl", "--silent", "--fail", "http://harvis-ai-ollama-workstation:11434/api/tags"],
    )
    assert "llama3" in str(answer.stdout)

    back = await switch(api, file, "edge")
    assert back.layout == "edge"
    assert find_node(cluster, "merged-ollama-backend") == nodes[0].name
    assert await list_bad(api, file) == []
