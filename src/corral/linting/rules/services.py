"""Services: what they select, the ports that load balancers bind, and addresses that no Service has."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from corral.linting.corpus import Scene
from corral.linting.objects import Object, Pod
from corral.linting.registry import Found, checks
from corral.linting.rules.runtimes import is_k3s
from corral.linting.selecting import Behind
from corral.linting.tree import Tree
from corral.linting.values import Place, Severity

_STATEFUL_IMAGES = re.compile(r"comfyui", re.IGNORECASE)
_OLLAMA = re.compile(r"(?:^|/)ollama(?:[:@]|$)", re.IGNORECASE)
_UNAUTHENTICATED = re.compile(r"(?:comfyui|/ollama[:@]|^ollama)", re.IGNORECASE)
_ONE_POD = frozenset({"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"})
_PROXY = re.compile(r"proxy|nginx|caddy|envoy|traefik|authelia", re.IGNORECASE)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_OPEN_TYPES = frozenset({"LoadBalancer", "NodePort"})


def _selector(service: Object) -> dict[str, str]:
    return {key: value.raw or "" for key, value in service.tree.at("spec", "selector").items}


def _replicas(behind: Behind, pods: Sequence[Pod], program: re.Pattern[str]) -> int:
    """How many pods run a program; counted once for all Services that select the same."""
    if program.pattern not in behind.numbers:
        behind.numbers[program.pattern] = sum(pod.owner.replicas for pod in pods if _has_image(pod, program))
    return behind.numbers[program.pattern]


@checks("D01")
def selects_nothing(scene: Scene) -> Iterator[Found]:
    """Look for Services that select nothing in their namespace, and something in another or almost something here.

    A Service with nothing behind it is no fault by itself: its pods may stand in files that were not given.
    """
    for one in scene.of_kind("Service"):
        is_known = _NAMESPACE.fullmatch(one.namespace) is not None  # anything else is a blank to fill
        behind = scene.behind(one)
        elsewhere = behind.meant if is_known and not behind.pods else []
        if elsewhere and not _has_own_service(scene, elsewhere[0]):
            place = (one.tree["metadata"]["namespace"] or one.tree["metadata"]["name"] or one.tree["kind"]).place
            what = f"is in {one.namespace!r}, its pods are in {elsewhere[0].owner.namespace!r}"
            yield Found(place=place, what=what, subject=one)
        elif is_known and not behind.meant and (key := _missed(scene, one)) is not None:
            wanted = one.tree["spec"]["selector"][key]
            what = f"selects {key}={wanted.raw}, and the pods of that name have another {key}"
            yield Found(place=wanted.place, what=what, subject=one)


def _missed(scene: Scene, service: Object) -> str | None:
    """The label by which a Service misses the pods of the workload that has its name, and all keys it asks for."""
    selector = _selector(service)
    workloads = [scene.named(kind, service.namespace, service.name) for kind in _WORKLOADS]
    for pod in [one.pod for one in workloads if one is not None and one.pod is not None]:
        if selector.keys() <= pod.labels.keys() and scene.may_meet(service, pod.owner):
            return next((key for key, value in selector.items() if pod.labels[key] != value), None)
    return None


@checks("D02")
def balancer_over_comfyui(scene: Scene) -> Iterator[Found]:
    """Look for Services with an address of their own over more than one ComfyUI pod."""
    for one in scene.of_kind("Service"):
        if one.tree["spec"]["clusterIP"].raw == "None" or _one_replica(one):
            continue
        behind = scene.behind(one)
        replicas = _replicas(behind, behind.meant, _STATEFUL_IMAGES)
        if replicas > 1:
            place = (
                (one.tree["spec"]["selector"].key or one.tree["kind"].place)
                if one.tree["spec"]["selector"]
                else one.tree["kind"].place
            )
            yield Found(place=place, what=f"{replicas} ComfyUI instances behind one address", subject=one)


@checks("D03")
def balancer_over_ollama(scene: Scene) -> Iterator[Found]:
    """Look for Services with an address of their own over more than one Ollama pod."""
    for one in scene.of_kind("Service"):
        if one.tree["spec"]["clusterIP"].raw == "None" or _one_replica(one):
            continue
        behind = scene.behind(one)
        replicas = _replicas(behind, behind.pods, _OLLAMA)
        if replicas > 1:
            yield Found(
                place=one.tree["spec"].place, what=f"{replicas} Ollama instances behind one address", subject=one
            )


@checks("D04")
def overlapping(scene: Scene) -> Iterator[Found]:
    """Look for Services over several workloads that run different images."""
    for one in scene.of_kind("Service"):
        if one.tree["spec"]["clusterIP"].raw == "None" or _is_for_metrics(one):
            continue
        behind = scene.behind(one)
        if len(behind.serving) > 1 and len(behind.programs) > 1:
            selector = one.tree["spec"]["selector"]
            yield Found(place=selector.key or selector.place, what=f"selects the pods of {behind.named}", subject=one)


@checks("D09")
def deprecated_fields(scene: Scene) -> Iterator[Found]:
    """Look for the field and the annotations."""
    for one in scene.of_kind("Service"):
        field = one.tree["spec"]["loadBalancerIP"]
        if field:
            yield Found(place=field.key or field.place, what="spec.loadBalancerIP is deprecated", subject=one)
        for name, value in one.tree["metadata"]["annotations"].items:
            if name.startswith("metallb.universe.tf/"):
                yield Found(place=value.key or value.place, what=f"the annotation {name} is deprecated", subject=one)


@checks("D10")
def namespace_label(scene: Scene) -> Iterator[Found]:
    """Look for namespace selectors on `name`, where no Namespace of the files has that label."""
    labelled = {one.tree["metadata"]["labels"]["name"].raw for one in scene.of_kind("Namespace")}
    there = {one.name for one in scene.of_kind("Namespace")}
    for one in scene.of_kind("NetworkPolicy"):
        for path, tree in one.tree["spec"].walk():
            if path and path[-1] == "namespaceSelector":
                name = tree["matchLabels"]["name"]
                if name.raw is not None and name.raw not in labelled:
                    what = f"no namespace of these files has the label name={name.raw}"
                    known = None if name.raw in there else Severity.NOTE  # somebody else may have labelled it
                    yield Found(place=name.key or name.place, what=what, subject=one, severity=known)


@checks("D11")
def open_to_all(scene: Scene) -> Iterator[Found]:
    """Look for Services that reach outside over pods of either program."""
    for one in scene.of_kind("Service"):
        kind = one.tree["spec"]["type"]
        is_open = kind.raw in _OPEN_TYPES and not one.tree["spec"]["loadBalancerSourceRanges"]
        pods = scene.behind(one).meant if is_open else []
        if any(_has_image(pod, _UNAUTHENTICATED) and not _has_image(pod, _PROXY) for pod in pods):
            what = f"type {kind.raw} in front of a program that asks for no key"
            yield Found(place=kind.place, what=what, subject=one)


def _one_replica(service: Object) -> bool:
    return "statefulset.kubernetes.io/pod-name" in _selector(service) or "apps.kubernetes.io/pod-index" in _selector(
        service
    )


def _has_image(pod: Pod, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(one.image or "") for one in pod.containers if not one.is_init)


def _has_own_service(scene: Scene, pod: Pod) -> bool:
    """Tell whether a Service of a pod's own namespace selects it: then a Service elsewhere is for other pods."""
    space = pod.owner.namespace
    return any(one.namespace == space and pod in scene.behind(one).pods for one in scene.of_kind("Service"))


def _is_for_metrics(service: Object) -> bool:
    names = [port["name"].raw or "" for port in service.tree["spec"]["ports"].entries]
    return bool(names) and all("metrics" in name for name in names)


_NO_SERVICELB = re.compile(
    r"disable[^\n]{0,200}servicelb|servicelb[^\n]{0,40}disable|^[ \t]*-[ \t]*servicelb\b", re.MULTILINE
)


@checks("D07")
def port_clash(scene: Scene) -> Iterator[Found]:
    """Look for LoadBalancer Services with the same port on K3s, unless another load balancer is used."""
    if not is_k3s(scene) or _has_other_balancer(scene):
        return
    taken: dict[tuple[str, str], Object] = {}
    for one in scene.of_kind("Service"):
        spec = one.tree["spec"]
        if spec["type"].raw != "LoadBalancer" or spec["loadBalancerClass"]:
            continue
        for port in spec["ports"].entries:
            key = (port["protocol"].raw or "TCP", port["port"].raw or "")
            other = taken.setdefault(key, one)
            same = (other.name, other.namespace) == (one.name, one.namespace)
            if not same and key[1]:
                yield Found(place=port["port"].place, what=f"port {key[1]} is also that of {other}", subject=one)


@checks("D08")
def two_balancers(scene: Scene) -> Iterator[Found]:
    """Look for objects of MetalLB beside a server of K3s that keeps its own."""
    pools = [one for one in scene.objects if one.group == "metallb.io"]
    if not pools or any(_NO_SERVICELB.search(text) for text in scene.sources.values()):
        return
    for place in _servers(scene):
        yield Found(place=place, what=f"K3s keeps its load balancer, and {pools[0]} is one of MetalLB")


def _servers(scene: Scene) -> Iterator[Place]:
    """Where a server of K3s is configured, in Nix."""
    for text, module in scene.modules:
        enabled, role = module.at("services.k3s.enable"), module.at("services.k3s.role")
        if enabled is not None and enabled.boolean and (role is None or role.text == "server"):
            yield text.place(enabled.offset)


def _has_other_balancer(scene: Scene) -> bool:
    """Tell whether something else than K3s' own hands out addresses."""
    others = any(one.group in ("metallb.io", "cilium.io", "kube-vip.io", "purelb.io") for one in scene.objects)
    return others or any(_NO_SERVICELB.search(text) for text in scene.sources.values())


_URL = re.compile(r"^(?:https?|postgresql|redis|ws)://(?:[^/@\s]*@)?(?P<host>[a-z0-9.-]+)(?::\d+)?(?:[/?]|$)")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_CLUSTER_DOMAIN = (".svc", ".svc.cluster.local")


@checks("D05")
def dangling(scene: Scene) -> Iterator[Found]:
    """Look for URLs of settings whose host looks like a Service of a namespace of the files, and is none."""
    services: dict[str, set[str]] = defaultdict(set)
    for one in scene.of_kind("Service"):
        services[one.namespace].add(one.name or "")
    for tree, namespace, subject in _addresses(scene):
        match = _URL.match(tree.raw or "")
        if match is None:
            continue
        name, space = _split(match["host"], namespace)
        is_ours = name is not None and space in services and scene.is_whole and not _is_made(scene, name)
        if (
            is_ours
            and name not in _elsewhere(scene)
            and name not in services[space]
            and _has_relative(name or "", services[space])
        ):
            what = f"there is no Service {name!r} in {space!r} ({', '.join(sorted(services[space]))})"
            yield Found(place=tree.place, what=what, subject=subject)


@checks("D06")
def not_switched(scene: Scene) -> Iterator[Found]:
    """Look for hosts that are Services of the files, and not of what is deployed with the setting."""
    elsewhere = _elsewhere(scene)
    there = (
        {(one.namespace, one.name) for one in scene.of_kind("Service")} if elsewhere else set[tuple[str, str | None]]()
    )
    for tree, namespace, subject in _addresses(scene) if elsewhere and scene.is_whole else ():
        match = _URL.match(tree.raw or "")
        name, space = _split(match["host"], namespace) if match else (None, namespace)
        is_there = (space, name) in there or _is_made(scene, name)
        if name in elsewhere and space == namespace and not is_there:
            what = f"the Service {name!r} is in {elsewhere[name]}, and not in what this is deployed with"
            yield Found(place=tree.place, what=what, subject=subject)


def _elsewhere(scene: Scene) -> dict[str | None, str]:
    """Services of the files that this view does not have, with the file of each."""
    here = {name for one in scene.of_kind("Service") for name in (one.name, *one.was_called)}
    return {
        one.name: one.file
        for one in scene.written_objects
        if one.kind == "Service" and one.name and one.name not in here
    }


def _addresses(scene: Scene) -> Iterator[tuple[Tree, str, object]]:
    """Values of settings that may be addresses: of containers' variables and of ConfigMaps."""
    for one in scene.containers:
        for _, value in one.env:
            yield value, one.pod.owner.namespace, one.pod.owner
    for one in scene.of_kind("ConfigMap"):
        for _, value in one.tree["data"].items:
            yield value, one.namespace, one


def _split(host: str, namespace: str) -> tuple[str | None, str]:
    """The Service and the namespace that a host name means; None when it is a host elsewhere."""
    for domain in reversed(_CLUSTER_DOMAIN):
        host = host.removesuffix(domain)
    name, _, space = host.partition(".")
    if "." in space or not _SERVICE_NAME.fullmatch(name) or name == "localhost":
        return None, namespace
    return name, space or namespace


def _has_relative(name: str, services: set[str]) -> bool:
    """Tell whether a name has the first part of one that exists: names of strangers are not judged."""
    first = name.split("-", 1)[0]
    return any(other.split("-", 1)[0] == first for other in services)


def _is_made(scene: Scene, name: str | None) -> bool:
    """Tell whether an operator may make the Service: its name starts with that of an object of its own kind."""
    return any((name or "").startswith(one.name or "\n") for one in scene.custom_objects)
