"""The place whose server read most of a prompt lately is known."""

from __future__ import annotations

from corral.tasks.prompts import KEPT, RecentPrompts
from corral.work import SlotId

ONE, TWO = SlotId("node/gpu0/llama"), SlotId("node/gpu1/llama")


def test_most_of_the_prompts_that_were_read_lately_counts():
    prompts = RecentPrompts()
    prompts.note(ONE, "You are a cat. Hello")
    prompts.note(ONE, "You are a dog. Hello")
    assert prompts.count_common(ONE, "You are a dog. Bark") == len("You are a dog. ")
    assert prompts.count_common(TWO, "You are a dog. Bark") == 0
    assert prompts.count_common(ONE, "") == 0


def test_only_the_newest_prompts_are_kept():
    prompts = RecentPrompts()
    prompts.note(ONE, "first")
    for number in range(KEPT):
        prompts.note(ONE, f"{number} later")
    assert prompts.count_common(ONE, "first") == 0
