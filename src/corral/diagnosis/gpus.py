"""GPUs that containers do not get: runtimes, drivers, several models in one node, GPUs that are lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.diagnosis.case import (
    GPU,
    Case,
    count_gpus,
    count_node_gpus,
    find_line,
    get_pod_spec,
    show_answer,
    show_event,
    show_field,
    show_log,
    uses_gpu,
)
from corral.diagnosis.matching import matches_node
from corral.diagnosis.objects import get_labels, get_list, get_map, get_text
from corral.diagnosis.placing import name_workload
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Evidence, Symptom
from corral.linting.values import Severity
from corral.snapshot import ObjectKey
from corral.work import Json

_DRIVER = "gpu.nvidia.com"
_GFD_PRODUCT, _GFD_MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory"
_NO_NVML = (
    "could not load NVML library",
    "libnvidia-ml.so.1: cannot open shared object file",
    "Failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND",
)
_LOST = ("Failed to initialize NVML: Unknown Error", "Failed to initialize NVML: Insufficient Permissions")


def _list_models(case: Case, node: Json) -> tuple[list[str], Evidence | None]:
    """List the models of a node's GPUs, as its ResourceSlices or the cluster file have them, with the evidence."""
    name = node["metadata"]["name"]
    for entry in case.snapshot.list("ResourceSlice"):
        if entry["spec"].get("driver") == _DRIVER and entry["spec"].get("nodeName") == name:
            devices: list[Json] = get_list(entry["spec"], "devices")
            names = [get_map(device, "attributes", "productName").get("string") for device in devices]
            models = [model for model in names if model]
            if models:
                return models, show_field(entry, "spec.devices.productName", ", ".join(models))
    machine = next((entry for entry in case.cluster.nodes if entry.name == name), None) if case.cluster else None
    models = [gpu.model for gpu in (machine.gpus if machine and machine.gpus else ()) if gpu.model]
    return models, show_field(node, "GPUs in the cluster file", ", ".join(models)) if models else None


def _is_mixed(models: list[str]) -> bool:
    return len(set(models)) > 1


@diagnoses(
    "A11",
    evidence="Pod: a plain nvidia.com/gpu limit; Node: GPUs of several models (ResourceSlice, or the cluster file)",
    reads=("Pod", "Node"),
)
def find_unspecific_requests(case: Case) -> Iterator[Symptom]:
    """Look for pods that ask for any GPU of a node that has several models."""
    for node in case.nodes:
        models, shown = _list_models(case, node)
        if shown is None or not _is_mixed(models) or not count_node_gpus(node):
            continue
        for workload in (*case.workloads, *(pod for pod in case.pods if not pod["metadata"].get("ownerReferences"))):
            spec = get_pod_spec(workload)
            if 0 < count_gpus(spec) < len(models) and matches_node(spec, node):
                yield Symptom(
                    subject=ObjectKey.read(workload),
                    cause=f"it asks for any {count_gpus(spec)} of the GPUs of {node['metadata']['name']}, which are "
                    f"of different models: {', '.join(models)}",
                    evidence=(shown, show_field(workload, f"limits[{GPU}]", str(count_gpus(spec)))),
                    fix="claim the model with DRA (`corral render` writes the claim), or plan for the smaller GPU",
                )


@diagnoses(
    "A12",
    evidence="Node: label nvidia.com/gpu.product where it has several models; selectors on it",
    reads=("Node", "Deployment", "StatefulSet"),
)
def find_labels_of_mixed_nodes(case: Case) -> Iterator[Symptom]:
    """Look for selectors on a label of GPU feature discovery that a node of several models has."""
    for node in case.nodes:
        models, shown = _list_models(case, node)
        labels = get_labels(node)
        if shown is None or not _is_mixed(models):
            continue
        for workload in case.workloads:
            selector = get_map(get_pod_spec(workload), "nodeSelector")
            for key in (_GFD_PRODUCT, _GFD_MEMORY):
                if key in selector and key in labels:
                    yield Symptom(
                        subject=ObjectKey.read(workload),
                        cause=f"it selects {key}, which names one of the {len(set(models))} models of "
                        f"{node['metadata']['name']}, and can name the other after a restart",
                        evidence=(show_field(node, f"metadata.labels[{key}]", labels[key]), shown),
                        fix="select a label that you set yourself, or claim the model with DRA",
                    )


@diagnoses(
    "A16",
    evidence="logs of Pods of the device plugin, dcgm-exporter and of GPU Pods (NVML is missing); runtimeClassName",
    source="https://github.com/NVIDIA/k8s-device-plugin/issues/1371",
)
def find_default_runtimes(case: Case) -> Iterator[Symptom]:
    """Look for pods that do not see the driver, since they run with the node's usual runtime."""
    for pod, container, text in case.list_logs():
        line = find_line(text, *_NO_NVML)
        if line is not None and not pod["spec"].get("runtimeClassName"):
            workload = case.find_workload(pod)
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause="it does not see NVIDIA's driver: it runs with the default runtime of its node",
                evidence=(show_log(pod, container, line), show_field(pod, "spec.runtimeClassName")),
                fix=f"add `runtimeClassName: nvidia` to {name_workload(workload)}, or start K3s with "
                "`--default-runtime=nvidia`",
            )


@diagnoses(
    "F07",
    evidence="logs as A16, in a Pod that has runtimeClassName; event FailedCreatePodSandBox (executable not found)",
    reads=("Pod", "Event"),
    source="https://github.com/NixOS/nixpkgs/issues/288037",
)
def find_missing_runtimes(case: Case) -> Iterator[Symptom]:
    """Look for nodes whose NVIDIA runtime does not find its program or the driver."""
    for pod, container, text in case.list_logs():
        line = find_line(text, *_NO_NVML)
        if line is not None and pod["spec"].get("runtimeClassName"):
            yield _report_runtime(pod, show_log(pod, container, line))
    for pod, event in case.list_pod_events("FailedCreatePodSandBox", "Failed"):
        message = get_text(event, "message")
        if "nvidia-container" in message and ("no such file" in message or "not found" in message):
            yield _report_runtime(pod, show_event(pod, event))


def _report_runtime(pod: Json, shown: Evidence) -> Symptom:
    node = pod["spec"].get("nodeName") or "its node"
    return Symptom(
        subject=ObjectKey.read(pod),
        cause=f"the NVIDIA runtime of {node} does not find its program or the driver",
        evidence=(shown, show_field(pod, "spec.runtimeClassName")),
        fix=f"on {node}: `nvidia-ctk --version`, then restart K3s; on NixOS put nvidia-container-toolkit on the "
        "path of the unit (`systemd.services.k3s.path`)",
    )


@diagnoses(
    "A17",
    evidence="event FailedCreate of ReplicaSets, StatefulSets, DaemonSets, Jobs; names of RuntimeClasses",
    reads=("Event",),
)
def find_missing_classes(case: Case) -> Iterator[Symptom]:
    """Look for workloads whose pods are refused, since their runtime class is not there."""
    for value, event in case.list_refused():
        named = re.search(r'RuntimeClass "(?P<name>[^"]+)" not found', get_text(event, "message"))
        if named and case.snapshot.find("RuntimeClass", named["name"]) is None:
            workload = case.find_workload(value)
            yield Symptom(
                subject=ObjectKey.read(workload),
                cause=f"it has no pods: there is no RuntimeClass {named['name']!r}",
                evidence=(show_event(value, event),),
                fix=f"kubectl create -f - <<< '{{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: "
                f"{{name: {named['name']}}}, handler: {named['name']}}}'",
            )


@diagnoses(
    "A18",
    evidence="event FailedCreatePodSandBox (no runtime is configured); RuntimeClass: handler",
    reads=("Pod", "Event"),
    source="https://github.com/NVIDIA/gpu-operator/issues/730",
)
def find_missing_handlers(case: Case) -> Iterator[Symptom]:
    """Look for pods whose node does not have the handler of their runtime class."""
    for pod, event in case.list_pod_events("FailedCreatePodSandBox"):
        named = re.search(r'no runtime for \\?"(?P<handler>[^"\\]+)\\?" is configured', get_text(event, "message"))
        if named is None:
            continue
        node = pod["spec"].get("nodeName") or "NODE"
        name = get_text(pod, "spec", "runtimeClassName")
        value = case.snapshot.find("RuntimeClass", name)
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=f"containerd of {node} has no runtime {named['handler']!r}",
            evidence=(show_event(pod, event), *((show_field(value, "handler"),) if value else ())),
            fix=f"install nvidia-container-toolkit on {node}, and restart K3s there: it looks for runtimes at start",
        )


@diagnoses(
    "F10",
    evidence="event Failed (unresolvable CDI devices)",
    reads=("Pod", "Event"),
    source="https://github.com/NVIDIA/nvidia-container-toolkit/issues/1239",
)
def find_unresolved_devices(case: Case) -> Iterator[Symptom]:
    """Look for containers whose GPU has another name in the CDI files of the node."""
    for pod, event in case.list_pod_events("Failed", "FailedCreatePodContainer"):
        named = re.search(r"unresolvable CDI devices (?P<names>\S+)", get_text(event, "message"))
        if named:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"the node has no CDI device {named['names']}: the device plugin names GPUs in another way",
                evidence=(show_event(pod, event),),
                fix='on NixOS set `hardware.nvidia-container-toolkit.device-name-strategy = "uuid"`; elsewhere '
                "`nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml`",
            )


@diagnoses(
    "A32",
    evidence="Node: status.allocatable[nvidia.com/gpu]; ResourceSlices of gpu.nvidia.com for the same node",
    reads=("Node", "ResourceSlice"),
)
def find_two_offers(case: Case) -> Iterator[Symptom]:
    """Look for nodes whose GPUs are offered by the device plugin and by the DRA driver."""
    for node in case.nodes:
        for entry in case.snapshot.list("ResourceSlice"):
            spec = entry["spec"]
            is_here = spec.get("driver") == _DRIVER and spec.get("nodeName") == node["metadata"]["name"]
            if is_here and spec.get("devices") and count_node_gpus(node):
                yield Symptom(
                    subject=ObjectKey.read(node),
                    cause="its GPUs are offered twice, by the device plugin and the DRA driver: two pods can get one",
                    evidence=(
                        show_field(node, f"status.allocatable[{GPU}]", str(count_node_gpus(node))),
                        show_field(entry, "spec.devices", f"{len(spec['devices'])} devices of {_DRIVER}"),
                    ),
                    fix="remove the device plugin's DaemonSet, or switch the GPUs of the DRA driver off",
                )
                break


@diagnoses(
    "A37",
    evidence="Pod: status.reason UnexpectedAdmissionError and its message; Node: label nvidia.com/gpu.replicas",
    source="https://github.com/NVIDIA/k8s-device-plugin#shared-access-to-gpus",
)
def find_several_shares(case: Case) -> Iterator[Symptom]:
    """Look for pods that a kubelet refused since they ask for several shares."""
    for pod in case.snapshot.list("Pod"):
        status = get_map(pod, "status")
        message = get_text(status, "message")
        if status.get("reason") == "UnexpectedAdmissionError" and count_gpus(pod["spec"]) > 1 and "shared" in message:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"it asks for {count_gpus(pod['spec'])} shares of GPUs that are time-sliced, and one is allowed",
                evidence=(
                    show_field(pod, "status.message"),
                    show_field(pod, f"limits[{GPU}]", str(count_gpus(pod["spec"]))),
                ),
                fix=f"ask for one `{GPU}`: more shares give no more time or memory",
            )


@diagnoses(
    make_pitfall("K18", "gpu-lost-in-container", "a container that lost its GPU while it runs"),
    evidence="`nvidia-smi -L` in running containers that have a GPU",
    source="https://github.com/NVIDIA/nvidia-container-toolkit/issues/48",
)
def find_lost_gpus(case: Case) -> Iterator[Symptom]:
    """Look for containers whose GPU is gone since systemd was reloaded: `nixos-rebuild switch` does."""
    for container, printed in case.answers.gpus.items():
        pod = case.snapshot.find("Pod", container.pod, container.namespace)
        line = find_line(printed.text, *_LOST)
        if pod is None or line is None:
            continue
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=f"{container.name} lost its GPU: systemd was reloaded on its node, which takes devices away that the "
            "runtime added by itself",
            evidence=(
                Evidence(object=ObjectKey.read(pod), place=f"nvidia-smi in {container.name}", value=line.strip()),
            ),
            fix=f"kubectl -n {container.namespace} delete pod {container.pod}; for good: give GPUs by CDI",
        )


@diagnoses(
    make_pitfall("K19", "gpu-unhealthy", "a GPU that the node does not offer any more"),
    evidence="Node: capacity and allocatable of nvidia.com/gpu; ResourceSlice: device taints; device plugin's logs",
    reads=("Node",),
    source="https://github.com/NVIDIA/k8s-device-plugin/issues/189",
)
def find_unhealthy_gpus(case: Case) -> Iterator[Symptom]:
    """Look for GPUs that the device plugin or the DRA driver marked unhealthy: they stay so until it is restarted."""
    for node in case.nodes:
        has, offers = count_node_gpus(node, "capacity"), count_node_gpus(node)
        if offers < has:
            name = node["metadata"]["name"]
            yield Symptom(
                subject=ObjectKey.read(node),
                cause=f"{has - offers} of its {has} GPUs are unhealthy",
                evidence=(
                    show_field(node, f"status.capacity[{GPU}]", str(has)),
                    show_field(node, f"status.allocatable[{GPU}]", str(offers)),
                    *_show_faults(case, name),
                ),
                fix=f"on {name}: `sudo dmesg | grep Xid`; if the GPU answers again, restart the device plugin's pod "
                "there: it never marks a GPU healthy by itself",
            )
    for entry in case.snapshot.list("ResourceSlice"):
        for device in get_list(entry["spec"], "devices"):
            for taint in get_list(device, "taints"):
                yield Symptom(
                    subject=ObjectKey.read(entry),
                    cause=f"the device {device['name']} of {entry['spec'].get('nodeName')} is tainted ({taint['key']})",
                    evidence=(
                        show_field(
                            entry,
                            f"spec.devices[{device['name']}].taints",
                            f"{taint['key']}={taint.get('value', '')}:{taint['effect']}",
                        ),
                    ),
                    fix=f"on {entry['spec'].get('nodeName')}: `sudo dmesg | grep Xid`, then restart the driver",
                )


def _show_faults(case: Case, node: str) -> Iterator[Evidence]:
    for pod, container, text in case.list_logs():
        line = find_line(text, "XidCriticalError", "marking device as unhealthy", "marked unhealthy")
        if line is not None and pod["spec"].get("nodeName") == node:
            yield show_log(pod, container, line)


@diagnoses(
    make_pitfall("K20", "gpu-not-visible", "a container that has a GPU and does not see it", Severity.ERROR),
    evidence="`nvidia-smi -L` in running containers that have a GPU",
    source="https://github.com/NVIDIA/k8s-device-plugin/issues/406",
)
def find_invisible_gpus(case: Case) -> Iterator[Symptom]:
    """Look for containers in which nvidia-smi runs and lists no GPU."""
    for container, printed in case.answers.gpus.items():
        pod = case.snapshot.find("Pod", container.pod, container.namespace)
        if pod is None or not uses_gpu(pod["spec"]) or find_line(printed.text, *_LOST) or printed.is_unstarted:
            continue
        if printed.exit_code or "GPU 0" not in printed.text:
            lines = [line for line in printed.text.splitlines() if line.strip()] or ["no GPU is listed"]
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"{container.name} has a GPU, and nvidia-smi does not list it",
                evidence=(show_answer(pod, container, lines[-1]),),
                fix=f"run `nvidia-smi` on {pod['spec'].get('nodeName')}; if it lists the GPU there, delete the pod",
            )
