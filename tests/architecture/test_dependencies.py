"""What the package imports is declared, and what is declared is used: so the wheel alone makes a whole environment."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions

from architecture import house
from architecture.house import REPOSITORY

USED_BY_NAME = {
    "accelerate": "imported by name in the trainer's own environment, as peft, torch and transformers are",
    "chatterbox-tts": "imported by name in its own environment: it wants other versions than Corral's",
    "gguf": "as accelerate; tests import it, too",
    "peft": "as accelerate",
    "piper-tts": "a program of its own: its licence is another",
    "setuptools": "a library of chatterbox-tts imports it without asking for it",
    "torch": "as accelerate",
    "transformers": "as accelerate",
    "tzdata": "zoneinfo's time zones, where the system has none",
    "wsproto": "uvicorn's websockets",
}
"""Distributions that no module of Corral imports, with the reason for each."""


def list_imports() -> Iterator[str]:
    """List the top modules that the package imports, wherever it does."""
    for module in house.read_modules():
        for node in module.nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module.partition(".")[0]


@cache
def find_distributions() -> dict[str, set[str]]:
    """Find what brings each module that the package imports; empty for one that nothing here brings."""
    installed = packages_distributions()
    imported = set(list_imports()) - set(sys.stdlib_module_names) - {"corral"}
    return {module: {normalize(name) for name in installed.get(module, ())} for module in imported}


def list_declared() -> set[str]:
    """List the distributions that `pyproject.toml` asks for, those of the engines' extras included."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(item for name in extras if name != "cuda" for item in extras[name])]
    return {normalize(item) for item in requirements} - {"corral"}


def normalize(name: str) -> str:
    """Take the name of a requirement, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name, maxsplit=1)[0]).lower()


def test_every_import_is_of_a_declared_distribution() -> None:
    declared = list_declared()

    assert {module for module, names in find_distributions().items() if not names & declared} == set()


def test_every_declared_distribution_is_imported() -> None:
    imported = {name for names in find_distributions().values() for name in names}

    assert list_declared() - imported == set(USED_BY_NAME)
