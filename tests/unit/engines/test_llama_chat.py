"""What is asked of llama.cpp's server, and how its stream is read."""

from __future__ import annotations

from typing import Any

import pytest

from corral.engines.inputs import read_task_inputs
from corral.engines.llama.chat import Reply, make_chat_request
from corral.engines.llama.inputs import LlamaInputs
from corral.engines.messages import Message
from corral.engines.worker.job import Talk
from corral.work import EngineError, TaskInvalidError


def request(**inputs: Any) -> dict[str, Any]:
    return make_chat_request(read_task_inputs(LlamaInputs, inputs).model_dump(mode="json"))


def a_reply(sent: list[Message] | None = None) -> tuple[Reply, Talk]:
    talk = Talk("attempt", (sent if sent is not None else []).append)
    return Reply(talk, max_tokens=4), talk


def piece(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def test_system_words_go_before_the_prompt() -> None:
    assert request(prompt="Hi", system="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_seeded_request_uses_no_cache_that_would_change_the_text() -> None:
    assert request(prompt="Hi", seed=0) | {"seed": 0, "cache_prompt": False} == request(prompt="Hi", seed=0)
    assert "seed" not in request(prompt="Hi")


def test_schema_is_handed_on() -> None:
    schema = {"type": "object"}

    assert request(prompt="Hi", json_schema=schema)["response_format"]["json_schema"] == {"schema": schema}


def test_pieces_become_text_counts_and_speed() -> None:
    sent: list[Message] = []
    reply, _ = a_reply(sent)

    for chunk in (
        {"choices": [], "prompt_progress": {"processed": 3, "total": 7}},
        piece(None),
        piece("Pa"),
        piece("ris"),
        piece(None, "stop"),
        {
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2},
            "timings": {"predicted_per_second": 9.876},
        },
    ):
        assert reply.take(chunk) is False
    reply.raise_error()

    assert reply.list_values() == {
        "text": "Paris",
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "tokens_per_second": 9.88,
    }
    assert sent[0]["note"] == "read 3 of 7 tokens"


def test_cancelled_talk_ends_the_stream() -> None:
    reply, talk = a_reply()

    talk.cancel()

    assert reply.take(piece("more")) is True


@pytest.mark.parametrize(("code", "error"), [(400, TaskInvalidError), (500, EngineError)])
def test_error_of_the_server_says_whose_fault_it_is(code: int, error: type[EngineError]) -> None:
    reply, _ = a_reply()

    reply.take({"error": {"code": code, "message": "request (4031 tokens) exceeds the available context size"}})

    with pytest.raises(EngineError, match="exceeds the available context size") as raised:
        reply.raise_error()
    assert type(raised.value) is error


def test_stream_in_another_shape_is_an_error_and_not_an_empty_text() -> None:
    reply, _ = a_reply()

    assert reply.take({"choices": [7]}) is True

    with pytest.raises(EngineError, match="cannot be read"):
        reply.raise_error()


def test_stream_that_stops_early_is_an_error() -> None:
    reply, _ = a_reply()

    reply.take(piece("Par"))

    with pytest.raises(EngineError, match="without a reason"):
        reply.raise_error()
