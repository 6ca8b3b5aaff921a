"""Recipes as data (`recipes/*.toml`): what is trained, and the options of a task."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from corral.errors import did_you_mean

Scalar = int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a recipe; its default has its type."""

    default: Scalar
    summary: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    def find_problem(self, value: object) -> str | None:
        """Return what is wrong with a value, as words after the option's name; None where nothing is."""
        if isinstance(self.default, str):
            return None if value in self.choices else f"is {value!r}, not one of {', '.join(self.choices)}"
        kinds = int if isinstance(self.default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return f"is {value!r}, not a {'whole number' if kinds is int else 'number'}"
        if self.least is not None and value < self.least:
            return f"is {value}, and the least is {self.least}"
        if self.most is not None and value > self.most:
            return f"is {value}, and the most is {self.most}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A way to train."""

    name: str
    summary: str
    options: Mapping[str, Option]

    def fill_in(self, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return all options: the given values, and defaults for the rest."""
        return {name: given.get(name, option.default) for name, option in self.options.items()}

    def find_problems(self, given: Mapping[str, object]) -> Iterator[str]:
        """Yield what is wrong with the options of a task, one sentence for each."""
        for name, value in given.items():
            option = self.options.get(name)
            if option is None:
                hint = did_you_mean(name, self.options, otherwise=f"it has {', '.join(self.options)}")
                yield f"'options.{name}' is not an option of {self.name}: {hint}"
            elif (problem := option.find_problem(value)) is not None:
                yield f"'options.{name}' {problem}"


@cache
def read_recipes() -> Mapping[str, Recipe]:
    """Read every recipe, by name."""
    folder = files("corral.engines.trainer").joinpath("recipes")
    texts = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".toml")}
    return {name.removesuffix(".toml"): _parse(name.removesuffix(".toml"), texts[name]) for name in sorted(texts)}


def _parse(name: str, text: str) -> Recipe:
    content: dict[str, Any] = tomllib.loads(text)  # Any: our own files, all of which a test reads
    options = {
        option: Option(
            default=fields["default"],
            summary=fields["summary"],
            least=fields.get("least"),
            most=fields.get("most"),
            choices=tuple(fields.get("choices", ())),
        )
        for option, fields in content["options"].items()
    }
    return Recipe(name=name, summary=content["summary"], options=options)
