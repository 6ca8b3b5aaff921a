"""A client that reads slowly loses nothing, and takes no more memory for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from corral.gateway.speech.history import MOST_BYTES, MOST_MESSAGES, History
from corral.gateway.speech.waiting import NewestText, WaitingSound


async def test_sound_beyond_the_bound_waits_on_the_disk_in_its_order(tmp_path: Path) -> None:
    sound = WaitingSound(tmp_path, most=10)
    pieces = [bytes([number]) * 4 for number in range(6)]
    for piece in pieces:
        sound.put(piece)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 16

    assert [await sound.get() for _ in pieces] == pieces
    assert list(tmp_path.iterdir()) == []
    sound.put(b"again")
    assert list(tmp_path.iterdir()) == [], "there is room in memory again"


async def test_a_text_that_grows_is_read_as_it_is_now_and_ends() -> None:
    text = NewestText()
    reading = asyncio.create_task(text.get())
    await asyncio.sleep(0)
    text.put("The")
    assert await reading == "The"
    text.put("The ships")
    text.put("The ships wait.")
    text.end()
    assert [await text.get(), await text.get()] == ["The ships wait.", None]


def test_a_long_conversation_keeps_its_instructions_and_its_newest_messages() -> None:
    first = {"role": "system", "content": "You are a sailor."}
    history = History([first, *({"role": "user", "content": str(number)} for number in range(MOST_MESSAGES))])
    history.add("assistant", "Aye.")

    messages = history.list_messages()
    assert messages[:2] == [first, {"role": "user", "content": "1"}]
    assert (len(messages), messages[-1]["content"]) == (MOST_MESSAGES + 1, "Aye.")


def test_a_conversation_of_long_messages_is_bounded_in_bytes() -> None:
    history = History()
    for number in range(5):
        history.add("user", f"{number}" + "x" * (MOST_BYTES // 3))
    assert [message["content"][0] for message in history.list_messages()] == ["3", "4"]
    history.add("user", "y" * (2 * MOST_BYTES))
    assert len(history.list_messages()) == 1, "what was said last is sent in any case"
