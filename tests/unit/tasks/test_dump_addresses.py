"""A database's password reaches the programs that dump it by their environment, never by their arguments."""

from __future__ import annotations

import pytest

from corral.tasks.backup.dumps import take_password


@pytest.mark.parametrize(
    ("url", "address", "password"),
    [
        ("postgresql://db/corral", "postgresql://db/corral", None),
        ("postgresql://u:p%40ss@db:5432/corral", "postgresql://u@db:5432/corral", "p@ss"),
        ("postgresql://db/corral?user=u&password=s3%26cret", "postgresql://db/corral?user=u", "s3&cret"),
        ("postgresql://u:old@db/corral?password=new", "postgresql://u@db/corral", "new"),
        ("postgresql:///corral?host=/run/pg&password=x", "postgresql:///corral?host=%2Frun%2Fpg", "x"),
    ],
)
def test_the_password_is_taken_out_wherever_the_url_has_it(url: str, address: str, password: str | None) -> None:
    assert take_password(url) == (address, password)
