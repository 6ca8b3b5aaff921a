"""What an Ollama task can ask for together, and what is refused by its name before anything is sent."""

from typing import Any

import pytest

from corral.engines.http.errors import RequestRefusedError
from corral.engines.inputs import check_inputs, check_options
from corral.engines.ollama.contexts import choose_context
from corral.engines.ollama.inputs import OllamaInputs, OllamaOptions
from corral.engines.ollama.options import find_schema_problem, write_keep_alive
from corral.engines.ollama.protocol import make_request_body

TOOL = {"type": "function", "function": {"name": "weather"}}
CHAT = {"messages": [{"role": "user", "content": "hello"}]}
PROMPT = {"prompt": "hello"}
TEXTS = {"input": ["hello"]}


def problems(inputs: dict[str, Any]) -> list[str]:
    return [problem.what for problem in check_inputs("ollama", inputs)]


async def body_of(inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
    asked, settings = OllamaInputs.model_validate(inputs), OllamaOptions.model_validate(options)
    return await make_request_body(asked, model="smol", options=settings, files={})


@pytest.mark.parametrize(
    ("inputs", "name", "main"),
    [
        (CHAT | {"images": ["cat.png"]}, "images", "messages"),
        (CHAT | {"suffix": "}"}, "suffix", "messages"),
        (CHAT | {"raw": True}, "raw", "messages"),
        (CHAT | {"dimensions": 4}, "dimensions", "messages"),
        (PROMPT | {"tools": [TOOL]}, "tools", "prompt"),
        (PROMPT | {"dimensions": 4}, "dimensions", "prompt"),
        (TEXTS | {"system": "be kind"}, "system", "input"),
        (TEXTS | {"tools": [TOOL]}, "tools", "input"),
        (TEXTS | {"images": ["cat.png"]}, "images", "input"),
        (TEXTS | {"raw": True}, "raw", "input"),
        (TEXTS | {"suffix": "}"}, "suffix", "input"),
        (TEXTS | {"think": True}, "think", "input"),
        (TEXTS | {"format": "json"}, "format", "input"),
    ],
)
def test_an_input_of_another_kind_is_refused_by_its_name(inputs: dict[str, Any], name: str, main: str) -> None:
    (what,) = problems(inputs)

    assert what.startswith(f"'{name}' is given, and has no effect with '{main}'")


def test_every_input_of_another_kind_is_named_at_once() -> None:
    assert len(problems(TEXTS | {"system": "be kind", "tools": [TOOL], "raw": True})) == 4  # raw and system, too


@pytest.mark.parametrize(
    "inputs",
    [
        PROMPT | {"system": "be kind", "raw": True},
        PROMPT | {"suffix": "}", "system": "be kind"},
        PROMPT | {"suffix": "}", "images": ["cat.png"]},
        {"messages": [{"role": "system", "content": "be brief"}], "system": "be kind"},
    ],
)
def test_inputs_of_which_ollama_takes_only_one_are_refused(inputs: dict[str, Any]) -> None:
    assert len(problems(inputs)) == 1


@pytest.mark.parametrize("main", [CHAT, PROMPT, TEXTS])
def test_what_says_nothing_is_not_of_another_kind(main: dict[str, Any]) -> None:
    empty: dict[str, Any] = {"images": [], "tools": None, "raw": False, "system": None, "suffix": None, "format": None}

    assert problems(main | empty) == []


async def test_instructions_next_to_messages_go_first() -> None:
    body = await body_of(CHAT | {"system": "be kind"})

    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "system" not in body


@pytest.mark.parametrize("main", [CHAT, PROMPT, TEXTS])
async def test_nothing_is_cut_unless_the_task_says_so(main: dict[str, Any]) -> None:
    assert (await body_of(main))["truncate"] is False
    assert (await body_of(main | {"truncate": True}))["truncate"] is True


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"tempertaure": 1}, "unknown name 'tempertaure'"),
        ({"num_ctx": "4096"}, "seen: '4096'"),
        ({"num_ctx": 4096.5}, "seen: 4096.5"),
        ({"temperature": "hot"}, "seen: 'hot'"),
        ({"stop": "END"}, "seen: 'END'"),
        ({"use_mmap": 1}, "seen: 1"),
        ({"top_p": 2}, "seen: 2"),
    ],
)
def test_an_option_of_another_name_or_type_is_refused(options: dict[str, Any], what: str) -> None:
    (problem,) = problems(PROMPT | {"options": options})

    assert what in problem


async def test_options_are_sent_as_they_were_given() -> None:
    given = {"temperature": 0, "seed": 7, "stop": ["END"], "num_gpu": -1, "use_mmap": False}

    assert (await body_of(PROMPT | {"options": given}))["options"] == given


@pytest.mark.parametrize("schema", [{"type": "obejct"}, {"properties": []}, {"items": {"type": 3}}, {"anyOf": {}}])
def test_a_format_that_is_no_schema_is_refused(schema: dict[str, Any]) -> None:
    assert any("not a JSON Schema" in what for what in problems(PROMPT | {"format": schema}))


def test_a_schema_is_taken_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {"type": {"type": ["string", "null"]}, "list": {"type": "array", "items": {"$ref": "#/$defs/a"}}},
        "required": ["type"],
        "$defs": {"a": {"enum": [1, 2]}, "b": True},
    }

    assert find_schema_problem(schema) is None
    assert problems(PROMPT | {"format": schema}) == []


@pytest.mark.parametrize("value", ["ten minutes", "10 m", "", "m"])
def test_a_time_to_stay_that_ollama_does_not_take_is_refused(value: str) -> None:
    assert any("10m" in what for what in problems(PROMPT | {"keep_alive": value}))
    assert any("10m" in problem.what for problem in check_options("ollama", {"keepAlive": value}))


@pytest.mark.parametrize(
    ("value", "sent"),
    [("-1", -1), ("300", 300), ("10m", "10m"), ("1h30m", "1h30m"), (-1, -1), (0.5, 0.5), (None, None)],
)
def test_seconds_are_sent_as_a_number(value: float | str | None, sent: float | str | None) -> None:
    assert write_keep_alive(value) == sent


async def test_the_time_to_stay_of_the_cluster_file_is_sent_as_ollama_takes_it() -> None:
    assert (await body_of(PROMPT, keepAlive="-1"))["keep_alive"] == -1


@pytest.mark.parametrize(
    ("asked", "kept", "loaded", "chosen"),
    [
        (None, None, None, None),
        (4096, None, None, 4096),
        (None, None, 8192, 8192),
        (2048, None, 8192, 8192),
        (16384, None, 8192, 16384),
        (2048, 8192, 4096, 8192),
        (None, 8192, None, 8192),
    ],
)
def test_context_of_a_request_is_the_one_that_is_kept_or_in_memory_unless_more_is_asked_for(
    asked: int | None, kept: int | None, loaded: int | None, chosen: int | None
) -> None:
    assert choose_context(asked, kept=kept, loaded=loaded) == chosen


def test_more_context_than_is_kept_is_refused() -> None:
    with pytest.raises(RequestRefusedError, match=r"9000 tokens is asked for, .* kept at 8192"):
        choose_context(9000, kept=8192, loaded=None)
