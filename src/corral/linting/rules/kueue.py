"""Kueue: quotas, flavours, and work that goes around them."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.objects import GPU_RESOURCE, Object, Pod
from corral.linting.registry import Found, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.tree import Tree

_QUEUE = "kueue.x-k8s.io/queue-name"
_GROUP = "kueue.x-k8s.io"
_ALWAYS_ON = frozenset({"Deployment", "StatefulSet"})


def _kueue(scene: Scene, kind: str) -> list[Object]:
    return [one for one in scene.of_kind(kind) if one.group == _GROUP]


def _queue_of(one: Object) -> str | None:
    return one.tree["metadata"]["labels"][_QUEUE].raw


def _cluster_queues(scene: Scene, one: Object) -> list[Object]:
    """The ClusterQueues that a job's queue may lead to: several where files are choices; none when they do not say."""
    queue = _queue_of(one)
    names = {
        local.tree["spec"]["clusterQueue"].raw
        for local in _kueue(scene, "LocalQueue")
        if queue is not None and (local.namespace, local.name) == (one.namespace, queue)
    }
    return [each for each in _kueue(scene, "ClusterQueue") if each.name in names]


def _quota(queue: Object, resource: str) -> tuple[int, Tree] | None:
    """The nominal quota of a resource over all flavours, and where one of them stands; None when it is not covered."""
    total, place = 0, None
    for group in queue.tree["spec"]["resourceGroups"].entries:
        for flavor in group["flavors"].entries:
            for entry in flavor["resources"].entries:
                count = entry["nominalQuota"].count
                if entry["name"].raw == resource and count is not None:
                    total, place = total + count, entry["nominalQuota"]
    return None if place is None else (total, place)


def _covered(queue: Object) -> set[str]:
    return {
        one.raw or ""
        for group in queue.tree["spec"]["resourceGroups"].entries
        for one in group["coveredResources"].entries
    }


@checks("H01")
def no_queue(scene: Scene) -> Iterator[Found]:
    """Look for Jobs with GPUs and no label, beside queues."""
    if not _kueue(scene, "LocalQueue") and not _kueue(scene, "ClusterQueue"):
        return
    for one in scene.of_kind("Job"):
        if one.pod and one.pod.gpus and _queue_of(one) is None:
            place = (one.tree["metadata"]["name"] or one.tree["kind"]).place
            yield Found(place=place, what="asks for a GPU and is in no queue", subject=one)


@checks("H02")
def not_covered(scene: Scene) -> Iterator[Found]:
    """Look for Jobs that ask for something their ClusterQueue does not list."""
    for one in scene.of_kind("Job"):
        queues = _cluster_queues(scene, one)
        if one.pod is None or not queues or not all(_covered(queue) for queue in queues):
            continue
        covered = {name for queue in queues for name in _covered(queue)}
        for container in one.pod.containers:
            requests = container.tree["resources"]["requests"] or container.tree["resources"]["limits"]
            for name, value in requests.items:
                if name not in covered:
                    what = f"{queues[0].name!r} does not cover {name}"
                    yield Found(place=value.key or value.place, what=what, subject=one)


@checks("H03")
def quota_of_held_cards(scene: Scene) -> Iterator[Found]:
    """Look for GPU quotas that, with the always-on GPUs, are above the cards of the cluster file."""
    if scene.cluster is None or scene.shares_gpus or any(node.gpus is None for node in scene.cluster.nodes):
        return
    capacity = sum(len(node.gpus or ()) for node in scene.cluster.nodes)
    held = sum(pod.gpus * pod.owner.replicas for pod in scene.deployed if _is_held(pod))
    quotas = [quota for one in _kueue(scene, "ClusterQueue") if (quota := _quota(one, GPU_RESOURCE))]
    total = sum(number for number, _ in quotas)
    if quotas and total + held > capacity:
        what = f"a quota of {total} GPUs and {held} that always run, of {capacity} in the cluster"
        yield Found(place=quotas[-1][1].place, what=what)


def _is_held(pod: Pod) -> bool:
    """Tell whether a pod keeps its GPUs outside of any queue."""
    return pod.owner.kind in _ALWAYS_ON and _queue_of(pod.owner) is None


@checks("H04")
def flavor_of_no_node(scene: Scene) -> Iterator[Found]:
    """Look for flavours that fit no node of the cluster file; labels that others write on nodes are not judged."""
    nodes = [{HOSTNAME: node.name, **node.labels} for node in (scene.cluster.nodes if scene.cluster else ())]
    known = {key for labels in nodes for key in labels}
    for one in _kueue(scene, "ResourceFlavor") if nodes else ():
        wanted = {key: value for key, value in one.tree["spec"]["nodeLabels"].items if key in known}
        fits = any(all(labels.get(key) == value.raw for key, value in wanted.items()) for labels in nodes)
        if wanted and not fits:
            first = next(iter(wanted.values()))
            what = f"no node has {', '.join(f'{key}={value.raw}' for key, value in wanted.items())}"
            yield Found(place=first.place, what=what, subject=one)


@checks("H05")
def over_quota(scene: Scene) -> Iterator[Found]:
    """Look for Jobs whose pods together ask for more than the nominal quota."""
    for one in scene.of_kind("Job"):
        queues = _with_choices(scene, _cluster_queues(scene, one))
        quotas = [quota[0] for queue in queues if not _borrows(queue) and (quota := _quota(queue, GPU_RESOURCE))]
        asked = _together(one, one.pod)
        if quotas and len(quotas) == len(queues) and asked > max(quotas):
            place = (one.tree["spec"]["parallelism"] or one.tree["metadata"]["name"]).place
            what = f"{asked} GPUs at once, and {queues[0].name!r} gives {max(quotas)}"
            yield Found(place=place, what=what, subject=one)


def _with_choices(scene: Scene, queues: list[Object]) -> list[Object]:
    """These and what stands in other files under the same name: another layout's queue, whose turn may be the Job's."""
    names = {one.identity for one in queues}
    return [*queues, *(one for one in scene.written_objects if one.identity in names and one not in queues)]


def _borrows(queue: Object) -> bool:
    return bool(queue.tree["spec"]["cohortName"] or queue.tree["spec"]["cohort"])


def _together(one: Object, pod: Pod | None) -> int:
    parallelism = one.tree["spec"]["parallelism"].number
    return (pod.gpus if pod else 0) * (1 if parallelism is None else parallelism)


@checks("H06")
def old_version(scene: Scene) -> Iterator[Found]:
    """Look for objects of older versions."""
    for one in scene.objects:
        if one.group == _GROUP and one.api_version.endswith(("/v1beta1", "/v1alpha1")):
            yield Found(place=one.tree["apiVersion"].place, what=f"{one.api_version} is deprecated", subject=one)
