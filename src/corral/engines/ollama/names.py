"""Names of models as Ollama compares them: `Llama3.2`, `library/llama3.2` and `llama3.2:latest` are one model.

Source: Ollama 0.17.4, `types/model/name.go` (defaults) and `getExistingName` in `server/routes.go` (case).
"""

from __future__ import annotations

from collections.abc import Mapping

from corral.work import Json

_DEFAULT_HOST = "registry.ollama.ai/"
_DEFAULT_NAMESPACE = "library/"


def complete_name(model: str) -> str:
    """Return the name under which servers list a model, in lower case: with its tag, without what is the default."""
    path = model.lower().removeprefix("https://").removeprefix("http://")
    path = path.removeprefix(_DEFAULT_HOST).removeprefix(_DEFAULT_NAMESPACE)
    return path if ":" in path.rsplit("/", 1)[-1] else f"{path}:latest"


def find_model_name(model: str | None, inputs: Mapping[str, Json]) -> str | None:
    """Return the name under which a server lists the model of a task."""
    del inputs
    return None if model is None else complete_name(model)
