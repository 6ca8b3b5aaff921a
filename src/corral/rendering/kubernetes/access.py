"""The rights of Corral's own server on Kubernetes: to watch and run work and, where the file says so, to apply.

The server has an account of its own. One Role lets it follow its engines and run the work that the file has: nothing is
granted for an engine or a service that the file does not have. A second one lets it apply layouts and switch between
them, and is rendered with `console.mayApply: true` alone; what belongs to no namespace takes a ClusterRole. Neither
reads Secrets. The API server lets no account grant rights that it does not have, so a newer version of Corral that
needs more is applied by an administrator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from corral.cluster.open_engines import list_open_engines
from corral.cluster.values import ServiceKind
from corral.engine_kinds import JOB
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.objects import BATCH, EMPTIED, make_metadata, name_workload
from corral.rendering.kubernetes.workloads import group_by_pod, is_lent
from corral.rendering.kueue import list_job_namespaces, list_pool
from corral.rendering.names import add_suffix

STATE = "corral-state"
"""The ConfigMap with the active layout."""
_RBAC = "rbac.authorization.k8s.io"
_KUEUE = "kueue.x-k8s.io"
_RESOURCES = "resource.k8s.io"
_WHOLE = ("create", "delete", "get", "list", "patch")
"""For kinds of which an object is made anew where a field of it cannot be changed."""
_PRUNED = ("create", "delete", "list", "patch")
_SHARED = ("create", "list", "patch")
"""For kinds whose objects other installations have, too, and whose fields can all be changed: none is deleted."""
_OF_NAMESPACES: Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]] = (
    ("", ("configmaps", "services"), _WHOLE),
    ("", ("resourcequotas", "serviceaccounts"), _PRUNED),
    ("", ("persistentvolumeclaims",), _WHOLE),
    ("", ("events", "pods"), ("list",)),
    ("apps", ("daemonsets", "replicasets"), ("list",)),
    ("discovery.k8s.io", ("endpointslices",), ("list",)),
    ("apps", ("deployments",), _PRUNED),
    ("apps", ("statefulsets",), _WHOLE),
    (_KUEUE, ("localqueues",), _WHOLE),
    ("networking.k8s.io", ("ingresses", "networkpolicies"), _PRUNED),
    ("policy", ("poddisruptionbudgets",), _PRUNED),
    (_RESOURCES, ("resourceclaims",), _PRUNED),
    (_RESOURCES, ("resourceclaimtemplates",), _WHOLE),
)
"""Groups, resources and verbs of applying the objects of namespaces."""
_OF_THE_CLUSTER: Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]] = (
    ("", ("persistentvolumes",), _WHOLE),
    ("", ("pods",), ("list",)),
    (_KUEUE, ("clusterqueues", "resourceflavors"), _PRUNED),
    (_KUEUE, ("workloadpriorityclasses",), _SHARED),
    (_KUEUE, ("workloads",), ("list",)),
    ("node.k8s.io", ("runtimeclasses",), _WHOLE),
    (_RESOURCES, ("deviceclasses",), _SHARED),
    (_RESOURCES, ("resourceclaims", "resourceslices"), ("list",)),
    ("scheduling.k8s.io", ("priorityclasses",), _WHOLE),
    ("storage.k8s.io", ("storageclasses",), _WHOLE),
)


def build_access(installation: Installation, members: Sequence[Deployed], workloads: Iterable[Any]) -> list[Any]:
    """Build the Roles of Corral's own server and their bindings; empty for other services.

    `workloads` are the typed Deployments and StatefulSets of the services that it starts on demand.
    """
    server = next((member for member in members if member.service.kind is ServiceKind.CORRAL), None)
    if server is None:
        return []
    objects: list[Any] = []
    for namespace, rules in sorted(_list_work_rules(installation, workloads).items()):
        objects += _bind_role(installation, server, namespace, name_workload(server), rules)
    objects += _build_work_of_cluster(installation, server)
    return objects + (_build_applying(installation, server) if installation.cluster.console_may_apply else [])


def list_engine_services(installation: Installation) -> tuple[Deployed, ...]:
    """List the services of a layout that Corral's server finds as instances of its engines."""
    engines = frozenset(list_open_engines(installation.cluster))
    return tuple(
        deployed
        for deployed in installation.deployed
        if deployed.port is not None and not engines.isdisjoint(deployed.service.engines)
    )


def _list_work_rules(installation: Installation, workloads: Iterable[Any]) -> Mapping[str, list[PolicyRule]]:
    """List the rules to watch and run work, by namespace."""
    rules: dict[str, list[PolicyRule]] = {}
    engines = list_engine_services(installation)
    jobs = _list_job_namespaces(installation)
    if list_open_engines(installation.cluster) and (engines or jobs):
        state = PolicyRule(apiGroups=[""], resources=["configmaps"], resourceNames=[STATE], verbs=["get"])
        rules.setdefault(installation.namespace, []).append(state)
    for namespace in sorted({deployed.namespace for deployed in engines}):
        rules.setdefault(namespace, []).append(_allow("discovery.k8s.io", ("endpointslices",), ("list", "watch")))
    for namespace in jobs:
        rules.setdefault(namespace, []).extend(_allow_jobs())
    for namespace in _list_lent_namespaces(installation):
        rules.setdefault(namespace, []).append(_allow("", ("pods",), ("delete", "get", "list", "patch")))
    for workload in workloads:
        rules.setdefault(workload.metadata.namespace, []).append(_allow_scaling(workload))
    return rules


def _list_job_namespaces(installation: Installation) -> list[str]:
    """List the namespaces of Jobs: those of the file's instances, else those of its queues."""
    settings = installation.cluster.engines.get(JOB.name)
    if settings is None or not settings.enabled:
        return []
    if settings.instances:
        return sorted({urlsplit(instance.url).hostname or "" for instance in settings.instances if instance.url} - {""})
    has_queue = any(list_pool(installation.cluster, queue) for queue in installation.cluster.queues.values())
    namespaces = list_job_namespaces(installation) if has_queue else []
    return [installation.namespace if installation.namespace in namespaces else namespaces[0]] if namespaces else []


def _list_lent_namespaces(installation: Installation) -> list[str]:
    groups = group_by_pod(installation)
    return sorted({members[0].namespace for members in groups if is_lent(installation, members)})


def _allow_jobs() -> list[PolicyRule]:
    return [
        _allow("", ("pods",), ("list",)),
        _allow("", ("pods/log",), ("get",)),
        _allow("", ("secrets", "services"), ("create",)),
        _allow("batch", ("jobs",), ("create", "delete", "get", "list", "patch")),
        _allow(_KUEUE, ("localqueues",), ("get",)),
        _allow(_KUEUE, ("workloads",), ("list",)),
    ]


def _build_work_of_cluster(installation: Installation, server: Deployed) -> list[Any]:
    """Build the rights to see what Jobs depend on and no namespace has: their nodes, queues and priorities."""
    if not _list_job_namespaces(installation):
        return []
    rules = [_read("", "nodes", [node.name for node in installation.cluster.kubernetes_nodes])]
    rules += [_read(_KUEUE, "workloadpriorityclasses", [BATCH, EMPTIED])]
    if _list_lent_namespaces(installation):
        rules.append(_allow(_KUEUE, ("clusterqueues",), ("get",)))
    return _bind_cluster_role(installation, server, f"{server.namespace}-{name_workload(server)}", rules)


def _read(group: str, resource: str, names: Sequence[str]) -> PolicyRule:
    return PolicyRule(apiGroups=[group], resources=[resource], resourceNames=[*names], verbs=["get"])


def _allow_scaling(workload: Any) -> PolicyRule:
    plural = f"{workload.kind.lower()}s/scale"
    return PolicyRule(apiGroups=["apps"], resources=[plural], resourceNames=[workload.metadata.name], verbs=["patch"])


def _build_applying(installation: Installation, server: Deployed) -> list[Any]:
    namespaces = sorted({installation.namespace, *(deployed.namespace for deployed in installation.deployed)})
    name = add_suffix(name_workload(server), "apply")
    own = (name_workload(server), name)
    rules = [*(_allow(*row) for row in _OF_NAMESPACES), *_allow_own(("rolebindings", "roles"), own)]
    objects: list[Any] = []
    for namespace in namespaces:
        objects += _bind_role(installation, server, namespace, name, rules)
    plain = f"{server.namespace}-{name_workload(server)}"
    whole = add_suffix(plain, "apply")
    rules = [
        *_list_cluster_rules(installation, namespaces),
        *_allow_own(("clusterrolebindings", "clusterroles"), (plain, whole)),
    ]
    return [*objects, *_bind_cluster_role(installation, server, whole, rules)]


def _allow_own(resources: Sequence[str], names: Sequence[str]) -> list[PolicyRule]:
    """Allow to apply these rights again as they are: the API server refuses more than the server has."""
    return [
        _allow(_RBAC, resources, ("list",)),
        PolicyRule(apiGroups=[_RBAC], resources=[*resources], resourceNames=[*names], verbs=["patch"]),
    ]


def _bind_cluster_role(
    installation: Installation, server: Deployed, name: str, rules: Sequence[PolicyRule]
) -> list[Any]:
    reference = RoleRef(apiGroup=_RBAC, kind="ClusterRole", name=name)
    metadata = make_metadata(installation, name)
    return [
        ClusterRole(metadata=metadata, rules=[*rules]),
        ClusterRoleBinding(metadata=metadata, roleRef=reference, subjects=[_name_account(server)]),
    ]


def _list_cluster_rules(installation: Installation, namespaces: Sequence[str]) -> Iterator[PolicyRule]:
    """List the rules for objects without a namespace; of nodes and namespaces only those of the file can be changed."""
    yield _allow("", ("namespaces",), ("list",))
    yield PolicyRule(apiGroups=[""], resources=["namespaces"], resourceNames=[*namespaces], verbs=["patch"])
    yield _allow("", ("nodes",), ("list",))
    nodes = [node.name for node in installation.cluster.kubernetes_nodes]
    yield PolicyRule(apiGroups=[""], resources=["nodes"], resourceNames=nodes, verbs=["patch"])
    yield from (_allow(*row) for row in _OF_THE_CLUSTER)


def _bind_role(
    installation: Installation, server: Deployed, namespace: str, name: str, rules: Sequence[PolicyRule]
) -> list[Any]:
    reference = RoleRef(apiGroup=_RBAC, kind="Role", name=name)
    metadata = make_metadata(installation, name, namespace)
    return [
        Role(metadata=metadata, rules=[*rules]),
        RoleBinding(metadata=metadata, roleRef=reference, subjects=[_name_account(server)]),
    ]


def _name_account(server: Deployed) -> Subject:
    return Subject(kind="ServiceAccount", name=name_workload(server), namespace=server.namespace)


def _allow(group: str, resources: Sequence[str], verbs: Sequence[str]) -> PolicyRule:
    return PolicyRule(apiGroups=[group], resources=[*resources], verbs=[*verbs])
