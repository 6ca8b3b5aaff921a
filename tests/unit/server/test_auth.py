"""Loopback needs no token, unless a browser is made to ask for somebody else."""

from __future__ import annotations

import pytest

from corral.server.auth import Caller, Role, RoleError, explain_distrust, require, require_own


@pytest.mark.parametrize("host", ["localhost", "localhost:8470", "127.0.0.1:8470", "127.3.2.1", "[::1]:8470"])
def test_loopback_host_is_trusted(host: str) -> None:
    assert explain_distrust({"host": host}) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8470",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "[bad",
        "a:b",
    ],
)
def test_rebound_name_is_not_trusted(host: str) -> None:
    assert explain_distrust({"host": host}) is not None


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8470", "http://localhost:8470"])
def test_page_of_this_server_is_trusted(origin: str) -> None:
    assert explain_distrust({"host": "127.0.0.1:8470", "origin": origin}) is None


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://evil.example:8470", "http://localhost:3000", "http://localhost"]
)
def test_page_of_another_server_is_not_trusted(origin: str) -> None:
    assert explain_distrust({"host": "127.0.0.1:8470", "origin": origin}) is not None


def test_cross_site_request_of_a_browser_is_not_trusted() -> None:
    assert explain_distrust({"host": "localhost:8470", "sec-fetch-site": "cross-site"}) is not None


@pytest.mark.parametrize(
    ("role", "may"),
    [(Role.VIEWER, {Role.VIEWER}), (Role.SUBMITTER, {Role.VIEWER, Role.SUBMITTER}), (Role.ADMIN, set(Role))],
)
def test_each_role_may_do_what_those_before_it_may(role: Role, may: set[Role]) -> None:
    assert {other for other in Role if role.includes(other)} == may


def test_too_low_a_role_is_refused() -> None:
    with pytest.raises(RoleError):
        require(Caller(owner="ada", role=Role.VIEWER), Role.SUBMITTER)


def test_only_owner_and_administrator_may_change_a_task() -> None:
    require_own(Caller(owner="ada", role=Role.SUBMITTER), "ada")
    require_own(Caller(owner="root", role=Role.ADMIN), "ada")
    with pytest.raises(RoleError):
        require_own(Caller(owner="bob", role=Role.SUBMITTER), "ada")
