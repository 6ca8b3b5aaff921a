"""The abilities of a model in a GGUF file, by its header: writing, vectors, tools, thinking; and for how many tokens.

As Ollama decides it (`server/images.go`, Capabilities): a file with a way of pooling embeds, others write; those whose
chat template has a place for tools call them. Images need a projector, a file of its own, so none is looked at here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from corral.errors import CorralError
from corral.weights.headers.gguf import GgufHeader
from corral.weights.headers.gguf_shape import shape_of_gguf
from corral.weights.headers.wholeness import read_header

_TEMPLATE = "tokenizer.chat_template"
_POOLING = "pooling_type"
_PARTS = "split.count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """The header's words; None for what it does not say."""

    architecture: str | None
    """`llama`, `qwen2`."""
    parameters: int | None
    quantization: str | None
    context: int | None
    """Tokens for which it was trained."""
    capabilities: frozenset[str]
    """In Ollama's words: `completion`, `embedding`, `tools`, `thinking`."""


def read_abilities(path: Path) -> Abilities | None:
    """Read a file's header; None for one that cannot be read. Blocks."""
    try:
        header = read_header(path)
        return None if header is None else describe_abilities(header)
    except (CorralError, OSError):
        return None


def describe_abilities(header: GgufHeader) -> Abilities:
    """Return what a header says."""
    shape = shape_of_gguf([header], name="", source="")
    parts = header.metadata.get(_PARTS, 1)
    return Abilities(
        architecture=shape.architecture,
        parameters=shape.parameters if parts in (0, 1) else None,
        quantization=shape.quantization,
        context=shape.context_length,
        capabilities=frozenset(_list_capabilities(header, shape.architecture)),
    )


def _list_capabilities(header: GgufHeader, architecture: str | None) -> list[str]:
    if f"{architecture}.{_POOLING}" in header.metadata:
        return ["embedding"]
    template = str(header.metadata.get(_TEMPLATE, ""))
    return [
        "completion",
        *(("tools",) if "tools" in template else ()),
        *(("thinking",) if "<think>" in template else ()),
    ]
