"""The presets by name (`presets.toml`), and the command line of a start; pure.

The port is left open in both, as `{port}`: a server that is started again gets another one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, ClassVar, cast

from corral.errors import CorralError, Kind

_TABLE = "presets.toml"
_ARGUMENTS = "{arguments}"
_FOLDER = "{folder}"
_HOST = "{host}"
_LANES = "{lanes}"


class PresetProgramError(CorralError):
    """No program of a preset is on this machine."""

    code: ClassVar[str] = "preset.no_program"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Unloading(StrEnum):
    """How a program gives its memory back."""

    ADAPTER = "adapter"
    """Its engine's adapter asks it to; the program runs on."""
    STOP = "stop"
    """It is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that is known of a program."""

    source: str
    """A file of the program's own repository, and the words of it that say so."""
    version: str
    """The version of the program that the file is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting(Fact):
    """How the program is started."""

    programs: tuple[str, ...]
    """Where it can be: a path below `{folder}`, or a name on the path; the first that exists is started."""
    arguments: tuple[str, ...]
    """With `{host}` and `{port}`; those of the instance are at `{arguments}`, or else last."""
    on_processor: tuple[str, ...] = ()
    """More arguments where it has no GPU."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """With `{host}` and `{port}`."""
    lane_arguments: tuple[str, ...] = ()
    """More arguments where the cluster file says how many requests it does at once, with `{lanes}`."""
    lane_environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """More variables then."""
    needs_file: str | None = None
    """A file that its folder has; None where it needs no folder."""
    folders: tuple[str, ...] = ()
    """Where that folder usually is; `~` is the home directory."""
    asks_for: str | None = None
    """Arguments that an instance must give, for people; None where it starts without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening(Fact):
    """The port on which it listens by default."""

    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness(Fact):
    """How it reports that it can serve."""

    path: str
    """It answers 200 then, and anything else or nothing before."""
    within_s: float
    """The bound of a start in seconds: an estimate of Corral's, for a slow disk and a large model."""
    prints: str | None = None
    """Words of its log at that moment, for people; None is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Fact):
    """How it gives its memory back while it runs."""

    way: Unloading
    request: str | None = None
    """Its own request for it; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A program that serves an engine."""

    name: str
    title: str
    """Its name as its authors write it."""
    engine: str
    """The engine whose adapter speaks to it."""
    start: Starting
    listens: Listening
    ready: Readiness
    unloads: Release
    started: str | None = None
    """The version that was started through Corral, with a task on it; None: known from its documentation alone."""


@lru_cache(maxsize=1)
def list_presets() -> Mapping[str, Preset]:
    """Return the presets by name, in the order of the table."""
    text = files(__package__ or "corral.presets").joinpath(_TABLE).read_text(encoding="utf-8")
    tables = cast("dict[str, dict[str, Any]]", tomllib.loads(text))  # Any: TOML, which the dataclasses check
    return MappingProxyType({name: _read_preset(name, table) for name, table in tables.items()})


def build_command(
    preset: Preset,
    *,
    host: str,
    folder: str | None = None,
    arguments: Sequence[str] = (),
    lanes: int | None = None,
    has_gpu: bool,
    exists: Callable[[str], bool],
) -> tuple[str, ...]:
    """Return the program and the arguments of a start on this machine, in which `{port}` is open.

    `host` is the address to listen on, `folder` and `lanes` are the instance's, `exists` reports whether something is
    there: a program by its name on the path, or a file.
    Raises: PresetProgramError.
    """
    start = preset.start
    if folder and start.needs_file is not None and not exists(f"{folder.rstrip('/')}/{start.needs_file}"):
        raise PresetProgramError(
            f"{preset.title} is not in {folder}: there is no {start.needs_file}",
            where=f"preset {preset.name}",
            hint="put the folder of its checkout in `folder`",
        )
    candidates = [_fill(program, host, folder) for program in start.programs if folder or _FOLDER not in program]
    program = next((candidate for candidate in candidates if exists(candidate)), None)
    if program is None:
        raise PresetProgramError(
            f"{preset.title} is not on this machine: there is no {', no '.join(candidates)}",
            where=f"preset {preset.name}",
            hint=f"install {preset.title}, or set `run: {{command: ...}}` to the program",
        )
    own = start.arguments if _ARGUMENTS in start.arguments else (*start.arguments, _ARGUMENTS)
    placed = own.index(_ARGUMENTS)
    before, after = own[:placed], own[placed + 1 :]
    more = () if has_gpu else start.on_processor
    return (
        program,
        *(_fill(word, host, folder) for word in (*before, *more)),
        *list_lane_arguments(preset, lanes),
        *arguments,
        *(_fill(word, host, folder) for word in after),
    )


def list_variables(preset: Preset, *, host: str, lanes: int | None = None) -> dict[str, str]:
    """Return the variables of a start, in which `{port}` is open; `lanes` are the instance's."""
    own = {name: _fill(value, host, None) for name, value in preset.start.environment.items()}
    return {**own, **list_lane_variables(preset, lanes)}


def list_lane_arguments(preset: Preset, lanes: int | None) -> tuple[str, ...]:
    """Return the arguments by which a program is given its lanes; none where the cluster file does not say them."""
    return () if lanes is None else tuple(word.replace(_LANES, str(lanes)) for word in preset.start.lane_arguments)


def list_lane_variables(preset: Preset, lanes: int | None) -> dict[str, str]:
    """Return the variables by which a program is given its lanes; none likewise."""
    given = {} if lanes is None else dict(preset.start.lane_environment)
    return {name: value.replace(_LANES, str(lanes)) for name, value in given.items()}


def _fill(text: str, host: str, folder: str | None) -> str:
    return text.replace(_HOST, host).replace(_FOLDER, (folder or "").rstrip("/"))


def _read_preset(name: str, table: Mapping[str, Any]) -> Preset:  # Any: TOML
    return Preset(
        name=name,
        title=table["title"],
        engine=table["engine"],
        start=Starting(**_freeze(table["start"])),
        listens=Listening(**table["listens"]),
        ready=Readiness(**table["ready"]),
        unloads=Release(**{**table["unloads"], "way": Unloading(table["unloads"]["way"])}),
        started=table.get("started"),
    )


def _freeze(table: Mapping[str, Any]) -> dict[str, Any]:  # Any: TOML
    return {key: tuple(cast("list[str]", value)) if isinstance(value, list) else value for key, value in table.items()}
