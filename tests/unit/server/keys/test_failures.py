"""An address that tries many unknown tokens waits; others do not wait for it."""

from __future__ import annotations

import pytest

from corral.server.keys.failures import FailedKeys, FailedKeysError


def fail(failures: FailedKeys, address: str | None, times: int, *, at: float = 0.0) -> None:
    for _ in range(times):
        failures.refuse_many(address, at)
        failures.note(address, at)


def test_address_waits_until_its_oldest_failure_is_past() -> None:
    failures = FailedKeys(most=3, window_s=60)
    fail(failures, "192.0.2.1", 2, at=0)
    fail(failures, "192.0.2.1", 1, at=10)
    with pytest.raises(FailedKeysError, match=r"3 unknown tokens or codes came from 192\.0\.2\.1") as refused:
        failures.refuse_many("192.0.2.1", 20)
    assert refused.value.retry_after_s == 40
    failures.refuse_many("192.0.2.2", 20)
    failures.refuse_many("192.0.2.1", 60)


def test_addresses_of_one_ipv6_network_count_together() -> None:
    failures = FailedKeys(most=2)
    fail(failures, "2001:db8:1:2::1", 1)
    fail(failures, "2001:db8:1:2:ffff::9", 1)
    with pytest.raises(FailedKeysError, match="2001:db8:1:2::/64"):
        failures.refuse_many("2001:db8:1:2::3", 1)
    failures.refuse_many("2001:db8:1:3::1", 1)
    fail(failures, "::ffff:192.0.2.1", 2)
    with pytest.raises(FailedKeysError):
        failures.refuse_many("192.0.2.1", 1)


def test_memory_is_bounded_and_the_latest_tries_are_kept() -> None:
    failures = FailedKeys(most=1, addresses=100)
    for number in range(1000):
        fail(failures, f"client-{number}", 1)
    failures.refuse_many("client-0", 1)
    with pytest.raises(FailedKeysError):
        failures.refuse_many("client-999", 1)
