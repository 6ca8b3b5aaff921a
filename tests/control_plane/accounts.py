"""Accounts of a cluster: that of Corral's own server, and those with the roles that a guide has for people."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import yaml

from control_plane.cluster import Cluster
from control_plane.recording import Right

_GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "verify.md"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


def read_role(name: str) -> Any:
    """Read a role of the guide."""
    blocks = re.findall(r"```yaml\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
    (role,) = (value for value in map(yaml.safe_load, blocks) if value["metadata"]["name"] == name)
    return role


def ask_token(cluster: Cluster, account: str) -> str:
    """Ask for a token of an account of the test's namespace."""
    path = f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/{account}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return cluster.plane.ask("POST", path, asked)["status"]["token"]


def read_roles(cluster: Cluster, suffix: str = "") -> list[Any]:
    """Read the Role and the ClusterRole of Corral's own server, as far as they are there."""
    paths = (
        f"{_RBAC}/namespaces/{cluster.namespace}/roles/corral{suffix}",
        f"{_RBAC}/clusterroles/{cluster.namespace}-corral{suffix}",
    )
    roles: list[Any] = []
    for path in paths:
        with suppress(HTTPError):
            roles.append(cluster.plane.ask("GET", path))
    return roles


def list_granted(roles: Iterable[Any]) -> set[Right]:
    """List the rights that roles grant."""
    return {
        Right(role["kind"] == "Role", f"{group}/{resource}".lstrip("/"), verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@contextmanager
def lend_account(cluster: Cluster, role: str, kubeconfig: Path) -> Generator[None]:
    """Make an account with a role that the guide has, and write the kubeconfig of it."""
    plane, namespace = cluster.plane, cluster.namespace
    account = {"metadata": {"name": "person"}}
    plane.ask("POST", f"{_RBAC}/clusterroles", read_role(role) | {"metadata": {"name": cluster.name}})
    plane.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    subject = {"kind": "ServiceAccount", "name": "person", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cluster.name}
    binding = {"metadata": {"name": cluster.name}, "roleRef": reference, "subjects": [subject]}
    plane.ask("POST", f"{_RBAC}/clusterrolebindings", binding)
    text = plane.kubeconfig.read_text()
    kubeconfig.write_text(text.replace(text.partition("token: ")[2].split()[0], ask_token(cluster, "person")))
    try:
        yield
    finally:
        for kind in ("clusterroles", "clusterrolebindings"):
            plane.ask("DELETE", f"{_RBAC}/{kind}/{cluster.name}")
