"""A switch of layouts on a real control plane: there and back, killed at every stage, rolled back, with its queue."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.cluster import AddedNode, Cluster
from control_plane.machines import RTX_4090
from control_plane.plane import Plane
from control_plane.simulator.images import Image
from control_plane.stand_ins import make_server
from corral.deploying.order import CLAIM, DEPLOYMENT, VOLUME
from corral.deploying.preflight import ObstaclesError
from corral.deploying.state import name_state, read_state
from corral.deploying.switching import STAGES, UnfinishedSwitchError, read_switch
from corral.kubernetes.api import Api, open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import OtherStorageError, apply_layout, observe_target
from corral.operations.deploying.switching import Options, Progress, RolledBackError, Switched, Switching
from corral.operations.deploying.waiting import wait_until_ready
from corral.snapshot import ObjectKey

Json = dict[str, Any]
PORT = 8080
KEEP = (
    "trap 'exit 0' TERM; test -e /data/kept || date > /data/kept; "
    f"python3 -m http.server {PORT} --directory /data & wait"
)


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[Api]:
    """A connection as an administrator."""
    async with open_api(kubeconfig=plane.kubeconfig) as opened:
        yield opened


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[tuple[AddedNode, AddedNode]]:
    """Two nodes with a GPU each."""
    cluster.add_image(make_server("registry.local/voice:*", PORT))
    cluster.add_image(make_server("nginxinc/nginx-unprivileged:*", 8080))
    yield cluster.add_node("alpha", gpus=[RTX_4090]), cluster.add_node("beta", gpus=[RTX_4090])
    kueue = "/apis/kueue.x-k8s.io/v1beta2"
    for path in (f"{kueue}/resourceflavors", f"{kueue}/clusterqueues", "/api/v1/persistentvolumes"):
        cluster.plane.ask("DELETE", f"{path}?labelSelector=app.kubernetes.io/part-of={cluster.name}")


def write_file(cluster: Cluster, nodes: tuple[AddedNode, AddedNode], **parts: Any) -> FileText:
    """A cluster file: the voice has the GPU of one node by day, and that of the other at night; the page calls it."""
    alpha, beta = nodes
    voice = {"name": "voice", "image": "registry.local/voice:1", "port": PORT, "gpus": 1, "gpuMemory": "8Gi"}
    value: Json = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": "devicePlugin"},
        "nodes": [{"name": node.name, "address": node.address, "gpus": [{"model": "RTX 4090"}]} for node in nodes],
        "services": [voice, {"name": "page", "kind": "nginx", "calls": ["voice"]}],
        "layouts": {
            "day": {"kind": "edge", "services": {"voice": {"node": alpha.name, "gpus": [0], "name": "voice-by-day"}}},
            "night": {
                "kind": "edge",
                "services": {"voice": {"node": beta.name, "gpus": [0], "name": "voice-at-night"}},
            },
        },
    }
    return FileText(text=yaml.safe_dump(value | parts))


async def begin(api: Api, file: FileText, layout: str) -> None:
    """Apply a layout, and wait until it is ready."""
    target = await observe_target(api, file, layout)
    await apply_layout(api, target)
    await wait_until_ready(api, target.wanted.objects, within_s=90)


async def switch(api: Api, file: FileText, layout: str | None, **options: Any) -> tuple[Switched, list[Progress]]:
    """Switch as the command does, without a server."""
    reported: list[Progress] = []
    target = await observe_target(api, file, layout)
    chosen = Options(**{"within_s": 60.0, **options})
    run = Switching(cluster=api, target=target, queue=None, options=chosen, report=reported.append)
    return await run.run(), reported


def list_running(cluster: Cluster) -> dict[str, str]:
    """The nodes of the pods that are ready, by service."""
    pods = cluster.list_pods("app.kubernetes.io/managed-by=corral")
    return {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod["spec"]["nodeName"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


async def read_layout(api: Api, cluster: Cluster) -> str | None:
    """The layout that is active by the state, once no switch is under way."""
    state = read_state(await api.get(name_state(cluster.namespace)), cluster.name, cluster.namespace)
    assert state.others == {}
    return state.layout


async def test_switch_there_and_back_numbers_its_stages_and_leaves_nothing_of_the_layout_before(
    api: Api, cluster: Cluster, nodes: tuple[AddedNode, AddedNode]
) -> None:
    file = write_file(cluster, nodes)
    await begin(api, file, "day")
    target = await observe_target(api, file, "night")
    plan = await Switching(cluster=api, target=target, queue=None).plan()
    assert (plan.before, plan.after, plan.obstacles) == ("day", "night", ())
    assert [progress.stage for progress in plan.stages] == list(STAGES)
    assert list_running(cluster)["voice-by-day"] == nodes[0].name

    there, reported = await switch(api, file, "night")
    assert (there.before, there.layout, there.is_back) == ("day", "night", False)
    assert list(dict.fromkeys(progress.number for progress in reported)) == [1, 2, 3, 4, 5, 6]
    assert {name: node for name, node in list_running(cluster).items() if "voice" in name} == {
        "voice-at-night": nodes[1].name
    }
    assert await api.get(ObjectKey(DEPLOYMENT, cluster.namespace, "voice-by-day")) is None
    assert await read_layout(api, cluster) == "night"

    back, _ = await switch(api, file, "day")
    assert back.layout == "day"
    assert list_running(cluster)["voice-by-day"] == nodes[0].name
    assert await read_layout(api, cluster) == "day"


async def test_everything_that_is_in_the_way_is_listed_and_nothing_was_changed(
    api: Api, cluster: Cluster, nodes: tuple[AddedNode, AddedNode]
) -> None:
    file = write_file(cluster, nodes)
    await begin(api, file, "day")
    gpu = {"name": "game", "image": "registry.local/voice:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pod = {"nodeName": nodes[1].name, "containers": [gpu]}
    cluster.create("pods", {"kind": "Pod", "metadata": {"name": "game"}, "spec": pod})
    address = {"kind": "ConfigMap", "metadata": {"name": "own"}, "data": {"URL": f"http://voice-by-day:{PORT}/"}}
    cluster.create("configmaps", address)
    quota = {"kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    cluster.create("resourcequotas", quota)
    with pytest.raises(ObstaclesError) as refusal:
        await switch(api, file, "night")
    words = "\n".join(problem.what for problem in refusal.value.problems)
    assert f"no node can run voice-at-night: {nodes[1].name} has 0 nvidia.com/gpu free of 1 that it needs" in words
    assert "ConfigMap" in words
    assert "calls voice-by-day, which the layout does not have" in words
    assert "allows 2 of pods, and 3 would be used" in words
    assert await read_layout(api, cluster) == "day"
    assert list_running(cluster)["voice-by-day"] == nodes[0].name


async def test_layout_that_does_not_get_ready_is_rolled_back_with_the_reason(
    api: Api, cluster: Cluster, nodes: tuple[AddedNode, AddedNode]
) -> None:
    services = [
        {"name": "voice", "image": "registry.local/voice:1", "port": PORT, "gpus": 1, "gpuMemory": "8Gi"},
        {"name": "second", "image": "registry.local/absent:1", "port": PORT, "gpus": 1, "gpuMemory": "8Gi"},
    ]
    placed = {"voice": {"node": nodes[0].name, "gpus": [0]}}
    layouts = {
        "day": {"kind": "edge", "services": {**placed, "second": {"replicas": 0}}},
        "night": {
            "kind": "edge",
            "services": {"second": {"node": nodes[0].name, "gpus": [0]}, "voice": {"replicas": 0}},
        },
    }
    file = write_file(cluster, nodes, services=services, layouts=layouts)
    await begin(api, file, "day")
    with pytest.raises(RolledBackError, match=r"second.* not ready after .*absent.*rolled back to day") as rolled:
        await switch(api, file, "night", within_s=4.0)
    assert rolled.value.switched.layout == "day"
    assert list_running(cluster) == {"voice": nodes[0].name}
    assert await read_layout(api, cluster) == "day"
    assert await api.get(ObjectKey(DEPLOYMENT, cluster.namespace, "second")) is None


def run_command(cluster: Cluster, path: Path, *words: str) -> subprocess.Popen[str]:
    """Start the command as a user does, with a data directory without a server."""
    return subprocess.Popen(
        [sys.executable, "-m", "corral", "switch", *words, "--cluster", str(path), "--within", "60s"],
        env={**os.environ, "KUBECONFIG": str(cluster.plane.kubeconfig), "CORRAL_DATA_DIR": str(path.parent / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_at(process: subprocess.Popen[str], words: str) -> None:
    """Kill a command as soon as it prints some words."""
    assert process.stderr is not None
    printed: list[str] = []
    while words not in (line := process.stderr.readline()):
        printed.append(line)
        assert line, f"it ended before {words!r}: {''.join(printed)}"
    process.send_signal(signal.SIGKILL)
    process.communicate()


async def test_killed_at_every_stage_the_next_run_finishes_it(
    api: Api, cluster: Cluster, nodes: tuple[AddedNode, AddedNode], tmp_path: Path
) -> None:
    path = tmp_path / "cluster.yaml"
    file = write_file(cluster, nodes)
    path.write_text(file.text)
    await begin(api, file, "day")
    layouts = ["day", "night"]
    for number, stage in enumerate(STAGES, start=1):
        before, after = layouts
        process = run_command(cluster, path, after)
        await asyncio.to_thread(kill_at, process, f"{number} of 6  {stage}")
        state = read_state(await api.get(name_state(cluster.namespace)), cluster.name, cluster.namespace)
        begun = read_switch(state)
        assert begun is not None
        assert (begun.before, begun.after) == (before, after)
        assert STAGES.index(begun.stage) >= number - 1
        with pytest.raises(UnfinishedSwitchError):
            await apply_layout(api, await observe_target(api, file, before))
        switched, _ = await switch(api, file, after)
        assert switched.layout == after
        assert await read_layout(api, cluster) == after
        running = {name: node for name, node in list_running(cluster).items() if "voice" in name}
        assert len(running) == 1
        layouts = [after, before]


async def test_killed_and_asked_back_the_layout_before_runs_again_and_a_killed_way_back_goes_on(
    api: Api, cluster: Cluster, nodes: tuple[AddedNode, AddedNode], tmp_path: Path
) -> None:
    path = tmp_path / "cluster.yaml"
    file = write_file(cluster, nodes)
    path.write_text(file.text)
    await begin(api, file, "day")
    await asyncio.to_thread(kill_at, run_command(cluster, path, "night"), "5 of 6  verify")
    await asyncio.to_thread(kill_at, run_command(cluster, path, "--back"), "back  4 of 6  apply")
    process = run_command(cluster, path, "night", "--back", "--json")
    out, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, errors
    assert '"layout": "day"' in out
    assert list_running(cluster)["voice-by-day"] == nodes[0].name
    assert "voice-at-night" not in list_running(cluster)
    assert await read_layout(api, cluster) == "day"


def write_storage(cluster: Cluster, nodes: tuple[AddedNode, AddedNode], **storage: Any) -> FileText:
    voice = {
        "name": "voice",
        "image": "registry.local/keeper:1",
        "port": PORT,
        "gpus": 1,
        "gpuMemory": "8Gi",
        "command": ["sh", "-c", KEEP],
        "storage": [f"{cluster.name}-models"],
        "mounts": {f"{cluster.name}-models": "/data"},
    }
    layouts = {"day": {"kind": "edge", "services": {"voice": {"node": nodes[0].name, "gpus": [0]}}}}
    listed = [{"name": f"{cluster.name}-models", "size": "1Gi", **storage}]
    return write_file(cluster, nodes, services=[voice], storage=listed, layouts=layouts)


async def test_storage_is_changed_within_a_layout_and_no_data_is_deleted(
    api: Api, cluster: Cluster, nodes: tuple[AddedNode, AddedNode], tmp_path: Path
) -> None:
    cluster.add_image(Image(pattern="registry.local/keeper:*", argv=["sh"]))
    exported = tmp_path / "export"
    exported.mkdir()
    exported.chmod(0o777)
    cluster.export_folder("nas.local:/models", exported)
    local = write_storage(cluster, nodes, kind="local", node=nodes[0].name)
    nfs = write_storage(cluster, nodes, kind="nfs", server="nas.local", path="/models")
    ephemeral = write_storage(cluster, nodes, kind="ephemeral")
    await begin(api, local, "day")
    claim = ObjectKey(CLAIM, cluster.namespace, f"{cluster.name}-models")

    async def read_volume() -> str:
        value = await api.get(claim)
        assert value is not None
        return value["spec"]["volumeName"]

    first = await read_volume()
    with pytest.raises(OtherStorageError, match="corral switch day"):
        await apply_layout(api, await observe_target(api, nfs, None))
    there, _ = await switch(api, nfs, None)
    assert [left.volume for left in there.left] == [first]
    assert (exported / "kept").exists()
    assert await read_volume() == claim.name
    assert await api.get(ObjectKey(VOLUME, "", first)) is not None

    # Back on the disk of the node, its data is there again: no second volume was made.
    await switch(api, local, None)
    assert await read_volume() == first
    gone, _ = await switch(api, ephemeral, None)
    assert str(claim) in gone.kept
    await switch(api, local, None)
    assert await read_volume() == first
