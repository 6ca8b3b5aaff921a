"""The pictures that a set stands for: every character, shot and variant, as often as it has seeds.

Names and values alone decide: the same file and characters give the same keys, seeds and digests on any machine.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from corral.engines.inputs import find_model_name
from corral.errors import Kind, Problem, ProblemsError, did_you_mean
from corral.narrowing import as_object
from corral.studio.sets.places import SEED, fill, list_places
from corral.studio.sets.values import SetFile, WantedPicture
from corral.work import Json

MOST_PICTURES = 5_000
"""Of one set; each is a task, and as many again check them."""
_LONGEST_SOURCE = 100
"""Characters of a source that is kept as it is; of a longer one the digest is kept."""
_SEEDS = 2**32 - 1
_HOW = "write it in the set, as `{name: elena, look: red hair}`"
_SAMPLER, _LORA = ("sampler_name", "sampler"), ("lora_name", "lora")

Character = Mapping[str, Json]
"""The fields of a character by name, `name` among them; those that are not set are absent."""


class SetError(ProblemsError):
    """A set cannot be made of these characters; `problems` has every reason."""

    code: ClassVar[str] = "set.invalid"
    kind: ClassVar[Kind] = Kind.INVALID


def expand(file: SetFile, characters: Sequence[Character]) -> tuple[WantedPicture, ...]:
    """Return the pictures in the order of characters, shots, variants and seeds. Raises: SetError."""
    chosen, problems = _choose(file, characters)
    variants = tuple(file.variants.items()) or (("", ""),)
    count = len(chosen) * len(file.shots) * len(variants) * len(file.seeds)
    if count > MOST_PICTURES:
        what, hint = f"the set has {count} pictures, more than {MOST_PICTURES}", "make several sets of it"
        problems.append(Problem(code="set.too_large", what=what, hint=hint))
    problems += _find_unset_places(file, chosen)
    if problems:
        raise SetError(problems)
    template = {f"task.{name}": _describe(value) for name, value in _flatten(file.task)}
    return tuple(
        _make(file, character, shot, variant, number, seed, template)
        for character, shot, variant, (number, seed) in itertools.product(
            chosen, file.shots.items(), variants, enumerate(file.seeds, 1)
        )
    )


def derive_seed(name: str, key: str, round: int) -> int:
    """Return the seed of a picture of the set `name`, the same each time; `round` counts rejected takes before it."""
    return int.from_bytes(hashlib.sha256(f"{name}\n{key}\n{round}".encode()).digest()[:8]) % _SEEDS


def list_changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the sources that are not the same, in order."""
    return tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def _choose(file: SetFile, characters: Sequence[Character]) -> tuple[list[Character], list[Problem]]:
    by_name = {str(character["name"]): character for character in characters}
    if file.characters is None:
        empty = [Problem(code="set.no_characters", what="there are no characters", where="characters", hint=_HOW)]
        return [by_name[name] for name in sorted(by_name)], [] if by_name else empty
    chosen: list[Character] = []
    problems: list[Problem] = []
    for index, written in enumerate(file.characters):
        name = str(written["name"])
        character = written if len(written) > 1 else by_name.get(name)
        if character is None:
            what, hint = f"there is no character {name!r}", did_you_mean(name, by_name, otherwise=_HOW)
            problems.append(Problem(code="set.unknown_character", what=what, where=f"characters[{index}]", hint=hint))
        else:
            chosen.append(character)
    return chosen, problems


def _find_unset_places(file: SetFile, characters: Sequence[Character]) -> Iterator[Problem]:
    """Yield each place that has no value, and for which characters."""
    works = {"task": file.task, **{f"checks[{index}]": check for index, check in enumerate(file.checks)}}
    for where, work in works.items():
        for place in dict.fromkeys(list_places(work)):
            lacking = [str(character["name"]) for character in characters if place not in _values(character)]
            if lacking:
                more = f" and {len(lacking) - 3} more" if lacking[3:] else ""
                what = f"`{{{place}}}` has no value for {', '.join(lacking[:3])}{more}"
                yield Problem(code="set.unset_place", what=what, where=where, hint="set it, or remove the place")


def _values(
    character: Character, shot: tuple[str, str] = ("", ""), variant: tuple[str, str] = ("", ""), seed: int = 0
) -> dict[str, Json]:
    return {
        "character": character["name"],
        **{f"character.{name}": value for name, value in character.items()},
        "shot": shot[1],
        "shot.name": shot[0],
        "variant": variant[1],
        "variant.name": variant[0],
        SEED: seed,
    }


def _make(
    file: SetFile,
    character: Character,
    shot: tuple[str, str],
    variant: tuple[str, str],
    number: int,
    seed: int | None,
    template: Mapping[str, str],
) -> WantedPicture:
    names = [str(character["name"]), shot[0], *([variant[0]] if variant[0] else [])]
    key = "/".join((*names, str(number)))
    first_seed = derive_seed(file.name, key, 0) if seed is None else seed
    values = _values(character, shot, variant)
    del values[SEED]  # each take has its own
    task: dict[str, Json] = fill(dict(file.task), values)
    used = {name: _describe(values[name]) for name in dict.fromkeys(list_places(file.task)) if name != SEED}
    settings = {**dict(zip(("character", "shot", "variant"), names, strict=False)), **_list_settings(task)}
    return WantedPicture(
        key=key,
        task=task,
        checks=tuple(fill(dict(check), values) for check in file.checks),
        first_seed=first_seed,
        settings=settings,
        sources={**template, **used, SEED: str(first_seed)},
        digest=hashlib.sha256(_write([task, first_seed]).encode()).digest(),
    )


def _flatten(task: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield the parts of a task, and those of its inputs and files each for itself."""
    for name, value in task.items():
        if name in ("inputs", "files"):
            yield from ((f"{name}.{inner}", content) for inner, content in as_object(value).items())
        else:
            yield name, value


def _describe(value: Json) -> str:
    text = value if isinstance(value, str) else _write(value)
    return text if len(text) <= _LONGEST_SOURCE else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _write(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _list_settings(task: Mapping[str, Json]) -> dict[str, str]:
    """Return the model, the sampler and the LoRA of a task, as far as its inputs or its workflow name them."""
    inputs = as_object(task.get("inputs"))
    settings: dict[str, str | None] = {
        "model": find_model_name(str(task["engine"]), task.get("model"), inputs),
        "sampler": _find_input(inputs, _SAMPLER),
        "lora": _find_input(inputs, _LORA),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _find_input(inputs: Mapping[str, Json], names: Sequence[str]) -> str | None:
    """Find a text among the inputs, else among those of the nodes of its workflow; several are written together."""
    for name in reversed(names):
        if isinstance(inputs.get(name), str):
            return inputs[name]
    nodes = [as_object(as_object(node).get("inputs")) for node in as_object(inputs.get("workflow")).values()]
    values = [node[name] for node in nodes for name in names if isinstance(node.get(name), str)]
    return " + ".join(dict.fromkeys(values)) or None
