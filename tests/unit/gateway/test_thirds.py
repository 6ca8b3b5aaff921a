"""A request of a Corral ends at the second one."""

from __future__ import annotations

import pytest

from corral.gateway.thirds import ThirdCorralError, check_third
from corral.work import Dialect, Endpoint

CORRAL = Endpoint(url="http://shed:7777", dialects=frozenset({Dialect.OPENAI}), is_corral=True)
OTHER = Endpoint(url="http://shed:8000", dialects=frozenset({Dialect.OPENAI}))


def test_a_request_of_a_corral_is_sent_to_a_server_and_to_no_third_corral() -> None:
    passed = {"corral-passed-on": "1", "content-type": "application/json"}

    check_third(passed, OTHER)
    with pytest.raises(ThirdCorralError, match="comes from a Corral"):
        check_third(passed, CORRAL)


def test_a_request_of_a_person_is_sent_to_another_corral() -> None:
    check_third({"content-type": "application/json"}, CORRAL)
