"""Answers names of Services and of pods of StatefulSets, as CoreDNS does in a cluster; nothing outside the cluster."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from control_plane.simulator.api import Mirror
from control_plane.simulator.objects import EMPTY, Json

DOMAIN = ("cluster", "local")
A, CNAME, ANY_TYPE = 1, 5, 255
NO_ERROR, NO_NAME = 0, 3
SECONDS_TO_LIVE = 1
"""CoreDNS says 5 s; tests look at changes."""


def find_addresses(labels: tuple[str, ...], services: Mirror, slices: Mirror) -> list[str] | str | None:
    """Find the addresses of a name, or the name that it stands for; None when there is no such name."""
    if labels[-3:] != ("svc", *DOMAIN) or len(labels) not in (5, 6):
        return None
    namespace, name = labels[-4], labels[-5]
    service = services.find(namespace, name)
    if service is None:
        return None
    if len(labels) == 5 and service["spec"].get("type") == "ExternalName":
        return service["spec"]["externalName"]
    if len(labels) == 5 and service["spec"].get("clusterIP") != "None":
        return [service["spec"]["clusterIP"]]
    host = labels[0] if len(labels) == 6 else None
    addresses = list(_list_endpoints(namespace, name, host, slices.objects.values()))
    return addresses or (None if host is not None else [])


def _list_endpoints(namespace: str, name: str, host: str | None, slices: Iterable[Json]) -> Iterable[str]:
    for part in slices:
        metadata = part["metadata"]
        if metadata["namespace"] != namespace:
            continue
        if (metadata.get("labels") or EMPTY).get("kubernetes.io/service-name") != name:
            continue
        for endpoint in part.get("endpoints") or ():
            is_ready = (endpoint.get("conditions") or EMPTY).get("ready", True)
            if is_ready and host in (None, endpoint.get("hostname"), endpoint["addresses"][0].replace(".", "-")):
                yield from endpoint["addresses"]


class NameServer(asyncio.DatagramProtocol):
    """Answers by UDP."""

    def __init__(self, services: Mirror, slices: Mirror) -> None:
        self._services = services
        self._slices = slices
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        """Keep what answers are sent with."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer a question; what is none is dropped, as broken packets are."""
        if self._transport is None or len(data) < 17:
            return
        labels, end = _read_name(data, 12)
        kind: int = struct.unpack_from(">H", data, end)[0]
        answer = find_addresses(tuple(label.lower() for label in labels), self._services, self._slices)
        answers: list[bytes] = []
        if isinstance(answer, str):
            answers.append(_write_record(CNAME, _write_name(answer)))
        elif answer is not None and kind in (A, ANY_TYPE):
            answers = [_write_record(A, IPv4Address(address).packed) for address in answer]
        code = NO_NAME if answer is None else NO_ERROR
        header = data[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(answers), 0, 0)
        self._transport.sendto(header + data[12 : end + 4] + b"".join(answers), addr)


def _read_name(data: bytes, at: int) -> tuple[list[str], int]:
    labels: list[str] = []
    while at < len(data) and data[at] != 0:
        length = data[at]
        labels.append(data[at + 1 : at + 1 + length].decode("ascii", errors="replace"))
        at += 1 + length
    return labels, at + 1


def _write_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def _write_record(kind: int, data: bytes) -> bytes:
    # The name is a pointer to the question's.
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, SECONDS_TO_LIVE, len(data)) + data


def write_resolver(namespace: str, server: str) -> str:
    """Write a pod's /etc/resolv.conf, as the kubelet does for `ClusterFirst`."""
    domain = ".".join(DOMAIN)
    return f"search {namespace}.svc.{domain} svc.{domain} {domain}\nnameserver {server}\noptions ndots:5\n"
