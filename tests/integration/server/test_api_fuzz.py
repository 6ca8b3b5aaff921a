"""The API is fuzzed from its own description: no 5xx, and every answer is one that OpenAPI declares.

Streams, waits and load tests are left out: they answer late by design, and have tests of their own. Revoking and
collecting are in.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from corral.server.services import Services
from doubles import queue_life
from doubles.serving import Serving
from doubles.slots_shown import a_place_view

EXAMPLES = 8
"""Per operation and mode; with some 30 operations in two modes that is under a minute on two cores."""
LATE = ("/corral/v1/loadtest", "/corral/v1/events", "/corral/v1/tasks/{id}/wait", "/corral/v1/batches/{id}/wait")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
GROUP = a_place_view("sleep", device="node/cpu0")
SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}


async def _seed(api: Serving, services: Services) -> None:
    """Make ids 1 to 6 name tasks in every state, and 1 a batch."""
    made = await api.post("/corral/v1/batches", {"name": "seed", "tasks": [SLEEP] * 6})
    ids = [task["id"] for task in made.json["tasks"]]
    await queue_life.succeed(services.pool, ids[0])
    await queue_life.fail(services.pool, ids[1])
    await queue_life.start(services.pool, ids[2])
    await api.post(f"/corral/v1/tasks/{ids[3]}/cancel")


def _near(case: Case) -> Case:
    """Move most names to things that exist; random ones never do, and every answer would be the same refusal."""
    names = case.path_parameters or {}
    id = names.get("id")
    if isinstance(id, int) and not isinstance(id, bool) and id > 0 and id % 4:
        names["id"] = id % 7 + 1
    if "/queues/" in case.path and "name" in names:
        names["name"] = "small"
    if "/slots/" in case.path and isinstance(case.body, dict) and len(str(case.body)) % 3:
        case.body.update(slots=["node/cpu0", "node/cpu0/sleep"])
    if case.path == "/corral/v1/tasks":
        _usable(case.body)
    if case.path == "/corral/v1/batches" and isinstance(case.body, dict):
        for task in case.body.get("tasks") or ():
            _usable(task)
    return case


def _usable(task: object) -> None:
    """Let what is specific to engines be right; the rest stays what the fuzzer chose."""
    if isinstance(task, dict) and len(task) % 3:
        task.update(SLEEP, queue="default", files={}, needs=[])


def _fuzz(operation: Any, mode: GenerationMode, session: requests.Session) -> None:  # Any: a type that is not public
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: Case) -> None:
        sent = _near(case) if mode is GenerationMode.POSITIVE else case
        sent.call_and_validate(session=session, checks=CHECKS, timeout=20)

    attempt()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
async def test_api_answers_anything_as_it_says(api: Serving, services: Services, mode: GenerationMode) -> None:
    await _seed(api, services)
    services.board.show_slots(lambda: (GROUP,))
    services.board.set_leading(1)  # or `/health/doors` would answer 503, as it says
    described = (await api.get("/openapi.json")).json
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=api.url)
    with requests.Session() as session:
        for candidate in schema.get_all_operations():
            operation = candidate.ok()
            asked = described["paths"][operation.path][operation.method].keys() & {"parameters", "requestBody"}
            if operation.path not in LATE and (asked or mode is GenerationMode.POSITIVE):
                await asyncio.to_thread(_fuzz, operation, mode, session)
