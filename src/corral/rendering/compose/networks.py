"""Ports and addresses between containers and machines.

Containers of a machine reach each other by name. A port is published on the machine's address if another machine calls
it, on all addresses if the cluster file exposes it to people, else on loopback only, so that no service without a
password is open by chance (pitfall D11).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from corral.cluster.values import Node, ServiceKind
from corral.container_images import find_image
from corral.engine_kinds import COMFYUI, OLLAMA
from corral.rendering.compose.interpolation import require_variable
from corral.rendering.compose.machines import Machines, Unit
from corral.rendering.installation import Deployed, Installation, list_addresses
from corral.rendering.programs import image_of

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A port of a container on its machine."""

    address: str | None
    """None: all addresses of the machine."""
    port: int
    target: int

    def __str__(self) -> str:
        host = "" if self.address is None else f"{_bracket_address(self.address)}:"
        return f"{host}{self.port}:{self.target}"


class Network:
    """The ports of one layout, and the addresses at which its services reach each other."""

    def __init__(self, installation: Installation, machines: Machines) -> None:
        self._installation = installation
        self._machines = machines
        self._caller_nodes = self._map_caller_nodes()
        self._published = self._publish_ports()

    def list_ports(self, unit: Unit) -> list[str]:
        """The ports of a unit, in the notation of Compose."""
        ports = (self._published.get(unit.name_container(member)) for member in unit.members)
        return [str(port) for port in ports if port is not None]

    def list_notes(self, unit: Unit) -> list[str]:
        """Ports that are open on all addresses: said where only the machine's address is unknown, and accepted."""
        notes: list[str] = []
        for member in unit.members:
            name = unit.name_container(member)
            if member.port is None or self._choose_address(unit, member) is not None:
                continue
            if member.service.exposed is None:
                notes.append(
                    f"{name} listens on all addresses of {unit.node.name}: other machines call it, and the file gives "
                    "no IP address for it to listen on."
                )
            if _has_no_login(member):
                reason = "is exposed by the cluster file" if member.service.exposed else "has no address to listen on"
                notes.append(f"corral: ignore-file D11 because {name} {reason}")
        return notes

    def list_addresses(self, caller: Unit, target: Deployed) -> tuple[str, ...]:
        """The URLs of a service for a caller; without those on machines whose address the cluster file lacks."""
        if target.port is None:
            return ()
        if target.host is not None:
            return list_addresses(target)
        if target in caller.members:
            return (f"http://localhost:{target.port}",)
        units = self._machines.list_units(target.service.name)
        near = [unit for unit in units if unit.node == caller.node]
        if not target.has_addresses_of_replicas and near:
            return (f"http://{target.name if len(near) > 1 else near[0].host}:{target.port}",)
        addresses = [self._find_address(caller, unit, target) for unit in units]
        return tuple(address for address in addresses if address is not None)

    def translate_environment(self, unit: Unit, deployed: Deployed) -> dict[str, str]:
        """The settings of a member, with addresses of the cluster replaced by those on its machine."""
        known = self._map_addresses(unit, deployed)
        return {name: _translate_setting(name, value, known) for name, value in deployed.env.items()}

    def _map_addresses(self, unit: Unit, deployed: Deployed) -> dict[str, str | None]:
        """The address here of each address in the cluster; None if it is unknown."""
        addresses: dict[str, str | None] = {}
        for name in deployed.service.calls:
            target = self._installation.find_service(name)
            if target is None:
                continue
            here = self.list_addresses(unit, target)
            for position, address in enumerate(list_addresses(target, caller=deployed)):
                addresses[address] = here[position] if position < len(here) else None
        return addresses

    def _find_address(self, caller: Unit, unit: Unit, target: Deployed) -> str | None:
        if unit.node == caller.node:
            return f"http://{unit.host}:{target.port}"
        if unit.node.address is None:
            return None
        port = self._published[unit.name_container(target)].port
        return f"http://{_bracket_address(unit.node.address)}:{port}"

    def _map_caller_nodes(self) -> dict[str, set[str]]:
        """The machines from which each service is called."""
        nodes: dict[str, set[str]] = {}
        for unit in self._machines.units:
            for member in unit.members:
                for name in self._list_callees(member):
                    nodes.setdefault(name, set()).add(unit.node.name)
        return nodes

    def _list_callees(self, deployed: Deployed) -> tuple[str, ...]:
        if deployed.service.kind is not ServiceKind.LITELLM:
            return deployed.service.calls
        # LiteLLM routes to every Ollama of the layout, whether the cluster file lists the call or not.
        ollamas = (other.service.name for other in self._installation.deployed if OLLAMA.name in other.service.engines)
        return (*deployed.service.calls, *ollamas)

    def _publish_ports(self) -> dict[str, Published]:
        """Give each container with a port one on its machine; the next free port if another container has it."""
        published: dict[str, Published] = {}
        taken: dict[str, set[int]] = {}
        for unit in self._machines.units:
            ports = taken.setdefault(unit.node.name, set())
            for member in unit.members:
                if member.port is None:
                    continue
                exposed = member.service.exposed
                port = (exposed.port if exposed else member.port) + (unit.replica or 0)
                while port in ports:
                    port += 1
                ports.add(port)
                address = self._choose_address(unit, member)
                published[unit.name_container(member)] = Published(address=address, port=port, target=member.port)
        return published

    def _choose_address(self, unit: Unit, deployed: Deployed) -> str | None:
        if deployed.service.exposed:
            return None
        if not self._caller_nodes.get(deployed.service.name, set()) - {unit.node.name}:
            return _LOOPBACK
        return unit.node.address if _has_ip_address(unit.node) else None


def _has_no_login(deployed: Deployed) -> bool:
    """Whether a linter warns of its open port."""
    facts = find_image(image_of(deployed.service) or "")
    engines = {OLLAMA.name, COMFYUI.name} & set(deployed.service.engines)
    return bool(engines) or (facts is not None and facts.has_login is False)


def _translate_setting(name: str, value: str, known: dict[str, str | None]) -> str:
    parts = [_translate_address(part, known) for part in value.split(",")]
    if None in parts:
        return require_variable(name, "an address on another machine, which the cluster file does not have")
    return ",".join(part or "" for part in parts)


def _translate_address(value: str, known: dict[str, str | None]) -> str | None:
    for address, here in known.items():
        if value == address or value.startswith(f"{address}/"):
            return None if here is None else here + value.removeprefix(address)
    return value


def _has_ip_address(node: Node) -> bool:
    try:
        ipaddress.ip_address(node.address or "")
    except ValueError:
        return False
    return True


def _bracket_address(address: str) -> str:
    return f"[{address}]" if ":" in address else address
