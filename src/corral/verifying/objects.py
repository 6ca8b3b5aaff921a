"""Checks of a layout that its objects alone answer: pods on their nodes, GPUs given out, Services with endpoints.

One snapshot decides; nothing is asked from inside of the cluster. A switch of layouts waits for these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from corral.deploying import health
from corral.deploying.engines import ENDPOINT_SLICE
from corral.deploying.health import ServiceHealth, judge_services, list_pods
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import KUEUE, NODE, POD, RESOURCE_SLICE, SERVICE
from corral.diagnosis.case import find_condition, is_ready
from corral.diagnosis.objects import get_labels, get_list, get_map
from corral.rendering.installation import Deployed
from corral.rendering.kubernetes.objects import name_workload
from corral.rendering.kubernetes.volumes import find_node
from corral.rendering.kubernetes.workloads import count_replicas, group_by_pod
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.verifying.gpus import check_offered_gpus, check_pod_gpus
from corral.verifying.values import Check, Mark, Subject
from corral.work import Json

RESOURCE_CLAIM = Kind("resource.k8s.io", "ResourceClaim")
WORKLOAD = Kind(KUEUE, "Workload")
OBSERVED = (*health.OBSERVED, NODE, SERVICE, ENDPOINT_SLICE, RESOURCE_CLAIM, RESOURCE_SLICE, WORKLOAD)
"""The kinds of objects that the checks look at, in the namespaces of the layout."""
_NEEDED = (POD, NODE, SERVICE, ENDPOINT_SLICE)
"""Without these there is no check: where they cannot be read, the result is unknown."""
_GATE = "kueue.x-k8s.io/admission"
_SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, kw_only=True)
class Group:
    """The services of a pod, its pods on the cluster, and how they fare."""

    members: tuple[Deployed, ...]
    health: ServiceHealth
    pods: tuple[Json, ...]
    """All that are there, those that are ending apart."""
    lent_to: str | None
    """The Job that has the GPUs of replicas that are missing; None where none has."""

    @property
    def name(self) -> str:
        """The names of its services: `ollama`, or `backend, ollama` where they share the pod."""
        return ", ".join(member.service.name for member in self.members)

    @property
    def node(self) -> str | None:
        """The node that the layout gives it; None for any."""
        return find_node(self.members)

    @property
    def replicas(self) -> int:
        """Replicas that the layout wants; 0 for services on demand."""
        return count_replicas(self.members)

    @cached_property
    def ready(self) -> tuple[Json, ...]:
        """The pods that are ready."""
        return tuple(pod for pod in self.pods if is_ready(pod))


def check_objects(wanted: LayoutObjects, snapshot: Snapshot) -> tuple[Check, ...]:
    """Check a layout by its objects; `snapshot` has those of `OBSERVED` in the namespaces of the layout."""
    unread = [kind for kind in _NEEDED if kind in snapshot.unread]
    if unread:
        return tuple(_say_unread(kind, snapshot.unread[kind]) for kind in unread)
    groups = list_groups(wanted, snapshot)
    gpus = [*check_offered_gpus(wanted, snapshot)]
    for group in groups:
        if group.replicas and group.ready:
            gpus += check_pod_gpus(wanted, snapshot, group.members, group.ready)
    return (*map(_check_pods, groups), *gpus, *_check_services(wanted, snapshot, groups))


def list_groups(wanted: LayoutObjects, snapshot: Snapshot) -> tuple[Group, ...]:
    """List the services of a layout by their pod, in the order of the file."""
    return tuple(
        _make_group(wanted, snapshot, members, health)
        for members, health in zip(group_by_pod(wanted.installation), judge_services(wanted, snapshot), strict=True)
    )


def _make_group(
    wanted: LayoutObjects, snapshot: Snapshot, members: tuple[Deployed, ...], health: ServiceHealth
) -> Group:
    first = members[0]
    pods = [
        pod
        for pod in list_pods(wanted, snapshot, first.namespace, name_workload(first))
        if not pod["metadata"].get("deletionTimestamp")
    ]
    return Group(
        members=members,
        health=health,
        pods=tuple(pods),
        lent_to=_find_borrower(snapshot, first.namespace) if any(map(_is_gated, pods)) else None,
    )


def _is_gated(pod: Json) -> bool:
    gates: Sequence[Mapping[str, str]] = get_list(pod["spec"], "schedulingGates")
    return any(gate["name"] == _GATE for gate in gates)


def _find_borrower(snapshot: Snapshot, namespace: str) -> str | None:
    """Find a Job that Kueue has admitted and that is not finished."""
    for workload in snapshot.list(WORKLOAD.name, namespace):
        owners: Sequence[Mapping[str, str]] = get_list(workload["metadata"], "ownerReferences")
        jobs = [owner["name"] for owner in owners if owner["kind"] == "Job"]
        if jobs and find_condition(workload, "Admitted") and not find_condition(workload, "Finished"):
            return jobs[0]
    return None


def _say_unread(kind: Kind, why: str) -> Check:
    return Check(
        subject=Subject.PODS,
        name=f"{kind.name}s",
        mark=Mark.UNKNOWN,
        what=f"they cannot be read: {why}",
        fix="use an account that can list them: docs/guides/verify.md",
    )


def _check_pods(group: Group) -> Check:
    """Check that as many replicas as the layout wants are ready, on its node."""
    name = f"{group.name} on {group.node}" if group.node else group.name
    facts = f"{len(group.ready)} of {group.replicas} ready"
    evidence = tuple(_show_pod(pod) for pod in group.pods)

    def make(mark: Mark, what: str, fix: str | None = None, more: Iterable[str] = ()) -> Check:
        return Check(subject=Subject.PODS, name=name, mark=mark, what=what, evidence=(*evidence, *more), fix=fix)

    elsewhere = [pod for pod in group.pods if group.node and pod["spec"].get("nodeName") not in (None, group.node)]
    if elsewhere:
        places = ", ".join(f"{pod['metadata']['name']} is on {pod['spec']['nodeName']}" for pod in elsewhere)
        return make(Mark.BAD, f"{places}, and the layout says {group.node}", "corral diff; corral apply --force")
    if not group.replicas:
        return make(Mark.OK, f"on demand, {len(group.ready)} ready now")
    if len(group.ready) >= group.replicas:
        return make(Mark.OK, facts)
    if group.health.is_well and group.health.standing_by:
        return make(Mark.OK, f"{facts}; {group.health.standing_by} stands by for the one that leads")
    if group.lent_to and len(group.ready) + sum(map(_is_gated, group.pods)) >= group.replicas:
        return make(Mark.OK, f"{facts}; the others' GPUs are lent to Job {group.lent_to}")
    if group.health.wanted < group.replicas and not group.health.causes:
        scaled = f"{', '.join(group.health.workloads)} spec.replicas: {group.health.wanted}"
        return make(Mark.BAD, f"{facts}: others have scaled it down", "corral apply --force", [scaled])
    causes = "; ".join(group.health.causes)
    return make(Mark.BAD, f"{facts}: {causes}" if causes else facts, _choose_fix(group))


def _choose_fix(group: Group) -> str:
    if any(cause.endswith("corral apply") for cause in group.health.causes):
        return "corral apply"
    return "corral doctor --kubernetes"


def _show_pod(pod: Json) -> str:
    node = pod["spec"].get("nodeName") or "no node"
    return f"{ObjectKey.read(pod)}: on {node}, {'ready' if is_ready(pod) else 'not ready'}"


def _check_services(wanted: LayoutObjects, snapshot: Snapshot, groups: Sequence[Group]) -> Iterator[Check]:
    """Check that each Service of services that run always leads to every pod that it is for."""
    by_workload = {(group.members[0].namespace, name_workload(group.members[0])): group for group in groups}
    addresses = _list_addresses(snapshot)
    for value in wanted.objects:
        if Kind.read(value) != SERVICE or not get_map(value, "spec", "selector"):
            continue
        selector: Mapping[str, str] = value["spec"]["selector"]
        namespace = value["metadata"]["namespace"]
        group = _find_group(by_workload, namespace, selector)
        if group is not None and group.replicas:
            key = ObjectKey.read(value)
            yield _check_service(key, selector, snapshot, group, addresses.get((namespace, key.name), frozenset()))


def _find_group(
    by_workload: Mapping[tuple[str, str], Group], namespace: str, selector: Mapping[str, str]
) -> Group | None:
    """Find whose pods a selector is for: by the name of the workload, or by that of one pod of a StatefulSet."""
    name = selector.get("app.kubernetes.io/name") or selector.get("statefulset.kubernetes.io/pod-name", "")
    return by_workload.get((namespace, name)) or by_workload.get((namespace, name.rpartition("-")[0]))


def _check_service(
    key: ObjectKey, selector: Mapping[str, str], snapshot: Snapshot, group: Group, reached: frozenset[str]
) -> Check:
    live = snapshot.objects.get(key)
    meant = [pod for pod in group.ready if selector.items() <= get_labels(pod).items()]
    missing = [pod["metadata"]["name"] for pod in meant if pod["metadata"]["name"] not in reached]
    facts = f"{len(meant) - len(missing)} of {len(meant)} ready pods"
    evidence = (f"EndpointSlices of {key}: {', '.join(sorted(reached)) or 'no ready endpoint'}",)
    if live is None:
        mark, what, fix = Mark.BAD, "not applied", "corral apply"
    elif get_map(live, "spec", "selector") != selector:
        has = ", ".join(f"{name}={value}" for name, value in sorted(get_map(live, "spec", "selector").items()))
        mark, what, fix = Mark.BAD, f"{facts}: others have changed its selector", "corral apply --force"
        evidence = (*evidence, f"{key} spec.selector: {has or 'not set'}")
    elif missing:
        mark, what, fix = Mark.BAD, f"{facts}: it does not lead to {', '.join(missing)}", "corral doctor --kubernetes"
    elif meant:
        mark, what, fix = Mark.OK, facts, None
    elif group.lent_to:
        mark, what, fix = Mark.OK, f"its GPU is lent to Job {group.lent_to}", None
    else:
        mark, what, fix = Mark.BAD, "no pod of it is ready", _choose_fix(group)
    return Check(
        subject=Subject.ENDPOINTS,
        name=f"Service {key.namespace}/{key.name}",
        mark=mark,
        what=what,
        evidence=evidence,
        fix=fix,
    )


def _list_addresses(snapshot: Snapshot) -> Mapping[tuple[str, str], frozenset[str]]:
    """List the names of ready pods behind each Service, by its namespace and name."""
    reached: dict[tuple[str, str], set[str]] = {}
    for value in snapshot.list(ENDPOINT_SLICE.name):
        place = (value["metadata"]["namespace"], get_labels(value).get(_SERVICE_LABEL, ""))
        for endpoint in value.get("endpoints") or ():
            name = get_map(endpoint, "targetRef").get("name")
            if name and get_map(endpoint, "conditions").get("ready", True):
                reached.setdefault(place, set()).add(name)
    return {place: frozenset(names) for place, names in reached.items()}
