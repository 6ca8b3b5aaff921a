"""Volumes that are on another node, that are not there, that are slow or full."""

from __future__ import annotations

from collections.abc import Iterator

from corral.diagnosis.case import (
    Case,
    find_line,
    get_phase,
    is_ready,
    list_statuses,
    show_event,
    show_field,
    show_log,
    show_scheduling,
)
from corral.diagnosis.matching import matches_node, matches_terms
from corral.diagnosis.objects import get_list, get_map, get_text
from corral.diagnosis.placing import list_pinned_hosts, name_workload
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Symptom
from corral.snapshot import ObjectKey
from corral.work import Json

_VOLUMES = ("Pod", "Node", "PersistentVolume", "PersistentVolumeClaim")
_SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})
_NFS_DRIVERS = ("nfs.csi.k8s.io",)


def _list_claims(case: Case, pod: Json) -> Iterator[tuple[str, Json | None]]:
    """List the claims of a pod by name, each with its object if there is one."""
    for volume in get_list(pod["spec"], "volumes"):
        name = get_map(volume, "persistentVolumeClaim").get("claimName")
        if name:
            yield name, case.snapshot.find("PersistentVolumeClaim", name, pod["metadata"]["namespace"])


def _find_volume(case: Case, claim: Json | None) -> Json | None:
    name = claim["spec"].get("volumeName") if claim else None
    return case.snapshot.find("PersistentVolume", name) if name else None


def _get_volume_terms(volume: Json | None) -> list[Json]:
    affinity = get_map(volume or {}, "spec", "nodeAffinity")
    return get_list(affinity, "required", "nodeSelectorTerms")


def _find_nfs(case: Case, pod: Json) -> tuple[Json, str] | None:
    """Find a volume of a pod that is on NFS: the object that says so, and the export; None without one."""
    for volume in get_list(pod["spec"], "volumes"):
        if volume.get("nfs"):
            return pod, f"{volume['nfs']['server']}:{volume['nfs']['path']}"
    for _, claim in _list_claims(case, pod):
        volume = _find_volume(case, claim)
        spec = get_map(volume or {}, "spec")
        if spec.get("nfs"):
            return volume, f"{spec['nfs']['server']}:{spec['nfs']['path']}"
        csi = get_map(spec, "csi")
        if csi.get("driver") in _NFS_DRIVERS:
            source = get_map(csi, "volumeAttributes")
            return volume, f"{source.get('server')}:{source.get('share')}"
    return None


@diagnoses(
    "E01",
    evidence="Pod: PodScheduled, host pins; PersistentVolume: spec.nodeAffinity of its claims",
    reads=_VOLUMES,
)
def find_pinned_volumes(case: Case) -> Iterator[Symptom]:
    """Look for pods that wait because their volume is on a node that their selectors do not allow."""
    for pod in case.pending:
        allowed = [node for node in case.nodes if matches_node(pod["spec"], node)]
        for name, claim in _list_claims(case, pod):
            volume = _find_volume(case, claim)
            terms = _get_volume_terms(volume)
            if claim is None or volume is None or not terms or not allowed:
                continue
            if any(matches_terms(terms, node) for node in allowed):
                continue
            places = [node["metadata"]["name"] for node in case.nodes if matches_terms(terms, node)]
            there = ", ".join(places) or "a node that is gone"
            wanted = ", ".join(list_pinned_hosts(pod["spec"])) or ", ".join(
                node["metadata"]["name"] for node in allowed
            )
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"its volume {name} is on {there}, and it runs on {wanted} alone",
                evidence=(
                    show_scheduling(pod),
                    show_field(volume, "spec.nodeAffinity", there),
                    show_field(pod, "spec.nodeSelector"),
                ),
                fix=f"give {name_workload(case.find_workload(pod))} a claim of its own on {wanted}, and copy the data; "
                "a local volume never moves",
            )


@diagnoses(
    "E02",
    evidence="PersistentVolumeClaim: accessModes; nodes and pins of the Pods that use it; event FailedAttachVolume",
    source="https://github.com/m88i/nexus-operator/issues/203",
    reads=_VOLUMES,
)
def find_claims_across_nodes(case: Case) -> Iterator[Symptom]:
    """Look for claims for one node that pods of several nodes use."""
    users: dict[ObjectKey, list[tuple[Json, str]]] = {}
    for pod in case.pods:
        place = pod["spec"].get("nodeName") or next(iter(list_pinned_hosts(pod["spec"])), None)
        for _, claim in _list_claims(case, pod) if place else ():
            if claim is not None and _SHARED.isdisjoint(get_list(claim["spec"], "accessModes")):
                users.setdefault(ObjectKey.read(claim), []).append((pod, str(place)))
    for key, uses in users.items():
        claim = case.snapshot.objects[key]
        places = list(dict.fromkeys(place for _, place in uses))
        if len(places) < 2 or all(is_ready(pod) for pod, _ in uses):
            continue
        events = [show_event(pod, event) for pod, _ in uses for event in case.list_events(pod, "FailedAttachVolume")]
        yield Symptom(
            subject=key,
            cause=f"one node can use it at a time, and pods on {' and '.join(places)} do",
            evidence=(
                show_field(claim, "spec.accessModes"),
                *(
                    show_field(pod, "spec.nodeName" if pod["spec"].get("nodeName") else "spec.nodeSelector", place)
                    for pod, place in uses[:4]
                ),
                *events[:1],
            ),
            fix="use a ReadWriteMany claim (NFS), or a claim for each node",
        )


@diagnoses(
    "E04",
    evidence="Pod: PodScheduled (claim not found); PersistentVolumeClaims of other namespaces with this name",
    reads=("Pod", "PersistentVolumeClaim"),
)
def find_claims_elsewhere(case: Case) -> Iterator[Symptom]:
    """Look for pods whose claim is in another namespace."""
    for pod, name, others in _list_missing_claims(case):
        if others:
            namespace, own = others[0]["metadata"]["namespace"], pod["metadata"]["namespace"]
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"its claim {name} is in the namespace {namespace!r}, and the pod is in {own!r}",
                evidence=(show_scheduling(pod), show_field(others[0], "metadata.namespace")),
                fix=f"create the claim {name} in {own}, or run the pod in {namespace}",
            )


@diagnoses(
    make_pitfall("K10", "claim-missing", "a claim for a volume that is not there"),
    evidence="Pod: PodScheduled (claim not found); names of PersistentVolumeClaims",
    reads=("Pod", "PersistentVolumeClaim"),
)
def find_missing_claims(case: Case) -> Iterator[Symptom]:
    """Look for pods whose claim no namespace has."""
    for pod, name, others in _list_missing_claims(case):
        if not others:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"its claim {name} does not exist",
                evidence=(show_scheduling(pod),),
                fix=f"create the PersistentVolumeClaim {name} in {pod['metadata']['namespace']}",
            )


def _list_missing_claims(case: Case) -> Iterator[tuple[Json, str, list[Json]]]:
    """List the pods whose claim is not there, with the claims of this name in other namespaces."""
    for pod in case.pending:
        for name, claim in _list_claims(case, pod):
            if claim is None:
                others = case.snapshot.list("PersistentVolumeClaim")
                yield pod, name, [entry for entry in others if entry["metadata"]["name"] == name]


@diagnoses(
    make_pitfall("K11", "volume-not-provisioned", "a claim that no volume is made for"),
    evidence="PersistentVolumeClaim: status.phase, spec.storageClassName, its events; StorageClasses",
    reads=("PersistentVolumeClaim", "StorageClass"),
)
def find_unprovisioned_claims(case: Case) -> Iterator[Symptom]:
    """Look for claims that wait for a storage class that is not there, or that have none."""
    classes = {entry["metadata"]["name"]: entry for entry in case.snapshot.list("StorageClass")}
    for claim in case.snapshot.list("PersistentVolumeClaim"):
        if get_map(claim, "status").get("phase") != "Pending":
            continue
        name = claim["spec"].get("storageClassName")
        events = case.list_events(claim, "ProvisioningFailed", "FailedBinding")
        if name in classes or (name is None and any(map(_is_default, classes.values()))):
            failed = [event for event in events if event["reason"] == "ProvisioningFailed"]
            if not failed:
                continue  # it waits for its first pod, or is being made
            cause = "its storage class does not make a volume for it"
            fix = f"look at the logs of its provisioner, {classes[name]['provisioner'] if name else 'the default one'}"
        elif name == "":
            cause = "it waits for a volume that exists already (its storageClassName is empty), and none fits"
            fix = "create the PersistentVolume that it is for, with the same size, access and name"
        elif name:
            cause = f"there is no StorageClass {name!r}, and no volume fits"
            fix = f"use a class of `kubectl get storageclass` ({', '.join(sorted(classes)) or 'there is none'})"
        else:
            cause = "it names no StorageClass, none is the default, and no volume fits"
            fix = "set `storageClassName` to a class of `kubectl get storageclass`, or create a volume for it"
        yield Symptom(
            subject=ObjectKey.read(claim),
            cause=cause,
            evidence=(
                show_field(claim, "status.phase"),
                show_field(claim, "spec.storageClassName", name if name != "" else '""'),
                *(show_event(claim, event) for event in events[-1:]),
            ),
            fix=fix,
        )


def _is_default(value: Json) -> bool:
    annotations = get_map(value["metadata"], "annotations")
    return annotations.get("storageclass.kubernetes.io/is-default-class") == "true"


@diagnoses(
    "E05",
    evidence="Pod: status.reason Evicted and its message; emptyDir volumes of its specification",
    source="https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/",
    is_recalled=True,
)
def find_evicted_caches(case: Case) -> Iterator[Symptom]:
    """Look for pods that were evicted because their emptyDir grew over its limit."""
    for pod in case.snapshot.list("Pod"):
        status = get_map(pod, "status")
        volumes = [volume["name"] for volume in get_list(pod["spec"], "volumes") if "emptyDir" in volume]
        message = get_text(status, "message")
        if status.get("reason") == "Evicted" and volumes and ("EmptyDir" in message or "ephemeral" in message):
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"it was evicted, since what it keeps in {', '.join(volumes)} grew over what the node allows",
                evidence=(
                    show_field(pod, "status.message"),
                    show_field(pod, "spec.volumes", f"emptyDir {', '.join(volumes)}"),
                ),
                fix=f"keep models of {name_workload(case.find_workload(pod))} on a PersistentVolumeClaim, or raise "
                "`sizeLimit`",
            )


@diagnoses(
    "E07",
    evidence="Pod: not ready, running; its volume on NFS (PersistentVolume: spec.nfs); event Unhealthy of a probe",
    reads=("Pod", "Event", "PersistentVolume", "PersistentVolumeClaim"),
    source="https://github.com/ollama/ollama/issues/5826",
)
def find_slow_loads(case: Case) -> Iterator[Symptom]:
    """Look for pods that run and do not get ready while they load from NFS."""
    for pod, event in case.list_pod_events("Unhealthy"):
        nfs = _find_nfs(case, pod)
        if nfs is None or is_ready(pod) or get_phase(pod) != "Running":
            continue
        owner, export = nfs
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=f"it is not ready yet and reads its files from NFS ({export}), where loading a model takes minutes",
            evidence=(show_event(pod, event), show_field(owner, "spec.nfs", export)),
            fix=f"keep the models of {name_workload(case.find_workload(pod))} on a local volume, or in an emptyDir "
            "that an init container fills; else give its startupProbe more time",
        )


@diagnoses(
    "E08",
    evidence="logs of init containers (chown: Operation not permitted); Pod: volumes on NFS",
    reads=("Pod", "PersistentVolume", "PersistentVolumeClaim"),
    source="https://github.com/kubernetes/kubernetes/issues/54601",
)
def find_refused_owners(case: Case) -> Iterator[Symptom]:
    """Look for chown that an NFS server refuses."""
    for pod, container, text in case.list_logs():
        line = next(
            (
                line
                for line in text.splitlines()
                if "chown" in line and ("not permitted" in line or "Permission denied" in line)
            ),
            None,
        )
        nfs = _find_nfs(case, pod) if line else None
        if line and nfs:
            owner, export = nfs
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"the NFS server ({export}) does not let root of this node change owners",
                evidence=(show_log(pod, container, line), show_field(owner, "spec.nfs", export)),
                fix="remove chown, and set the owner of the folder on the server; `no_root_squash` allows it to all",
            )


@diagnoses(
    "E09",
    evidence="logs and termination messages (no space left on device); PersistentVolumeClaims of the Pod",
    reads=("Pod", "PersistentVolumeClaim"),
    source="https://github.com/ollama/ollama/issues/15547",
)
def find_full_volumes(case: Case) -> Iterator[Symptom]:
    """Look for containers that cannot write, since a volume is full."""
    for pod, container, text in case.list_logs():
        line = find_line(text, "no space left on device", "No space left on device")
        if line is None:
            continue
        claims = [claim for _, claim in _list_claims(case, pod) if claim]
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause="its disk is full",
            evidence=(
                show_log(pod, container, line),
                *(show_field(claim, "spec.resources.requests.storage") for claim in claims),
            ),
            fix="remove models that are not used, or move them to a larger volume; local-path does not enforce sizes, "
            "so look at the disk of the node too",
        )


@diagnoses(
    make_pitfall("K12", "volume-not-mounted", "a volume that the node cannot mount"),
    evidence="event FailedMount (mount.nfs, missing Secrets and ConfigMaps, paths)",
    reads=("Pod", "Event"),
    source="https://github.com/kubernetes-sigs/nfs-subdir-external-provisioner/issues/188",
)
def find_failed_mounts(case: Case) -> Iterator[Symptom]:
    """Look for pods that wait because the kubelet cannot mount a volume."""
    for pod, event in case.list_pod_events("FailedMount"):
        if any(get_map(status, "state").get("running") for status in list_statuses(pod)):
            continue
        cause, fix = _judge_mount(get_text(event, "message"))
        nfs = _find_nfs(case, pod)
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=cause,
            evidence=(show_event(pod, event), *((show_field(nfs[0], "spec.nfs", nfs[1]),) if nfs else ())),
            fix=fix,
        )


_LOOK = "on the node: `showmount -e SERVER`"
_MOUNT_CAUSES = (
    ("helper program", "the node has no program that mounts NFS", "install nfs-common there"),
    ("access denied by server", "the NFS server does not export the path to this node", f"export it; {_LOOK}"),
    ("Connection refused", "the NFS server does not answer", f"start it: systemctl start nfs-server; {_LOOK}"),
    ("timed out", "the NFS server does not answer", f"open port 2049 of the server to the node; {_LOOK}"),
    ("No such file or directory", "the exported path does not exist", f"create it on the server; {_LOOK}"),
    ("secret", "a Secret that it mounts does not exist", "create the Secret that the event names"),
    ("configmap", "a ConfigMap that it mounts does not exist", "create the ConfigMap that the event names"),
)


def _judge_mount(message: str) -> tuple[str, str]:
    """Judge a message of FailedMount: the cause and the fix."""
    for words, cause, fix in _MOUNT_CAUSES:
        if words in message:
            return cause, fix
    return "the node cannot mount one of its volumes", "do what the event says"
