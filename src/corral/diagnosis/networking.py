"""Services without pods, addresses of Services that are not there, load balancers, network policies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from corral.diagnosis.case import (
    Case,
    get_pod_spec,
    is_ready,
    list_containers,
    show_condition,
    show_field,
    show_scheduling,
)
from corral.diagnosis.matching import matches_labels
from corral.diagnosis.objects import get_labels, get_list, get_map, get_text
from corral.diagnosis.placing import name_workload
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Evidence, Symptom
from corral.snapshot import Kind, ObjectKey
from corral.work import Json

_URL = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?(?P<host>[A-Za-z0-9.-]+)(?::\d+)?(?:[/?#].*)?", re.DOTALL)
_SVCLB = "svccontroller.k3s.cattle.io/svcname"
"""The label of K3s' pods of a load balancer."""
_SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Distributions have Services there for programs that run outside of pods."""
_OF_REPLICAS = frozenset({"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"})
"""Labels that the controller of a StatefulSet gives to each pod."""
_NAME_LABEL = "kubernetes.io/metadata.name"
_WORKLOADS = ("Pod", "Deployment", "StatefulSet", "DaemonSet")


def _list_selecting(case: Case) -> Iterator[Json]:
    for service in case.snapshot.list("Service"):
        if service["spec"].get("selector") and service["spec"].get("type") != "ExternalName":
            yield service


def _list_selected(case: Case, service: Json, namespace: str | None) -> list[Json]:
    """List the pods that a Service's selector fits, in a namespace or in all."""
    selector: Mapping[str, str] = service["spec"]["selector"]
    return [
        pod
        for pod in case.pods
        if namespace in (None, pod["metadata"]["namespace"]) and selector.items() <= (get_labels(pod)).items()
    ]


def _has_workload(case: Case, service: Json) -> bool:
    """Return whether a workload of the namespace makes pods that the Service selects, also when it has none now."""
    selector = {key: value for key, value in service["spec"]["selector"].items() if key not in _OF_REPLICAS}
    return any(
        workload["metadata"]["namespace"] == service["metadata"]["namespace"]
        and selector.items() <= (get_map(workload["spec"], "template", "metadata", "labels")).items()
        for workload in case.workloads
    )


def _show_endpoints(case: Case, service: Json) -> tuple[Evidence, ...]:
    """Make evidence of the EndpointSlices of a Service."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    shown: list[Evidence] = []
    for entry in case.snapshot.list("EndpointSlice", namespace):
        if (get_labels(entry)).get("kubernetes.io/service-name") == name:
            endpoints: list[Json] = get_list(entry, "endpoints")
            ready = sum(bool(get_map(endpoint, "conditions").get("ready")) for endpoint in endpoints)
            shown.append(show_field(entry, "endpoints", f"{len(endpoints)}, {ready} of them ready"))
    return tuple(shown)


@diagnoses(
    "D01",
    evidence="Service: spec.selector; labels of Pods here and in other namespaces; EndpointSlice: endpoints",
    reads=("Service", *_WORKLOADS),
)
def find_empty_services(case: Case) -> Iterator[Symptom]:
    """Look for Services whose selector fits no pod of their namespace."""
    for service in _list_selecting(case):
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        if namespace in _SYSTEM or _list_selected(case, service, namespace) or _has_workload(case, service):
            continue
        others = _list_selected(case, service, None)
        if others:
            other = others[0]["metadata"]
            cause = f"its pods are in the namespace {other['namespace']!r}; a Service reaches those of its own alone"
            fix = f"create the Service {name} in {other['namespace']}: kubectl -n {namespace} delete service {name}"
            shown = (show_field(others[0], "metadata.labels"),)
        else:
            cause = "no pod has the labels that it selects"
            fix = f"compare its selector with `kubectl -n {namespace} get pods --show-labels`, or delete it"
            shown = ()
        selector = show_field(service, "spec.selector")
        yield Symptom(
            subject=ObjectKey.read(service),
            cause=cause,
            evidence=(selector, *_show_endpoints(case, service), *shown),
            fix=fix,
        )


@diagnoses(
    make_pitfall("K06", "service-without-ready-pods", "a Service none of whose pods is ready"),
    evidence="Service: spec.selector; EndpointSlice: endpoints; Pod: Ready, PodScheduled, container statuses",
    reads=("Service", "Pod"),
)
def find_unready_services(case: Case) -> Iterator[Symptom]:
    """Look for Services that have pods of which none is ready: their callers are refused."""
    for service in _list_selecting(case):
        namespace = service["metadata"]["namespace"]
        pods = _list_selected(case, service, namespace)
        if not pods or service["spec"].get("publishNotReadyAddresses") or any(map(is_ready, pods)):
            continue
        whose = "its pod is not" if len(pods) == 1 else f"none of its {len(pods)} pods is"
        yield Symptom(
            subject=ObjectKey.read(service),
            cause=f"{whose} ready, so a connection to it is refused",
            evidence=(*_show_endpoints(case, service), *(_show_unready(pod) for pod in pods[:3])),
            fix=f"repair the pods: kubectl -n {namespace} describe pod {pods[0]['metadata']['name']}",
        )


def _show_unready(pod: Json) -> Evidence:
    conditions: list[Json] = get_list(pod, "status", "conditions")
    for type in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
        for condition in conditions:
            if condition["type"] == type and condition["status"] == "False":
                return show_condition(pod, condition)
    return show_field(pod, "status.phase")


@diagnoses(
    make_pitfall("K07", "service-port-name-unknown", "a Service whose target port is a name that no pod has"),
    evidence="Service: spec.ports[].targetPort; Pod: names of container ports",
    reads=("Service", "Pod"),
)
def find_unknown_ports(case: Case) -> Iterator[Symptom]:
    """Look for Services that lead to a named port which their pods do not have."""
    for service in _list_selecting(case):
        pods = _list_selected(case, service, service["metadata"]["namespace"])
        names = {
            get_text(port, "name")
            for pod in pods
            for container in list_containers(pod["spec"])
            for port in get_list(container, "ports")
        }
        for port in get_list(service["spec"], "ports"):
            target = port.get("targetPort")
            if pods and isinstance(target, str) and target not in names:
                yield Symptom(
                    subject=ObjectKey.read(service),
                    cause=f"its target port {target!r} is not the name of a port of its pods",
                    evidence=(
                        show_field(service, "spec.ports.targetPort", target),
                        show_field(
                            pods[0], "spec.containers.ports", ", ".join(sorted(names - {""})) or "none has a name"
                        ),
                        *_show_endpoints(case, service),
                    ),
                    fix="set `targetPort` to the number of the port, or give the container's port this name",
                )


@diagnoses(
    "D05",
    evidence="variables of containers and of their ConfigMaps that are addresses; names of Services",
    reads=("Service", "ConfigMap", *_WORKLOADS),
)
def find_dangling_addresses(case: Case) -> Iterator[Symptom]:
    """Look for addresses of Services that are not there, and that no layout of the cluster file has."""
    for symptom, name in _list_dangling(case):
        if _find_layout(case, name) is None:
            yield symptom


@diagnoses(
    "D06",
    evidence="as D05; names that the layouts of the cluster file give to services",
    reads=("Service", "ConfigMap", *_WORKLOADS),
)
def find_addresses_of_other_layouts(case: Case) -> Iterator[Symptom]:
    """Look for addresses of Services that only another layout of the cluster file has."""
    for symptom, name in _list_dangling(case):
        layout = _find_layout(case, name)
        if layout is not None:
            yield Symptom(
                subject=symptom.subject,
                cause=f"{symptom.cause}: it is a service of the layout {layout!r}, which is not deployed",
                evidence=symptom.evidence,
                fix=f"render and apply the layout that is active again; this setting is of {layout!r}",
            )


def _find_layout(case: Case, name: str) -> str | None:
    """Find the layout of the cluster file that has a service of this name; None without one."""
    for layout in case.cluster.layouts.values() if case.cluster else ():
        for service, placement in layout.services.items():
            if name in (service, placement.name):
                return layout.name
    return None


def _list_dangling(case: Case) -> Iterator[tuple[Symptom, str]]:
    """List the addresses that lead to no Service, with the name of the Service."""
    services = {(entry["metadata"]["namespace"], entry["metadata"]["name"]) for entry in case.snapshot.list("Service")}
    namespaces = {entry["metadata"]["name"] for entry in case.snapshot.list("Namespace")}
    bare = [pod for pod in case.pods if not pod["metadata"].get("ownerReferences")]
    for workload in (*case.workloads, *bare):
        spec = get_pod_spec(workload)
        aliases = {name for entry in get_list(spec, "hostAliases") for name in get_list(entry, "hostnames")}
        for variable, value, holder in _list_variables(case, workload):
            match = _URL.fullmatch(value.strip())
            target = _split_host(match["host"], workload["metadata"]["namespace"], namespaces) if match else None
            if target is None or target in services or target[1] in aliases:
                continue
            namespace, name = target
            yield (
                Symptom(
                    subject=ObjectKey.read(workload),
                    cause=f"{variable} leads to the Service {namespace}/{name}, which does not exist",
                    evidence=(
                        Evidence(object=holder[0], place=holder[1], value=value),
                        Evidence(
                            object=ObjectKey(Kind("", "Service"), namespace, name), place="object", value="not there"
                        ),
                    ),
                    fix=f"set {variable} to a Service of `kubectl -n {namespace} get services`, and restart "
                    f"{name_workload(workload)}",
                ),
                name,
            )


def _list_variables(case: Case, workload: Json) -> Iterator[tuple[str, str, tuple[ObjectKey, str]]]:
    """List the variables of a workload's containers: name, value, and the object and field that have it."""
    namespace = workload["metadata"]["namespace"]
    for container in list_containers(get_pod_spec(workload)):
        for entry in get_list(container, "env"):
            reference = get_map(entry, "valueFrom").get("configMapKeyRef")
            if entry.get("value"):
                place = f"containers[{container['name']}].env[{entry['name']}]"
                yield entry["name"], entry["value"], (ObjectKey.read(workload), place)
            elif reference:
                yield from _read_config_map(case, namespace, reference["name"], reference["key"])
        for entry in get_list(container, "envFrom"):
            if entry.get("configMapRef"):
                yield from _read_config_map(case, namespace, entry["configMapRef"]["name"], None)


def _read_config_map(
    case: Case, namespace: str, name: str, key: str | None
) -> Iterator[tuple[str, str, tuple[ObjectKey, str]]]:
    value = case.snapshot.find("ConfigMap", name, namespace)
    for entry, text in (get_map(value or {}, "data")).items():
        if key in (None, entry):
            yield entry, text, (ObjectKey.read(value), f"data[{entry}]")


def _split_host(host: str, namespace: str, namespaces: set[str]) -> tuple[str, str] | None:
    """Split a host name into the namespace and the name of the Service that it means; None for hosts elsewhere."""
    parts = host.removesuffix(".").split(".")
    if parts[0] == "localhost" or parts[0].isdigit():
        return None
    if len(parts) == 1:
        return namespace, parts[0]
    if parts[2:] in (["svc"], ["svc", "cluster", "local"]) or (len(parts) == 2 and parts[1] in namespaces):
        return parts[1], parts[0]
    return None


@diagnoses(
    "D07",
    evidence="Pod svclb-*: PodScheduled (free ports); Services of type LoadBalancer with this port",
    reads=("Pod", "Service"),
)
def find_port_clashes(case: Case) -> Iterator[Symptom]:
    """Look for pods of K3s' load balancer that wait for a port that another one has."""
    balancers = [service for service in case.snapshot.list("Service") if service["spec"].get("type") == "LoadBalancer"]
    for pod in case.pending:
        name = (get_labels(pod)).get(_SVCLB)
        if name is None or "free ports" not in show_scheduling(pod).value:
            continue
        wanted = {
            int(port.get("hostPort") or 0)
            for container in pod["spec"]["containers"]
            for port in get_list(container, "ports")
        }
        others = [
            service
            for service in balancers
            if service["metadata"]["name"] != name
            and wanted & {port["port"] for port in get_list(service["spec"], "ports")}
        ]
        ports = ", ".join(map(str, sorted(wanted - {0})))
        holder = f", which the Service {others[0]['metadata']['name']} has" if others else ""
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=f"the load balancer of {name} waits for port {ports} of a node{holder}",
            evidence=(show_scheduling(pod), *(show_field(service, "spec.ports") for service in others)),
            fix="give one of the Services another port, or make it a ClusterIP behind an Ingress",
        )


@diagnoses(
    "D08",
    evidence="DaemonSets of K3s' load balancer (label svccontroller.k3s.cattle.io/svcname) and of MetalLB",
    reads=("DaemonSet",),
)
def find_two_balancers(case: Case) -> Iterator[Symptom]:
    """Look for K3s' load balancer next to MetalLB."""
    own = next((entry for entry in case.snapshot.list("DaemonSet") if _has_label(entry, _SVCLB)), None)
    metallb = next((entry for entry in case.snapshot.list("DaemonSet") if _is_metallb(entry)), None)
    if own is not None and metallb is not None:
        yield Symptom(
            subject=ObjectKey.read(metallb),
            cause="K3s' load balancer and MetalLB both serve the Services of type LoadBalancer",
            evidence=(
                show_field(own, f"metadata.labels[{_SVCLB}]", own["metadata"]["labels"][_SVCLB]),
                show_field(metallb, "metadata.labels"),
            ),
            fix="start K3s with `--disable=servicelb`, or remove MetalLB",
        )


def _has_label(value: Json, label: str) -> bool:
    return label in (get_labels(value))


def _is_metallb(value: Json) -> bool:
    labels: Mapping[str, str] = get_labels(value)
    return "metallb" in (labels.get("app"), labels.get("app.kubernetes.io/name"))


@diagnoses(
    "D10",
    evidence="NetworkPolicy: namespaceSelector of its peers; labels of Namespaces",
    reads=("NetworkPolicy", "Namespace"),
)
def find_unmatched_namespaces(case: Case) -> Iterator[Symptom]:
    """Look for network policies that allow a namespace by labels that no namespace has."""
    labels = [get_labels(entry) for entry in case.snapshot.list("Namespace")]
    for policy in case.snapshot.list("NetworkPolicy") if labels else ():
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in get_list(policy["spec"], direction):
                for peer in get_list(rule, peers):
                    selector = peer.get("namespaceSelector")
                    if not selector or list(get_map(selector, "matchLabels")) == [_NAME_LABEL]:
                        continue  # every namespace has this label, also one that is created later
                    if not any(matches_labels(selector, entry) for entry in labels):
                        wanted = next(iter(get_map(selector, "matchLabels").values()), "NAME")
                        yield Symptom(
                            subject=ObjectKey.read(policy),
                            cause="it allows traffic by labels that no namespace has, so it allows none",
                            evidence=(show_field(policy, f"spec.{direction}.{peers}.namespaceSelector", selector),),
                            fix=f"select `{_NAME_LABEL}: {wanted}`, which every namespace has",
                        )


@diagnoses(
    make_pitfall("K08", "name-not-resolved", "a host name that a container cannot resolve"),
    evidence="logs of containers that are not ready or were restarted",
    reads=("Pod",),
    source="https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",
    is_recalled=True,
)
def find_unresolved_names(case: Case) -> Iterator[Symptom]:
    """Look for containers whose log says that a name cannot be resolved."""
    words = ("Name or service not known", "Temporary failure in name resolution", "no such host", "host not found in")
    for pod, container, text in case.list_logs():
        line = next((line for line in reversed(text.splitlines()) if any(word in line for word in words)), None)
        if line is not None:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause="it cannot resolve a host name",
                evidence=(Evidence(object=ObjectKey.read(pod), place=f"log of {container.name}", value=line.strip()),),
                fix=f"compare the name with `kubectl -n {container.namespace} get services`; if it is there, look at "
                "`kubectl -n kube-system logs -l k8s-app=kube-dns`",
            )
