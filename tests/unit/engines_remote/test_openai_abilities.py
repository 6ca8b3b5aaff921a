"""What servers say of their models' abilities, each in words of its own."""

from __future__ import annotations

import pytest

from corral.engines.openai.abilities import read_capabilities, read_context
from corral.work import Json

LLAMA_SERVER = {
    "id": "qwen",
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "meta": {"n_ctx": 1024, "n_ctx_train": 8192},
}
"""As b11434 lists it."""
TOOLS = {"completion", "tools"}
PROPS = {"chat_template_caps": {"supports_tools": True}, "modalities": {"vision": True, "audio": False}}


@pytest.mark.parametrize(
    ("facts", "props", "capabilities"),
    [
        (LLAMA_SERVER, {}, {"completion"}),
        (LLAMA_SERVER, PROPS, {"completion", "tools", "vision"}),
        ({"id": "qwen", "max_model_len": 8192}, {}, None),
        ({"capabilities": {"completion_chat": True, "function_calling": True, "vision": False}}, {}, TOOLS),
        ({"type": "vlm", "capabilities": ["tool_use"]}, {}, {"completion", "tools", "vision"}),
        ({"type": "embeddings"}, {}, {"embedding"}),
        (
            {
                "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
                "supported_parameters": ["tools", "reasoning", "top_p"],
            },
            {},
            {"completion", "tools", "thinking", "vision"},
        ),
        ({"capabilities": "many", "type": 3, "architecture": []}, {"modalities": None}, None),
    ],
)  # fmt: skip
def test_abilities_are_in_ollamas_words(facts: dict[str, Json], props: dict[str, Json], capabilities: Json) -> None:
    assert read_capabilities(facts, props) == capabilities


@pytest.mark.parametrize(
    ("facts", "context"),
    [
        (LLAMA_SERVER, 1024),
        ({"max_model_len": 8192, "context_length": 131072}, 8192),
        ({"context_window": 32768}, 32768),
        ({"max_context_length": 4096}, 4096),
        ({"context_length": 0}, None),
        ({"context_length": "many"}, None),
    ],
)
def test_context_is_the_one_that_requests_can_have(facts: dict[str, Json], context: int | None) -> None:
    assert read_context(facts) == context
