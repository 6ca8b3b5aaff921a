"""A program starts on a card once its driver shows the memory free, or hears who still has it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from corral.slots.device_use import Program
from corral.tasks.handover import DeviceBusyError, Handover
from corral.units import Bytes
from corral.work import FailureScope, SlotId, Work
from doubles.lending import GIB, Card, a_card
from doubles.local_engines import Remembering


def a_work(memory: Bytes | None) -> Work:
    return Work(
        attempt=uuid4(),
        task=1,
        engine="hold",
        scratch=Path(),
        timeout_s=60,
        memory=memory,
        slots=(SlotId("node/gpu0/hold"),),
        devices=("GPU-1",),
    )


async def hand_over(card: Card, memory: int | None, *, capacity: int = 24 * GIB, wait_s: float = 5.0) -> str:
    handover = Handover(card.look, lambda _: Bytes(capacity), wait_s=wait_s, look_every_s=0.01)
    return await handover.wait_until_free(a_work(None if memory is None else Bytes(memory)), Remembering())


async def test_program_starts_when_what_it_asks_for_is_free() -> None:
    assert await hand_over(a_card(16 * GIB), 8 * GIB) == "8.0 GiB free, checked"


async def test_program_waits_while_a_model_that_was_given_up_still_leaves() -> None:
    card = a_card(20 * GIB)
    starting = asyncio.create_task(hand_over(card, 8 * GIB))
    await asyncio.sleep(0.05)
    assert not starting.done()

    card.use = a_card(2 * GIB).use

    await starting


async def test_memory_that_stays_taken_is_a_wait_with_the_name_of_its_holder() -> None:
    card = a_card(20 * GIB, Program(name="game.x86_64", memory=Bytes(12 * GIB)))

    with pytest.raises(DeviceBusyError) as raised:
        await hand_over(card, 8 * GIB, wait_s=0.02)

    assert raised.value.scope is FailureScope.WAIT
    assert raised.value.what == ("after 0.02 s, 4.0 GiB of 8.0 GiB are free; held by game.x86_64 (12.0 GiB)")


async def test_whole_card_is_all_that_others_outside_leave_but_for_the_contexts_of_idle_servers() -> None:
    desktop = a_card(2 * GIB)

    await hand_over(desktop, None, capacity=22 * GIB)
    with pytest.raises(DeviceBusyError):
        await hand_over(a_card(6 * GIB), None, capacity=22 * GIB, wait_s=0.02)


async def test_card_without_figures_is_handed_over_unchecked() -> None:
    assert await hand_over(a_card(None), None) == "memory not checked: the driver reports none"
