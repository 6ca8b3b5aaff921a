"""Ports and addresses between containers and machines.

Inside a machine containers know each other by name. What another machine calls is published on its address; what people
outside are to reach, on all; everything else on loopback only, so that nothing without a password is open by chance
(pitfall D11).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from corral.cluster.values import Node, ServiceKind
from corral.rendering.compose.interpolation import wanted
from corral.rendering.compose.machines import Machines, Unit
from corral.rendering.installation import Deployed, Installation, addresses_of

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A port of a container on its machine."""

    address: str | None
    """None: all addresses of the machine."""
    port: int
    target: int

    def __str__(self) -> str:
        host = "" if self.address is None else f"{_bracketed(self.address)}:"
        return f"{host}{self.port}:{self.target}"


class Network:
    """Who reaches whom, and how, in one layout."""

    def __init__(self, installation: Installation, machines: Machines) -> None:
        self._installation = installation
        self._machines = machines
        self._called_from = self._callers()
        self._published = self._publish()

    def ports(self, unit: Unit) -> list[str]:
        """The ports of a unit, as Compose writes them."""
        found = (self._published.get(unit.name_of(one)) for one in unit.members)
        return [str(one) for one in found if one is not None]

    def notes(self, unit: Unit) -> list[str]:
        """Say what is open on all addresses only because that of its machine is not known."""
        return [
            f"{unit.name_of(one)} listens on all addresses of {unit.node.name}: other machines call it, and the file "
            "gives no IP address for it to listen on."
            for one in unit.members
            if one.service.exposed is None and one.port is not None and self._bound(unit, one) is None
        ]

    def reach(self, caller: Unit, target: Deployed) -> tuple[str, ...]:
        """The addresses of a service as a unit reaches it; none where the file does not know the machine's address."""
        if target.port is None:
            return ()
        if target in caller.members:
            return (f"http://localhost:{target.port}",)
        units = self._machines.of(target.service.name)
        near = [unit for unit in units if unit.node == caller.node]
        if not target.has_addresses_of_replicas and near:
            return (f"http://{target.name if len(near) > 1 else near[0].host}:{target.port}",)
        found = [self._address(caller, unit, target) for unit in units]
        return tuple(address for address in found if address is not None)

    def environment(self, unit: Unit, one: Deployed) -> dict[str, str]:
        """The settings of a member, with addresses of the cluster turned into those of its machine."""
        known = self._translations(unit, one)
        return {name: _translated(name, value, known) for name, value in one.env.items()}

    def _translations(self, unit: Unit, one: Deployed) -> dict[str, str | None]:
        """The address here of each address in the cluster; None where it is not known."""
        found: dict[str, str | None] = {}
        for name in one.service.calls:
            target = self._installation.of(name)
            if target is None:
                continue
            here = self.reach(unit, target)
            for place, address in enumerate(addresses_of(target, caller=one)):
                found[address] = here[place] if place < len(here) else None
        return found

    def _address(self, caller: Unit, unit: Unit, target: Deployed) -> str | None:
        if unit.node == caller.node:
            return f"http://{unit.host}:{target.port}"
        if unit.node.address is None:
            return None
        return f"http://{_bracketed(unit.node.address)}:{self._published[unit.name_of(target)].port}"

    def _callers(self) -> dict[str, set[str]]:
        """The machines from which each service is called."""
        found: dict[str, set[str]] = {}
        for unit in self._machines.units:
            for one in unit.members:
                for name in self._called(one):
                    found.setdefault(name, set()).add(unit.node.name)
        return found

    def _called(self, one: Deployed) -> tuple[str, ...]:
        if one.service.kind is not ServiceKind.LITELLM:
            return one.service.calls
        ollamas = (each.service.name for each in self._installation.deployed if "ollama" in each.service.engines)
        return (*one.service.calls, *ollamas)

    def _publish(self) -> dict[str, Published]:
        """Give each container with a port one on its machine; where two want the same, the next that is free."""
        found: dict[str, Published] = {}
        taken: dict[str, set[int]] = {}
        for unit in self._machines.units:
            ports = taken.setdefault(unit.node.name, set())
            for one in unit.members:
                if one.port is None:
                    continue
                port = (one.service.exposed.port if one.service.exposed else one.port) + (unit.replica or 0)
                while port in ports:
                    port += 1
                ports.add(port)
                address = self._bound(unit, one)
                found[unit.name_of(one)] = Published(address=address, port=port, target=one.port)
        return found

    def _bound(self, unit: Unit, one: Deployed) -> str | None:
        if one.service.exposed:
            return None
        if not self._called_from.get(one.service.name, set()) - {unit.node.name}:
            return _LOOPBACK
        return unit.node.address if _is_ip(unit.node) else None


def _translated(name: str, value: str, known: dict[str, str | None]) -> str:
    parts = [_part(part, known) for part in value.split(",")]
    if None in parts:
        return wanted(name, "an address on another machine, which the cluster file does not know")
    return ",".join(part or "" for part in parts)


def _part(value: str, known: dict[str, str | None]) -> str | None:
    for address, here in known.items():
        if value == address or value.startswith(f"{address}/"):
            return None if here is None else here + value.removeprefix(address)
    return value


def _is_ip(node: Node) -> bool:
    try:
        ipaddress.ip_address(node.address or "")
    except ValueError:
        return False
    return True


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
