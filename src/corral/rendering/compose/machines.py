"""Which machine runs what, on which cards: Compose starts things on one machine, and has no pool of GPUs.

The layout says it for most services. What it leaves open is decided here by simple rules, in the order of the file:
beside its local volume, on the first machine with free cards that are large enough, beside what it calls, else on the
first machine. No card is given twice (pitfall G11), except to services on demand, which take turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from corral.cluster.values import Gpu, Node, ServiceKind, StorageKind
from corral.rendering.compose.interpolation import wanted
from corral.rendering.installation import Deployed, Installation, address_variable
from corral.rendering.programs import image_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One replica of what is deployed together: containers that share a network and cards."""

    members: tuple[Deployed, ...]
    replica: int | None
    """Its number where there are several."""
    node: Node
    cards: tuple[str, ...]
    """UUIDs where the file knows them, else indexes."""

    def name_of(self, one: Deployed) -> str:
        """What Compose calls the container of a member."""
        return one.name if self.replica is None else f"{one.name}-{self.replica}"

    @property
    def host(self) -> str:
        """The name that its network has on its machine: that of its first member."""
        return self.name_of(self.members[0])

    @property
    def on_demand(self) -> bool:
        """Whether it waits to be asked for."""
        return all(one.on_demand for one in self.members)


@dataclass(slots=True)
class Machines:
    """The units of a layout, and what is to be said of them."""

    units: list[Unit] = field(default_factory=list[Unit])
    left_out: list[str] = field(default_factory=list[str])
    chosen: dict[str, str] = field(default_factory=dict[str, str])
    """Why a unit is where it is, by its name, where the file leaves that open."""

    def of(self, service: str) -> list[Unit]:
        """Every unit in which a service runs."""
        return [unit for unit in self.units if any(one.service.name == service for one in unit.members)]


@dataclass(frozen=True, slots=True)
class _Wish:
    members: tuple[Deployed, ...]
    replica: int | None

    @property
    def gpus(self) -> int:
        return max(one.gpu_count for one in self.members)

    @property
    def node(self) -> str | None:
        """The machine that the file names, or that has its local volume."""
        local = (s.node for one in self.members for s in one.storage if s.kind is StorageKind.LOCAL)
        return next((one.node for one in self.members if one.node), None) or next(local, None)

    @property
    def indexes(self) -> tuple[int, ...] | None:
        """The cards that the layout names for this replica; all of them where it gets as many as there are."""
        named = next((one.gpus for one in self.members if one.gpus is not None), None)
        if named is None or self.gpus == 0:
            return None
        start = (self.replica or 0) * self.gpus
        return named[start : start + self.gpus] if len(named) >= start + self.gpus else None

    @property
    def on_demand(self) -> bool:
        return all(one.on_demand for one in self.members) or any(is_job(one) for one in self.members)

    @property
    def name(self) -> str:
        first = self.members[0].name
        return first if self.replica is None else f"{first}-{self.replica}"


def is_job(one: Deployed) -> bool:
    """Tell whether a service runs to its end instead of staying."""
    return one.service.kind is ServiceKind.JOB or "trainer" in one.service.engines


def machines_of(installation: Installation) -> Machines:
    """Decide which machine runs what."""
    machines = Machines()
    placer = _Placer(installation, machines)
    wishes = list(_wishes(installation, machines))
    order = (
        [wish for wish in wishes if wish.indexes is not None],
        [wish for wish in wishes if wish.indexes is None and wish.gpus and wish.node and not wish.on_demand],
        [wish for wish in wishes if wish.indexes is None and wish.gpus and not wish.node and not wish.on_demand],
        [wish for wish in wishes if wish.indexes is None and wish.gpus and wish.on_demand],
        [wish for wish in wishes if not wish.gpus],
    )
    for group in order:
        for wish in group:
            placer.place(wish)
    rank = {wish.name: place for place, wish in enumerate(wishes)}
    machines.units.sort(key=lambda unit: rank[unit.host])
    return machines


def _wishes(installation: Installation, machines: Machines) -> Iterator[_Wish]:
    pods: dict[str, list[Deployed]] = {}
    for one in installation.deployed:
        if image_of(one.service) is None:
            machines.left_out.append(f"{one.name}: the file names no image.")
        else:
            pods.setdefault(f"pod {one.pod}" if one.pod else f"service {one.service.name}", []).append(one)
    for members in pods.values():
        replicas = max(one.replicas for one in members)
        for replica in range(replicas):
            yield _Wish(tuple(members), replica if replicas > 1 else None)


class _Placer:
    """Gives units their machines and cards, one after the other."""

    def __init__(self, installation: Installation, machines: Machines) -> None:
        self._nodes = installation.cluster.nodes
        self._machines = machines
        self._free = {node.name: list(node.gpus or ()) for node in self._nodes}
        self._users: Counter[tuple[str, int]] = Counter()

    def place(self, wish: _Wish) -> None:
        """Put a unit onto a machine, or say why that cannot be."""
        node = self._node(wish)
        cards = None if node is None else self._cards(wish, node)
        if node is None or cards is None:
            where = f"of {wish.node}" if wish.node else "of any machine"
            self._machines.left_out.append(f"{wish.name}: no free GPU {where} is large enough.")
            return
        unit = Unit(members=wish.members, replica=wish.replica, node=node, cards=cards)
        self._machines.units.append(unit)

    def _node(self, wish: _Wish) -> Node | None:
        if wish.node is not None:
            return next((node for node in self._nodes if node.name == wish.node), None)
        if wish.gpus:
            found = self._with_cards(wish)
            reason = "the first machine with cards for it"
        else:
            found, reason = self._beside(wish)
        if found is not None:
            self._machines.chosen[wish.name] = reason
        return found

    def _with_cards(self, wish: _Wish) -> Node | None:
        known = [node for node in self._nodes if node.gpus is not None and len(self._fitting(wish, node)) >= wish.gpus]
        if not known:
            return next((node for node in self._nodes if node.gpus is None), None)
        return min(known, key=lambda node: self._crowd(node, self._fitting(wish, node)[: wish.gpus]))

    def _crowd(self, node: Node, cards: list[Gpu]) -> int:
        """How many units have these cards already; only those on demand ever see more than none."""
        return sum(self._users[node.name, card.index] for card in cards)

    def _beside(self, wish: _Wish) -> tuple[Node, str]:
        for name in (called for one in wish.members for called in one.service.calls):
            for unit in self._machines.of(name):
                return unit.node, f"beside {name}, which it calls"
        return self._nodes[0], "the first machine of the file"

    def _fitting(self, wish: _Wish, node: Node) -> list[Gpu]:
        """Cards of a machine that a unit may get; those on demand may also have a card that others use."""
        needed = max((one.service.gpu_memory or 0 for one in wish.members), default=0)
        free = self._free[node.name]
        cards = sorted(node.gpus or (), key=lambda gpu: self._crowd(node, [gpu])) if wish.on_demand else free
        return [gpu for gpu in cards if gpu.memory is None or gpu.memory >= needed]

    def _cards(self, wish: _Wish, node: Node) -> tuple[str, ...] | None:
        if not wish.gpus:
            return ()
        if node.gpus is None:
            variable = address_variable(wish.name).removesuffix("_URL") + "_GPU"
            what = f"the UUID or index of a GPU of {node.name}, as nvidia-smi -L lists them"
            return tuple(wanted(f"{variable}{number or ''}", what) for number in range(wish.gpus))
        if wish.indexes is not None:
            cards = [gpu for gpu in node.gpus if gpu.index in wish.indexes]
        else:
            cards = self._fitting(wish, node)[: wish.gpus]
        if len(cards) < wish.gpus:
            return None
        self._users.update((node.name, card.index) for card in cards)
        if not wish.on_demand:
            self._free[node.name] = [gpu for gpu in self._free[node.name] if gpu not in cards]
        return tuple(gpu.uuid or str(gpu.index) for gpu in cards)
