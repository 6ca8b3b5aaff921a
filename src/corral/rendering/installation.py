"""Services as a layout deploys them, with everything resolved that renderers need: names, places, addresses, settings.

Addresses are made in one place: what a service calls gets `<SERVICE>_URL` from the layout, so that a switch of layouts
cannot leave an old address behind.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import ClassVar

from corral.cluster.values import (
    Cluster,
    Gpu,
    GpuMode,
    Layout,
    SecretKey,
    Service,
    ServiceKind,
    Storage,
)
from corral.container_images import find_image
from corral.engine_kinds import OLLAMA, SERVICE_ENGINES
from corral.errors import CorralError, Kind
from corral.hardware.makers import NVIDIA, find_maker, find_resource
from corral.rendering import doors, programs
from corral.rendering.gpu_modes import choose_gpu_mode, count_gpus, find_placement
from corral.rendering.makers import ACCESS, IMAGES, list_makers, runs_macos
from corral.rendering.names import add_suffix, dns_name
from corral.rendering.places import FindPlaces, Place, Places
from corral.rendering.programs import limit_workers, list_secrets, list_usual_settings, program_of

DEFAULT_NAMESPACE = "corral"
DEFAULT_LABEL_PREFIX = "corral.dev"
_PORTS_OF_KINDS: Mapping[ServiceKind, int] = {
    ServiceKind.LITELLM: 4000,
    ServiceKind.NGINX: 8080,
    ServiceKind.CORRAL: programs.MAIN_PORT,
    ServiceKind.POSTGRESQL: 5432,
    ServiceKind.REDIS: 6379,
    ServiceKind.QDRANT: 6333,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A service as a layout deploys it."""

    service: Service
    """As the file has it, with the image that its GPU's maker needs."""
    name: str
    """Its name when deployed, and its address inside the cluster."""
    namespace: str
    replicas: int
    node: str | None
    """None for any node."""
    gpus: tuple[int, ...] | None
    """Indexes of GPUs of that node that it can use; None is any."""
    gpu_count: int
    """Whole GPUs of each replica; 0 for none."""
    on_demand: bool
    """It wants a GPU and the layout does not name it: deployed with no replicas, it takes its turn."""
    pod: str | None
    """Services of the same pod run together in it and share its GPUs."""
    config_map: str | None
    storage: tuple[Storage, ...]
    port: int | None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Settings, addresses of what it calls included."""
    through_doors: Mapping[str, str] = field(default_factory=dict[str, str])
    """The settings that are others on Kubernetes, where Corral's own server is in front of engines that it calls."""
    secrets: Mapping[str, SecretKey] = field(default_factory=dict[str, SecretKey])
    """Environment variables whose values are secret: those of the file, and what the program cannot do without."""
    has_addresses_of_replicas: bool = False
    """Its replicas keep state of their own: each is reached by an address of its own, and none serves for all."""
    maker: str = NVIDIA
    """The maker of its GPUs; NVIDIA where that is unknown."""
    gpu_resource: str | None = ACCESS[NVIDIA].resources[0]
    """The resource by which Kubernetes gives out its GPUs; None where no plugin does."""
    host: str | None = None
    """The address of the machine that it runs on without a container; None for containers."""
    places: tuple[Place, ...] = ()
    """Those of its replicas in the plan; empty where nothing was planned."""
    has_outside_database: bool = False
    """Of Corral's own server: its database is elsewhere, so that several can stand by for each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Everything that one layout deploys."""

    cluster: Cluster
    layout: Layout | None
    """None: the services as they are in the file."""
    source: str
    """The cluster file's name, for headers; without its folder, which differs from machine to machine."""
    text: str
    """The cluster file, for Corral's own server."""
    digest: str
    """SHA-256 of the cluster file's text, for headers."""
    deployed: tuple[Deployed, ...]
    """Services in containers, in the order of the file."""
    gpu_mode: GpuMode
    places: Places = field(default_factory=Places)
    """The places that the plan gives; empty where nothing was planned."""
    native: tuple[Deployed, ...] = ()
    """Services without a container: on a Mac, whose containers have no GPU."""

    @property
    def name(self) -> str:
        """The layout's name; `all` without one."""
        return self.layout.name if self.layout else "all"

    @property
    def label_prefix(self) -> str:
        """The domain of the node labels that Corral writes."""
        return label_prefix_of(self.cluster)

    @property
    def namespace(self) -> str:
        """The namespace of services that name none."""
        return namespace_of(self.cluster)

    def find_service(self, service: str) -> Deployed | None:
        """Find the service as it is deployed; None when the layout does not deploy it."""
        return next((deployed for deployed in (*self.deployed, *self.native) if deployed.service.name == service), None)


class UnknownLayoutError(CorralError):
    """The cluster file has no such layout."""

    code: ClassVar[str] = "render.unknown_layout"
    kind: ClassVar[Kind] = Kind.MISSING


def resolve_installations(
    cluster: Cluster,
    *,
    source: str,
    text: str,
    layouts: Collection[str] = (),
    find_places: FindPlaces | None = None,
) -> tuple[Installation, ...]:
    """Resolve what each of some layouts deploys (all of the file unless named); one without a layout if it has none.

    `source` and `text` are the cluster file's name and content; both are in the headers of files. `find_places` plans a
    layout, and what is resolved follows its plan.

    Raises: UnknownLayoutError.
    """
    for name in layouts:
        if name not in cluster.layouts:
            known = ", ".join(cluster.layouts) or "none"
            raise UnknownLayoutError(f"there is no layout {name!r}", where=source, hint=f"choose one of: {known}")
    chosen = [layout for name, layout in cluster.layouts.items() if not layouts or name in layouts]
    # The same for every layout, so it is found once.
    digest = hashlib.sha256(text.encode()).hexdigest()
    # How pods get GPUs is the same for all layouts, so all are planned where the file leaves that open.
    is_open = cluster.kubernetes is not None and cluster.kubernetes.gpu_mode is None
    planned_layouts = list(cluster.layouts.values()) if is_open else chosen
    places = {
        layout.name if layout else "": find_places(cluster, layout)
        for layout in planned_layouts or [None]
        if find_places
    }
    gpu_mode = choose_gpu_mode(cluster, places.values())

    def make(layout: Layout | None) -> Installation:
        planned = places.get(layout.name if layout else "", Places())
        services = _resolve_services(cluster, layout, planned)
        return Installation(
            cluster=cluster,
            layout=layout,
            source=PurePath(source).name,
            text=text,
            digest=digest,
            deployed=tuple(service for service in services if service.host is None),
            native=tuple(service for service in services if service.host is not None),
            gpu_mode=gpu_mode,
            places=planned,
        )

    return tuple(make(layout) for layout in chosen or [None])


def _resolve_services(cluster: Cluster, layout: Layout | None, places: Places) -> tuple[Deployed, ...]:
    plain = _mark_stateful(
        [
            _resolve_service(cluster, layout, service, places)
            for service in cluster.services.values()
            if service.kind is not ServiceKind.ADDON
        ]
    )
    return tuple(_add_doors(cluster, service, plain) for service in plain if service.replicas)


def label_prefix_of(cluster: Cluster) -> str:
    """The domain of the node labels that Corral writes."""
    return (cluster.kubernetes.label_prefix if cluster.kubernetes else None) or DEFAULT_LABEL_PREFIX


def namespace_of(cluster: Cluster) -> str:
    """The namespace of services that name none."""
    return dns_name((cluster.kubernetes.namespace if cluster.kubernetes else None) or DEFAULT_NAMESPACE)


def find_address(target: Deployed, *, caller: Deployed | None = None) -> str | None:
    """Find the URL of a service inside the cluster, as `caller` reaches it; None when it listens on no port.

    In the same pod that is localhost; in another namespace the name carries it.
    """
    if target.port is None:
        return None
    if target.host is not None:
        return _write_url(target, f"{target.host}:{target.port}")
    if caller is not None and caller.pod is not None and caller.pod == target.pod:
        return _write_url(target, f"localhost:{target.port}")
    same = caller is None or caller.namespace == target.namespace
    host = target.name if same else f"{target.name}.{target.namespace}"
    return _write_url(target, f"{host}:{target.port}")


def _write_url(target: Deployed, host: str) -> str:
    is_database = target.service.kind is ServiceKind.POSTGRESQL
    return programs.write_database_url(target.env, host) if is_database else f"http://{host}"


def list_addresses(target: Deployed, *, caller: Deployed | None = None) -> tuple[str, ...]:
    """List the URLs at which a service is reached: one for all replicas, or one for each that keeps state."""
    address = find_address(target, caller=caller)
    if address is None:
        return ()
    if not target.has_addresses_of_replicas or "://localhost:" in address:
        return (address,)
    start, _, rest = address.partition(target.name)
    names = (add_suffix(target.name, str(replica)) for replica in range(target.replicas))
    return tuple(f"{start}{name}{rest}" for name in names)


def name_address_variable(service: str) -> str:
    """Name the environment variable with the address of a service: `OLLAMA_URL`."""
    return re.sub(r"[^A-Z0-9]+", "_", service.upper()) + "_URL"


def _resolve_service(cluster: Cluster, layout: Layout | None, service: Service, places: Places) -> Deployed:
    placement = find_placement(layout, service)
    planned = tuple(places.list_of(service.name))
    node = placement.node or service.node or _find_pin(planned, places)
    machine = next((known for known in cluster.nodes if known.name == (node or _find_only_node(planned))), None)
    gpus = _list_gpus_of(cluster, service, planned, node, placement.gpus)
    maker = (find_maker(gpus[0]) if gpus else None) or NVIDIA
    names = service.storage if placement.storage is None else placement.storage
    indexes = placement.gpus
    count = count_gpus(service, placement)
    name = dns_name(placement.name or service.name)
    return Deployed(
        service=_choose_image(service, maker) if count else service,
        name=name,
        namespace=dns_name(service.namespace) if service.namespace else namespace_of(cluster),
        replicas=service.replicas if placement.replicas is None else placement.replicas,
        node=node,
        gpus=indexes,
        gpu_count=count,
        on_demand=layout is not None and count > 0 and service.name not in layout.services,
        pod=dns_name(placement.pod) if placement.pod else None,
        config_map=dns_name(placement.config_map) if placement.config_map else None,
        storage=tuple(cluster.storage[name] for name in names),
        port=service.port or _find_usual_port(service),
        env=limit_workers(count, {**_list_usual_settings(service, names), **service.env, **placement.env}),
        secrets={
            **programs.list_database_secrets(service, name),
            **programs.list_corral_secrets(cluster, service, name),
            **list_secrets(service, name),
        },
        maker=maker,
        gpu_resource=find_resource(gpus) if gpus else ACCESS[NVIDIA].resources[0],
        host=(machine.address or machine.name) if count and machine is not None and runs_macos(machine) else None,
        places=planned,
    )


def _find_only_node(planned: Sequence[Place]) -> str | None:
    nodes = {place.node for place in planned}
    return next(iter(nodes)) if len(nodes) == 1 else None


def _find_pin(planned: Sequence[Place], places: Places) -> str | None:
    """Find the node that the plan gives to a service with GPUs; where nothing shares a GPU, Kubernetes chooses."""
    return _find_only_node(planned) if places.has_shared and any(place.gpus for place in planned) else None


def _list_gpus_of(
    cluster: Cluster, service: Service, planned: Sequence[Place], node: str | None, indexes: tuple[int, ...] | None
) -> list[Gpu]:
    """List the GPUs that a service has in the plan, or that it can have: of several makers, those it is made for."""
    wanted = {(place.node, index) for place in planned for index in place.gpus}
    makers = list_makers(service)
    gpus = [
        (known.name, gpu)
        for known in cluster.nodes
        if node in (None, known.name)
        for gpu in known.gpus or ()
        if not indexes or gpu.index in indexes
    ]
    in_plan = [gpu for name, gpu in gpus if (name, gpu.index) in wanted]
    made_for = [gpu for _, gpu in gpus if makers is None or (find_maker(gpu) or NVIDIA) in makers]
    return in_plan or made_for or [gpu for _, gpu in gpus]


def _choose_image(service: Service, maker: str) -> Service:
    """Give a service without an image the usual one of its engine for a maker other than NVIDIA."""
    ending = next((IMAGES[engine].get(maker) for engine in service.engines if engine in IMAGES), None)
    usual = program_of(service).image
    return service if service.image or ending is None or usual is None else replace(service, image=usual + ending)


def _list_usual_settings(service: Service, volumes: Sequence[str]) -> dict[str, str]:
    return list_usual_settings(service, volumes) | programs.list_database_settings(service)


def _mark_stateful(services: list[Deployed]) -> list[Deployed]:
    """Mark the services whose replicas are reached one by one: where anything in their pod keeps state."""
    stateful = {
        deployed.pod or deployed.service.name for deployed in services if program_of(deployed.service).keeps_state
    }
    return [
        replace(
            deployed,
            has_addresses_of_replicas=deployed.replicas > 1 and (deployed.pod or deployed.service.name) in stateful,
        )
        for deployed in services
    ]


def _find_usual_port(service: Service) -> int | None:
    if service.kind in _PORTS_OF_KINDS:
        return _PORTS_OF_KINDS[service.kind]
    if programs.is_voice_backend(service):
        return programs.MAIN_PORT
    programs_of_engines = (SERVICE_ENGINES[engine].program for engine in service.engines if engine in SERVICE_ENGINES)
    known = next((program.port for program in programs_of_engines if program is not None and program.port), None)
    facts = find_image(service.image) if service.image else None
    return known or (facts.port if facts else None)


def _add_addresses(deployed: Deployed, others: list[Deployed]) -> Deployed:
    """Add the address of everything that it calls; what the file says itself stays."""
    called = {other.service.name: other for other in others if other.replicas}
    variables: dict[str, str] = {}
    for name in deployed.service.calls:
        addresses = list_addresses(called[name], caller=deployed) if name in called else ()
        if addresses:
            variables[name_address_variable(name)] = addresses[0]
            target = called[name].service
            variables |= programs.list_image_addresses(deployed.service, target, addresses[0])
        if len(addresses) > 1:
            variables[f"{name_address_variable(name)}S"] = ",".join(addresses)
    reached = [called[name] for name in deployed.service.calls if name in called]
    return _add_database(replace(deployed, env={**variables, **deployed.env}), reached)


def _add_doors(cluster: Cluster, plain: Deployed, others: list[Deployed]) -> Deployed:
    """Add all addresses, and those of doors in place of the engines behind them; what the file says itself stays."""
    deployed = _add_addresses(plain, others)
    if deployed.service.kind is ServiceKind.CORRAL:
        has_own = programs.is_database(cluster, deployed.service, deployed.env)
        return replace(deployed, has_outside_database=not has_own)
    there = [other for other in others if other.replicas]
    variables: dict[str, str] = {}
    secrets: dict[str, SecretKey] = {}
    is_router = deployed.service.kind is ServiceKind.LITELLM
    for other in there:
        is_called = is_router or other.service.name in deployed.service.calls
        door = doors.find_door(cluster, there, other) if is_called else None
        if door is None:
            continue
        address = write_door_address(door, caller=deployed)
        variable = name_address_variable(other.service.name)
        variables |= {variable: address, f"{variable}S": address}
        variables |= programs.list_image_addresses(deployed.service, other.service, address)
        if not door.is_keyless and is_router and OLLAMA.name == door.engine:
            secrets[doors.KEY_VARIABLE] = SecretKey(secret=deployed.name, key=doors.KEY_VARIABLE)
    changed = {name: value for name, value in variables.items() if name in deployed.env and name not in plain.env}
    return replace(deployed, through_doors=changed, secrets={**secrets, **deployed.secrets})


def write_door_address(door: doors.Door, *, caller: Deployed | None) -> str:
    """Write the URL of a door, as `caller` reaches it."""
    host = find_address(replace(door.server, port=door.port), caller=caller)
    return f"{host}{door.path}"


def list_reached(installation: Installation, target: Deployed, *, caller: Deployed | None) -> tuple[str, ...]:
    """List the URLs at which a service on Kubernetes is reached: that of a door, else its own."""
    door = doors.find_door(installation.cluster, installation.deployed, target)
    return list_addresses(target, caller=caller) if door is None else (write_door_address(door, caller=caller),)


def _add_database(deployed: Deployed, called: list[Deployed]) -> Deployed:
    """Give it access to the database that it calls, by a password from its Secret; Corral's own server uses it."""
    databases = [other for other in called if other.service.kind is ServiceKind.POSTGRESQL]
    if not databases:
        return deployed
    secrets = programs.list_client_secrets(other.secrets for other in databases) | dict(deployed.secrets)
    address = find_address(databases[0], caller=deployed)
    if deployed.service.kind is not ServiceKind.CORRAL or address is None:
        return replace(deployed, secrets=secrets)
    env = {programs.SERVER_VARIABLE: address} | dict(deployed.env)
    return replace(deployed, env=env, secrets={name: key for name, key in secrets.items() if name not in env})
