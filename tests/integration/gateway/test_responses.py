"""Responses reach servers that have them, and servers that have chats alone by translation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseFunctionToolCall

from .conftest import Gateway, say, stream

RESPONSES, CHATS = "/v1/responses", "/v1/chat/completions"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client, and a first server that has chats alone."""
    gateway.first.answers[RESPONSES] = say({"error": "there is no such path"}, 404)
    message = {"role": "assistant", "content": "Hello you"}
    gateway.first.answers[CHATS] = say(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
    )
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        yield client


async def test_response_is_asked_as_a_chat_where_the_server_has_no_other_way(
    gateway: Gateway, client: AsyncOpenAI
) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}
    turns = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, image]},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Say hello"},
    ]
    form = {"format": {"type": "json_schema", "name": "greeting", "schema": {"type": "object"}, "strict": True}}

    answer = await client.responses.create(
        model="tiny",
        input=turns,  # type: ignore[arg-type]
        instructions="Be kind.",
        max_output_tokens=9,
        temperature=0.5,
        text=form,  # type: ignore[arg-type]
    )

    assert (answer.output_text, answer.status, answer.model) == ("Hello you", "completed", "tiny")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 2, 9)
    assert answer.usage.input_tokens_details.cached_tokens == 3
    assert [path for path, _, _ in gateway.first.asked] == [RESPONSES, CHATS]
    assert gateway.first.bodies[1] == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hi"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                ],
            },
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Say hello"},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "greeting", "schema": {"type": "object"}, "strict": True},
        },
    }


LOOK: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object"},
    "strict": False,
}


def call_of(number: int, **function: str) -> dict[str, object]:
    return {"index": number, "id": f"call_{number}", "type": "function", "function": function}


def list_calls(response: Response) -> list[ResponseFunctionToolCall]:
    return [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]


async def test_functions_are_offered_called_and_answered_as_in_a_chat(gateway: Gateway, client: AsyncOpenAI) -> None:
    calls = [call_of(0, name="look", arguments='{"at": "door"}'), call_of(1, name="look", arguments="{}")]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    gateway.first.answers[CHATS] = say({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
    wanted = {"type": "function", "name": "look"}

    create: Any = client.responses.create  # takes plain objects where its types have classes
    first: Response = await create(model="tiny", input="Look", tools=[LOOK], tool_choice=wanted)
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "seen"} for call in list_calls(first)
    ]
    await create(model="tiny", input=[{"role": "user", "content": "Look"}, *first.output, *results], tools=[LOOK])

    assert [(call.call_id, call.name, call.arguments, call.status) for call in list_calls(first)] == [
        ("call_0", "look", '{"at": "door"}', "completed"),
        ("call_1", "look", "{}", "completed"),
    ]
    assert (first.status, first.output_text, len(first.output)) == ("completed", "", 2)
    assert [tool.type for tool in first.tools] == ["function"]
    asked, answered = [body for path, body, _ in gateway.first.asked if path == CHATS]
    described = {name: value for name, value in LOOK.items() if name != "type"}
    assert asked["tools"] == [{"type": "function", "function": described}]
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert answered["messages"] == [
        {"role": "user", "content": "Look"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{key: call[key] for key in ("id", "type", "function")} for call in calls],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "seen"},
        {"role": "tool", "tool_call_id": "call_1", "content": "seen"},
    ]


def piece_of(*calls: dict[str, object], text: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text, "tool_calls": list(calls)}, "finish_reason": None}]}


@pytest.mark.parametrize("second", [1, 0], ids=["numbered", "all of the number 0"])
async def test_streamed_calls_are_items_of_their_own(gateway: Gateway, client: AsyncOpenAI, second: int) -> None:
    gateway.first.answers[CHATS] = stream(
        piece_of(text="I look."),
        piece_of({**call_of(0, name="look", arguments=""), "id": "call_a"}),
        piece_of({"index": 0, "function": {"arguments": '{"at":'}}),
        piece_of({"index": 0, "function": {"arguments": '"door"}'}}),
        piece_of({**call_of(second, name="look", arguments="{}"), "id": "call_b"}),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        "[DONE]",
    )

    tools: Any = [LOOK]
    async with client.responses.stream(model="tiny", input="Look", tools=tools) as events:
        seen = [event async for event in events]
        final = await events.get_final_response()

    assert [event.type.removeprefix("response.") for event in seen] == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("output_item.added", "function_call_arguments.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("function_call_arguments.done", "output_item.done", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert final.output_text == "I look."
    assert [(call.call_id, call.arguments) for call in list_calls(final)] == [
        ("call_a", '{"at":"door"}'),
        ("call_b", "{}"),
    ]


def chunk(text: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


async def test_streamed_chat_becomes_every_event_of_a_response(gateway: Gateway, client: AsyncOpenAI) -> None:
    ending: Any = {"choices": [], "usage": USAGE}
    gateway.first.answers[CHATS] = stream(chunk("Hello"), chunk(" you", "stop"), ending, "[DONE]")

    async with client.responses.stream(model="tiny", input="Say hello") as events:
        seen = [event async for event in events]
        final = await events.get_final_response()

    assert [event.type for event in seen] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert (final.output_text, final.usage is not None) == ("Hello you", True)
    assert gateway.first.bodies[1]["stream_options"] == {"include_usage": True}


async def test_answer_that_was_cut_off_is_incomplete(gateway: Gateway, client: AsyncOpenAI) -> None:
    gateway.first.answers[CHATS] = stream(chunk("Hello", "length"), "[DONE]")

    events = [event async for event in await client.responses.create(model="tiny", input="Hi", stream=True)]

    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details is not None
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


async def test_error_in_the_midst_of_a_translated_stream_is_a_failed_response(
    gateway: Gateway, client: AsyncOpenAI
) -> None:
    gateway.first.answers[CHATS] = stream(chunk("Hello"), {"error": {"message": "out of memory"}})

    events = [event async for event in await client.responses.create(model="tiny", input="Hi", stream=True)]

    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert events[-1].response.error.message == "out of memory"


async def test_answers_of_earlier_turns_are_spelled_out_for_servers_that_need_it(
    gateway: Gateway, client: AsyncOpenAI
) -> None:
    gateway.first.answers[RESPONSES] = say({"id": "resp_1", "object": "response", "output": []})

    await client.responses.create(
        model="tiny",
        input=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
    )

    user, assistant = gateway.first.bodies[0]["input"]
    assert user == {"role": "user", "content": "Hi"}
    assert assistant["type"] == "message"
    assert assistant["content"] == [{"type": "output_text", "text": "Yes?", "annotations": [], "logprobs": []}]


async def test_request_that_a_chat_cannot_carry_goes_to_a_server_that_has_responses(
    gateway: Gateway, client: AsyncOpenAI
) -> None:
    gateway.second.answers[RESPONSES] = say({"id": "resp_1", "object": "response", "output": []})
    tool: Any = {"type": "web_search"}

    answer = await client.responses.create(model="tiny", input="Hi", tools=[tool])

    assert answer.id == "resp_1"
    assert [path for path, _, _ in gateway.first.asked] == [RESPONSES]


@pytest.mark.parametrize("name", ["store", "previous_response_id", "background"])
async def test_what_would_have_to_be_stored_is_refused_by_name(
    gateway: Gateway, client: AsyncOpenAI, name: str
) -> None:
    value = "resp_1" if name == "previous_response_id" else True
    with pytest.raises(openai.BadRequestError) as raised:
        await client.responses.create(model="tiny", input="Hi", **{name: value})  # type: ignore[arg-type]
    assert raised.value.param == name
    assert gateway.desk.asks == []
