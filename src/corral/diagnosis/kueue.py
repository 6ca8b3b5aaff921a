"""Kueue: work outside of queues, quotas that are too small or not real, flavours that no node has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.diagnosis.case import (
    GPU,
    Case,
    count_gpus,
    count_node_gpus,
    find_condition,
    get_pod_spec,
    show_condition,
    show_field,
    show_scheduling,
    uses_gpu,
)
from corral.diagnosis.matching import parse_quantity
from corral.diagnosis.objects import get_labels, get_list, get_map, get_text
from corral.diagnosis.placing import Obstacle, judge_placing, list_holders, name_workload
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Symptom
from corral.snapshot import ObjectKey
from corral.work import Json

_QUEUE = "kueue.x-k8s.io/queue-name"
_GROUP = "kueue.x-k8s.io"
_OLD = f"{_GROUP}/v1beta1"
_KUEUE = ("Workload", "LocalQueue", "ClusterQueue")
_UNCOVERED = re.compile(r"resource (?P<name>\S+) unavailable in ClusterQueue")
_OVER = re.compile(
    r"insufficient quota for (?P<resource>\S+) in flavor (?P<flavor>[^,]+), .*maximum capacity", re.DOTALL
)


def _list_refused(case: Case) -> Iterator[tuple[Json, Json]]:
    """List the Workloads without a quota, each with the condition that has the reason."""
    for workload in case.snapshot.list("Workload"):
        condition = find_condition(workload, "QuotaReserved", "False")
        if condition is not None and not find_condition(workload, "Finished"):
            yield workload, condition


def _find_queue(case: Case, workload: Json) -> Json | None:
    """Find the ClusterQueue of a Workload; None when one of its queues is not there."""
    namespace, name = workload["metadata"]["namespace"], workload["spec"].get("queueName")
    local = case.snapshot.find("LocalQueue", name or "", namespace)
    return None if local is None else case.snapshot.find("ClusterQueue", local["spec"]["clusterQueue"])


def _list_quotas(queue: Json) -> Iterator[tuple[str, str, float]]:
    """List the quotas of a ClusterQueue: flavour, resource, amount."""
    for group in get_list(queue["spec"], "resourceGroups"):
        for flavor in group["flavors"]:
            for resource in flavor["resources"]:
                yield flavor["name"], resource["name"], parse_quantity(resource["nominalQuota"])


@diagnoses(
    "H01",
    evidence="Job: label kueue.x-k8s.io/queue-name, GPU limits; LocalQueues of its namespace",
    reads=("Job", "LocalQueue"),
)
def find_unqueued_jobs(case: Case) -> Iterator[Symptom]:
    """Look for jobs with GPUs that no queue counts, in a namespace that has a queue."""
    for job in case.snapshot.list("Job"):
        metadata = job["metadata"]
        queues = case.snapshot.list("LocalQueue", metadata["namespace"])
        ended = find_condition(job, "Complete") or find_condition(job, "Failed")
        if queues and not ended and uses_gpu(get_pod_spec(job)) and _QUEUE not in (get_map(metadata, "labels")):
            name = queues[0]["metadata"]["name"]
            yield Symptom(
                subject=ObjectKey.read(job),
                cause="it uses a GPU and is in no queue, so Kueue gives the same GPU to another",
                evidence=(
                    show_field(job, f"metadata.labels[{_QUEUE}]", "not set"),
                    show_field(job, f"limits[{GPU}]", str(count_gpus(get_pod_spec(job)))),
                    show_field(queues[0], "spec.clusterQueue"),
                ),
                fix=f"create it again with the label `{_QUEUE}: {name}`",
            )


@diagnoses("H02", evidence="Workload: QuotaReserved; ClusterQueue: coveredResources", reads=_KUEUE)
def find_uncovered_resources(case: Case) -> Iterator[Symptom]:
    """Look for work that asks for a resource which its queue does not have."""
    for workload, condition in _list_refused(case):
        named = _UNCOVERED.search(get_text(condition, "message"))
        queue = _find_queue(case, workload)
        if named and queue:
            covered = sorted({resource for _, resource, _ in _list_quotas(queue)})
            yield Symptom(
                subject=ObjectKey.read(workload),
                cause=f"its pods ask for {named['name']}, and the queue has {', '.join(covered)} alone",
                evidence=(
                    show_condition(workload, condition),
                    show_field(queue, "spec.resourceGroups.coveredResources", ", ".join(covered)),
                ),
                fix=f"add {named['name']} to `coveredResources` of the ClusterQueue {queue['metadata']['name']}, "
                "with a quota",
            )


@diagnoses(
    "H03",
    evidence="Workload: Admitted; Pod: PodScheduled; Pods outside of the queue that have the GPUs; nominalQuota",
    reads=("Pod", "Node", *_KUEUE),
)
def find_unreal_quotas(case: Case) -> Iterator[Symptom]:
    """Look for work that Kueue admitted and whose pods find no free GPU."""
    for pod, workload in _list_admitted(case):
        placing = judge_placing(case, pod)
        if placing.obstacle not in (Obstacle.GPUS_IN_USE, Obstacle.TOO_FEW_GPUS):
            continue
        holders = [
            holder
            for holder in list_holders(case, placing.nodes)
            if _QUEUE not in (get_labels(holder))
            and _QUEUE not in (get_map(case.find_workload(holder)["metadata"], "labels"))
        ]
        queue = _find_queue(case, workload)
        quota = sum(amount for _, resource, amount in _list_quotas(queue) if resource == GPU) if queue else 0
        has = sum(map(count_node_gpus, placing.nodes))
        if not holders and quota <= has:
            continue
        names = ", ".join(sorted({name_workload(case.find_workload(holder)) for holder in holders})[:3])
        cause = f"{names} has GPUs that the quota counts too" if holders else "the quota is more than the nodes have"
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=f"Kueue admitted it ({quota:g} GPUs in the quota), and no GPU is free: {cause}",
            evidence=(
                show_scheduling(pod),
                *((show_field(queue, f"spec.resourceGroups.nominalQuota[{GPU}]", f"{quota:g}"),) if queue else ()),
                *(show_field(holder, "spec.nodeName") for holder in holders[:3]),
            ),
            fix=f"lower the quota to the GPUs that are not always in use ({has - len(holders)}), or give the others "
            f"the label `{_QUEUE}` too",
        )


def _list_admitted(case: Case) -> Iterator[tuple[Json, Json]]:
    """List the pods that wait for the scheduler though Kueue admitted their work, with the Workload."""
    admitted = [entry for entry in case.snapshot.list("Workload") if find_condition(entry, "Admitted")]
    for pod in case.pending:
        owners = {owner["uid"] for owner in get_list(pod["metadata"], "ownerReferences")} | {pod["metadata"].get("uid")}
        for workload in admitted:
            if owners & {owner["uid"] for owner in get_list(workload["metadata"], "ownerReferences")}:
                yield pod, workload
                break


@diagnoses(
    "H04",
    evidence="Workload: Admitted; Pod: PodScheduled, spec.nodeSelector; ResourceFlavor: nodeLabels; labels of Nodes",
    reads=("Pod", "Node", "ResourceFlavor", *_KUEUE),
)
def find_unknown_flavors(case: Case) -> Iterator[Symptom]:
    """Look for admitted work whose flavour has labels that no node has."""
    for pod, workload in _list_admitted(case):
        for name in _list_flavors(workload):
            flavor = case.snapshot.find("ResourceFlavor", name)
            labels: dict[str, str] = get_map(flavor or {}, "spec", "nodeLabels")
            is_known = any(labels.items() <= (get_labels(node)).items() for node in case.nodes)
            if flavor is not None and labels and not is_known:
                yield Symptom(
                    subject=ObjectKey.read(pod),
                    cause=f"Kueue gave it the flavour {name}, and no node has that flavour's labels",
                    evidence=(show_field(flavor, "spec.nodeLabels"), show_scheduling(pod)),
                    fix="correct `nodeLabels` of the ResourceFlavor, or label the nodes: kubectl label node NAME "
                    + " ".join(f"{key}={value}" for key, value in labels.items()),
                )


def _list_flavors(workload: Json) -> set[str]:
    assignments: list[Json] = get_list(workload, "status", "admission", "podSetAssignments")
    return {name for assignment in assignments for name in get_map(assignment, "flavors").values()}


@diagnoses("H05", evidence="Workload: QuotaReserved (maximum capacity); ClusterQueue: nominalQuota", reads=_KUEUE)
def find_oversized_work(case: Case) -> Iterator[Symptom]:
    """Look for work that asks for more than its queue can ever give."""
    for workload, condition in _list_refused(case):
        named = _OVER.search(get_text(condition, "message"))
        queue = _find_queue(case, workload)
        if named is None or queue is None:
            continue
        resource = named["resource"]
        quota = sum(amount for _, name, amount in _list_quotas(queue) if name == resource)
        held = [
            entry
            for entry in case.workloads
            if resource == GPU
            and entry["kind"] in ("Deployment", "StatefulSet")
            and _QUEUE not in (get_labels(entry))
            and count_gpus(get_pod_spec(entry))
        ]
        always = f"; {name_workload(held[0])} always runs outside of it" if held and not quota else ""
        yield Symptom(
            subject=ObjectKey.read(workload),
            cause=f"it asks for more {resource} than the {quota:g} that its queue has{always}",
            evidence=(
                show_condition(workload, condition),
                show_field(queue, f"spec.resourceGroups.nominalQuota[{resource}]", f"{quota:g}"),
            ),
            fix="lower the parallelism of the job, or raise the quota of the ClusterQueue "
            f"{queue['metadata']['name']} to what the nodes have",
        )


@diagnoses("H06", evidence="metadata.managedFields of Kueue's objects (apiVersion)", reads=("ClusterQueue",))
def find_old_versions(case: Case) -> Iterator[Symptom]:
    """Look for objects of Kueue that are written in an old version of its API."""
    for value in case.snapshot.objects.values():
        if ObjectKey.read(value).kind.group != _GROUP:
            continue
        for entry in get_list(value["metadata"], "managedFields"):
            if entry.get("apiVersion") == _OLD and entry.get("subresource") != "status":
                yield Symptom(
                    subject=ObjectKey.read(value),
                    cause=f"{entry.get('manager')} writes it as {_OLD}, which is deprecated",
                    evidence=(show_field(value, f"metadata.managedFields[{entry.get('manager')}]", _OLD),),
                    fix=f"write `apiVersion: {_GROUP}/v1beta2` in its manifest",
                )
                break


@diagnoses(
    make_pitfall("K26", "queue-inactive", "a queue that admits nothing, while work waits in it"),
    evidence="Workload: QuotaReserved; LocalQueue and ClusterQueue: Active, spec.stopPolicy",
    reads=_KUEUE,
)
def find_inactive_queues(case: Case) -> Iterator[Symptom]:
    """Look for work whose queue is stopped, incomplete or not there."""
    for workload, condition in _list_refused(case):
        namespace, name = workload["metadata"]["namespace"], get_text(workload, "spec", "queueName")
        local = case.snapshot.find("LocalQueue", name, namespace)
        queue = _find_queue(case, workload)
        if local is None or queue is None:
            absent = (
                f"LocalQueue {namespace}/{name}" if local is None else f"ClusterQueue {local['spec']['clusterQueue']}"
            )
            yield Symptom(
                subject=ObjectKey.read(workload),
                cause=f"there is no {absent}",
                evidence=(show_condition(workload, condition), show_field(workload, "spec.queueName")),
                fix=f"create the {absent}, or correct the label `{_QUEUE}` of the job",
            )
            continue
        for value in (queue, local):
            inactive = find_condition(value, "Active", "False")
            if inactive is not None:
                yield Symptom(
                    subject=ObjectKey.read(workload),
                    cause=f"its {name_workload(value)} admits nothing: {inactive.get('message')}",
                    evidence=(
                        show_condition(value, inactive),
                        show_field(value, "spec.stopPolicy"),
                        show_condition(workload, condition),
                    ),
                    fix=f"set `stopPolicy: None` on {name_workload(value)}, or create what it names",
                )
                break


@diagnoses(
    make_pitfall("K29", "work-inadmissible", "work that Kueue cannot admit as it is written"),
    evidence="Workload: QuotaReserved (Inadmissible); its ClusterQueue; DeviceClasses and ResourceSlices for claims",
    reads=_KUEUE,
)
def find_inadmissible_work(case: Case) -> Iterator[Symptom]:
    """Look for work that Kueue refuses for another reason than its quota."""
    for workload, condition in _list_refused(case):
        message = get_text(condition, "message")
        queue = _find_queue(case, workload)
        if condition.get("reason") != "Inadmissible" or queue is None or find_condition(queue, "Active", "False"):
            continue
        if _UNCOVERED.search(message):
            continue
        if "insufficient matching devices" in message:
            cause = "no node offers a device that its claim selects"
            fix = "compare the claim's selectors with `kubectl get resourceslices -o yaml`: a DRA driver must run"
        else:
            cause, fix = "Kueue cannot admit it as it is written", "change what the message names"
        yield Symptom(
            subject=ObjectKey.read(workload), cause=cause, evidence=(show_condition(workload, condition),), fix=fix
        )
