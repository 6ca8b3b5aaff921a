"""Which addresses are of the public internet, and which of this network: requests that others ask for stay out of it.

Belongs here: the judgement of one address.
Does not belong here: looking names up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_COMPATIBLE = ipaddress.ip_network("::/96")
"""RFC 4291, 2.5.5.1: the last 32 bits are an IPv4 address; `::` and `::1` are their own."""


def read_network(text: str) -> Network:
    """Read a network or a single address: `192.168.1.0/24`, `127.0.0.1`. Raises: ValueError."""
    return ipaddress.ip_network(text, strict=False)


def is_reachable(address: Address, allowed: Collection[str]) -> bool:
    """Whether requests can go to an address: it is public, or in one of these networks.

    What an IPv6 address stands for counts as well: `::ffff:127.0.0.1` is this machine.
    """
    meant = tuple(_list_meanings(address))
    if all(map(_is_public, meant)):
        return True
    networks = [read_network(text) for text in allowed]
    return any(meaning in network for meaning in meant for network in networks if meaning.version == network.version)


def is_inside(url: str, allowed: Collection[str]) -> bool:
    """Whether a URL names an address to which requests cannot go; where a name leads is seen when it is connected."""
    try:
        address = ipaddress.ip_address((urlsplit(url).hostname or "").partition("%")[0])
    except ValueError:
        return False
    return not is_reachable(address, allowed)


def _is_public(address: Address) -> bool:
    """Whether an address is one of the internet; site-local ones (RFC 3879) count as global in Python."""
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not address.is_multicast and not is_site_local


def _list_meanings(address: Address) -> Iterator[Address]:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield address.teredo[1]
        if address in _COMPATIBLE and int(address) > 1:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            return
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            return
    yield address
