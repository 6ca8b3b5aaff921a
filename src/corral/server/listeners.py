"""Ports of their own for the clients of other programs: taken before anything else starts, changed by a reload.

A connection from a network that its listener does not allow is refused before a byte of it is read. A listener that
changes or goes ends its idle connections at once, and the others after their answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from corral.cluster.gateway_values import Frontend, Gateway, Listener
from corral.cluster.networks import Address, Network, read_network
from corral.errors import Problem, ProblemsError
from corral.operations.status import ListenerStatus
from corral.server.listening import HttpServer, ListenError, bind

log = structlog.get_logger()

Place = Listener | Frontend


@dataclass(frozen=True, slots=True)
class Entrance:
    """The port that a request came through, where that is not the main one."""

    name: str
    """The key of `gateway`."""
    place: Place | None
    """None of a listener that is not there any more: its last connections end."""


class _Port:
    """A socket that listens, and what accepts its connections once the server runs."""

    def __init__(self, place: Place, listening: socket.socket) -> None:
        self.place = place
        self.socket = listening
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None

    def start(self, http: HttpServer) -> None:
        self._opening = asyncio.get_running_loop().create_task(self._open(http))

    async def _open(self, http: HttpServer) -> None:
        is_encrypted = isinstance(self.place, Frontend) or self.place.tls
        self._server = await http.open(self.socket, http.context if is_encrypted else None)

    def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._server is not None:
            self._server.close()
        self.socket.close()


class Listeners:
    """The listeners of a server; without `change` there are none."""

    def __init__(self, host: str = "127.0.0.1", *, has_certificate: bool = False) -> None:
        """`host` is the main port's address, which a frontend shares, as it does the certificate if there is one."""
        self._host = host
        self._has_certificate = has_certificate
        self._ports: dict[str, _Port] = {}
        self._names: dict[int, str] = {}
        """Every port that was a listener's, with its last name: what comes through it is never the main port's."""
        self._networks: dict[str, Sequence[Network]] = {}
        self._http: HttpServer | None = None

    @property
    def places(self) -> Mapping[str, Place]:
        """The listeners there are, by the key of `gateway`."""
        return {name: port.place for name, port in self._ports.items()}

    def describe(self) -> tuple[ListenerStatus, ...]:
        """Describe the listeners, for people."""
        return tuple(
            ListenerStatus(
                name=name,
                port=place.port,
                address=self._find_address(place),
                owner=place.owner if isinstance(place, Listener) else None,
                allow=place.allow if isinstance(place, Listener) else (),
                api=(place.api or f"${place.api_from}") if isinstance(place, Frontend) else None,
                tls=self._has_certificate and (isinstance(place, Frontend) or place.tls),
            )
            for name, place in self.places.items()
        )

    def find(self, scope: Mapping[str, Any]) -> Entrance | None:  # an ASGI scope: of any server
        """Return the listener that a request came through; None for the main port."""
        name = self._names.get((scope.get("server") or ("", 0))[1])
        if name is None:
            return None
        port = self._ports.get(name)
        has_port = port is not None and port.place.port == scope["server"][1]
        return Entrance(name, port.place if port is not None and has_port else None)

    def explain_refusal(self, port: int, address: str) -> str | None:
        """Say why a connection to a port is not taken; None when it is."""
        entrance = self.find({"server": ("", port)})
        if entrance is None:
            return None
        if entrance.place is None:
            return "this listener is closed"
        networks = self._networks.get(entrance.name)
        visitor = _read_address(address)
        if networks is None or any(_is_in(visitor, network) for network in networks):
            return None
        return (
            f"this listener does not answer {visitor}: gateway.{entrance.name}.allow of the cluster file names others"
        )

    def take(self, gateway: Gateway) -> None:
        """Take the ports of all listeners. Raises: ProblemsError with each port that cannot be taken."""
        with self.changing(gateway):
            pass

    def serve(self, http: HttpServer) -> None:
        """Accept connections from now on, with this server."""
        self._http = http
        for port in self._ports.values():
            port.start(http)

    def close(self) -> None:
        """Give all ports back."""
        for port in self._ports.values():
            port.close()

    @contextmanager
    def changing(self, gateway: Gateway) -> Generator[None]:
        """Take the ports that are new; when the context ends well, give back those that are gone, else the new ones.

        A port whose address changes is closed for a moment.
        Raises: ProblemsError with each port that cannot be taken; all is as before then.
        """
        before, wanted = dict(self._ports), gateway.doors
        kept = {name: port for name, port in before.items() if self._is_same(port, wanted.get(name))}
        gone = {name: port for name, port in before.items() if name not in kept}
        taken_again = {name: port for name, port in gone.items() if port.place.port in _list_ports(wanted)}
        for port in taken_again.values():
            port.close()
        coming: dict[str, _Port] = {}
        try:
            self._take_each({name: place for name, place in wanted.items() if name not in kept}, coming)
            yield
        except BaseException:
            for port in coming.values():
                port.close()
            self._put_back(taken_again)
            raise
        for name, port in kept.items():
            port.place = wanted[name]
        for name in gone.keys() - taken_again.keys():
            gone[name].close()
        self._ports = {name: kept.get(name) or coming[name] for name in wanted}
        self._names |= {place.port: name for name, place in wanted.items()}
        self._networks = {
            name: tuple(map(read_network, listener.allow))
            for name, listener in gateway.listeners.items()
            if listener.allow
        }
        if self._http is not None:
            for port in coming.values():
                port.start(self._http)
            self._http.end_refused()

    def _take_each(self, places: Mapping[str, Place], taken: dict[str, _Port]) -> None:
        problems: list[Problem] = []
        for name, place in places.items():
            if isinstance(place, Listener) and place.tls and not self._has_certificate:
                what = f"gateway.{name} should be encrypted, and the server has no certificate"
                hint = f"start it with `--tls-cert` and `--tls-key`, or remove gateway.{name}.tls"
                problems.append(Problem(code=ListenError.code, what=what, where=f"gateway.{name}.tls", hint=hint))
                continue
            try:
                taken[name] = _Port(place, self._bind(place))
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                what = f"cannot listen on port {place.port} for gateway.{name}: {reason}"
                hint = f"give gateway.{name} another port in the cluster file, or stop what uses this one"
                problems.append(Problem(code=ListenError.code, what=what, where=f"gateway.{name}.port", hint=hint))
        if problems:
            raise ProblemsError(problems)

    def _put_back(self, ports: Mapping[str, _Port]) -> None:
        """Listen again where a change was given up."""
        for name, port in ports.items():
            try:
                self._ports[name] = _Port(port.place, self._bind(port.place))
            except OSError as error:
                del self._ports[name]
                log.error("listener_lost", name=name, port=port.place.port, what=error.strerror or str(error))
                continue
            if self._http is not None:
                self._ports[name].start(self._http)

    def _bind(self, place: Place) -> socket.socket:
        return bind(self._find_address(place), place.port)

    def _find_address(self, place: Place) -> str:
        """Return where a listener listens; empty for every address."""
        if isinstance(place, Frontend):
            return self._host
        return "" if place.allow else "127.0.0.1"

    def _is_same(self, port: _Port, wanted: Place | None) -> bool:
        """Whether a listener can keep its socket."""
        if wanted is None or type(port.place) is not type(wanted):
            return False
        is_alike = isinstance(wanted, Frontend) or (isinstance(port.place, Listener) and port.place.tls == wanted.tls)
        here, there = (port.place.port, self._find_address(port.place)), (wanted.port, self._find_address(wanted))
        return is_alike and here == there


def _list_ports(places: Mapping[str, Place]) -> set[int]:
    return {place.port for place in places.values()}


def _read_address(text: str) -> Address | None:
    """Read the address of a client; one of IPv4 that comes through a socket of IPv6 is that of IPv4."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_in(address: Address | None, network: Network) -> bool:
    return address is not None and address.version == network.version and address in network
