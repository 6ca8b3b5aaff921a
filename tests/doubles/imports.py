"""Imports of the cases below `tests/unit/importing`, and of texts, as tests look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from corral.importing.making import ImportAnswer, ImportAsked, import_sources
from corral.linting.values import Source

CASES = Path(__file__).parents[1] / "unit" / "importing" / "cases"


def import_case(
    name: str, *, machine: str | None = None, models: Mapping[str, Sequence[str]] | None = None
) -> ImportAnswer:
    """Import the files of a case."""
    files = sorted(path for path in (CASES / name).iterdir() if path.is_file())
    return import_texts({path.name: path.read_text(encoding="utf-8") for path in files}, machine=machine, models=models)


def import_texts(
    texts: Mapping[str, str], *, machine: str | None = None, models: Mapping[str, Sequence[str]] | None = None
) -> ImportAnswer:
    """Import texts by file name, from the folder /srv/app."""
    sources = tuple(Source(name=name, text=text) for name, text in texts.items())
    return import_sources(
        ImportAsked(sources=sources, name="test", folder="/srv/app", machine=machine, models=models or {})
    )


def read_file(answer: ImportAnswer) -> Any:
    """The cluster file as plain values."""
    return yaml.safe_load(answer.text)


def service_of(answer: ImportAnswer, name: str) -> Any:
    """A service of the cluster file."""
    return next(service for service in read_file(answer)["services"] if service["name"] == name)


def gaps_of(answer: ImportAnswer) -> list[str]:
    """The parts that are not in the file, with file and line."""
    return [f"{gap.place.file}:{gap.place.line} {gap.what}" for gap in answer.gaps]


def differences_of(answer: ImportAnswer) -> list[str]:
    """The fields that are rendered otherwise."""
    return [f"{item.subject} {item.field}: {item.before} -> {item.after}" for item in answer.differences]
