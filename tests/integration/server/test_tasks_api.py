"""Tasks over HTTP: what is submitted is shown, and every refusal says all that is wrong."""

from __future__ import annotations

from typing import Any

from doubles.serving import Serving

SLEEP: dict[str, Any] = {"engine": "sleep", "inputs": {"seconds": 0}}


async def test_submitted_task_is_shown_as_the_queue_keeps_it(api: Serving) -> None:
    asked = {**SLEEP, "name": "nap", "priority": "high", "class": "interactive", "memory": "2Gi", "timeout": "10m"}
    made = await api.post("/v1/tasks", asked)
    assert made.status == 201, made.body
    shown = (await api.get(f"/v1/tasks/{made.json['id']}")).json
    assert shown == made.json
    assert shown["name"] == "nap"
    assert shown["priority"] == "high"
    assert shown["class"] == "interactive"
    assert shown["memory"] == 2 * 1024**3
    assert shown["timeout_s"] == 600.0
    assert shown["state"] == "queued"
    assert shown["owner"] == "local"
