"""The abilities and the context of a model by its server, each server in words of its own; pure.

Sources: llama-server's `tools/server/README.md` (b11434 was run), the class of a model in vLLM's list, the references
of the APIs of OpenRouter, Mistral, LM Studio and Groq. The names of fields are below, server by server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import Json

_CONTEXTS = ("max_model_len", "context_length", "context_window", "max_context_length")
_WORDS: Mapping[str, str] = {
    "completion": "completion",
    "completion_chat": "completion",
    "llm": "completion",
    "embedding": "embedding",
    "embeddings": "embedding",
    "tools": "tools",
    "tool_use": "tools",
    "function_calling": "tools",
    "vision": "vision",
    "vlm": "vision",
    "image": "vision",
    "reasoning": "thinking",
}
"""Words of servers, with Ollama's."""


def read_context(facts: Mapping[str, Json]) -> int | None:
    """Return how many tokens of prompt and answer together a request can have; None where the server does not say."""
    said = [as_number(facts.get(name)) for name in _CONTEXTS]
    context = next((number for number in said if number), None) or as_number(as_object(facts.get("meta")).get("n_ctx"))
    return int(context) if context else None


def read_capabilities(facts: Mapping[str, Json], props: Mapping[str, Json]) -> frozenset[str] | None:
    """Return a model's abilities in Ollama's words; None where the server does not say that it writes or embeds.

    `props` is the description of a llama-server with this model; empty for others.
    """
    known = frozenset(_WORDS[word] for word in _list_words(facts, props) if word in _WORDS)
    if known & {"tools", "vision", "thinking"}:
        known |= {"completion"}
    return known or None


def _list_words(facts: Mapping[str, Json], props: Mapping[str, Json]) -> Iterator[str]:
    said = facts.get("capabilities")
    yield from (name for name, has in as_object(said).items() if has is True)
    yield from map(as_text, as_list(said))
    yield as_text(facts.get("type"))
    yield from map(as_text, as_list(facts.get("supported_parameters")))
    modalities = as_object(facts.get("architecture"))
    yield from (as_text(word) for word in as_list(modalities.get("input_modalities")) if word == "image")
    if as_list(modalities.get("output_modalities")) == ["text"]:
        yield "completion"
    if as_object(props.get("chat_template_caps")).get("supports_tools") is True:
        yield "tools"
    if as_object(props.get("modalities")).get("vision") is True:
        yield "vision"
