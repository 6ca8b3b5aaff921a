"""The questions to containers of a layout: whom to ask for what, and what each answer has to be.

A question is asked in a container that runs, so that the answer is that of its network, its user and its mounts. The
containers that can be asked are in order: the first that has a program for it answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from corral.cluster.values import ServiceKind, Storage, StorageKind
from corral.deploying.engines import list_engine_services
from corral.deploying.objects import LayoutObjects
from corral.diagnosis.case import is_ready
from corral.diagnosis.objects import get_text
from corral.diagnosis.values import ContainerKey
from corral.engine_kinds import OLLAMA, SERVICE_ENGINES
from corral.rendering.container_settings import find_nfs_server
from corral.rendering.installation import Deployed, Installation, list_reached, name_address_variable
from corral.rendering.kubernetes.security import locate_mounts
from corral.rendering.model_pull import list_fitting_models
from corral.rendering.names import dns_name
from corral.rendering.programs import program_of
from corral.snapshot import Snapshot
from corral.verifying import scripts
from corral.verifying.objects import Group
from corral.verifying.values import Subject
from corral.work import Json

_PROMETHEUS = ("prom/prometheus", "prometheus/prometheus")
"""Parts of the names of Prometheus' image."""
_PROMETHEUS_PORT = 9090
_WITHOUT_HTTP = (ServiceKind.POSTGRESQL, ServiceKind.REDIS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to one of several containers."""

    subject: Subject
    name: str
    argv: tuple[str, ...]
    candidates: tuple[ContainerKey, ...]
    """Containers that can answer, the best first."""
    address: str = ""
    """The address that the layout gives, without a path."""
    variable: str = ""
    """The variable in which the container has it."""
    models: tuple[str, ...] = ()
    """Models that have to be there."""
    claim: str | None = None
    """The claim of the folder that is written to."""
    namespace: str = ""
    instance: str | None = None
    """The instance of the cluster file whose address it is."""

    @property
    def is_local(self) -> bool:
        """Whether it is about a container's own loopback, so that no other can ask."""
        return any("//localhost" in word for word in self.argv[4:5])


def list_questions(
    wanted: LayoutObjects, groups: Sequence[Group], watchers: Sequence[ContainerKey]
) -> tuple[Question, ...]:
    """List the questions about a layout; `watchers` are containers of Prometheus."""
    return (
        *_ask_for_calls(wanted, groups),
        *_ask_for_models(wanted, groups),
        *_ask_for_engines(wanted, groups),
        *_ask_for_exports(wanted, groups),
        *_ask_for_targets(watchers),
    )


def list_watchers(snapshot: Snapshot) -> tuple[ContainerKey, ...]:
    """List the containers of Prometheus that run."""
    return tuple(
        ContainerKey(pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"])
        for pod in snapshot.list("Pod")
        if is_ready(pod)
        for container in pod["spec"]["containers"]
        if any(part in container["image"] for part in _PROMETHEUS)
    )


def _find_group(groups: Iterable[Group], service: str) -> Group | None:
    return next((group for group in groups if any(member.service.name == service for member in group.members)), None)


def _name_container(pod: Json, deployed: Deployed) -> ContainerKey:
    metadata = pod["metadata"]
    return ContainerKey(metadata["namespace"], metadata["name"], dns_name(deployed.service.name))


def _list_containers(group: Group, deployed: Deployed) -> tuple[ContainerKey, ...]:
    return tuple(_name_container(pod, deployed) for pod in group.ready)


def find_health_path(deployed: Deployed) -> str:
    """Find the path at which a service says that it can serve."""
    return deployed.service.health_path or program_of(deployed.service).health_path or "/"


def _ask_for_calls(wanted: LayoutObjects, groups: Sequence[Group]) -> Iterator[Question]:
    """Ask each service that runs for what it calls, by the address that it has in its own environment."""
    for group in groups:
        for caller in group.members:
            for name in caller.service.calls:
                called = wanted.installation.find_service(name)
                target = _find_group(groups, name)
                if called is None or called.service.kind in _WITHOUT_HTTP or (target and not target.replicas):
                    continue
                yield from _ask_caller(wanted.installation, caller, called, group)


def _ask_caller(installation: Installation, caller: Deployed, called: Deployed, group: Group) -> Iterator[Question]:
    """Ask a caller at each address that the layout gives it: that of a door where the engine is behind one."""
    addresses = list_reached(installation, called, caller=caller)
    variable = name_address_variable(called.service.name)
    path = find_health_path(called)
    for pod in group.ready:
        several = f" ({pod['metadata']['name']})" if len(group.ready) > 1 else ""
        for number, address in enumerate(addresses):
            own = variable if number == 0 else ""
            planned = {**caller.env, **caller.through_doors}.get(own, address)
            yield Question(
                subject=Subject.CALLS,
                name=f"{caller.service.name} -> {called.service.name}{f' {number}' if number else ''}{several}",
                argv=scripts.write_get(planned, path, own),
                candidates=(_name_container(pod, caller),),
                address=planned,
                variable=own,
                namespace=caller.namespace,
            )


def _ask_for_models(wanted: LayoutObjects, groups: Sequence[Group]) -> Iterator[Question]:
    """Ask each Ollama for the models that it has."""
    for group in groups:
        for deployed in group.members:
            models = list_fitting_models(wanted.installation, deployed)
            if OLLAMA.name not in deployed.service.engines or not models or deployed.port is None:
                continue
            for pod in group.ready:
                several = f" ({pod['metadata']['name']})" if len(group.ready) > 1 else ""
                yield Question(
                    subject=Subject.MODELS,
                    name=f"models of {deployed.service.name}{several}",
                    argv=scripts.write_get(f"http://localhost:{deployed.port}", "/api/tags"),
                    candidates=(_name_container(pod, deployed),),
                    models=models,
                    namespace=deployed.namespace,
                )


def _ask_for_engines(wanted: LayoutObjects, groups: Sequence[Group]) -> Iterator[Question]:
    """Ask each engine of the queue at the address of its pod, from another pod where there is one."""
    cluster = wanted.installation.cluster
    everybody = [
        container for group in groups for deployed in group.members for container in _list_containers(group, deployed)
    ]
    for service in list_engine_services(wanted.installation, cluster.engines):
        program = SERVICE_ENGINES[service.engine].program
        deployed = _find_deployed(wanted, service.engine, service.services)
        group = None if deployed is None else _find_group(groups, deployed.service.name)
        if deployed is None or group is None:
            continue
        path = find_health_path(deployed) if program is None else program.health_path or find_health_path(deployed)
        for pod in group.ready:
            own = _name_container(pod, deployed)
            host = get_text(pod, "status", "podIP")
            address = f"http://{f'[{host}]' if ':' in host else host}:{service.port}"
            yield Question(
                subject=Subject.ENGINES,
                name=f"engine {service.engine}, {own.pod}",
                argv=scripts.write_get(address, path),
                candidates=(*(container for container in everybody if container.pod != own.pod), own),
                address=address,
                namespace=deployed.namespace,
            )
    for engine in cluster.engines.values():
        program = SERVICE_ENGINES[engine.name].program if engine.name in SERVICE_ENGINES else None
        for instance in engine.instances:
            if instance.url is None:
                continue
            yield Question(
                subject=Subject.ENGINES,
                name=f"engine {engine.name}, instance {instance.name}",
                argv=scripts.write_get(instance.url, (program.health_path if program else None) or "/"),
                candidates=tuple(everybody),
                address=instance.url,
                namespace=wanted.namespace,
                instance=instance.name,
            )


def _find_deployed(wanted: LayoutObjects, engine: str, services: frozenset[str]) -> Deployed | None:
    return next(
        (
            deployed
            for deployed in wanted.installation.deployed
            if engine in deployed.service.engines and deployed.name in services
        ),
        None,
    )


def _ask_for_exports(wanted: LayoutObjects, groups: Sequence[Group]) -> Iterator[Question]:
    """Ask a service with a volume over NFS to write to it; each export once, in each namespace that uses it."""
    users: dict[tuple[str, str], tuple[Storage, list[tuple[Deployed, str, Group]]]] = {}
    for group in groups:
        for deployed in group.members:
            paths = locate_mounts(deployed)
            for storage in deployed.storage:
                if storage.kind is StorageKind.NFS and storage.name in paths:
                    place = (deployed.namespace, storage.name)
                    users.setdefault(place, (storage, []))[1].append((deployed, paths[storage.name], group))
    for (namespace, name), (storage, entries) in users.items():
        server = find_nfs_server(wanted.installation.cluster, storage)
        export = f"{server}:{storage.path}" if server and storage.path else "place not in the file"
        running = [entry for entry in entries if entry[2].ready] or entries
        folder = running[0][1]
        yield Question(
            subject=Subject.EXPORTS,
            name=f"NFS {name} ({export})",
            argv=scripts.write_attempt(folder),
            candidates=tuple(
                container
                for deployed, path, group in entries
                if path == folder
                for container in _list_containers(group, deployed)
            ),
            claim=dns_name(name),
            address=folder,
            namespace=namespace,
        )


def _ask_for_targets(watchers: Sequence[ContainerKey]) -> Iterator[Question]:
    if watchers:
        yield Question(
            subject=Subject.TARGETS,
            name="dashboards",
            argv=scripts.write_get(f"http://localhost:{_PROMETHEUS_PORT}", "/api/v1/targets?state=active"),
            candidates=tuple(watchers),
            namespace=watchers[0].namespace,
        )
