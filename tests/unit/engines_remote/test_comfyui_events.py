"""What an instance says over its WebSocket, and what is made of it."""

import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from corral.engines.comfyui.events import Course, Preview, read_binary

MINE = "0d5e0dd4-0000-4000-8000-000000000001"


def course(*nodes: str) -> Course:
    return Course(prompt=MINE, classes={node: f"Class{node}" for node in nodes})


def say(course: Course, event: str, prompt: str = MINE, **data: Any) -> bool:
    return course.read(json.dumps({"type": event, "data": {"prompt_id": prompt, **data}})) is not None


def test_a_preview_tells_its_type() -> None:
    assert read_binary(struct.pack(">II", 1, 1) + b"jpeg") == Preview(media_type="image/jpeg", data=b"jpeg")
    assert read_binary(struct.pack(">II", 1, 2) + b"png") == Preview(media_type="image/png", data=b"png")


def test_a_preview_with_metadata_tells_whose_it_is() -> None:
    metadata = json.dumps({"prompt_id": MINE, "node_id": "3", "image_type": "image/webp"}).encode()

    preview = read_binary(struct.pack(">II", 4, len(metadata)) + metadata + b"webp")

    assert preview == Preview(media_type="image/webp", data=b"webp", prompt=MINE)


def test_a_text_of_a_node_is_a_preview() -> None:
    assert read_binary(struct.pack(">II", 3, 2) + b"12half way") == Preview(media_type="text/plain", data=b"half way")


@given(st.binary(max_size=64))
def test_no_frame_is_fatal(frame: bytes) -> None:
    read_binary(frame)


@given(st.text(max_size=64) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_message_is_fatal(message: str) -> None:
    assert not course("1").read(message)


def test_unknown_binary_events_are_ignored() -> None:
    assert read_binary(struct.pack(">II", 2, 1) + b"internal") is None
    assert read_binary(struct.pack(">II", 99, 1) + b"?") is None


def test_events_of_other_prompts_do_not_count() -> None:
    prompt = course("1", "2")

    assert not say(prompt, "executing", prompt="another", node="1")
    assert not say(prompt, "execution_success", prompt="another")
    assert not prompt.ended
    assert prompt.fraction == 0


def test_cached_and_finished_nodes_count_as_done() -> None:
    prompt = course("1", "2", "3", "4")
    say(prompt, "execution_cached", nodes=["1", "2"])
    say(prompt, "executed", node="3")

    assert prompt.fraction == 0.75


def test_a_running_node_counts_by_its_own_progress() -> None:
    prompt = course("1", "2")
    say(prompt, "executing", node="1")
    say(prompt, "progress", node="1", value=5, max=10)

    assert prompt.fraction == 0.25
    assert prompt.note == "Class1 5/10"


def test_both_ways_of_telling_progress_agree() -> None:
    prompt = course("1", "2")
    say(prompt, "progress_state", nodes={"1": {"state": "finished", "value": 1, "max": 1}})
    say(prompt, "progress_state", nodes={"2": {"state": "running", "value": 1, "max": 2}})

    assert prompt.fraction == 0.75


def test_the_next_node_ends_the_one_before() -> None:
    prompt = course("1", "2")
    say(prompt, "executing", node="1")
    say(prompt, "executing", node="2")

    assert prompt.fraction == 0.5


def state(value: float, maximum: float = 1.0, word: str = "running") -> dict[str, Any]:
    return {"state": word, "value": value, "max": maximum}


def test_steps_of_a_node_count_although_its_state_came_before_its_name() -> None:
    prompt = course("1", "2")
    say(prompt, "progress_state", nodes={"1": state(0)})
    say(prompt, "executing", node="1")
    fractions: list[float] = []
    for step in range(1, 41):
        say(prompt, "progress_state", nodes={"1": state(step, 40)})
        say(prompt, "progress", node="1", value=step, max=40)
        fractions.append(prompt.fraction)

    assert fractions == [step / 80 for step in range(1, 41)]
    assert prompt.note == "Class1 40/40"


def test_nodes_that_run_at_the_same_time_do_not_end_each_other() -> None:
    prompt = course("1", "2")
    say(prompt, "progress_state", nodes={"1": state(0)})
    say(prompt, "executing", node="1")
    say(prompt, "progress_state", nodes={"1": state(1, 2), "2": state(0)})
    say(prompt, "executing", node="2")

    assert prompt.fraction == 0.25
    assert prompt.note == "Class2"
    say(prompt, "progress_state", nodes={"1": state(1, 1, "finished"), "2": state(0)})
    assert prompt.fraction == 0.5


def test_nodes_that_appear_while_it_runs_do_not_push_it_past_the_end() -> None:
    prompt = course("1")
    for node in ("1", "1.0.0.1", "1.0.0.2"):
        say(prompt, "executed", node=node)

    assert prompt.fraction == 1.0


@given(
    st.lists(st.tuples(st.sampled_from(["executing", "executed", "progress"]), st.sampled_from("1234"), st.integers()))
)
def test_progress_never_falls(events: list[tuple[str, str, int]]) -> None:
    prompt = course("1", "2", "3")
    seen = [0.0]
    for event, node, number in events:
        say(prompt, event, node=node, value=number, max=10)
        seen.append(prompt.fraction)

    assert seen == sorted(seen)
    assert seen[-1] <= 1.0


def test_each_kind_of_end_is_heard() -> None:
    for event in ("execution_success", "execution_error", "execution_interrupted"):
        prompt = course("1")
        say(prompt, event)
        assert prompt.ended
