"""Which addresses need tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.server.settings import ServerSettings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("nas", False)],
)
def test_only_loopback_addresses_need_no_token(host: str, loopback: bool) -> None:
    assert ServerSettings(data_dir=Path("/data"), host=host).loopback is loopback


def test_a_token_can_be_asked_for_on_loopback_too() -> None:
    assert ServerSettings(data_dir=Path("/data")).trusts_loopback
    assert not ServerSettings(data_dir=Path("/data"), require_token=True).trusts_loopback
    assert not ServerSettings(data_dir=Path("/data"), host="0.0.0.0").trusts_loopback
