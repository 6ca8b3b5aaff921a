"""Steps of a change wait for a client that reads slowly, a bounded number of them."""

from __future__ import annotations

from corral.gateway.ollama.managing import STEPS_KEPT, Steps


async def test_newest_step_replaces_the_last_where_too_many_wait() -> None:
    steps = Steps()
    for number in range(STEPS_KEPT + 10):
        steps.put({"completed": number})
    read = [(await steps.get())["completed"] for _ in range(STEPS_KEPT)]
    assert read == [*range(STEPS_KEPT - 1), STEPS_KEPT + 9]
    assert steps.is_empty
