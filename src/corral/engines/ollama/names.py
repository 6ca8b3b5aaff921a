"""Names of Ollama models: `llama3.2` and `llama3.2:latest` are one model."""

from __future__ import annotations


def full_name(model: str) -> str:
    """Complete a model's name by the tag that Ollama assumes."""
    last = model.rsplit("/", 1)[-1]
    return model if ":" in last else f"{model}:latest"
