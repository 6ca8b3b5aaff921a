"""What a GGUF file's header says that its model can do."""

from __future__ import annotations

import pytest

from corral.weights.headers.abilities import describe_abilities
from corral.weights.headers.gguf import GgufHeader, Value

TOOLS = "{% for tool in tools %}{{ tool }}{% endfor %}"


def a_header(**more: Value) -> GgufHeader:
    metadata: dict[str, Value] = {"general.architecture": "qwen2", "qwen2.context_length": 32768}
    metadata |= {name.replace("__", "."): value for name, value in more.items()}
    return GgufHeader(metadata=metadata, lengths={}, tensors=(), size=0)


@pytest.mark.parametrize(
    ("more", "capabilities"),
    [
        ({}, {"completion"}),
        ({"tokenizer__chat_template": "{{ messages }}"}, {"completion"}),
        ({"tokenizer__chat_template": TOOLS}, {"completion", "tools"}),
        ({"tokenizer__chat_template": TOOLS + "<think>"}, {"completion", "tools", "thinking"}),
        ({"qwen2__pooling_type": 1, "tokenizer__chat_template": TOOLS}, {"embedding"}),
    ],
)
def test_abilities_are_those_of_the_chat_template_or_embedding(more: dict[str, Value], capabilities: set[str]) -> None:
    abilities = describe_abilities(a_header(**more))
    assert abilities.capabilities == capabilities
    assert (abilities.architecture, abilities.context) == ("qwen2", 32768)
