"""What the one room that talks to Kubernetes makes of a real API server's answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.plane import TOKEN, Plane
from control_plane.recording import Recorder
from corral.kubernetes.api import Api, open_api
from corral.kubernetes.errors import (
    FieldConflictError,
    ForbiddenError,
    NoClusterError,
    RefusedError,
    UnknownKindError,
    UnreachableError,
)
from corral.snapshot import Kind, ObjectKey

_CONFIG_MAP = Kind("", "ConfigMap")
_LOCAL_QUEUE = Kind("kueue.x-k8s.io", "LocalQueue")


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[Api]:
    """A connection as an administrator."""
    async with open_api(kubeconfig=plane.kubeconfig) as opened:
        yield opened


def _make_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _make_queue(namespace: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "LocalQueue",
        "metadata": metadata,
        "spec": {"clusterQueue": "none"},
    }


async def test_applied_object_is_what_was_given_and_a_dropped_field_goes(api: Api, namespace: str) -> None:
    key = ObjectKey(_CONFIG_MAP, namespace, "settings")
    await api.apply(_make_map(namespace, "settings", first="1", second="2"))
    await api.apply(_make_map(namespace, "settings", first="1"))
    stored = await api.get(key)
    assert stored is not None
    assert stored["data"] == {"first": "1"}
    assert await api.delete(key)
    assert not await api.delete(key)
    assert await api.get(key) is None


async def test_dry_run_changes_nothing(api: Api, namespace: str) -> None:
    answer = await api.apply(_make_map(namespace, "settings", first="1"), dry_run=True)
    assert answer["data"] == {"first": "1"}
    assert await api.get(ObjectKey(_CONFIG_MAP, namespace, "settings")) is None


async def test_conflict_names_every_field_and_its_manager(api: Api, plane: Plane, namespace: str) -> None:
    plane.apply(
        _make_map(namespace, "settings", first="theirs", second="theirs"), f"/api/v1/namespaces/{namespace}/configmaps"
    )
    with pytest.raises(FieldConflictError) as refused:
        await api.apply(_make_map(namespace, "settings", first="ours", second="ours"))
    assert {(conflict.manager, conflict.field) for conflict in refused.value.conflicts} == {
        ("plane", ".data.first"),
        ("plane", ".data.second"),
    }
    assert (await api.apply(_make_map(namespace, "settings", first="ours"), force=True))["data"]["first"] == "ours"


async def test_unknown_field_and_unknown_kind_are_refused(api: Api, namespace: str) -> None:
    with pytest.raises(RefusedError, match="speling"):
        await api.apply({**_make_map(namespace, "settings"), "speling": 1})
    with pytest.raises(UnknownKindError, match=r"Unicorn\.example\.com"):
        await api.list(Kind("example.com", "Unicorn"))


async def test_snapshot_has_the_objects_of_all_kinds_and_says_what_it_could_not_read(
    api: Api, plane: Plane, namespace: str, tmp_path: Path
) -> None:
    for number in range(3):
        await api.apply(_make_map(namespace, f"settings-{number}"))
    kinds = (_CONFIG_MAP, Kind("", "Secret"), Kind("kueue.x-k8s.io", "ClusterQueue"), Kind("example.com", "Unicorn"))
    snapshot = await api.observe(kinds, [namespace])
    names = [value["metadata"]["name"] for value in snapshot.list("ConfigMap", namespace)]
    assert names == ["kube-root-ca.crt", "settings-0", "settings-1", "settings-2"]
    assert kinds[2] in snapshot.served
    assert kinds[3] not in snapshot.served
    assert snapshot.version.startswith("v1.")
    reader = await _make_reader(plane, namespace, tmp_path)
    async with open_api(kubeconfig=reader) as limited:
        seen = await limited.observe(kinds[:2], [namespace])
    assert len(seen.list("ConfigMap")) == 4
    assert list(seen.unread) == [kinds[1]]


async def _make_reader(plane: Plane, namespace: str, folder: Path) -> Path:
    """An account that may read ConfigMaps and nothing else; its kubeconfig."""
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    plane.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "reader"}})
    plane.ask("POST", f"{group}/roles", {"metadata": {"name": "reader"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    plane.ask(
        "POST", f"{group}/rolebindings", {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": [subject]}
    )
    asked: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = plane.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/reader/token", asked)
    text = plane.kubeconfig.read_text()
    path = folder / "kubeconfig"
    path.write_text(text.replace(text.partition("token: ")[2].split()[0], answer["status"]["token"]))
    return path


async def test_watch_gives_what_is_there_then_what_changes(api: Api, namespace: str) -> None:
    await api.apply(_make_map(namespace, "first", text="1"))
    seen: list[tuple[str, str]] = []
    async for change in api.watch(_CONFIG_MAP, namespace):
        if change.type == "LISTING":
            seen.append(("LISTING", ""))
        elif change.type == "LISTED":
            seen.append(("LISTED", ""))
            await api.apply(_make_map(namespace, "second", text="1"))
            await api.apply(_make_map(namespace, "second", text="2"))
            await api.delete(ObjectKey(_CONFIG_MAP, namespace, "second"))
        elif change.value["metadata"]["name"] in ("first", "second"):
            seen.append((change.type, change.value["metadata"]["name"]))
        if change.type == "DELETED":
            break
    assert seen == [
        ("LISTING", ""),
        ("ADDED", "first"),
        ("LISTED", ""),
        ("ADDED", "second"),
        ("MODIFIED", "second"),
        ("DELETED", "second"),
    ]


async def test_watch_of_a_version_that_the_server_has_forgotten_begins_anew_and_misses_nothing(
    api: Api, plane: Plane, namespace: str, tmp_path: Path
) -> None:
    """The first watch is for the first version of the cluster, which a real server answers with 410.

    It does so for kinds that were defined later: of others, a server that has just started still knows everything.
    """
    asked: list[str] = []

    def forget(path: str) -> str:
        if "watch=true" in path:
            asked.append(path)
        return re.sub(r"resourceVersion=\d+", "resourceVersion=1", path) if len(asked) == 1 else path

    await api.apply(_make_queue(namespace, "first"))
    seen: list[str] = []
    async with (
        Recorder(plane, TOKEN, forget) as between,
        open_api(kubeconfig=between.write_kubeconfig(tmp_path)) as through,
    ):
        async for change in through.watch(_LOCAL_QUEUE, namespace):
            name = "" if change.value is None else change.value["metadata"]["name"]
            if name == "third":
                break
            if change.type != "MODIFIED":  # Kueue writes the state of each
                seen.append(f"{change.type} {name}".rstrip())
            if change.type == "LISTED" and seen.count("LISTED") == 1:
                await api.delete(ObjectKey(_LOCAL_QUEUE, namespace, "first"))
                await api.apply(_make_queue(namespace, "second"))
            elif change.type == "LISTED":
                await api.apply(_make_queue(namespace, "third"))
    assert seen == ["LISTING", "ADDED first", "LISTED", "LISTING", "ADDED second", "LISTED"]
    assert len(asked) == 2


async def test_what_keeps_a_server_from_answering_is_named(plane: Plane, tmp_path: Path) -> None:
    text = plane.kubeconfig.read_text()
    wrong = tmp_path / "wrong"
    wrong.write_text(text.replace(plane.url, "https://127.0.0.1:1"))
    async with open_api(kubeconfig=wrong) as unreachable:
        with pytest.raises(UnreachableError, match="does not answer"):
            await unreachable.read_version()
    denied = tmp_path / "denied"
    denied.write_text(text.replace(text.partition("token: ")[2].split()[0], "wrong"))
    async with open_api(kubeconfig=denied) as refused:
        with pytest.raises(ForbiddenError):
            await refused.list(_CONFIG_MAP)
    with pytest.raises(NoClusterError):
        async with open_api(kubeconfig=tmp_path / "absent"):
            pass
    empty = tmp_path / "empty"
    empty.write_text(json.dumps({"apiVersion": "v1", "kind": "Config"}))
    with pytest.raises(NoClusterError):
        async with open_api("nowhere", kubeconfig=empty):
            pass
