"""The instances of the queue's engines that a layout deploys: its services, and the addresses of their pods now.

The services are those whose addresses other services get (`OLLAMA_URL`), so a switch of layouts moves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from corral.cluster.values import Instance
from corral.deploying.order import DEPLOYMENT, STATEFUL_SET
from corral.engine_kinds import JOB
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.objects import name_local_queue, name_workload
from corral.rendering.kubernetes.workloads import count_replicas, group_by_pod, is_lent, is_stateful, name_replica
from corral.rendering.kueue import list_job_namespaces, list_pool
from corral.rendering.names import add_suffix
from corral.snapshot import Kind, ObjectKey
from corral.work import Json

ENDPOINT_SLICE = Kind("discovery.k8s.io", "EndpointSlice")
LOCAL_QUEUE = Kind("kueue.x-k8s.io", "LocalQueue")
_SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineService:
    """A service of a layout that is an engine of the queue."""

    engine: str
    namespace: str
    services: frozenset[str]
    """The names of its Services: one for all replicas, or one for each."""
    port: int
    name: str
    """The service's name in the file."""
    models: frozenset[str]
    """Its models by the file; empty where that names none."""
    on_demand: tuple[ObjectKey, ...] = ()
    """The workloads that are scaled up when it is its turn; empty where it runs all the time."""
    idle: timedelta = timedelta()
    """How long it then stays without work."""


def list_queue_instances(installation: Installation) -> Mapping[ObjectKey, Instance]:
    """List the instances of engine `job`: a LocalQueue for each queue of the file that has GPUs on the cluster.

    Each takes as many Jobs at once as its pool has GPUs; what more there is waits in Corral's own order.
    """
    namespaces = list_job_namespaces(installation)
    namespace = installation.namespace if installation.namespace in namespaces else namespaces[0]
    instances: dict[ObjectKey, Instance] = {}
    for queue in installation.cluster.queues.values():
        gpus = len(list_pool(installation.cluster, queue))
        if gpus:
            name = name_local_queue(queue.name)
            url = f"{JOB.scheme}://{namespace}/{name}"
            instances[ObjectKey(LOCAL_QUEUE, namespace, name)] = Instance(name=queue.name, url=url, lanes=gpus)
    return instances


def list_engine_services(installation: Installation, engines: Iterable[str]) -> tuple[EngineService, ...]:
    """List the services of a layout that are one of these engines and listen on a port."""
    wanted = frozenset(engines)
    return tuple(
        EngineService(
            engine=engine,
            namespace=deployed.namespace,
            services=frozenset(
                (deployed.name, *(add_suffix(deployed.name, str(number)) for number in range(deployed.replicas)))
            ),
            port=deployed.port,
            name=deployed.service.name,
            models=frozenset(deployed.service.models),
            on_demand=_list_scaled(installation, deployed),
            idle=deployed.service.idle,
        )
        for deployed in installation.deployed
        for engine in deployed.service.engines
        if engine in wanted and deployed.port is not None
    )


def leave_out(services: Iterable[EngineService], closed: Iterable[str]) -> tuple[EngineService, ...]:
    """Leave out the Services that a switch of layouts ends, written as `ai/ollama`: what runs there goes on."""
    names = frozenset(closed)
    return tuple(
        replace(
            service,
            services=frozenset(name for name in service.services if f"{service.namespace}/{name}" not in names),
        )
        for service in services
    )


def _list_scaled(installation: Installation, deployed: Deployed) -> tuple[ObjectKey, ...]:
    """List the workloads of a service that runs on demand; empty for others."""
    members = next((group for group in group_by_pod(installation) if deployed in group), ())
    if not members or count_replicas(members):
        return ()
    kind = STATEFUL_SET if is_stateful(installation, members) else DEPLOYMENT
    names = [name_workload(members[0])]
    if is_lent(installation, members):
        names = [name_replica(members, replica) for replica in range(deployed.replicas)]
    return tuple(ObjectKey(kind, deployed.namespace, name) for name in names)


def find_instances(
    services: Iterable[EngineService], slices: Iterable[Json], nodes: Iterable[str]
) -> Mapping[str, tuple[Instance, ...]]:
    """Find the instances by engine: one for each pod that is ready, with its own address.

    `slices` are EndpointSlices; `nodes` the names of the file's nodes: a pod elsewhere is an instance without a node.
    A pod that is ending is none any more, though it still serves: what runs there ends, and nothing new goes there.
    """
    known = frozenset(nodes)
    by_service: defaultdict[tuple[str, str], list[Json]] = defaultdict(list)
    for value in slices:
        metadata = value["metadata"]
        by_service[metadata["namespace"], metadata.get("labels", {}).get(_SERVICE_LABEL, "")].append(value)
    instances: defaultdict[str, dict[str, Instance]] = defaultdict(dict)
    for service in services:
        for name in sorted(service.services):
            for value in by_service[service.namespace, name]:
                for instance in _read_slice(value, service.port, known):
                    instances[service.engine][instance.name] = instance
    return {
        engine: tuple(named[name] for name in sorted(named)) for engine, named in sorted(instances.items()) if named
    }


def find_leaving(services: Iterable[EngineService], slices: Iterable[Json]) -> frozenset[tuple[str, str]]:
    """Find the pods of these services that are ending: namespace and name of each."""
    wanted = {(service.namespace, name) for service in services for name in service.services}
    return frozenset(
        (metadata["namespace"], endpoint["targetRef"]["name"])
        for value in slices
        if (metadata := value["metadata"])
        and (metadata["namespace"], metadata.get("labels", {}).get(_SERVICE_LABEL, "")) in wanted
        for endpoint in value.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("terminating") and endpoint.get("targetRef")
    )


def _read_slice(value: Json, port: int, nodes: frozenset[str]) -> Iterator[Instance]:
    if port not in {entry.get("port") for entry in value.get("ports") or ()}:
        return
    for endpoint in value.get("endpoints") or ():
        conditions: Json = endpoint.get("conditions") or {}
        reference: Json = endpoint.get("targetRef") or {}
        pod: str | None = reference.get("name")
        if pod is None or not conditions.get("ready", True) or conditions.get("terminating"):
            continue
        node: str | None = endpoint.get("nodeName")
        address = endpoint["addresses"][0]
        host = f"[{address}]" if ":" in address else address
        yield Instance(name=pod, url=f"http://{host}:{port}", node=node if node in nodes else None)
