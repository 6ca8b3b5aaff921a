"""The machine and the GPUs of each service: Compose starts containers on one machine, and has no pool of GPUs.

The layout says it for most services. The rest is decided here by simple rules, in the order of the file: next to its
local volume, on the first machine with free GPUs that are large enough, next to a service that it calls, else on the
first machine. No GPU is given twice (pitfall G11), except to services on demand, which take turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from corral.cluster.values import Gpu, Node, StorageKind
from corral.hardware.makers import NVIDIA, find_maker
from corral.rendering.compose.interpolation import require_variable
from corral.rendering.container_settings import is_job
from corral.rendering.installation import Deployed, Installation, name_address_variable
from corral.rendering.makers import explain_wrong_maker
from corral.rendering.programs import image_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One replica of services that are deployed together: containers that share a network and GPUs."""

    members: tuple[Deployed, ...]
    replica: int | None
    """Its number if there are several."""
    node: Node
    gpus: tuple[str, ...]
    """UUIDs if the cluster file has them, else indexes."""
    maker: str = NVIDIA
    """The maker of its GPUs; NVIDIA where that is unknown."""

    def name_container(self, deployed: Deployed) -> str:
        """Name the container of a member."""
        return deployed.name if self.replica is None else f"{deployed.name}-{self.replica}"

    @property
    def host(self) -> str:
        """The name of its network on its machine: that of its first member."""
        return self.name_container(self.members[0])

    @property
    def on_demand(self) -> bool:
        """Whether it starts only when it is asked for."""
        return all(member.on_demand for member in self.members)


@dataclass(slots=True)
class Machines:
    """The units of a layout, and notes on them."""

    units: list[Unit] = field(default_factory=list[Unit])
    without_image: list[str] = field(default_factory=list[str])
    """Services for which the cluster file names no image, in words."""
    left_out: list[str] = field(default_factory=list[str])
    """Other services without a unit, each with the reason."""
    chosen: dict[str, str] = field(default_factory=dict[str, str])
    """The reason for the machine of a unit, by its name, if the cluster file leaves the machine open."""

    def list_units(self, service: str) -> list[Unit]:
        """Every unit in which a service runs."""
        return [unit for unit in self.units if any(member.service.name == service for member in unit.members)]


@dataclass(frozen=True, slots=True)
class _Demand:
    """A replica that needs a machine."""

    members: tuple[Deployed, ...]
    replica: int | None

    @property
    def gpu_count(self) -> int:
        return max(member.gpu_count for member in self.members)

    @property
    def node(self) -> str | None:
        """The machine that the cluster file names, or the machine with its local volume."""
        named = next((member.node for member in self.members if member.node), None)
        volumes = (storage for member in self.members for storage in member.storage)
        return named or next((storage.node for storage in volumes if storage.kind is StorageKind.LOCAL), None)

    @property
    def indexes(self) -> tuple[int, ...] | None:
        """The GPUs that the layout names for this replica; all of them if it gets as many as there are."""
        named = next((member.gpus for member in self.members if member.gpus is not None), None)
        if named is None or self.gpu_count == 0:
            return None
        start = (self.replica or 0) * self.gpu_count
        end = start + self.gpu_count
        return named[start:end] if len(named) >= end else None

    @property
    def on_demand(self) -> bool:
        return all(member.on_demand for member in self.members) or any(is_job(member) for member in self.members)

    @property
    def name(self) -> str:
        first = self.members[0].name
        return first if self.replica is None else f"{first}-{self.replica}"


def assign_machines(installation: Installation) -> Machines:
    """Decide which machine runs each replica of a layout, and on which GPUs."""
    machines = Machines()
    placer = _Placer(installation, machines)
    demands = list(_list_demands(installation, machines))
    # The least free come first: named GPUs, then named machines. Services on demand take what is left or shared, and
    # services without a GPU follow the services that they call.
    order = (
        [demand for demand in demands if demand.indexes is not None],
        [demand for demand in demands if _needs_any_gpu(demand) and demand.node and not demand.on_demand],
        [demand for demand in demands if _needs_any_gpu(demand) and not demand.node and not demand.on_demand],
        [demand for demand in demands if _needs_any_gpu(demand) and demand.on_demand],
        [demand for demand in demands if not demand.gpu_count],
    )
    for group in order:
        for demand in group:
            placer.place(demand)
    rank = {demand.name: position for position, demand in enumerate(demands)}
    machines.units.sort(key=lambda unit: rank[unit.host])
    return machines


def _needs_any_gpu(demand: _Demand) -> bool:
    """Return whether a replica needs GPUs, and the layout does not name them."""
    return demand.indexes is None and demand.gpu_count > 0


def _list_demands(installation: Installation, machines: Machines) -> Iterator[_Demand]:
    pods: dict[str, list[Deployed]] = {}
    for deployed in installation.deployed:
        if image_of(deployed.service) is None:
            machines.without_image.append(f"{deployed.name}: the file names no image.")
        else:
            key = f"pod {deployed.pod}" if deployed.pod else f"service {deployed.service.name}"
            pods.setdefault(key, []).append(deployed)
    for members in pods.values():
        replicas = max(member.replicas for member in members)
        for replica in range(replicas):
            yield _Demand(tuple(members), replica if replicas > 1 else None)


class _Placer:
    """Gives replicas their machines and GPUs, one after the other."""

    def __init__(self, installation: Installation, machines: Machines) -> None:
        self._nodes = installation.cluster.nodes
        self._machines = machines
        self._free = {node.name: list(node.gpus or ()) for node in self._nodes}
        self._users: Counter[tuple[str, int]] = Counter()
        self._places = installation.places

    def place(self, demand: _Demand) -> None:
        """Put a replica where the plan has it, else on a machine that has room, or record why that is not possible."""
        refused = self._places.refused.get((demand.members[0].service.name, demand.replica or 0))
        # Where the file does not say which GPUs a machine has, they are asked for when the project starts.
        is_open = any(node.gpus is None for node in self._nodes if demand.node in (None, node.name))
        if refused is not None and not is_open and not demand.on_demand:
            self._machines.left_out.append(f"{demand.name}: {refused}.")
            return
        planned = self._find_planned(demand)
        node = self._choose_node(demand) if planned is None else planned[0]
        gpus = planned[1] if planned is not None else None if node is None else self._take_gpus(demand, node)
        if node is None or gpus is None:
            where = f"of {demand.node}" if demand.node else "of any machine"
            self._machines.left_out.append(f"{demand.name}: no free GPU {where} is large enough.")
            return
        maker = (find_maker(gpus[0]) if gpus and isinstance(gpus[0], Gpu) else None) or NVIDIA
        names = tuple(gpu.uuid or str(gpu.index) if isinstance(gpu, Gpu) else gpu for gpu in gpus)
        unit = Unit(members=demand.members, replica=demand.replica, node=node, gpus=names, maker=maker)
        self._machines.units.append(unit)

    def _find_planned(self, demand: _Demand) -> tuple[Node, tuple[Gpu, ...]] | None:
        """Find the machine and the GPUs that the plan gives to a replica; several can have the same."""
        place = self._places.find(demand.members[0].service.name, demand.replica)
        node = next((node for node in self._nodes if place is not None and node.name == place.node), None)
        if place is None or node is None:
            return None
        gpus = tuple(gpu for gpu in node.gpus or () if gpu.index in place.gpus)
        self._users.update((node.name, gpu.index) for gpu in gpus)
        self._free[node.name] = [gpu for gpu in self._free[node.name] if gpu not in gpus]
        if demand.node is None and gpus:
            self._machines.chosen[demand.name] = "the plan has it here"
        return node, gpus

    def _choose_node(self, demand: _Demand) -> Node | None:
        if demand.node is not None:
            return next((node for node in self._nodes if node.name == demand.node), None)
        if demand.gpu_count:
            node, reason = self._find_node_with_gpus(demand), "the first machine with GPUs for it"
        else:
            node, reason = self._find_node_of_callee(demand)
        if node is not None:
            self._machines.chosen[demand.name] = reason
        return node

    def _find_node_with_gpus(self, demand: _Demand) -> Node | None:
        fitting = {node.name: self._list_fitting(demand, node) for node in self._nodes if node.gpus is not None}
        nodes = [node for node in self._nodes if len(fitting.get(node.name, ())) >= demand.gpu_count]
        if not nodes:
            return next((node for node in self._nodes if node.gpus is None), None)
        return min(nodes, key=lambda node: self._count_users(node, fitting[node.name][: demand.gpu_count]))

    def _count_users(self, node: Node, gpus: Sequence[Gpu]) -> int:
        """Count the units that already have these GPUs; only for services on demand can that be more than none."""
        return sum(self._users[node.name, gpu.index] for gpu in gpus)

    def _find_node_of_callee(self, demand: _Demand) -> tuple[Node, str]:
        for name in (callee for member in demand.members for callee in member.service.calls):
            for unit in self._machines.list_units(name):
                return unit.node, f"next to {name}, which it calls"
        return self._nodes[0], "the first machine of the file"

    def _list_fitting(self, demand: _Demand, node: Node) -> list[Gpu]:
        """The GPUs of a machine that a replica can get; a replica on demand can also get GPUs that others use."""
        needed = max((member.service.gpu_memory or 0 for member in demand.members), default=0)
        gpus = self._free[node.name]
        if demand.on_demand:
            gpus = sorted(node.gpus or (), key=lambda gpu: self._count_users(node, [gpu]))
        return [
            gpu
            for gpu in gpus
            if (gpu.memory is None or gpu.memory >= needed)
            and not any(explain_wrong_maker(member.service, find_maker(gpu) or NVIDIA) for member in demand.members)
        ]

    def _take_gpus(self, demand: _Demand, node: Node) -> tuple[Gpu | str, ...] | None:
        """Take GPUs of a machine; variables to set where its GPUs are unknown, None where too few are free."""
        if not demand.gpu_count:
            return ()
        if node.gpus is None:
            variable = name_address_variable(demand.name).removesuffix("_URL") + "_GPU"
            what = f"the UUID or index of a GPU of {node.name}, as nvidia-smi -L lists them"
            return tuple(require_variable(f"{variable}{number or ''}", what) for number in range(demand.gpu_count))
        if demand.indexes is not None:
            gpus = [gpu for gpu in node.gpus if gpu.index in demand.indexes]
        else:
            gpus = self._list_fitting(demand, node)[: demand.gpu_count]
        if len(gpus) < demand.gpu_count:
            return None
        self._users.update((node.name, gpu.index) for gpu in gpus)
        if not demand.on_demand:
            self._free[node.name] = [gpu for gpu in self._free[node.name] if gpu not in gpus]
        return tuple(gpus)
