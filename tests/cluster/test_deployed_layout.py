"""A layout on a real API server, looked at: differences, what is missing, how services fare, logs, and its deletion."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml

from control_plane.cluster import Cluster
from control_plane.plane import Plane
from control_plane.simulator.images import Image
from corral.deploying.lacking import Lack, LackKind, MissingKey
from corral.deploying.order import CLAIM, CONFIG_MAP, DEPLOYMENT, NAMESPACE, SECRET
from corral.kubernetes.api import Api, open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import Applied, apply_layout, observe_target
from corral.operations.deploying.comparing import LayoutDifference, compare_layout
from corral.operations.deploying.deleting import delete_installation, observe_removal
from corral.operations.deploying.logs import NoPodsError, UnknownServiceError, print_logs
from corral.operations.deploying.looking import look_at_services, look_for_lacking, plan_secrets
from corral.operations.deploying.stepping import StepDone
from corral.snapshot import Kind, ObjectKey
from corral.wire import to_json

Json = dict[str, Any]
PAGE = "echo started on $(hostname); exec python3 -m http.server 8080"


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


def write_file(name: str, node: str | None = None, **parts: Any) -> FileText:
    """A cluster file with a page that needs no GPU."""
    page = {"name": "page", "image": "registry.local/page:1", "port": 8080, "command": ["sh", "-c", PAGE]}
    value: Json = {
        "apiVersion": "corral/v1",
        "name": name,
        "kubernetes": {"namespace": name},
        "nodes": [{"name": node or f"{name}-absent"}],
        "services": [page],
    }
    return FileText(text=yaml.safe_dump(value | parts))


async def apply(api: Api, file: FileText) -> Applied:
    """Apply a file as the command does."""
    return await apply_layout(api, await observe_target(api, file, None))


async def compare(api: Api, file: FileText) -> LayoutDifference:
    """Compare a file with the cluster as the command does."""
    return await compare_layout(api, await observe_target(api, file, None))


async def test_differences_are_empty_after_applying_and_name_what_others_changed(
    api: Api, plane: Plane, name: str
) -> None:
    file = write_file(name)
    assert {difference.change for difference in (await compare(api, file)).objects} >= {"new"}
    await apply(api, file)
    assert [part for part in (await compare(api, file)).objects if name in part.object] == []
    scaled: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "page", "namespace": name}}
    plane.apply(scaled | {"spec": {"replicas": 3, "paused": True}}, f"/apis/apps/v1/namespaces/{name}/deployments")
    changed = await compare(api, file)
    (page,) = [part for part in changed.objects if part.object == f"Deployment {name}/page"]
    assert [(field.field, field.before, field.after) for field in page.fields] == [(".spec.replicas", "3", "1")]
    assert [(part.field, part.manager) for part in changed.conflicts] == [(".spec.replicas", "plane")]
    assert [fields.fields for fields in changed.foreign if f"{name}/" in fields.object] == [(".spec.paused",)]


def list_missing(lacking: tuple[Lack, ...], kind: LackKind) -> list[str]:
    """The missing parts of a kind."""
    return [lack.what for lack in lacking if lack.kind is kind]


async def test_missing_secrets_are_asked_for_once_and_never_reported(api: Api, name: str) -> None:
    services = [{"name": "litellm", "kind": "litellm", "routes": [{"name": "a", "model": "b/a", "keyFrom": "A_KEY"}]}]
    file = write_file(name, services=services)
    target = await observe_target(api, file, None)
    lacking = await look_for_lacking(api, target)
    keys = [f"Secret {name}/litellm, key LITELLM_MASTER_KEY", f"Secret {name}/litellm, key A_KEY"]
    assert sorted(list_missing(lacking, LackKind.SECRET)) == sorted(keys)
    assert list_missing(lacking, LackKind.NODE) == [f"node {name}-absent"]
    asked: list[MissingKey] = []

    def answer(key: MissingKey) -> str:
        asked.append(key)
        return "very-secret" if key.key == "A_KEY" else ""

    reported: list[StepDone] = []
    secrets = plan_secrets(target, lacking, answer)
    applied = await apply_layout(api, target, secrets=secrets, report=reported.append)
    assert len(asked) == 2
    assert "very-secret" not in json.dumps(to_json(applied)) + " ".join(str(done.step.key) for done in reported)
    again = await look_for_lacking(api, await observe_target(api, file, None))
    assert list_missing(again, LackKind.SECRET) == [keys[0]]
    # A second answer adds its key, and the first stays.
    target = await observe_target(api, file, None)
    await apply_layout(api, target, secrets=plan_secrets(target, again, lambda _: "another"))
    stored = await api.get(ObjectKey(SECRET, name, "litellm"))
    assert stored is not None
    assert sorted(stored["data"]) == ["A_KEY", "LITELLM_MASTER_KEY"]


async def test_services_say_why_they_are_not_ready_and_their_logs_are_read_when_they_are(
    api: Api, cluster: Cluster, name: str
) -> None:
    cluster.add_image(Image(pattern="registry.local/page:*", argv=["sh"]))
    node = cluster.add_node("alpha")
    file = write_file(name, node.name)
    (before,) = (await look_at_services(api, file, None)).services
    assert (before.wanted, before.there, before.ready, before.causes) == (1, 0, 0, ("not applied: corral apply",))
    with pytest.raises(NoPodsError):
        await print_logs(api, file, "page", None, lambda _: None)
    cluster.fail_pulls("registry.local/page:*", "manifest unknown")
    await apply(api, file)
    cluster.wait_for_event(read_pod_name(cluster), "Failed", "manifest unknown")
    (failing,) = (await look_at_services(api, file, None)).services
    assert failing.there == 1
    assert any("registry.local/page:1" in cause and "manifest unknown" in cause for cause in failing.causes)
    cluster.fail_pulls("registry.local/page:*", None)
    cluster.wait_for_pods("app.kubernetes.io/name=page")
    (well,) = (await look_at_services(api, file, None)).services
    assert (well.ready, well.nodes, well.causes) == (1, (node.name,), ())
    lines: list[str] = []
    await print_logs(api, file, "page", None, lines.append)
    assert lines[0].startswith("started on page-")
    with pytest.raises(UnknownServiceError, match="pag") as unknown:
        await print_logs(api, file, "pag", None, lines.append)
    assert unknown.value.hint == "did you mean `page`?"


def read_pod_name(cluster: Cluster) -> str:
    """The name of the page's pod, once there is one."""
    pods = cluster.wait_for_pods("app.kubernetes.io/name=page", ready=False)
    return pods[0]["metadata"]["name"]


async def test_quota_that_keeps_pods_back_is_the_cause(api: Api, plane: Plane, name: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": name}}
    plane.apply(quota | {"spec": {"hard": {"pods": "0"}}}, f"/api/v1/namespaces/{name}/resourcequotas")
    file = write_file(name)
    await apply(api, file)
    causes: tuple[str, ...] = ()
    for _ in range(300):
        (health,) = (await look_at_services(api, file, None)).services
        causes = health.causes
        if any("exceeded quota: none" in cause for cause in causes):
            return
    pytest.fail(f"the cause is not the quota: {causes}")


async def test_deletion_keeps_volumes_and_what_others_put_there_and_can_be_interrupted(
    api: Api, plane: Plane, name: str
) -> None:
    storage = [{"name": "books", "kind": "ephemeral"}, {"name": "data", "kind": "local", "node": f"{name}-absent"}]
    services = [{"name": "page", "image": "registry.local/page:1", "port": 8080, "storage": ["books", "data"]}]
    file = write_file(name, storage=storage, services=services)
    await apply(api, file)
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own", "namespace": name}}
    plane.apply(own, f"/api/v1/namespaces/{name}/configmaps")
    removal = await observe_removal(api, file)
    kept = {part.object: part for part in removal.plan.kept}
    command = f"kubectl delete persistentvolumeclaim data --namespace {name}"
    assert kept[f"PersistentVolumeClaim {name}/data"].command == command
    assert f"Namespace {name}" in kept

    def stop(done: StepDone) -> None:
        if done.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await delete_installation(api, removal, report=stop)
    assert await api.get(ObjectKey(DEPLOYMENT, name, "page")) is None
    rest = await observe_removal(api, file)
    assert len(rest.plan.steps) == len(removal.plan.steps) - 2
    await delete_installation(api, rest)
    assert (await observe_removal(api, file)).plan.steps == ()
    assert await api.get(ObjectKey(CONFIG_MAP, name, "own")) is not None
    assert await api.get(ObjectKey(CLAIM, name, "data")) is not None
    assert await api.get(ObjectKey(Kind("kueue.x-k8s.io", "ResourceFlavor"), "", f"{name}-absent")) is None


async def test_namespace_goes_when_nothing_else_is_in_it(api: Api, name: str) -> None:
    own = f"{name}-own"
    file = write_file(own)
    await apply(api, file)
    removal = await observe_removal(api, file)
    assert removal.plan.steps[-1].key == ObjectKey(NAMESPACE, "", own)
    await delete_installation(api, removal)
    namespace = await api.get(ObjectKey(NAMESPACE, "", own))
    assert namespace is None or namespace["status"]["phase"] == "Terminating"
