"""Errors of a server keep their kind, their problems and their request."""

from __future__ import annotations

import pytest

from corral.client.remote_errors import make_remote_error
from corral.errors import Kind


def test_an_error_of_the_server_keeps_its_kind_and_all_of_its_problems() -> None:
    listed = [{"code": "a.b", "what": "one"}, {"code": "c.d", "what": "two", "where": "tasks[1]", "hint": "do"}]
    error = make_remote_error(
        422, {"error": {"code": "a.b", "kind": "invalid", "what": "one", "problems": listed}}, url="u"
    )

    assert error.kind is Kind.INVALID
    assert [(problem.code, problem.what, problem.where, problem.hint) for problem in error.problems] == [
        ("a.b", "one", None, None),
        ("c.d", "two", "tasks[1]", "do"),
    ]


def test_a_mistake_of_the_server_is_reported_with_its_request() -> None:
    body = {"error": {"code": "server.bug", "kind": "bug", "what": "oops", "request_id": "r1", "problems": []}}

    assert make_remote_error(500, body, url="u").problems[0].where == "request r1"


@pytest.mark.parametrize(("status", "kind"), [(502, Kind.UNAVAILABLE), (404, Kind.MISSING), (418, Kind.BUG)])
def test_an_answer_that_is_not_corrals_is_judged_by_its_status(status: int, kind: Kind) -> None:
    error = make_remote_error(status, "<html>", url="http://x")

    assert (error.kind, error.problems[0].code, error.where) == (kind, "server.strange_answer", "http://x")
