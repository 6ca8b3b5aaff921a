"""Workflows from the editor of an engine, converted to what its tasks take, with the help of an instance.

A seam for engines whose work people draw in an editor: its files are made for its own page, and only an instance knows
the node types that they name (`EngineKind.editor`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

from corral.cluster.values import EngineSettings, Instance
from corral.engine_facts import EngineKind
from corral.engines.credentials import Credentials, name_credentials
from corral.engines.inputs import load_reference
from corral.engines.servers.directory import Directory
from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.work import EngineError, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A workflow as tasks take it, and what its editor would have resolved and was left as it is."""

    workflow: dict[str, Json]
    notes: tuple[Problem, ...] = ()


class Editor(Protocol):
    """The editor of an engine."""

    def recognizes(self, workflow: Mapping[str, Json]) -> bool:
        """Whether a workflow is as this editor saves it, and not as tasks take it."""
        ...

    async def convert(
        self,
        workflow: Mapping[str, Json],
        url: str,
        options: Mapping[str, Any],  # JSON from the cluster file
        credentials: Credentials,
    ) -> Converted:
        """Convert a workflow with the node types of an instance.

        Raises: EngineUnavailableError; another EngineError with every problem that keeps it from being converted.
        """
        ...


class ConversionError(ProblemsError):
    """A workflow of an editor that no instance can convert; carries every reason."""

    code: ClassVar[str] = "engine.not_converted"


class NoEditorError(CorralError):
    """The engine has no editor, or the cluster file none of its instances."""

    code: ClassVar[str] = "engine.no_editor"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedAt:
    """A converted workflow, and the instance that it was converted with."""

    instance: str
    converted: Converted


def is_of_editor(kind: EngineKind, workflow: object) -> bool:
    """Whether a value is a workflow as the engine's editor saves it."""
    editor = _load_editor(kind)
    return editor is not None and isinstance(workflow, dict) and editor.recognizes(cast("dict[str, Json]", workflow))


async def convert_workflow(
    kind: EngineKind,
    settings: EngineSettings | None,
    workflow: Mapping[str, Json],
    *,
    directory: Directory,
    instance: str | None = None,
) -> ConvertedAt:
    """Convert a workflow with an instance: the one that is named, else the first that can.

    Raises: NoEditorError; ConversionError with what the instance lacks that lacks the least.
    """
    settings = settings or EngineSettings(name=kind.name)
    editor = _load_editor(kind)
    if editor is None:
        raise NoEditorError(f"{kind.name!r} has no workflows to convert", hint="name an engine with an editor: comfyui")
    failures: list[tuple[Problem, ...]] = []
    for candidate in _choose(kind, settings.instances, instance):
        try:
            async with directory.reach(kind.name, candidate) as url:
                converted = await editor.convert(workflow, url, settings.options, name_credentials(candidate))
        except EngineError as error:
            failures.append(error.problems)
        else:
            return ConvertedAt(instance=candidate.name, converted=converted)
    raise ConversionError(min(failures, key=_weigh))


def _weigh(problems: tuple[Problem, ...]) -> tuple[bool, int]:
    """Order failures: an instance that answered comes before one that is away."""
    return len(problems) == 1 and problems[0].code.endswith((".unreachable", ".bad_answer")), len(problems)


def _choose(kind: EngineKind, instances: tuple[Instance, ...], name: str | None) -> tuple[Instance, ...]:
    chosen = tuple(candidate for candidate in instances if name in (None, candidate.name))
    if chosen:
        return chosen
    if name is None:
        what, hint = (
            f"the cluster file has no instance of {kind.name}",
            f"add one under `engines.{kind.name}.instances`",
        )
    else:
        what = f"{kind.name} has no instance {name!r}"
        hint = did_you_mean(name, [candidate.name for candidate in instances])
    raise NoEditorError(what, hint=hint)


def _load_editor(kind: EngineKind) -> Editor | None:
    return None if kind.editor is None else cast("type[Editor]", load_reference(kind.editor))()  # the registry's own
