"""OpenAI's requests as inputs of engines, for those that do them as durable tasks.

A parameter that an engine's tasks do not have is refused by name: an answer that ignores what was asked is worse than
none. Parameters that change nothing here are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from pydantic_core import from_json, to_json

from corral.engine_kinds import LLAMA, OLLAMA, OPENAI
from corral.gateway.openai.batches.lines import LineError
from corral.gateway.openai.requests import Asked
from corral.gateway.openai.responses import AskedResponse, make_chat
from corral.narrowing import as_list, as_object
from corral.work import Json

CHAT, TEXT, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"
_NO_BOUND = 131_072
"""The most tokens that `llama` takes: OpenAI's answers have no bound of their own, and the context is one."""
_IDLE = frozenset(
    {"model", "user", "store", "metadata", "service_tier", "parallel_tool_calls", "safety_identifier"}
    | {"prompt_cache_key", "stream_options", "encoding_format"}
)
"""Parameters that change nothing here; the model and the encoding are looked at elsewhere."""
_ONLY: Mapping[str, tuple[Json, ...]] = {
    "n": (1, None),
    "best_of": (1, None),
    "stream": (False, None),
    "logprobs": (False, None),
    "top_logprobs": (0, None),
    "echo": (False, None),
    "suffix": (None, ""),
    "modalities": (["text"], None),
    "logit_bias": ({}, None),
    "functions": (None,),
    "function_call": (None,),
    "audio": (None,),
    "prediction": (None,),
}
"""Parameters that are taken with these values alone."""
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")

Body = Mapping[str, Json]
Inputs = dict[str, Json]


def make_inputs(endpoint: str, engine: str, body: Body) -> Inputs:
    """Return the inputs of a task that answers a request. Raises: LineError, RequestBodyError, TranslationError."""
    if endpoint == RESPONSES:
        AskedResponse(Asked(RESPONSES, to_json(body)))  # refuses what would have to be stored
        return make_inputs(CHAT, engine, make_chat(body))
    for name, allowed in _ONLY.items():
        if name in body and body[name] not in allowed:
            raise LineError(
                f"`{name}` cannot be {json.dumps(body[name])[:60]} in a batch", where=name, hint="leave it out"
            )
    translate = _TRANSLATIONS.get((endpoint, engine))
    if translate is None:
        hint = "ask for chats instead" if endpoint == TEXT else "use another model"
        raise LineError(f"tasks of `{engine}` do not answer {endpoint}", where="model", hint=hint)
    return translate(body)


def _chat_llama(body: Body) -> Inputs:
    messages = [_make_message(message, place) for place, message in enumerate(_list_messages(body))]
    inputs: Inputs = {"messages": messages, "max_tokens": _read_bound(body) or _NO_BOUND, **_take(body, _SAMPLING)}
    inputs |= _take(body, ("top_k", "min_p", "repeat_penalty")) | _read_stop(body) | _read_form(body)
    if _read_tools(body):
        inputs["tools"] = body["tools"]
    _refuse_others(body, LLAMA.name, "top_k", "min_p", "repeat_penalty")
    return inputs


def _chat_ollama(body: Body) -> Inputs:
    names: dict[str, str] = {}
    messages = [_make_ollama_message(message, place, names) for place, message in enumerate(_list_messages(body))]
    inputs: Inputs = {"messages": messages, "options": _make_options(body)}
    form = _read_form(body).get("json_schema")
    if form is not None:
        inputs["format"] = "json" if form == _ANY_OBJECT else form
    if _read_tools(body):
        inputs["tools"] = body["tools"]
    _refuse_others(body, OLLAMA.name, "top_k", "min_p", "repeat_penalty")
    return inputs


def _chat_openai(body: Body) -> Inputs:
    messages = [_make_message(message, place) for place, message in enumerate(_list_messages(body))]
    inputs: Inputs = {"kind": "chat", "messages": messages, **_read_form(body), **_read_openai(body)}
    if _read_tools(body, choices=("auto", "none", "required")):
        inputs |= {"tools": body["tools"], **_take(body, ("tool_choice",))}
    return inputs | _take(body, ("reasoning_effort",)) | _read_extra(body)


def _text_ollama(body: Body) -> Inputs:
    _refuse_others(body, OLLAMA.name, "top_k", "min_p", "repeat_penalty")
    return {"prompt": _read_prompt(body), "options": _make_options(body)}


def _text_openai(body: Body) -> Inputs:
    return {"kind": "complete", "prompt": _read_prompt(body), **_read_openai(body)} | _read_extra(body)


def _embed_llama(body: Body) -> Inputs:
    _refuse_others(body, LLAMA.name)
    return {"embed": _read_texts(body)}


def _embed_ollama(body: Body) -> Inputs:
    _refuse_others(body, OLLAMA.name, "dimensions")
    return {"input": _read_texts(body), **_take(body, ("dimensions",))}


def _embed_openai(body: Body) -> Inputs:
    return {"kind": "embed", "input": _read_texts(body), **_take(body, ("dimensions",))} | _read_extra(body)


_TRANSLATIONS: Mapping[tuple[str, str], Callable[[Body], Inputs]] = {
    (CHAT, LLAMA.name): _chat_llama,
    (CHAT, OLLAMA.name): _chat_ollama,
    (CHAT, OPENAI.name): _chat_openai,
    (TEXT, OLLAMA.name): _text_ollama,
    (TEXT, OPENAI.name): _text_openai,
    (EMBEDDINGS, LLAMA.name): _embed_llama,
    (EMBEDDINGS, OLLAMA.name): _embed_ollama,
    (EMBEDDINGS, OPENAI.name): _embed_openai,
}
ENDPOINTS = (*dict.fromkeys(endpoint for endpoint, _ in _TRANSLATIONS), RESPONSES)
_KNOWN = frozenset(
    {*_IDLE, *_ONLY, *_SAMPLING, "messages", "prompt", "input", "max_tokens", "max_completion_tokens", "stop"}
    | {"response_format", "tools", "tool_choice"}
)


def _refuse_others(body: Body, engine: str, *more: str) -> None:
    for name, value in body.items():
        if name not in _KNOWN and name not in more and value is not None:
            raise LineError(f"`{engine}` has no `{name}` in tasks", where=name, hint="leave it out")


def _read_extra(body: Body) -> Inputs:
    """Return parameters that a server which speaks OpenAI's protocol gets as they are."""
    known = {*_KNOWN, "reasoning_effort", "dimensions"}
    extra = {name: value for name, value in body.items() if name not in known and value is not None}
    return {"extra": extra} if extra else {}


def _read_openai(body: Body) -> Inputs:
    bound = _read_bound(body)
    return {**({} if bound is None else {"max_tokens": bound}), **_take(body, _SAMPLING), **_read_stop(body)}


def _make_options(body: Body) -> Inputs:
    bound = _read_bound(body)
    return {
        **({} if bound is None else {"num_predict": bound}),
        **_take(body, (*_SAMPLING, "top_k", "min_p", "repeat_penalty")),
        **_read_stop(body),
    }


def _take(body: Body, names: tuple[str, ...]) -> Inputs:
    return {name: body[name] for name in names if body.get(name) is not None}


def _read_bound(body: Body) -> Json:
    return body.get("max_completion_tokens") or body.get("max_tokens")


def _read_stop(body: Body) -> Inputs:
    stop = body.get("stop")
    if stop is None:
        return {}
    return {"stop": [stop] if isinstance(stop, str) else stop}


_ANY_OBJECT: Json = {"type": "object"}


def _read_form(body: Body) -> Inputs:
    form = as_object(body.get("response_format"))
    match form.get("type"):
        case None | "text":
            return {}
        case "json_object":
            return {"json_schema": _ANY_OBJECT}
        case "json_schema":
            return {"json_schema": as_object(form.get("json_schema")).get("schema", _ANY_OBJECT)}
        case other:
            raise LineError(f"`response_format` cannot have the type {other!r}", where="response_format")


def _read_tools(body: Body, choices: tuple[str, ...] = ("auto", "none")) -> bool:
    """Whether the model gets tools. Raises: LineError."""
    choice = body.get("tool_choice", "auto")
    if choice not in choices:
        raise LineError(f"`tool_choice` cannot be {json.dumps(choice)[:60]} here", where="tool_choice")
    return bool(body.get("tools")) and (choice != "none" or "required" in choices)


def _list_messages(body: Body) -> list[Json]:
    messages = as_list(body.get("messages"))
    if not messages:
        raise LineError("`messages` is not a list of messages", where="messages")
    return messages


def _make_message(message: Json, place: int) -> Json:
    """Return a message as tasks have it: its content is text. Raises: LineError."""
    facts = as_object(message)
    role = facts.get("role")
    made: Inputs = {
        "role": "system" if role == "developer" else role,
        "content": _read_content(facts.get("content"), place),
    }
    if calls := as_list(facts.get("tool_calls")):
        made["tool_calls"] = calls
    if (call := facts.get("tool_call_id")) is not None:
        made["tool_call_id"] = call
    return made


def _make_ollama_message(message: Json, place: int, names: dict[str, str]) -> Json:
    """Return a message in Ollama's words, where a tool's answer names the tool; `names` has those of calls by id."""
    facts = as_object(message)
    role = facts.get("role")
    made: Inputs = {
        "role": "system" if role == "developer" else role,
        "content": _read_content(facts.get("content"), place),
    }
    calls: list[Json] = []
    for call in map(as_object, as_list(facts.get("tool_calls"))):
        function = as_object(call.get("function"))
        names[str(call.get("id"))] = str(function.get("name"))
        calls.append({"function": {"name": function.get("name"), "arguments": _read_arguments(function, place)}})
    if calls:
        made["tool_calls"] = calls
    if role == "tool":
        made["tool_name"] = names.get(str(facts.get("tool_call_id")))
    return made


def _read_arguments(function: Mapping[str, Json], place: int) -> Json:
    given = function.get("arguments")
    try:
        return as_object(from_json(given) if isinstance(given, str) else given)
    except ValueError:
        raise LineError("a call's `arguments` are not JSON", where=f"messages[{place}].tool_calls") from None


def _read_content(content: Json, place: int) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for part in map(as_object, as_list(content)):
        text = part.get("text")
        if part.get("type") != "text" or not isinstance(text, str):
            what = f"a part of the type {part.get('type')!r} cannot be in a batch"
            raise LineError(what, where=f"messages[{place}].content", hint="send text alone")
        texts.append(text)
    return "".join(texts)


def _read_prompt(body: Body) -> str:
    given = as_list(body.get("prompt"))
    prompt = given[0] if len(given) == 1 else body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise LineError("`prompt` is not one text", where="prompt", hint="write a line for each prompt")
    return prompt


def _read_texts(body: Body) -> list[Json]:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else as_list(given)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise LineError("`input` is not text or a list of texts", where="input", hint="tokens cannot be embedded here")
    return texts
