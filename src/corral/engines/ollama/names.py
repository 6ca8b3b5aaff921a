"""Names of Ollama models: `llama3.2` and `llama3.2:latest` are one model."""

from __future__ import annotations

from collections.abc import Mapping

from corral.work import Json


def full_name(model: str) -> str:
    """Complete a model's name by the tag that Ollama assumes."""
    last = model.rsplit("/", 1)[-1]
    return model if ":" in last else f"{model}:latest"


def model_name(model: str | None, inputs: Mapping[str, Json]) -> str | None:
    """Return the name under which a server lists the model of a task."""
    del inputs
    return None if model is None else full_name(model)
