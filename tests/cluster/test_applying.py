"""A layout on a real API server: applied, pruned, refused, and finished after whatever interrupts it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml

from control_plane.plane import Plane
from corral.deploying.order import CONFIG_MAP, DEPLOYMENT
from corral.kubernetes.api import Api, open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import Applied, apply_layout, observe_target
from corral.operations.deploying.stepping import ConflictingStepsError, HalfDoneError, StepDone
from corral.snapshot import Kind, ObjectKey

Json = dict[str, Any]
EXAMPLES = Path(__file__).parents[2] / "examples"
_SETTINGS = ("first", "second", "third", "fourth", "fifth", "sixth")


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[Api]:
    """A connection as an administrator."""
    async with open_api(kubeconfig=plane.kubeconfig) as opened:
        yield opened


@pytest.fixture
def name(plane: Plane, namespace: str) -> Iterator[str]:
    """The name of a cluster file and of its namespace; objects of the whole cluster that have it are deleted after."""
    yield namespace
    kueue = "/apis/kueue.x-k8s.io/v1beta2"
    for path in (f"{kueue}/resourceflavors", f"{kueue}/clusterqueues", "/api/v1/persistentvolumes"):
        plane.ask("DELETE", f"{path}?labelSelector=app.kubernetes.io/part-of={namespace}")


def write_file(name: str, *services: str, **settings: str) -> FileText:
    """A cluster file with services that need no GPU."""
    listed = [
        {"name": service, "image": "registry.local/page:1", "port": 80, "env": {"NAME": service, **settings}}
        for service in services
    ]
    value: Json = {
        "apiVersion": "corral/v1",
        "name": name,
        "kubernetes": {"namespace": name},
        "nodes": [{"name": f"{name}-one", "gpus": [{"model": "RTX 4090"}]}],
        "services": listed,
    }
    return FileText(text=yaml.safe_dump(value))


def rename(path: Path, name: str) -> FileText:
    """The cluster file of an example, whose cluster, namespace and volumes have names of the test's own."""
    text = path.read_text()
    value = yaml.safe_load(text)
    volumes = [storage["name"] for storage in value["storage"]]
    for word in volumes:
        text = re.sub(rf"(?<![\w-]){word}(?![\w-])", f"{name}-{word}", text)
    port = 30100 + crc32(name.encode()) % 2600  # tests beside this one use the example, too
    text = re.sub(r"(kind: nodePort, port:) \d+", rf"\1 {port}", text)
    text = text.replace(f"name: {value['name']}\n", f"name: {name}\n", 1)
    return FileText(text=text.replace(f"namespace: {value['kubernetes']['namespace']}", f"namespace: {name}", 1))


async def apply(api: Api, file: FileText, **options: Any) -> Applied:
    """Apply a file as the command does."""
    force = options.get("force", False)
    return await apply_layout(api, await observe_target(api, file, None, force=force), **options)


def list_results(applied: Applied) -> dict[str, set[str]]:
    """The names of objects by what was done with them."""
    results: dict[str, set[str]] = {}
    for step in applied.steps:
        results.setdefault(step.result, set()).add(step.object)
    return results


@pytest.mark.parametrize(("example", "layout"), [("harvis", "edge"), ("harvis", "workstation"), ("hydra", "pool")])
async def test_examples_are_accepted_whole_and_the_second_time_nothing_changes(
    api: Api, name: str, example: str, layout: str
) -> None:
    file = rename(EXAMPLES / example / "cluster.yaml", name)
    first = await apply_layout(api, await observe_target(api, file, layout))
    assert not first.waiting
    assert list_results(first).get("created")
    again = await apply_layout(api, await observe_target(api, file, None))
    assert again.layout == layout
    assert {key for key in list_results(again).get("changed", ()) if name in key} == set()


async def test_object_that_is_no_longer_rendered_is_pruned_and_a_users_own_is_not(
    api: Api, plane: Plane, name: str
) -> None:
    await apply(api, write_file(name, "stays", "goes"))
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own", "namespace": name}}
    plane.apply(own, f"/api/v1/namespaces/{name}/configmaps")
    second = await apply(api, write_file(name, "stays"))
    assert f"Deployment {name}/goes" in list_results(second)["deleted"]
    assert await api.get(ObjectKey(DEPLOYMENT, name, "goes")) is None
    assert await api.get(ObjectKey(DEPLOYMENT, name, "stays")) is not None
    assert await api.get(ObjectKey(CONFIG_MAP, name, "own")) is not None


async def test_conflict_changes_nothing_and_names_object_field_and_manager(api: Api, plane: Plane, name: str) -> None:
    await apply(api, write_file(name, "page"))
    foreign = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "page-config", "namespace": name},
        "data": {"NAME": "theirs"},
    }
    plane.apply(foreign, f"/api/v1/namespaces/{name}/configmaps")
    changed = write_file(name, "page", "new")
    with pytest.raises(ConflictingStepsError, match=rf"ConfigMap {name}/page-config .*\.data\.NAME by 'plane'"):
        await apply(api, changed)
    assert await api.get(ObjectKey(DEPLOYMENT, name, "new")) is None
    assert f"ConfigMap {name}/page-config" in list_results(await apply(api, changed, force=True))["changed"]


async def test_dry_run_is_the_servers_and_changes_nothing(api: Api, name: str) -> None:
    await apply(api, write_file(name, "page"))
    results = list_results(await apply(api, write_file(name, "new"), dry_run=True))
    assert f"Deployment {name}/new" in results["created"]
    assert f"Deployment {name}/page" in results["deleted"]
    assert await api.get(ObjectKey(DEPLOYMENT, name, "new")) is None
    assert await api.get(ObjectKey(DEPLOYMENT, name, "page")) is not None


async def test_field_that_cannot_be_changed_makes_the_object_anew(api: Api, name: str) -> None:
    kind = Kind("resource.k8s.io", "ResourceClaimTemplate")

    def write(model: str) -> FileText:
        value = yaml.safe_load(write_file(name).text)
        value["kubernetes"]["gpuMode"] = "dra"
        value["nodes"][0]["gpus"] = [{"model": model, "index": 0}, {"model": "RTX 3090", "index": 1}]
        value["services"] = [{"name": "voice", "image": "registry.local/voice:1", "gpus": 1, "gpuMemory": "11Gi"}]
        layout = {"kind": "edge", "services": {"voice": {"node": f"{name}-one", "gpus": [0]}}}
        return FileText(text=yaml.safe_dump(value | {"layouts": {"edge": layout}}))

    await apply(api, write("RTX 4090"))
    results = list_results(await apply(api, write("RTX 5090")))
    assert any(key.startswith(kind.name) for key in results["replaced"])
    assert not any(
        key.startswith(kind.name) for key in list_results(await apply(api, write("RTX 5090"))).get("replaced", ())
    )


async def test_api_server_that_goes_away_half_way_is_reported_and_the_next_run_finishes(
    api: Api, plane: Plane, name: str, tmp_path: Path
) -> None:
    """The connection is cut by a relay in between that stops after some steps."""
    host, port = plane.url.removeprefix("https://").split(":")
    links: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, far_writer))
                group.create_task(_pass_on(far_reader, writer))
        finally:
            far_writer.close()
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(asyncio.get_running_loop().create_task(carry(reader, writer)))

    relay = await asyncio.start_server(accept, "127.0.0.1", 0)
    kubeconfig = tmp_path / "kubeconfig"
    address = f"https://127.0.0.1:{relay.sockets[0].getsockname()[1]}"
    kubeconfig.write_text(plane.kubeconfig.read_text().replace(plane.url, address))

    def cut(done: StepDone) -> None:
        if done.number == 5:
            relay.close()
            for link in links:
                link.cancel()

    file = write_file(name, *_SETTINGS)
    async with open_api(kubeconfig=kubeconfig) as through_relay:
        target = await observe_target(through_relay, file, None)
        with pytest.raises(HalfDoneError) as stopped:
            await apply_layout(through_relay, target, report=cut)
    await asyncio.gather(*links, return_exceptions=True)
    assert len(stopped.value.done) >= 5
    assert "does not answer" in stopped.value.problems[0].what
    assert f"Deployment {name}/sixth" in {str(step.key) for step in stopped.value.left}
    assert f"Deployment {name}/sixth" in list_results(await apply(api, file))["created"]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()


async def test_killed_program_leaves_nothing_that_the_next_run_does_not_finish_or_prune(
    api: Api, plane: Plane, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(write_file(name, *_SETTINGS).text)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "corral",
        "apply",
        "--cluster",
        str(path),
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    while b"ServiceAccount" not in (line := await process.stderr.readline()):
        assert line, "the command ended before it was killed"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert await api.get(ObjectKey(DEPLOYMENT, name, "sixth")) is None
    # The next run has another file: what the killed one applied is known, and goes.
    results = list_results(await apply(api, write_file(name, "other")))
    assert f"Deployment {name}/other" in results["created"]
    left = [value["metadata"]["name"] for value in await api.list(Kind("", "ServiceAccount"), name)]
    assert sorted(left) == ["default", "other"]
