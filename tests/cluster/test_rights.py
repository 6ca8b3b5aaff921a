"""The rights of Corral's own server: its use cases with its account, and every request that they make.

RBAC is the API server's own, so a right that is missing makes a use case fail here. A recording proxy between the use
cases and the API server shows which rights they use, and so which are granted and not used.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import aiohttp
import pytest
import yaml
from aiohttp import web

from control_plane.cluster import Cluster
from corral.kubernetes.api import open_api
from corral.kubernetes.errors import ForbiddenError
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import apply_layout, observe_target
from corral.operations.deploying.stepping import RefusedStepsError
from corral.server.cluster_instances import ClusterInstances

Right = tuple[str, str]
"""`apps/deployments` and a verb; `pods/log` of the core group."""
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class Recorder:
    """Passes requests on to the API server with an account's token, and keeps the rights that they took."""

    def __init__(self, cluster: Cluster, token: str) -> None:
        self.rights: set[Right] = set()
        self._cluster = cluster
        self._token = token

    async def __aenter__(self) -> Recorder:
        context = ssl.create_default_context(cafile=str(self._cluster.plane.folder / "ca.crt"))
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0))
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    def write_kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig that leads here."""
        named = {"name": "recorded"}
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "recorded",
            "clusters": [{**named, "cluster": {"server": self.url}}],
            "users": [{**named, "user": {}}],
            "contexts": [{**named, "context": {"cluster": "recorded", "user": "recorded"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(value))
        return path

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}
        headers["Authorization"] = f"Bearer {self._token}"
        url = f"{self._cluster.plane.url}{request.path_qs}"
        body = await request.read() or None
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            self.rights |= read_rights(request, created=answer.status == 201)
            passed = web.StreamResponse(status=answer.status)
            passed.content_type = answer.content_type
            await passed.prepare(request)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            return passed


def read_rights(request: web.Request, *, created: bool) -> set[Right]:
    """Read the rights that a request takes (Kubernetes, authorization: request verbs); an apply that creates takes two.

    An answer to a dry run says 201 as well.
    """
    parts = request.path.strip("/").split("/")
    if parts[0] not in ("api", "apis") or len(parts) < 3:
        return set()
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    if not rest:
        return set()
    resource = "/".join(rest[:1] + rest[2:])
    verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(request.method)
    if verb is None:
        verb = "get" if len(rest) > 1 else "watch" if request.query.get("watch") else "list"
    name = f"{group}/{resource}".lstrip("/")
    return {(name, verb)} | ({(name, "create")} if verb == "patch" and created else set())


def list_granted(roles: Iterable[Any]) -> set[Right]:
    return {
        (f"{group}/{resource}".lstrip("/"), verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def write_file(cluster: Cluster, *, whole: bool) -> FileText:
    """A cluster file of a server that can apply: `whole` with a service of every kind of object, else with few."""
    ollama = {"engines": ["ollama"], "lends": False}
    more = [
        {"name": "ollama", **ollama, "gpus": 1, "gpuMemory": "20Gi", "storage": ["models"]},
        {
            "name": "page",
            "image": "page:1",
            "port": 80,
            "replicas": 2,
            "exposed": {"kind": "ingress", "port": 80},
            "env": {"A": "b"},
        },
    ]
    value: dict[str, Any] = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": "dra"},
        "console": {"mayApply": True},
        "nodes": [{"name": "one", "gpus": [{"model": "RTX 4090"}, {"model": "RTX 5090"}]}],
        "storage": [
            {"name": "files", "kind": "nfs", "size": "1Gi"},
            {"name": "models", "kind": "nfs", "size": "1Gi"},
        ],
        "services": [
            {"name": "small", **ollama, "port": 11434},
            {"name": "corral", "kind": "corral", "storage": ["files"]},
            *(more if whole else []),
        ],
        "engines": {"job": {"enabled": False}},
    }
    return FileText(text=yaml.safe_dump(value))


@pytest.fixture
async def recorder(cluster: Cluster) -> AsyncIterator[Recorder]:
    """The server's account, after a person has applied the layout once."""
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as api:
        await apply_layout(api, await observe_target(api, write_file(cluster, whole=False), None))
    path = f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/corral/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = cluster.plane.ask("POST", path, asked)["status"]["token"]
    async with Recorder(cluster, token) as recorder:
        yield recorder
    for kind in ("clusterrolebindings", "clusterroles"):
        for suffix in ("", "-apply"):
            with suppress(HTTPError):
                cluster.plane.ask("DELETE", f"{RBAC}/{kind}/{cluster.namespace}-corral{suffix}")


def read_role(cluster: Cluster, name: str) -> Any:
    return cluster.plane.ask("GET", f"{RBAC}/namespaces/{cluster.namespace}/roles/{name}")


async def test_a_server_that_watches_uses_every_right_of_its_role_and_needs_no_other(
    cluster: Cluster, recorder: Recorder, tmp_path: Path
) -> None:
    checked = check_cluster(write_file(cluster, whole=False))
    listed = asyncio.Event()

    async def take() -> None:
        listed.set()

    instances = ClusterInstances(
        lambda: checked.cluster, lambda: checked, take, kubeconfig=recorder.write_kubeconfig(tmp_path)
    )
    granted = list_granted([read_role(cluster, "corral")])
    following = asyncio.ensure_future(instances.run())
    async with asyncio.timeout(60):
        while recorder.rights != granted:  # noqa: ASYNC110 (requests come one after another)
            await asyncio.sleep(0.2)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize("verb", ["create", "patch", "list"])
async def test_without_a_verb_of_its_role_a_server_cannot_apply(
    cluster: Cluster, recorder: Recorder, tmp_path: Path, verb: str
) -> None:
    role = read_role(cluster, "corral-apply")
    for rule in role["rules"]:
        if "statefulsets" in rule["resources"] or "deployments" in rule["resources"]:
            rule["verbs"].remove(verb)
    cluster.plane.ask("PUT", f"{RBAC}/namespaces/{cluster.namespace}/roles/corral-apply", role)
    async with open_api(kubeconfig=recorder.write_kubeconfig(tmp_path)) as api:
        target = await observe_target(api, write_file(cluster, whole=True), None)
        if verb == "list":
            assert {kind.name for kind in target.snapshot.unread} == {"Deployment", "StatefulSet"}
            return
        with pytest.raises((RefusedStepsError, ForbiddenError)) as refused:
            await apply_layout(api, target)
    assert any(f'cannot {verb} resource "' in problem.what for problem in refused.value.problems)
