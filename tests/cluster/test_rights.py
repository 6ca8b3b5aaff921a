"""The rights of Corral's own server: its use cases with its account, and every request that they make.

RBAC is the API server's own, so a right that is missing makes a use case fail here. A recording proxy between the use
cases and the API server shows which rights they use, and so which are granted and not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from control_plane.accounts import ask_token, list_granted, read_roles
from control_plane.cluster import AddedNode, Cluster
from control_plane.machines import RTX_4090
from control_plane.recording import Recorder, Right
from control_plane.stand_ins import make_server
from corral.deploying.steps import KEPT_KINDS, Step, Verb
from corral.kubernetes.api import Api, open_api
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import apply_layout, observe_target
from corral.operations.deploying.comparing import compare_layout
from corral.operations.deploying.looking import look_at_services, look_for_lacking
from corral.operations.deploying.stepping import RefusedStepsError, run_steps
from corral.operations.deploying.switching import Options, Switching
from corral.rendering.programs import CORRAL
from corral.server.cluster_instances import ClusterInstances
from corral.snapshot import ObjectKey, Snapshot

Json = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
DISCOVERY = "/apis/discovery.k8s.io/v1"


@pytest.fixture
def node(cluster: Cluster, tmp_path: Path) -> Iterator[AddedNode]:
    """A node with three GPUs that are given by claims, and two shares."""
    images = {"corral": 7433, "ollama/ollama": 11434, "registry.local/voice": 8000, "registry.local/page": 80}
    for image, port in images.items():
        cluster.add_image(make_server(f"{image}:*", port))
    for share in ("own", "one", "two"):
        (tmp_path / share).mkdir(mode=0o777)
        cluster.export_folder(f"10.0.0.9:/{share}", tmp_path / share)
    yield cluster.add_node("alpha", gpus=[RTX_4090] * 3, gpu_mode="dra", images=(CORRAL,))
    kueue = "/apis/kueue.x-k8s.io/v1beta2"
    for path in (f"{kueue}/resourceflavors", f"{kueue}/clusterqueues", "/api/v1/persistentvolumes"):
        cluster.plane.ask("DELETE", f"{path}?labelSelector=app.kubernetes.io/part-of={cluster.name}")


def write_file(
    cluster: Cluster,
    node: AddedNode,
    *,
    share: str = "one",
    whole: bool = True,
    mode: str = "dra",
    jobs: bool = False,
) -> FileText:
    """A cluster file of a server that can apply: `whole` with objects of almost every kind, else with few."""
    ollama = {"engines": ["ollama"], "lends": False}
    own, pages = (f"{cluster.name}-{name}" for name in ("own", "pages"))
    nfs = {"kind": "nfs", "size": "1Gi", "server": "10.0.0.9"}
    few: list[Json] = [
        {"name": "small", **ollama, "port": 11434},
        {"name": "corral", "kind": "corral", "storage": [own]},
    ]
    voice = {"image": "registry.local/voice:1", "port": 8000, "gpuMemory": "6Gi"}
    page = {
        "name": "page",
        "image": "registry.local/page:1",
        "port": 80,
        "replicas": 2,
        "storage": [pages],
        "env": {"A": "b"},
    }
    more: list[Json] = [
        {"name": "ollama", **ollama, "gpus": 1, "gpuMemory": "20Gi", "storage": ["models"]},
        {"name": "voice", **voice},
        {"name": "ears", **voice},
        {**page, "exposed": {"kind": "ingress", "port": 80}, "env": {"A": "b"}},
    ]
    shared = {name: {"node": node.name, "gpus": [0]} for name in ("voice", "ears")}
    value: Json = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": mode},
        "console": {"mayApply": True},
        "nodes": [{"name": node.name, "labels": {"rack": "a"}}],
        "storage": [
            {"name": own, **nfs, "path": "/own"},
            {"name": pages, **nfs, "path": f"/{share}"},
            {"name": "models", "kind": "local", "size": "1Gi", "node": node.name},
        ],
        "services": [*few, *(more if whole else [])],
        "engines": {"job": {"enabled": jobs}},
        "queues": [{"name": "pool", "pool": [node.name]}] if whole else [],
    }
    if whole:
        value["nodes"] = [{"name": node.name, "labels": {"rack": "b"}, "gpus": [{"model": "RTX 4090"}] * 3}]
        value["layouts"] = {
            name: {"kind": "pool", "services": {**shared, "ollama": {"node": node.name, "gpus": [gpu]}}}
            for name, gpu in (("day", 1), ("night", 2))
        }
    return FileText(text=yaml.safe_dump(value))


@pytest.fixture
async def recorder(cluster: Cluster, node: AddedNode) -> AsyncIterator[Recorder]:
    """The server's account, after a person has applied the layout once."""
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as api:
        await apply_layout(api, await observe_target(api, write_file(cluster, node, whole=False), None))
    async with Recorder(cluster.plane, ask_token(cluster, "corral")) as recorder:
        yield recorder
    for kind in ("clusterrolebindings", "clusterroles"):
        for suffix in ("", "-apply"):
            with suppress(HTTPError):
                cluster.plane.ask("DELETE", f"{RBAC}/{kind}/{cluster.namespace}-corral{suffix}")


def show_pod(cluster: Cluster, name: str) -> None:
    """Show a pod behind the Service of an engine; there is none of that name."""
    endpoint = {"addresses": ["10.9.9.9"], "targetRef": {"kind": "Pod", "name": name}}
    labels = {"kubernetes.io/service-name": "small"}
    listed = {"addressType": "IPv4", "ports": [{"port": 11434}], "endpoints": [endpoint]}
    cluster.create("endpointslices", {"metadata": {"name": name, "labels": labels}, **listed}, DISCOVERY)


async def test_a_server_that_watches_uses_every_right_of_its_role_and_misses_nothing_while_it_is_cut_off(
    cluster: Cluster, node: AddedNode, recorder: Recorder, tmp_path: Path
) -> None:
    checked = check_cluster(write_file(cluster, node, whole=False))
    shown: asyncio.Queue[set[str]] = asyncio.Queue()
    in_effect: list[set[str]] = [set()]
    refusals = 1

    async def put_into_effect() -> bool:
        nonlocal refusals
        known = {instance.name for instance in instances.complete(checked.cluster).engines["ollama"].instances}
        made = known & {"first", "second"}  # the layout's own pod comes at some time
        if made != in_effect[-1]:
            shown.put_nowait(made)
            if refusals:
                refusals -= 1
                return False
            in_effect.append(made)
        return True

    instances = ClusterInstances(
        lambda: checked.cluster, lambda: checked, put_into_effect, kubeconfig=recorder.write_kubeconfig(tmp_path)
    )
    following = asyncio.ensure_future(instances.run())
    async with asyncio.timeout(60):
        show_pod(cluster, "first")
        assert await shown.get() == {"first"}
        await recorder.cut()
        await recorder.listen_again()
        assert await shown.get() == {"first"}, "it could not be put into effect before"
        await recorder.cut()
        show_pod(cluster, "second")
        cluster.plane.ask("DELETE", f"{DISCOVERY}/namespaces/{cluster.namespace}/endpointslices/first")
        await recorder.listen_again()
        assert await shown.get() == {"second"}
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert (recorder.refused, set(recorder.rights)) == (set(), list_granted(read_roles(cluster)))


def make_classes(cluster: Cluster) -> list[tuple[Json, Json]]:
    """Objects of kinds of which one is made anew where a field cannot be changed: as it was before, and as it is now.

    Those of a layout have names that installations share; these have names of the test's own.
    """
    kueue, resource = "kueue.x-k8s.io/v1beta2", "resource.k8s.io/v1"
    claim = [{"devices": {"requests": [{"name": name, "exactly": {"deviceClassName": "x"}}]}} for name in ("a", "b")]
    container = {"name": "a", "image": "registry.local/page:1"}
    pod = {"metadata": {"labels": {"app": "anew"}}, "spec": {"containers": [container]}}
    workload = {"replicas": 0, "selector": {"matchLabels": {"app": "anew"}}, "template": pod}
    served: tuple[Json, Json] = {"spec": workload | {"serviceName": "a"}}, {"spec": workload | {"serviceName": "b"}}
    port = {"ports": [{"port": 80}]}
    forms: list[tuple[str, str, Json, Json]] = [
        ("v1", "Service", {"spec": port}, {"spec": {**port, "clusterIP": "None"}}),
        ("apps/v1", "StatefulSet", *served),
        (kueue, "LocalQueue", {"spec": {"clusterQueue": "a"}}, {"spec": {"clusterQueue": "b"}}),
        (resource, "ResourceClaimTemplate", {"spec": {"spec": claim[0]}}, {"spec": {"spec": claim[1]}}),
        ("node.k8s.io/v1", "RuntimeClass", {"handler": "a"}, {"handler": "b"}),
        ("scheduling.k8s.io/v1", "PriorityClass", {"value": 1}, {"value": 2}),
        ("storage.k8s.io/v1", "StorageClass", {"provisioner": "a.local/a"}, {"provisioner": "a.local/b"}),
        (resource, "DeviceClass", {"spec": {}}, {"spec": {}}),
        (kueue, "WorkloadPriorityClass", {"value": 1}, {"value": 2}),
    ]
    labels = {"app.kubernetes.io/part-of": cluster.name, "app.kubernetes.io/managed-by": "corral"}
    metadata = {"name": f"{cluster.name}-anew", "namespace": cluster.namespace, "labels": labels}
    return [
        ({**head, **before}, {**head, **now})
        for version, kind, before, now in forms
        for head in ({"apiVersion": version, "kind": kind, "metadata": metadata},)
    ]


async def change_classes(api: Api, cluster: Cluster) -> None:
    """Change what cannot be changed, as a newer version of Corral does, and prune it."""
    nothing = Snapshot(objects={}, served=frozenset(await api.discover()), unread={}, version="")
    for forms in zip(*make_classes(cluster), strict=True):
        steps = [Step(verb=Verb.APPLY, key=ObjectKey.read(value), value=value) for value in forms]
        await run_steps(api, steps, nothing)
    pruned = [step.key for step in steps if step.key.kind not in KEPT_KINDS]
    await run_steps(api, [Step(verb=Verb.DELETE, key=key) for key in pruned], nothing)


async def apply_and_switch(api: Api, cluster: Cluster, node: AddedNode) -> None:
    """Apply a layout with objects of every kind, look at it, switch it with its storage, and prune it."""
    file = write_file(cluster, node)
    target = await observe_target(api, file, "day")
    await look_for_lacking(api, target)
    await apply_layout(api, target)
    assert {kind.name for kind in (await observe_target(api, file, None)).snapshot.unread} == set()
    await compare_layout(api, await observe_target(api, file, None))
    await look_at_services(api, file, None)
    target = await observe_target(api, write_file(cluster, node, share="two"), "night")
    await Switching(cluster=api, target=target, queue=None, options=Options(within_s=60.0)).run()
    await change_classes(api, cluster)
    # Pruned by a dry run: classes are those of other tests, too.
    few = write_file(cluster, node, share="two", whole=False, mode="devicePlugin")
    await apply_layout(api, await observe_target(api, few, None), dry_run=True)


OPTIONAL = {
    *(Right(is_namespaced=False, resource=f"apps/{kind}", verb="list") for kind in ("daemonsets", "deployments")),
    Right(is_namespaced=False, resource="apps/statefulsets", verb="list"),
    Right(is_namespaced=True, resource="secrets", verb="list"),
}
"""Looks at what the cluster lacks, which is not reported where it cannot be read."""


async def test_a_server_that_applies_and_switches_uses_every_right_of_its_role_and_needs_each(
    cluster: Cluster, node: AddedNode, recorder: Recorder, tmp_path: Path
) -> None:
    async with open_api(kubeconfig=recorder.write_kubeconfig(tmp_path)) as api:
        await apply_and_switch(api, cluster, node)
    assert recorder.refused == OPTIONAL
    used, granted = set(recorder.rights), list_granted(read_roles(cluster, "-apply"))
    everywhere = {right._replace(is_namespaced=True) for right in granted if not right.is_namespaced}
    assert (sorted(granted - used), sorted(used - granted - everywhere)) == ([], [])
    await lose_each_right(cluster, recorder, granted)


async def lose_each_right(cluster: Cluster, recorder: Recorder, granted: set[Right]) -> None:
    """Take the rights from the account one after the other: what it could ask for before is refused then."""
    for suffix in ("", "-apply"):
        for role in read_roles(cluster, suffix):
            put_rules(cluster, role, [rule for rule in split_rules(role) if suffix])
    for right in sorted(granted):
        assert await recorder.ask_again(right) != 403, right
        for role in read_roles(cluster, "-apply"):
            left = [rule for rule in role["rules"] or () if right not in list_granted([{**role, "rules": [rule]}])]
            if len(left) < len(role["rules"] or ()):
                put_rules(cluster, role, left)
        await recorder.wait_for_refusal(right)


def split_rules(role: Json) -> list[Json]:
    """Write the rules of a role with one right in each."""
    return [
        {**rule, "resources": [resource], "verbs": [verb]}
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def put_rules(cluster: Cluster, role: Json, rules: list[Json]) -> None:
    metadata = role["metadata"]
    scope = f"namespaces/{metadata['namespace']}/roles" if role["kind"] == "Role" else "clusterroles"
    cluster.plane.ask("PUT", f"{RBAC}/{scope}/{metadata['name']}", {**role, "rules": rules})


@pytest.mark.parametrize("verb", ["create", "patch", "list"])
async def test_without_a_verb_of_its_role_a_server_cannot_apply(
    cluster: Cluster, node: AddedNode, recorder: Recorder, tmp_path: Path, verb: str
) -> None:
    (role, _) = read_roles(cluster, "-apply")
    for rule in role["rules"]:
        if "statefulsets" in rule["resources"] or "deployments" in rule["resources"]:
            rule["verbs"].remove(verb)
    put_rules(cluster, role, role["rules"])
    async with open_api(kubeconfig=recorder.write_kubeconfig(tmp_path)) as api:
        target = await observe_target(api, write_file(cluster, node, jobs=True), "day")
        if verb == "list":
            assert {kind.name for kind in target.snapshot.unread} == {"Deployment", "StatefulSet"}
            return
        with pytest.raises(RefusedStepsError) as refused:
            await apply_layout(api, target)
    words = [problem.what for problem in refused.value.problems]
    assert any(f'cannot {verb} resource "' in what for what in words)
    # Nor can it give itself the rights that Jobs take: a person has to apply the file once.
    assert any("attempting to grant RBAC permissions not currently held" in what for what in words)
    assert any(f"cannot create ClusterRoleBinding {cluster.namespace}-corral, which is not" in what for what in words)
