"""Kueue and priorities: quotas, flavours, work outside of queues, preemption, and budgets that block drains."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.corpus import Corpus
from corral.linting.manifests import GPU_RESOURCE, Manifest, Pod
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.tree import Tree

_QUEUE = "kueue.x-k8s.io/queue-name"
_GROUP = "kueue.x-k8s.io"
_ALWAYS_ON = frozenset({"Deployment", "StatefulSet"})


def _list_kueue(corpus: Corpus, kind: str) -> list[Manifest]:
    return [manifest for manifest in corpus.list_kind(kind) if manifest.group == _GROUP]


def _read_queue(manifest: Manifest) -> str | None:
    return manifest.tree["metadata"]["labels"][_QUEUE].raw


def _find_cluster_queues(corpus: Corpus, job: Manifest) -> list[Manifest]:
    """Find the ClusterQueues of a job's queue: several where files are choices; none when unknown."""
    queue = _read_queue(job)
    names = {
        local.tree["spec"]["clusterQueue"].raw
        for local in _list_kueue(corpus, "LocalQueue")
        if queue is not None and (local.namespace, local.name) == (job.namespace, queue)
    }
    return [queue for queue in _list_kueue(corpus, "ClusterQueue") if queue.name in names]


def _sum_quota(queue: Manifest, resource: str) -> tuple[int, Tree] | None:
    """Sum the nominal quota of a resource over all flavours, with one of their places; None when it is not covered."""
    total, place = 0, None
    for group in queue.tree["spec"]["resourceGroups"].entries:
        for flavor in group["flavors"].entries:
            for entry in flavor["resources"].entries:
                count = entry["nominalQuota"].count
                if entry["name"].raw == resource and count is not None:
                    total, place = total + count, entry["nominalQuota"]
    return None if place is None else (total, place)


def _list_covered(queue: Manifest) -> set[str]:
    return {
        resource.raw or ""
        for group in queue.tree["spec"]["resourceGroups"].entries
        for resource in group["coveredResources"].entries
    }


@checks("H01")
def check_missing_queue(corpus: Corpus) -> Iterator[Violation]:
    """Look for Jobs with GPUs and no label, where the files have queues."""
    if not _list_kueue(corpus, "LocalQueue") and not _list_kueue(corpus, "ClusterQueue"):
        return
    for job in corpus.list_kind("Job"):
        if job.pod and job.pod.gpus and _read_queue(job) is None:
            place = (job.tree["metadata"]["name"] or job.tree["kind"]).place
            yield Violation(place=place, what="requests a GPU and has no queue", subject=job)


@checks("H02")
def check_covered_resources(corpus: Corpus) -> Iterator[Violation]:
    """Look for Jobs that ask for something their ClusterQueue does not list."""
    for job in corpus.list_kind("Job"):
        queues = _find_cluster_queues(corpus, job)
        if job.pod is None or not queues or not all(_list_covered(queue) for queue in queues):
            continue
        covered = {name for queue in queues for name in _list_covered(queue)}
        for container in job.pod.containers:
            requests = container.tree["resources"]["requests"] or container.tree["resources"]["limits"]
            for name, value in requests.items:
                if name not in covered:
                    what = f"{queues[0].name!r} does not cover {name}"
                    yield Violation(place=value.key or value.place, what=what, subject=job)


@checks("H03")
def check_quota_of_held_gpus(corpus: Corpus) -> Iterator[Violation]:
    """Look for GPU quotas that, with the always-on GPUs, are above the GPUs of the cluster file."""
    if corpus.cluster is None or corpus.shares_gpus or any(node.gpus is None for node in corpus.cluster.nodes):
        return
    capacity = sum(corpus.count_nvidia_gpus(node) for node in corpus.cluster.nodes)
    held = sum(pod.gpus * pod.owner.replicas for pod in corpus.deployed_pods if _is_held(pod))
    quotas = [quota for queue in _list_kueue(corpus, "ClusterQueue") if (quota := _sum_quota(queue, GPU_RESOURCE))]
    total = sum(number for number, _ in quotas)
    if quotas and total + held > capacity:
        what = f"a quota of {total} GPUs and {held} that always run, of {capacity} in the cluster"
        yield Violation(place=quotas[-1][1].place, what=what)


def _is_held(pod: Pod) -> bool:
    """Return whether a pod keeps its GPUs outside of any queue."""
    return pod.owner.kind in _ALWAYS_ON and _read_queue(pod.owner) is None


@checks("H04")
def check_flavor_labels(corpus: Corpus) -> Iterator[Violation]:
    """Look for flavours that fit no node of the cluster file; labels that other programs set are not checked."""
    nodes = [{HOSTNAME: node.name, **node.labels} for node in (corpus.cluster.nodes if corpus.cluster else ())]
    known = {key for labels in nodes for key in labels}
    for flavor in _list_kueue(corpus, "ResourceFlavor") if nodes else ():
        wanted = {key: value for key, value in flavor.tree["spec"]["nodeLabels"].items if key in known}
        fits = any(all(labels.get(key) == value.raw for key, value in wanted.items()) for labels in nodes)
        if wanted and not fits:
            first = next(iter(wanted.values()))
            what = f"no node has {', '.join(f'{key}={value.raw}' for key, value in wanted.items())}"
            yield Violation(place=first.place, what=what, subject=flavor)


@checks("H05")
def check_job_over_quota(corpus: Corpus) -> Iterator[Violation]:
    """Look for Jobs whose pods together ask for more than the nominal quota."""
    for job in corpus.list_kind("Job"):
        queues = _add_choices(corpus, _find_cluster_queues(corpus, job))
        quotas = [quota[0] for queue in queues if not _can_borrow(queue) and (quota := _sum_quota(queue, GPU_RESOURCE))]
        asked = _count_parallel_gpus(job, job.pod)
        if quotas and len(quotas) == len(queues) and asked > max(quotas):
            place = (job.tree["spec"]["parallelism"] or job.tree["metadata"]["name"]).place
            what = f"{asked} GPUs at once, and {queues[0].name!r} gives {max(quotas)}"
            yield Violation(place=place, what=what, subject=job)


def _add_choices(corpus: Corpus, queues: list[Manifest]) -> list[Manifest]:
    """Add the queues of the same name in other files: those of another layout, which can be active with the Job."""
    names = {manifest.identity for manifest in queues}
    return [
        *queues,
        *(manifest for manifest in corpus.written_manifests if manifest.identity in names and manifest not in queues),
    ]


def _can_borrow(queue: Manifest) -> bool:
    return bool(queue.tree["spec"]["cohortName"] or queue.tree["spec"]["cohort"])


def _count_parallel_gpus(job: Manifest, pod: Pod | None) -> int:
    parallelism = job.tree["spec"]["parallelism"].number
    return (pod.gpus if pod else 0) * (1 if parallelism is None else parallelism)


@checks("H06")
def check_kueue_version(corpus: Corpus) -> Iterator[Violation]:
    """Look for objects of older versions."""
    for manifest in corpus.manifests:
        if manifest.group == _GROUP and manifest.api_version.endswith(("/v1beta1", "/v1alpha1")):
            yield Violation(
                place=manifest.tree["apiVersion"].place, what=f"{manifest.api_version} is deprecated", subject=manifest
            )


_SERVING = frozenset({"Deployment", "StatefulSet"})


@checks("A23")
def check_missing_priority(corpus: Corpus) -> Iterator[Violation]:
    """Look for serving GPU pods without a class where the files define classes above 0 that can preempt."""
    above = [
        priority_class.name
        for priority_class in corpus.list_kind("PriorityClass")
        if (priority_class.tree["value"].number or 0) > 0 and priority_class.tree["preemptionPolicy"].raw != "Never"
    ]
    if not above or any(
        priority_class.tree["globalDefault"].boolean for priority_class in corpus.list_kind("PriorityClass")
    ):
        return
    for pod in corpus.pods:
        if pod.owner.kind in _SERVING and pod.gpus and not pod.spec["priorityClassName"]:
            place = pod.spec["containers"].key or pod.spec.place
            what = f"has no priority class; pods of {', '.join(str(name) for name in above)} evict it"
            yield Violation(place=place, what=what, subject=pod.owner)


@checks("A24")
def check_disruption_budgets(corpus: Corpus) -> Iterator[Violation]:
    """Look for budgets that allow no pod of their workload to go."""
    for budget in corpus.list_kind("PodDisruptionBudget"):
        spec = budget.tree["spec"]
        least, most = spec["minAvailable"], spec["maxUnavailable"]
        if most.raw in ("0", "0%"):
            yield Violation(place=most.place, what=f"maxUnavailable is {most.raw}", subject=budget)
            continue
        replicas = [_count_fewest(corpus, target) for target in _find_targets(corpus, budget)]
        if not replicas or None in replicas or not least:
            continue
        most_kept = max(number or 0 for number in replicas)
        if least.raw == "100%" or (least.number is not None and least.number >= most_kept > 0):
            what = f"minAvailable is {least.raw}, with {most_kept} replicas"
            yield Violation(place=least.place, what=what, subject=budget)


def _count_fewest(corpus: Corpus, manifest: Manifest) -> int | None:
    """Count the fewest replicas that are kept; None when a scaler outside of the files decides."""
    for scaler in corpus.list_kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler.tree["spec"]["scaleTargetRef"]
        if scaler.namespace == manifest.namespace and target["name"].raw in {manifest.name, *manifest.former_names}:
            return (scaler.tree["spec"]["minReplicas"].number or 1) if scaler.kind != "ScaledObject" else None
    return manifest.replicas


def _find_targets(corpus: Corpus, budget: Manifest) -> Iterator[Manifest]:
    wanted = {key: value.raw or "" for key, value in budget.tree.follow("spec", "selector", "matchLabels").items}
    for pod in corpus.find_labelled(wanted, budget.namespace):
        if pod.owner.kind in _SERVING:
            yield pod.owner


@checks("H07")
def check_default_queue(corpus: Corpus) -> Iterator[Violation]:
    """Look for LocalQueues called `default` where services run that name no queue."""
    for queue in _list_kueue(corpus, "LocalQueue"):
        taken = [
            manifest.name
            for kind in sorted(_ALWAYS_ON)
            for manifest in corpus.list_kind(kind)
            if manifest.namespace == queue.namespace and _read_queue(manifest) is None
        ]
        if queue.name == "default" and taken:
            what = f"Kueue gives {', '.join(map(repr, taken))} to a queue called 'default'"
            yield Violation(place=queue.tree["metadata"]["name"].place, what=what, subject=queue)
