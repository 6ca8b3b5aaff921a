"""Compose files: the forms of device reservations, GPUs that services share, names and ports, secrets in the open."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from corral.cluster.secrecy import is_secret
from corral.linting.compose.services import ComposeService
from corral.linting.corpus import Corpus
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree
from corral.linting.values import Position, Severity


@checks("G11", of_files=True)
def check_same_gpu(corpus: Corpus) -> Iterator[Violation]:
    """Look for services of a project that count GPUs while others count or name the same ones.

    Whether it is meant is unknown: on a machine with one GPU, services can only share it.
    """
    for project in corpus.projects:
        always_on = [service for service in project.services if not service.is_optional and service.gpus]
        counting = [service for service in always_on if _count_first(service)]
        for service in counting:
            if service is not counting[0]:
                what = f"the service {service.name!r} counts GPUs, as {counting[0].name!r} does: both get the first"
                yield _share(service, what, _judge_sharing(corpus))
            first = {str(index) for index in range(_count_first(service))}
            for other in always_on:
                shared = ", ".join(sorted(first & set(other.gpus.ids if other.gpus else ())))
                if shared:
                    what = (
                        f"the service {service.name!r} counts GPUs and gets number {shared}, which {other.name!r} names"
                    )
                    yield _share(service, what, Severity.NOTE if _has_one_gpu(corpus) else Severity.WARNING)


def _count_first(service: ComposeService) -> int:
    """Count the GPUs that a service gets by number: the first ones of the machine."""
    access = service.gpus
    is_by_number = access is not None and access.is_reserved and not access.ids and not access.is_every
    return (access.count or 0) if access is not None and is_by_number else 0


def _share(service: ComposeService, what: str, severity: Severity | None) -> Violation:
    place = service.gpus.place if service.gpus else service.tree
    return Violation(place=place.place, what=what, subject=service, severity=severity)


def _judge_sharing(corpus: Corpus) -> Severity | None:
    if _has_one_gpu(corpus):
        return Severity.NOTE
    return None if corpus.cluster else Severity.WARNING


def _has_one_gpu(corpus: Corpus) -> bool:
    """Return whether no machine of the cluster file has several GPUs."""
    nodes = corpus.cluster.nodes if corpus.cluster else ()
    return bool(nodes) and all(node.gpus is not None and len(node.gpus) <= 1 for node in nodes)


@checks("G12", of_files=True)
def check_reservations(corpus: Corpus) -> Iterator[Violation]:
    """Look for reservations that Compose refuses."""
    for service in corpus.services:
        for tree, what in _list_faults(service):
            yield Violation(place=tree.place, what=what, subject=service)


def _list_faults(service: ComposeService) -> Iterator[tuple[Tree, str]]:
    gpus, reserved = service.tree["gpus"], service.tree.follow("deploy", "resources", "reservations", "devices")
    if gpus and not gpus.is_list and gpus.raw not in (None, "all"):
        yield gpus, f"`gpus` is {gpus.raw!r}: `all`, or a list of `{{count: {gpus.raw}}}`"
    if reserved and not reserved.is_list and reserved.kind != "null" and not reserved.kind.startswith("!"):
        yield reserved, "`devices` is not a list: each device begins with a dash"
    for devices, needs_capabilities in ((reserved.entries, True), (gpus.entries, False)):
        for number, device in enumerate(devices):
            yield from _list_device_faults(device, devices[number + 1 : number + 2], needs_capabilities)


def _list_device_faults(
    device: Tree, following: Sequence[Tree], needs_capabilities: bool
) -> Iterator[tuple[Tree, str]]:
    """List what is wrong with a device; `following` is the next one of the list, if there is one."""
    if not device.is_mapping:
        yield device, f"a device is a mapping of driver, count or device_ids, and capabilities, not {device.raw!r}"
        return
    count, ids, capabilities = device["count"], device["device_ids"], device["capabilities"]
    if needs_capabilities and not capabilities:
        is_split = any(other["capabilities"] and not other["driver"] for other in following)
        hint = "; the next entry has them: both belong under one dash" if is_split else ""
        yield device, f"the device has no `capabilities`{hint}"
    if count and ids:
        yield count, "`count` and `device_ids` exclude each other"
    if count.raw is not None and not _COUNT.fullmatch(count.raw):
        yield count, f"`count` is {count.raw!r}: a whole number, or all"
    for name, tree in (("capabilities", capabilities), ("device_ids", ids)):
        if tree.raw is not None and tree.kind != "null":
            yield tree, f"`{name}` is {tree.raw!r}, not a list: write [{tree.raw}]"
        for entry in tree.entries:
            if entry.kind in ("int", "float"):
                yield entry, f'{entry.raw} in `{name}` is a number, not text: write "{entry.raw}"'
            elif entry.is_list:
                yield entry, f"`{name}` is a list of lists: write one pair of brackets"


_COUNT = re.compile(r"all|-?\d+")


@checks("G13", of_files=True)
def check_other_modes(corpus: Corpus) -> Iterator[Violation]:
    """Look for reservations of Swarm next to those of Compose: each is read by one of the two alone."""
    for project in corpus.projects:
        swarm = [
            service
            for service in project.services
            if service.tree.follow("deploy", "resources", "reservations", "generic_resources").entries
        ]
        by_swarm = any(service.tree["deploy"]["placement"]["constraints"] for service in project.services)
        for service in swarm:
            place = service.tree.follow("deploy", "resources", "reservations", "generic_resources")
            if service.gpus is None and not by_swarm:
                what = "generic_resources are read by `docker stack deploy` alone: with Compose it gets no GPU"
                yield Violation(place=place.key or place.place, what=what, subject=service)
        if swarm or by_swarm:
            for service in project.services:
                for device in service.tree.follow("deploy", "resources", "reservations", "devices").entries:
                    what = f"`docker stack deploy` refuses `devices`; the file of {service.name!r} is for Swarm"
                    yield Violation(place=device.place, what=what, subject=service)


@checks("G14", of_files=True)
def check_port_clashes(corpus: Corpus) -> Iterator[Violation]:
    """Look for ports of the machine that two containers of a project publish, and for names that two would have."""
    for project in corpus.projects:
        taken: dict[tuple[str, str], list[tuple[str | None, ComposeService]]] = defaultdict(list)
        for service in project.services:
            if service.replicas > 1:
                yield from _find_clashes_of_replicas(service)
            for port in service.ports if not service.is_optional else ():
                if port.published is None:
                    continue
                key = (
                    port.published,
                    "udp" if "/udp" in (port.place.raw or "") else port.place["protocol"].raw or "tcp",
                )
                for address, other in taken[key]:
                    is_same = address is None or port.address is None or address == port.address
                    if other is not service and is_same:
                        what = f"port {port.published} is also published by the service {other.name!r}"
                        yield Violation(place=port.place.place, what=what, subject=service)
                taken[key].append((port.address, service))


def _find_clashes_of_replicas(service: ComposeService) -> Iterator[Violation]:
    name = service.tree["container_name"]
    if name:
        what = f"{service.replicas} replicas cannot all be called {name.raw!r}"
        yield Violation(place=name.place, what=what, subject=service)
    for port in service.ports:
        if port.published is not None and not service.tree["deploy"]["mode"]:
            what = f"{service.replicas} replicas cannot all publish port {port.published}"
            yield Violation(place=port.place.place, what=what, subject=service)


@checks("G15", of_files=True)
def check_undefined_names(corpus: Corpus) -> Iterator[Violation]:
    """Look for services, volumes and networks that a service names and no file of its project defines."""
    for project in corpus.projects:
        if not project.is_whole or not project.has_base or not project.is_alone:
            continue
        for service in project.services:
            for kind, tree in _list_names(service):
                if tree.raw and tree.raw not in project.list_names(f"{kind}s"):
                    yield Violation(place=tree.place, what=f"no file defines the {kind} {tree.raw!r}", subject=service)


def _list_names(service: ComposeService) -> Iterator[tuple[str, Tree]]:
    tree = service.tree
    depends = tree["depends_on"]
    yield from (("service", entry) for entry in depends.entries)
    for name, value in depends.items:
        if value["required"].boolean is not False:
            yield "service", value.replace_raw(name)
    mode = tree["network_mode"].raw or ""
    if mode.startswith("service:"):
        yield "service", tree["network_mode"].replace_raw(mode.removeprefix("service:"))
    for mount in service.mounts:
        if mount["type"].raw == "volume" and mount["source"].raw:
            yield "volume", mount["source"]
    names = [*tree["networks"].entries, *(value.replace_raw(name) for name, value in tree["networks"].items if value)]
    yield from (("network", name) for name in names if name.raw != "default")


_TEST_KINDS = frozenset({"CMD", "CMD-SHELL", "NONE"})
_DURATIONS = ("interval", "timeout", "start_period", "start_interval")


@checks("G16", of_files=True)
def check_contradictions(corpus: Corpus) -> Iterator[Violation]:
    """Look for values of a service that Compose refuses, alone or together."""
    for project in corpus.projects:
        names: dict[str, str] = {}
        for service in project.services:
            for tree, what in _list_contradictions(service):
                yield Violation(place=tree.place, what=what, subject=service)
            name = service.tree["container_name"]
            if name.raw and not service.is_optional and names.setdefault(name.raw, service.name) != service.name:
                what = f"the container is called {name.raw!r}, as that of the service {names[name.raw]!r} is"
                yield Violation(place=name.place, what=what, subject=service)


def _list_contradictions(service: ComposeService) -> Iterator[tuple[Tree, str]]:
    tree, health = service.tree, service.tree["healthcheck"]
    first = health["test"][0]
    if first.raw is not None and first.raw not in _TEST_KINDS:
        yield first, f"a test that is a list begins with CMD or CMD-SHELL, not {first.raw!r}"
    for name in _DURATIONS:
        if health[name].kind in ("int", "float"):
            yield health[name], f"{name} is a number, not a duration: write {health[name].raw}s"
    limits = tree.follow("deploy", "resources", "limits")
    for value, other, name in (
        (tree["mem_limit"], limits["memory"], "deploy.resources.limits.memory"),
        (tree["scale"], tree["deploy"]["replicas"], "deploy.replicas"),
    ):
        if value.raw and other.raw and value.raw.lower() != other.raw.lower():
            yield value, f"{value.raw} here and {other.raw} as {name}"
    if tree["network_mode"] and tree["networks"]:
        yield tree["network_mode"], "`network_mode` and `networks` exclude each other"


@checks("G10")
def check_secrets(corpus: Corpus) -> Iterator[Violation]:
    """Look for variables that are called like secrets and have a value, in Compose files, containers and ConfigMaps."""
    for name, value, place, subject in _list_settings(corpus):
        if is_secret(name, value):
            yield Violation(place=place, what=f"{name} is written out", subject=subject)


def _list_settings(corpus: Corpus) -> Iterator[tuple[str, str, Position, object]]:
    for project in corpus.projects:
        for name, service in project.document.tree["services"].items:
            yield from _list_written(name, service["environment"])
    for container in corpus.containers:
        for name, tree in container.env:
            yield name, tree.raw or "", tree.place, container.pod.owner
    for config_map in corpus.list_kind("ConfigMap"):
        for name, tree in config_map.tree["data"].items:
            if "\n" not in (tree.raw or ""):
                yield name, tree.raw or "", tree.place, config_map


def _list_written(service: str, environment: Tree) -> Iterator[tuple[str, str, Position, object]]:
    """List variables as they are written: what a file of variables says is not in the open."""
    for name, tree in environment.items:
        yield name, tree.raw or "", tree.place, f"service {service}"
    for entry in environment.entries:
        name, _, value = (entry.raw or "").partition("=")
        yield name, value, entry.place, f"service {service}"
