"""The addresses of a test cluster: a range of its own, so that several runs on one machine do not meet.

A run has one network namespace. It has no name: it ends with the processes in it, and with it the interface that
connects it to this machine, and the route to it. No firewall of this machine is touched.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

NETWORKS = 32
"""So many runs at the same time have addresses of their own: 10.64.0.0/16 to 10.95.0.0/16."""
NEW_NET = 0x40000000
NODES = 254
"""So many nodes have addresses at the same time."""
GATEWAY = "169.254.1.1"
"""The next hop of every pod; its pair of interfaces has no other address."""


class NetworkError(Exception):
    """A command that sets up a network failed, or there is no free range."""


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of one run."""

    index: int

    @property
    def prefix(self) -> str:
        """The first two parts of all addresses."""
        return f"10.{64 + self.index}"

    @property
    def all(self) -> str:
        """The range that this machine routes into the namespace."""
        return f"{self.prefix}.0.0/16"

    @property
    def host(self) -> str:
        """Where pods and nodes reach this machine, and the API server."""
        return f"{self.prefix}.255.1"

    @property
    def router(self) -> str:
        """The namespace's own address."""
        return f"{self.prefix}.255.2"

    @property
    def pods(self) -> str:
        """The range of pods."""
        return f"{self.prefix}.0.0/17"

    @property
    def services(self) -> str:
        """The range of Services."""
        return f"{self.prefix}.128.0/18"

    @property
    def nodes(self) -> str:
        """The range of nodes."""
        return f"{self.prefix}.192.0/24"

    def find_pod(self, number: int) -> str:
        """Find the address of a pod, 1 to 32,767."""
        return f"{self.prefix}.{number // 256}.{number % 256}"

    def find_node(self, number: int) -> str:
        """Find the address of a node, 1 to 254."""
        return f"{self.prefix}.192.{number}"


@contextmanager
def lend_network() -> Generator[Network]:
    """Lend a range that no other run on this machine uses. Raises: NetworkError when all are used."""
    for index in range(NETWORKS):
        # A name in the kernel's own space ends with the process that holds it.
        claim = socket.socket(socket.AF_UNIX)
        with claim:
            try:
                claim.bind(f"\0test-cluster-network-{index}")
            except OSError:
                continue
            yield Network(index)
            return
    raise NetworkError(f"{NETWORKS} test clusters run on this machine already")


def connect_namespace(network: Network, host_process: int) -> None:
    """Connect the namespace of this process with that of another, which is the machine's.

    Raises: NetworkError with the words of `ip`.
    """
    name = f"cluster{network.index}"
    _run(["ip", "link", "add", "uplink", "type", "veth", "peer", "name", name, "netns", str(host_process)])
    configure_links(
        [
            "link set lo up",
            "link set uplink up",
            f"address add {network.router}/30 dev uplink",
            f"route add default via {network.host}",
            f"address add {GATEWAY}/32 dev lo",
            # All of them at once: kube-proxy looks at them only now and then.
            *(f"address add {network.find_node(number)}/32 dev lo" for number in range(1, NODES + 1)),
        ]
    )
    for switch in ("ip_forward", "conf/all/route_localnet"):
        with open(f"/proc/sys/net/ipv4/{switch}", "w", encoding="ascii") as file:
            file.write("1")
    outside = ["nsenter", "--net", "--target", str(host_process)]
    _run([*outside, "ip", "address", "add", f"{network.host}/30", "dev", name])
    _run([*outside, "ip", "link", "set", name, "up"])
    _run([*outside, "ip", "route", "add", network.all, "via", network.router])


def configure_links(commands: Sequence[str], inside: int | None = None) -> None:
    """Run commands of `ip` at once, in the namespace of a process or in this one. Raises: NetworkError."""
    words = [] if inside is None else ["nsenter", "--net", "--target", str(inside)]
    _run([*words, "ip", "-batch", "-"], "\n".join(commands))


def connect_pod(process: int, address: str, number: int) -> None:
    """Give the namespace of a process an address that is routed here. Raises: NetworkError."""
    name = f"pod{number}"
    configure_links(
        [
            f"link add {name} type veth peer name eth0 netns {process}",
            f"link set {name} up",
            f"route add {address}/32 dev {name}",
        ]
    )
    configure_links(
        [
            "link set lo up",
            "link set eth0 up",
            f"address add {address}/32 dev eth0",
            f"route add {GATEWAY} dev eth0 scope link",
            f"route add default via {GATEWAY} dev eth0",
        ],
        process,
    )


def open_socket_inside(process: int) -> socket.socket:
    """Open a TCP socket that belongs to the network of a process. Raises: OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    here, there = (os.open(f"/proc/{owner}/ns/net", os.O_RDONLY) for owner in ("self", process))
    try:
        if library.setns(there, NEW_NET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the pod's network")
        try:
            return socket.socket()
        finally:
            library.setns(here, NEW_NET)
    finally:
        os.close(here)
        os.close(there)


def _run(argv: Sequence[str], text: str = "") -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(argv, input=text, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise NetworkError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}\n{text}")
