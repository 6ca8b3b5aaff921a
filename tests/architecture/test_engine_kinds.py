"""An engine is one entry in `corral.engine_kinds` and a folder in `corral.engines`; no other module spells its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import corral
from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES, SERVICE_ENGINES
from corral.engines.inputs import load_inputs, load_options, load_reference

SOURCES = Path(corral.__file__).parent
OTHER_MEANINGS = {
    ("cluster/secrecy.py", "ollama"): "a placeholder that people write as an API key",
    ("container_images.py", "ollama"): "the API that programs of that image speak, next to `openai`",
    ("container_images.py", "openai"): "the API, whatever engine serves it",
    ("engines/trainer/gguf_adapter.py", "llama"): "the architecture of models, by which GGUF files name it",
    ("gateway/ollama/door.py", "ollama"): "the door, in accounts",
    ("gateway/openai/door.py", "openai"): "the door, in accounts",
    ("hardware/fit/profiles.py", "chatterbox"): "the model of that name",
    ("linting/releases.py", "ollama"): "the chart of that name, and keys of its values",
    ("linting/rules/services.py", "comfyui"): "a part of the names of images",
    ("rendering/programs.py", "ollama"): "the API that clients are configured for, next to `openai`",
    ("rendering/programs.py", "openai"): "the API, whatever engine serves it",
    ("rendering/litellm.py", "ollama"): "LiteLLM's word for its API of embeddings, next to `ollama_chat`",
}
"""Where the word is not the name of an engine; `command`, `hold`, `job` and `sleep` are words of much else."""
AMBIGUOUS = {"command", "hold", "job", "sleep"}


def list_spelled_names() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCES.rglob("*.py")):
        place = path.relative_to(SOURCES).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in SERVICE_ENGINES and node.value not in AMBIGUOUS:
                yield place, str(node.value)


def test_only_an_engines_own_folder_spells_its_name() -> None:
    spelled = set(list_spelled_names())
    elsewhere = {
        (place, name)
        for place, name in spelled
        if place != "engine_kinds.py" and not place.startswith(f"engines/{name}/")
    }

    assert elsewhere == OTHER_MEANINGS.keys()


@pytest.mark.parametrize("kind", ENGINES.values(), ids=lambda kind: kind.name)
def test_every_engine_names_code_that_is_in_its_own_folder(kind: EngineKind) -> None:
    ways = [way for way in (kind.worker, kind.served, kind.in_process, kind.held, kind.adapter) if way is not None]

    load_inputs(kind)
    load_options(kind)
    for reference in (*ways, *filter(None, (kind.model_name, kind.examination))):
        load_reference(reference)

    assert len(ways) == 1
    assert all(way.startswith(f"corral.engines.{kind.name}.") for way in ways)
