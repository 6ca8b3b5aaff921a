"""How many requests a server does at once, by its own answers."""

from __future__ import annotations

from typing import Any

from corral.engines.openai.lanes import count_slots, read_total_slots


def a_slot(engine: str, device: str, **facts: Any) -> dict[str, Any]:
    return {"engine": engine, "device": device, "gate": "open", "problem": None, **facts}


def test_llama_server_says_its_slots_and_other_answers_say_nothing() -> None:
    assert read_total_slots({"total_slots": 4}) == 4
    assert read_total_slots({"error": "Unexpected endpoint"}) is None


def test_lanes_of_another_corral_are_those_of_its_devices_that_take_work() -> None:
    slots = [
        a_slot("llama", "pc/gpu0", lanes=4),
        a_slot("whisper", "pc/gpu0"),
        a_slot("comfyui", "pc/gpu1"),
        a_slot("ollama", "far", lanes=2, problem="it does not answer"),
        a_slot("llama", "pc/cpu0", gate="paused"),
        a_slot("sleep", "pc/cpu1"),
        a_slot("engine-of-a-later-version", "pc/cpu2"),
    ]

    assert count_slots({"items": slots}) == 5
    assert count_slots({"items": []}) == 0
    assert count_slots({"models": []}) is None
