"""Addresses of this machine and its network are told from those of the internet, whatever they are written as."""

from __future__ import annotations

import ipaddress

import pytest

from corral.cluster.networks import is_inside, is_reachable

INSIDE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1", "::127.0.0.1", "::192.168.1.1", "::ffff:169.254.169.254"),
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_reached_only_where_it_is_allowed(address: str) -> None:
    parsed = ipaddress.ip_address(address)
    assert not is_reachable(parsed, ())
    assert is_reachable(parsed, ("0.0.0.0/0", "::/0"))


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909"])
def test_an_address_of_the_internet_is_reached(address: str) -> None:
    assert is_reachable(ipaddress.ip_address(address), ())


def test_what_is_allowed_is_that_network_alone() -> None:
    assert is_reachable(ipaddress.ip_address("192.168.1.7"), ("192.168.1.0/24",))
    assert is_reachable(ipaddress.ip_address("::ffff:192.168.1.7"), ("192.168.1.0/24",))
    assert not is_reachable(ipaddress.ip_address("192.168.2.7"), ("192.168.1.0/24",))
    assert not is_reachable(ipaddress.ip_address("127.0.0.1"), ("192.168.1.0/24",))


def test_a_name_in_a_url_is_left_to_the_connection() -> None:
    assert not is_inside("https://ci.example.org/x", ())
    assert is_inside("http://[fe80::1%25eth0]:80/", ())
    assert is_inside("http://127.0.0.1:8080/x", ())
