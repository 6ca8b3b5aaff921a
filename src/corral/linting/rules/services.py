"""Services: their selections, the ports that load balancers bind, and addresses without a Service."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from corral.linting.corpus import Corpus
from corral.linting.manifests import Manifest, Pod
from corral.linting.registry import Violation, checks
from corral.linting.rules.compose_network import find_misspelled_hosts, find_open_ports
from corral.linting.rules.k3s import is_k3s
from corral.linting.selection import Selection
from corral.linting.tree import Tree
from corral.linting.values import Position, Severity

_STATEFUL_IMAGES = re.compile(r"comfyui", re.IGNORECASE)
_OLLAMA = re.compile(r"(?:^|/)ollama(?:[:@]|$)", re.IGNORECASE)
_UNAUTHENTICATED = re.compile(r"(?:comfyui|/ollama[:@]|^ollama)", re.IGNORECASE)
_PROXY = re.compile(r"proxy|nginx|caddy|envoy|traefik|authelia", re.IGNORECASE)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_OPEN_TYPES = frozenset({"LoadBalancer", "NodePort"})


def _read_selector(service: Manifest) -> dict[str, str]:
    return {key: value.raw or "" for key, value in service.tree.follow("spec", "selector").items}


def _count_replicas(behind: Selection, pods: Sequence[Pod], program: re.Pattern[str]) -> int:
    """Count the pods that run a program, once for all Services that select the same."""
    if program.pattern not in behind.replicas_by_program:
        behind.replicas_by_program[program.pattern] = sum(
            pod.owner.replicas for pod in pods if _has_image(pod, program)
        )
    return behind.replicas_by_program[program.pattern]


@checks("D01")
def check_empty_selection(corpus: Corpus) -> Iterator[Violation]:
    """Look for Services that select nothing in their namespace, and something in another or almost something here.

    A Service without pods is not a fault by itself: its pods can be in files that were not given.
    """
    for service in corpus.list_kind("Service"):
        is_known = _NAMESPACE.fullmatch(service.namespace) is not None  # anything else is a placeholder
        behind = corpus.find_selection(service)
        elsewhere = behind.intended_pods if is_known and not behind.pods else []
        if elsewhere and not _has_own_service(corpus, elsewhere[0]):
            place = (
                service.tree["metadata"]["namespace"] or service.tree["metadata"]["name"] or service.tree["kind"]
            ).place
            what = f"is in {service.namespace!r}, its pods are in {elsewhere[0].owner.namespace!r}"
            yield Violation(place=place, what=what, subject=service)
        elif is_known and not behind.intended_pods and (key := _find_missed_label(corpus, service)) is not None:
            wanted = service.tree["spec"]["selector"][key]
            what = f"selects {key}={wanted.raw}, and the pods of that name have another {key}"
            yield Violation(place=wanted.place, what=what, subject=service)


def _find_missed_label(corpus: Corpus, service: Manifest) -> str | None:
    """The label by which a Service misses the pods of the workload that has its name, and all keys it asks for."""
    selector = _read_selector(service)
    workloads = [corpus.find_named(kind, service.namespace, service.name) for kind in _WORKLOADS]
    for pod in [workload.pod for workload in workloads if workload is not None and workload.pod is not None]:
        if selector.keys() <= pod.labels.keys() and corpus.can_coexist(service, pod.owner):
            return next((key for key, value in selector.items() if pod.labels[key] != value), None)
    return None


@checks("D15")
def check_port_names(corpus: Corpus) -> Iterator[Violation]:
    """Look for containers of one pod whose ports have the same name."""
    for pod in corpus.pods:
        seen: dict[str, str] = {}
        for container in pod.containers:
            for port in container.tree["ports"].entries:
                name = port["name"].raw
                first = seen.setdefault(name, container.name) if name else container.name
                if first != container.name:
                    what = f"the port {name!r} of container {container.name!r} is also one of {first!r}"
                    yield Violation(place=port["name"].place, what=what, subject=pod.owner)


@checks("D02")
def check_comfyui_balancer(corpus: Corpus) -> Iterator[Violation]:
    """Look for Services with an address of their own over more than one ComfyUI pod."""
    for service in corpus.list_kind("Service"):
        if service.tree["spec"]["clusterIP"].raw == "None" or _selects_one_replica(service):
            continue
        behind = corpus.find_selection(service)
        replicas = _count_replicas(behind, behind.intended_pods, _STATEFUL_IMAGES)
        if replicas > 1:
            place = (
                (service.tree["spec"]["selector"].key or service.tree["kind"].place)
                if service.tree["spec"]["selector"]
                else service.tree["kind"].place
            )
            yield Violation(place=place, what=f"{replicas} ComfyUI instances behind one address", subject=service)


@checks("D03")
def check_ollama_balancer(corpus: Corpus) -> Iterator[Violation]:
    """Look for Services with an address of their own over more than one Ollama pod."""
    for service in corpus.list_kind("Service"):
        if service.tree["spec"]["clusterIP"].raw == "None" or _selects_one_replica(service):
            continue
        behind = corpus.find_selection(service)
        replicas = _count_replicas(behind, behind.pods, _OLLAMA)
        if replicas > 1:
            yield Violation(
                place=service.tree["spec"].place,
                what=f"{replicas} Ollama instances behind one address",
                subject=service,
            )


@checks("D04")
def check_overlapping_selectors(corpus: Corpus) -> Iterator[Violation]:
    """Look for Services over several workloads that run different images."""
    for service in corpus.list_kind("Service"):
        if service.tree["spec"]["clusterIP"].raw == "None" or _is_for_metrics(service):
            continue
        behind = corpus.find_selection(service)
        if len(behind.serving_pods) > 1 and len(behind.programs) > 1:
            selector = service.tree["spec"]["selector"]
            yield Violation(
                place=selector.key or selector.place,
                what=f"selects the pods of {behind.serving_names}",
                subject=service,
            )


@checks("D09")
def check_deprecated_fields(corpus: Corpus) -> Iterator[Violation]:
    """Look for the field and the annotations."""
    for service in corpus.list_kind("Service"):
        field = service.tree["spec"]["loadBalancerIP"]
        if field:
            yield Violation(place=field.key or field.place, what="spec.loadBalancerIP is deprecated", subject=service)
        for name, value in service.tree["metadata"]["annotations"].items:
            if name.startswith("metallb.universe.tf/"):
                yield Violation(
                    place=value.key or value.place, what=f"the annotation {name} is deprecated", subject=service
                )


@checks("D10")
def check_namespace_labels(corpus: Corpus) -> Iterator[Violation]:
    """Look for namespace selectors on `name`, where no Namespace of the files has that label."""
    labelled = {namespace.tree["metadata"]["labels"]["name"].raw for namespace in corpus.list_kind("Namespace")}
    there = {namespace.name for namespace in corpus.list_kind("Namespace")}
    for policy in corpus.list_kind("NetworkPolicy"):
        for path, tree in policy.tree["spec"].walk():
            if path and path[-1] == "namespaceSelector":
                name = tree["matchLabels"]["name"]
                if name.raw is not None and name.raw not in labelled:
                    what = f"no namespace of these files has the label name={name.raw}"
                    known = None if name.raw in there else Severity.NOTE  # it can be labelled elsewhere
                    yield Violation(place=name.key or name.place, what=what, subject=policy, severity=known)


@checks("D11")
def check_open_services(corpus: Corpus) -> Iterator[Violation]:
    """Look for Services that reach outside over pods of either program."""
    for service in corpus.list_kind("Service"):
        kind = service.tree["spec"]["type"]
        is_open = kind.raw in _OPEN_TYPES and not service.tree["spec"]["loadBalancerSourceRanges"]
        pods = corpus.find_selection(service).intended_pods if is_open else []
        if any(_has_image(pod, _UNAUTHENTICATED) and not _has_image(pod, _PROXY) for pod in pods):
            what = f"type {kind.raw} in front of a program without authentication"
            yield Violation(place=kind.place, what=what, subject=service)
    yield from find_open_ports(corpus, lambda image: bool(_UNAUTHENTICATED.search(image)))


def _selects_one_replica(service: Manifest) -> bool:
    return "statefulset.kubernetes.io/pod-name" in _read_selector(
        service
    ) or "apps.kubernetes.io/pod-index" in _read_selector(service)


def _has_image(pod: Pod, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(container.image or "") for container in pod.containers if not container.is_init)


def _has_own_service(corpus: Corpus, pod: Pod) -> bool:
    """Return whether a Service of a pod's own namespace selects it: then a Service elsewhere is for other pods."""
    space = pod.owner.namespace
    return any(
        service.namespace == space and pod in corpus.find_selection(service).pods
        for service in corpus.list_kind("Service")
    )


def _is_for_metrics(service: Manifest) -> bool:
    names = [port["name"].raw or "" for port in service.tree["spec"]["ports"].entries]
    return bool(names) and all("metrics" in name for name in names)


_NO_SERVICELB = re.compile(
    r"disable[^\n]{0,200}servicelb|servicelb[^\n]{0,40}disable|^[ \t]*-[ \t]*servicelb\b", re.MULTILINE
)


@checks("D07")
def check_port_clashes(corpus: Corpus) -> Iterator[Violation]:
    """Look for LoadBalancer Services with the same port on K3s, unless another load balancer is used."""
    if not is_k3s(corpus) or _has_other_balancer(corpus):
        return
    taken: dict[tuple[str, str], Manifest] = {}
    for service in corpus.list_kind("Service"):
        spec = service.tree["spec"]
        if spec["type"].raw != "LoadBalancer" or spec["loadBalancerClass"]:
            continue
        for port in spec["ports"].entries:
            key = (port["protocol"].raw or "TCP", port["port"].raw or "")
            other = taken.setdefault(key, service)
            same = (other.name, other.namespace) == (service.name, service.namespace)
            if not same and key[1]:
                yield Violation(
                    place=port["port"].place, what=f"port {key[1]} is also the port of {other}", subject=service
                )


@checks("D08")
def check_two_balancers(corpus: Corpus) -> Iterator[Violation]:
    """Look for objects of MetalLB where a server of K3s keeps its own load balancer."""
    pools = [manifest for manifest in corpus.manifests if manifest.group == "metallb.io"]
    if not pools or any(_NO_SERVICELB.search(text) for text in corpus.sources.values()):
        return
    for place in _list_servers(corpus):
        yield Violation(place=place, what=f"K3s keeps its load balancer, and {pools[0]} is one of MetalLB")


def _list_servers(corpus: Corpus) -> Iterator[Position]:
    """Where a server of K3s is configured, in Nix."""
    for text, module in corpus.modules:
        enabled, role = module.find_last("services.k3s.enable"), module.find_last("services.k3s.role")
        if enabled is not None and enabled.boolean and (role is None or role.text == "server"):
            yield text.locate(enabled.offset)


def _has_other_balancer(corpus: Corpus) -> bool:
    """Return whether something else than K3s' own hands out addresses."""
    others = any(
        manifest.group in ("metallb.io", "cilium.io", "kube-vip.io", "purelb.io") for manifest in corpus.manifests
    )
    return others or any(_NO_SERVICELB.search(text) for text in corpus.sources.values())


_URL = re.compile(r"^(?:https?|postgresql|redis|ws)://(?:[^/@\s]*@)?(?P<host>[a-z0-9.-]+)(?::\d+)?(?:[/?]|$)")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_CLUSTER_DOMAIN = (".svc", ".svc.cluster.local")


@checks("D05")
def check_dangling_addresses(corpus: Corpus) -> Iterator[Violation]:
    """Look for URLs of settings whose host looks like a Service of a namespace of the files, and is none."""
    services: dict[str, set[str]] = defaultdict(set)
    for service in corpus.list_kind("Service"):
        services[service.namespace].add(service.name or "")
    for tree, namespace, subject in _list_addresses(corpus):
        match = _URL.match(tree.raw or "")
        if match is None:
            continue
        name, space = _split_host(match["host"], namespace)
        is_ours = name is not None and space in services and corpus.is_whole and not _is_made(corpus, name)
        if (
            is_ours
            and name not in _find_services_elsewhere(corpus)
            and name not in services[space]
            and _has_similar_name(name or "", services[space])
        ):
            what = f"there is no Service {name!r} in {space!r} ({', '.join(sorted(services[space]))})"
            yield Violation(place=tree.place, what=what, subject=subject)
    yield from find_misspelled_hosts(corpus)


@checks("D06")
def check_switched_services(corpus: Corpus) -> Iterator[Violation]:
    """Look for hosts that are Services of the files, and not of what is deployed with the setting."""
    elsewhere = _find_services_elsewhere(corpus)
    there = (
        {(service.namespace, service.name) for service in corpus.list_kind("Service")}
        if elsewhere
        else set[tuple[str, str | None]]()
    )
    for tree, namespace, subject in _list_addresses(corpus) if elsewhere and corpus.is_whole else ():
        match = _URL.match(tree.raw or "")
        name, space = _split_host(match["host"], namespace) if match else (None, namespace)
        is_there = (space, name) in there or _is_made(corpus, name)
        if name in elsewhere and space == namespace and not is_there:
            what = f"the Service {name!r} is in {elsewhere[name]}, which is not deployed with this"
            yield Violation(place=tree.place, what=what, subject=subject)


def _find_services_elsewhere(corpus: Corpus) -> dict[str | None, str]:
    """Services of the files that this view does not have, with the file of each."""
    here = {name for service in corpus.list_kind("Service") for name in (service.name, *service.former_names)}
    return {
        manifest.name: manifest.file
        for manifest in corpus.written_manifests
        if manifest.kind == "Service" and manifest.name and manifest.name not in here
    }


def _list_addresses(corpus: Corpus) -> Iterator[tuple[Tree, str, object]]:
    """List the values of settings that can be addresses: containers' variables and ConfigMaps."""
    for container in corpus.containers:
        for _, value in container.env:
            yield value, container.pod.owner.namespace, container.pod.owner
    for config_map in corpus.list_kind("ConfigMap"):
        for _, value in config_map.tree["data"].items:
            yield value, config_map.namespace, config_map


def _split_host(host: str, namespace: str) -> tuple[str | None, str]:
    """The Service and the namespace that a host name means; None when it is a host elsewhere."""
    for domain in reversed(_CLUSTER_DOMAIN):
        host = host.removesuffix(domain)
    name, _, space = host.partition(".")
    if "." in space or not _SERVICE_NAME.fullmatch(name) or name == "localhost":
        return None, namespace
    return name, space or namespace


def _has_similar_name(name: str, services: set[str]) -> bool:
    """Return whether a name has the first part of one that exists: other names are not checked."""
    first = name.split("-", 1)[0]
    return any(other.split("-", 1)[0] == first for other in services)


def _is_made(corpus: Corpus, name: str | None) -> bool:
    """Return whether an operator can make the Service: its name starts with that of a custom object."""
    return any((name or "").startswith(manifest.name or "\n") for manifest in corpus.custom_manifests)
