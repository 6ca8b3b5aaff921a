"""Slots on one device share its memory: what one of them holds is given up for work on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders import a_submission, a_task
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.submitting import submit
from corral.units import Bytes
from corral.work import Resident
from doubles.engines import ScriptedEngine

if TYPE_CHECKING:
    from conftest import Servers


async def test_model_of_an_idle_neighbour_is_given_up_for_a_task_that_needs_its_memory(servers: Servers) -> None:
    holder, worker = ScriptedEngine(name="llama"), ScriptedEngine()
    holder.held = (Resident(model="large", memory=Bytes(800)),)
    _, board = servers.start("node", holder, worker, device="node/gpu0", capacity=Bytes(1000))
    while not any(place.facts.resident for place in board.places):
        await board.wait_for_change()
    (id,) = (await submit(servers.pool, a_submission(a_task(memory=Bytes(500))), queued_limits={})).tasks
    (task,) = await servers.ended(id)
    assert task.state is TaskState.SUCCEEDED
    assert holder.held == ()
