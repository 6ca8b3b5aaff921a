"""Obstacles on the way to a layout, found in one snapshot before anything is changed: all of them at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from corral.deploying.capacity import (
    CLAIMED,
    PODS,
    RESOURCE_CLAIM,
    Amounts,
    NewPod,
    count_requests,
    explain_node,
    explain_room,
    find_free,
    list_new_pods,
    parse_quantity,
)
from corral.deploying.health import list_pods_of
from corral.deploying.lacking import LackKind, find_lacking
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import (
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    NODE,
    POD,
    RESOURCE_SLICE,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    VOLUME,
    WORKLOADS,
)
from corral.deploying.queue_quotas import OBSERVED_EVERYWHERE as OBSERVED_OF_QUEUES
from corral.deploying.queue_quotas import find_queue_problems
from corral.deploying.state import CORRAL, MANAGED_BY, PART_OF
from corral.deploying.storage_changes import describe_place, find_volume, list_nodes_of_volume
from corral.deploying.switching import Move, list_claims, read_pod, uses_claims
from corral.errors import Kind as ErrorKind
from corral.errors import Problem, ProblemsError
from corral.narrowing import as_list, as_object
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

QUOTA = Kind("", "ResourceQuota")
INGRESS = Kind("networking.k8s.io", "Ingress")
OBSERVED = (*WORKLOADS, SERVICE, CLAIM, CONFIG_MAP, SECRET, QUOTA, INGRESS)
"""Kinds that are looked at in the namespaces of the layout."""
OBSERVED_EVERYWHERE = (NODE, POD, VOLUME, RESOURCE_SLICE, RESOURCE_CLAIM, *OBSERVED_OF_QUEUES)
FORCED = frozenset({"switch.dangling", "switch.no_image"})
"""Obstacles that `--force` passes: the parts that others have to change, and what a node can have in spite of all."""


class ObstaclesError(ProblemsError):
    """A layout cannot be switched to; nothing was changed."""

    code: ClassVar[str] = "switch.obstacles"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """The cluster as it is once the old workloads have ended."""

    wanted: LayoutObjects
    snapshot: Snapshot
    move: Move
    staying: tuple[Json, ...]
    """Pods that go on."""
    coming: tuple[NewPod, ...]


def find_obstacles(wanted: LayoutObjects, snapshot: Snapshot, move: Move) -> tuple[Problem, ...]:
    """Find everything that would keep a layout from running."""
    ending = {ObjectKey.read(pod) for workload in move.stopped for pod in list_pods_of(workload, snapshot)}
    stopped = {ObjectKey.read(workload) for workload in move.stopped}
    workloads = [
        value
        for value in wanted.objects
        if (key := ObjectKey.read(value)).kind in (DEPLOYMENT, STATEFUL_SET)
        and (key in stopped or key not in snapshot.objects)
    ]
    scene = _Scene(
        wanted=wanted,
        snapshot=snapshot,
        move=move,
        staying=tuple(pod for pod in snapshot.list(POD.name) if ObjectKey.read(pod) not in ending),
        coming=list_new_pods(workloads, wanted.objects),
    )
    return tuple(
        dict.fromkeys(
            (
                *_find_misfits(scene),
                *_find_claim_problems(scene),
                *_find_quota_problems(scene),
                *find_queue_problems(workloads, move.objects, ending, snapshot),
                *_find_dangling(scene),
                *_find_lacks(scene),
            )
        )
    )


def _find_misfits(scene: _Scene) -> Iterator[Problem]:
    """Find the pods that no node can run: the largest are placed first, as a person would."""
    if {NODE, POD} & scene.snapshot.unread.keys():
        return
    free = find_free(scene.snapshot, scene.staying)
    nodes = scene.snapshot.list("Node")
    for new in sorted(scene.coming, key=_rank_need):
        reasons: dict[str, str] = {}
        for node in nodes:
            name = node["metadata"]["name"]
            reason = explain_node(node, new.pod, scene.wanted.node_labels.get(name, {}))
            reason = reason or explain_room(free[name], new.asks)
            if reason is None:
                free[name].subtract(new.asks)
                break
            reasons[name] = reason
        else:
            yield _describe_misfit(new, reasons)


def _rank_need(new: NewPod) -> tuple[int, int, int]:
    devices = sum(amount for name, amount in new.asks.items() if "/" in name or name == CLAIMED)
    return (-len(new.pod.get("nodeSelector") or ()), -devices, -new.asks["memory"])


def _describe_misfit(new: NewPod, reasons: Mapping[str, str]) -> Problem:
    # Nodes that the layout does not mean are left out, unless it means none that is there.
    near = {name: reason for name, reason in reasons.items() if not reason.startswith("lacks the label")} or reasons
    why = "; ".join(f"{name} {reason}" for name, reason in near.items()) or "there is no node"
    return Problem(
        code="switch.no_room",
        what=f"no node can run {new.name}: {why}",
        where=f"{new.namespace}/{new.name}",
        hint="free it (`kubectl describe node` shows what is there), or change the layout",
    )


def _find_claim_problems(scene: _Scene) -> Iterator[Problem]:
    snapshot = scene.snapshot
    applied = {ObjectKey.read(value): value for value in scene.move.objects}
    for new in {(new.namespace, new.name): new for new in scene.coming}.values():
        for name in sorted(list_claims(new.pod)):
            key = ObjectKey(CLAIM, new.namespace, name)
            if key in scene.move.storage.claims or key not in snapshot.objects:
                yield from _judge_new_claim(scene, new, key, applied.get(key), applied)
            elif snapshot.objects[key].get("status", {}).get("phase") == "Lost":
                yield _describe_claim(new, key, "has lost its volume", "delete the claim: its data is not there")
            elif (volume := find_volume(key, snapshot)) is not None:
                yield from _judge_bound_claim(scene, new, key, volume)
    if VOLUME in snapshot.unread:
        for key in scene.move.storage.claims:
            yield Problem(
                code="switch.claim",
                what=f"claim {key.namespace}/{key.name} is made anew, and its volume cannot be read: its data might go",
                where=str(key),
                hint="use a context whose account can list and patch PersistentVolumes",
            )
    for workload in _list_others(scene):
        if uses_claims(workload, scene.move.storage.claims):
            yield Problem(
                code="switch.claim_in_use",
                what=f"{ObjectKey.read(workload)} is not of this file and uses a claim that is made anew",
                where=str(ObjectKey.read(workload)),
                hint="stop it first",
            )


def _judge_new_claim(
    scene: _Scene, new: NewPod, key: ObjectKey, claim: Json | None, applied: Mapping[ObjectKey, Json]
) -> Iterator[Problem]:
    if claim is None:
        yield _describe_claim(new, key, "is not there, and the layout does not make it", "make it")
        return
    name = claim["spec"].get("volumeName")
    if not name:
        return
    volume = ObjectKey(VOLUME, "", name)
    live = scene.snapshot.objects.get(volume)
    if volume in applied or VOLUME in scene.snapshot.unread:
        return
    if live is None:
        hint = f"add `server` and `path` to storage {key.name} of the file, or make the PersistentVolume"
        yield _describe_claim(new, key, f"waits for the PersistentVolume {name}, which is not there", hint)
        return
    modes = set(as_list(claim["spec"].get("accessModes"))) - set(as_list(live["spec"].get("accessModes")))
    if modes:
        what = f"waits for the PersistentVolume {name}, which is {describe_place(live)} and not {', '.join(modes)}"
        yield _describe_claim(new, key, what, f"add `server` and `path` to storage {key.name} of the file")
        return
    owner = as_object(live["spec"].get("claimRef"))
    if owner and (owner.get("namespace"), owner.get("name")) != (key.namespace, key.name):
        what = f"waits for the PersistentVolume {name}, which claim {owner['namespace']}/{owner['name']} has"
        yield _describe_claim(new, key, what, "choose another name, or delete that claim")


def _judge_bound_claim(scene: _Scene, new: NewPod, key: ObjectKey, volume: Json) -> Iterator[Problem]:
    """Judge a claim that stays bound: its volume must be reached from a node that the pod can be on."""
    reached = list_nodes_of_volume(volume)
    labels = scene.wanted.node_labels
    allowed = {
        node["metadata"]["name"]
        for node in scene.snapshot.list("Node")
        if explain_node(node, new.pod, labels.get(node["metadata"]["name"], {})) is None
    }
    if reached is not None and allowed and not reached & allowed:
        what = f"is bound to {describe_place(volume)}, and {new.name} must run on {' or '.join(sorted(allowed))}"
        hint = f"change the node in the layout or in storage {key.name}; data of another node must be copied by hand"
        yield _describe_claim(new, key, what, hint)
    if "ReadWriteOnce" in (volume["spec"].get("accessModes") or ()):
        users = {
            pod["spec"]["nodeName"]
            for pod in scene.staying
            if pod["metadata"]["namespace"] == key.namespace
            and pod["spec"].get("nodeName")
            and key.name in list_claims(pod["spec"])
        }
        if users and allowed and not users & allowed:
            what = f"is used by pods on {' and '.join(sorted(users))} and by one node at a time"
            yield _describe_claim(new, key, what, "stop them first")


def _describe_claim(new: NewPod, key: ObjectKey, what: str, hint: str) -> Problem:
    return Problem(
        code="switch.claim",
        what=f"claim {key.namespace}/{key.name} of {new.name} {what}",
        where=str(key),
        hint=hint,
    )


def _find_quota_problems(scene: _Scene) -> Iterator[Problem]:
    """Find the quotas that would refuse a pod: as the file has them, else as the cluster does."""
    quotas = {ObjectKey.read(value): value for value in scene.snapshot.list(QUOTA.name)}
    quotas |= {ObjectKey.read(value): value for value in scene.move.objects if Kind.read(value) == QUOTA}
    for key, quota in sorted(quotas.items()):
        spec = quota["spec"]
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        used = _count_used(scene, key.namespace)
        for name, most in as_object(spec.get("hard")).items():
            amount = used.get(_find_resource(name), 0)
            if amount > parse_quantity(most):
                yield Problem(
                    code="switch.quota",
                    what=f"quota {key.namespace}/{key.name} allows {most} of {name}, and "
                    f"{amount / 1000:g} would be used",
                    where=str(key),
                    hint="raise the quota, or stop what else uses it",
                )


def _count_used(scene: _Scene, namespace: str) -> Amounts:
    """Count what the pods of a namespace use once the layout runs."""
    used: Amounts = Counter()
    for new in scene.coming:
        if new.namespace == namespace:
            used += new.asks
    for pod in scene.staying:
        if pod["metadata"]["namespace"] == namespace and pod.get("status", {}).get("phase") not in (
            "Succeeded",
            "Failed",
        ):
            used += count_requests(pod["spec"])
            used[CLAIMED] += 1000 * len(pod["spec"].get("resourceClaims") or ())
    return used


def _find_resource(name: str) -> str:
    """Find the resource that a quota limits by this name."""
    if name.endswith(".deviceclass.resource.k8s.io/devices"):
        return CLAIMED
    return PODS if name == "count/pods" else name.removeprefix("requests.")


def _find_dangling(scene: _Scene) -> Iterator[Problem]:
    """Find the Services that would have no pods, and what would call Services that go."""
    going = {step.key for step in scene.move.pruned if step.key.kind == SERVICE}
    yield from _find_services_without_pods(scene, going)
    for namespace in sorted({key.namespace for key in going}):
        names = {key.name for key in going if key.namespace == namespace}
        for value, texts in _list_callers(scene, namespace):
            called = sorted(names & {match[0] for text in texts for match in _find_hosts(text)})
            if called:
                yield Problem(
                    code="switch.dangling",
                    what=f"{ObjectKey.read(value)} calls {', '.join(called)}, which the layout does not have",
                    where=str(ObjectKey.read(value)),
                    hint=f"change it to an address of layout {scene.wanted.layout}; `--force` goes on",
                )


def _find_services_without_pods(scene: _Scene, going: set[ObjectKey]) -> Iterator[Problem]:
    """Find the Services of others whose pods all end."""
    applied = {ObjectKey.read(value): value for value in scene.move.objects}
    labels = [
        (value["metadata"]["namespace"], as_object(value["spec"]["template"]["metadata"].get("labels")))
        for value in applied.values()
        if Kind.read(value) in WORKLOADS
    ]
    labels += [(pod["metadata"]["namespace"], as_object(pod["metadata"].get("labels"))) for pod in scene.staying]
    ending = [
        (pod["metadata"]["namespace"], as_object(pod["metadata"].get("labels")))
        for workload in scene.move.stopped
        for pod in list_pods_of(workload, scene.snapshot)
    ]
    for service in scene.snapshot.list(SERVICE.name):
        key, selector = ObjectKey.read(service), as_object(service["spec"].get("selector"))
        if key in applied or key in going or not selector:
            continue
        had = any(key.namespace == space and selector.items() <= own.items() for space, own in ending)
        has = any(key.namespace == space and selector.items() <= own.items() for space, own in labels)
        if had and not has:
            yield Problem(
                code="switch.dangling",
                what=f"Service {key.namespace}/{key.name}, which is not of this file, would have no pods",
                where=str(key),
                hint="let its selector choose pods of the new layout; `--force` goes on",
            )


def _list_callers(scene: _Scene, namespace: str) -> Iterator[tuple[Json, list[str]]]:
    """List the objects that others made in a namespace, with the texts that can have addresses."""
    for value in _list_others(scene):
        pod = read_pod(value)
        containers = (*(pod.get("containers") or ()), *(pod.get("initContainers") or ()))
        texts = [str(entry.get("value", "")) for container in containers for entry in container.get("env") or ()]
        texts += [str(word) for container in containers for word in container.get("args") or ()]
        if value["metadata"]["namespace"] == namespace:
            yield value, texts
    for value in scene.snapshot.list(CONFIG_MAP.name, namespace):
        if not _is_corrals(value):
            yield value, [str(text) for text in as_object(value.get("data")).values()]
    for value in scene.snapshot.list(INGRESS.name, namespace):
        if not _is_corrals(value):
            rules = as_list(value["spec"].get("rules"))
            paths = [path for rule in rules for path in as_list(as_object(rule.get("http")).get("paths"))]
            yield value, [f"http://{as_object(path['backend'].get('service')).get('name', '')}:" for path in paths]


def _list_others(scene: _Scene) -> Iterator[Json]:
    """List the workloads in the namespaces of the layout that Corral has not applied."""
    for kind in WORKLOADS:
        for value in scene.snapshot.list(kind.name):
            if value["metadata"]["namespace"] in scene.wanted.namespaces and not _is_corrals(value):
                yield value


def _is_corrals(value: Json) -> bool:
    labels: Mapping[str, str] = value["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == CORRAL and PART_OF in labels


def _find_hosts(text: str) -> Iterable[re.Match[str]]:
    """Find the words in a text that are hosts: after `//`, or before a port."""
    return re.finditer(r"(?<=//)[a-z0-9][-a-z0-9]*|\b[a-z0-9][-a-z0-9]*(?=:\d)", text)


def _find_lacks(scene: _Scene) -> Iterator[Problem]:
    for lack in find_lacking(scene.wanted, scene.snapshot):
        what = f"{lack.what} is missing"
        if lack.kind is LackKind.SECRET:
            yield Problem(code="switch.no_secret", what=what, hint=lack.next)
        elif lack.kind is LackKind.IMAGE:
            yield Problem(code="switch.no_image", what=what, hint=f"{lack.next}; `--force` goes on")
