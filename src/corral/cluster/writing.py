"""Writes cluster files for a machine: the defaults, spelled out so that they can be changed, and its section as found.

What the machine does not report is left open, with a comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from corral.cluster.editing import spelling
from corral.cluster.prices import Electricity
from corral.cluster.values import Disk
from corral.units import Bytes

_DASH, _KEYS, _ITEMS = 2, 4, 6
"""Columns: of the node's dash, of its keys, of the dashes of its lists."""


def write_section(facts: MachineFacts) -> str:
    """Write the section of a node, indented as below `nodes:`; without a line break at its end."""
    return "\n".join(_write_lines(facts))


def make_gpu_entry(gpu: InstalledGpu) -> dict[str, Any]:  # plain YAML
    """Make the entry of a GPU; the catalogue knows the memory of a model, so it is only written without a model."""
    entry: dict[str, Any] = {"model": gpu.model} if gpu.model else {}
    entry["index"] = gpu.index
    if gpu.model is None and gpu.memory is not None:
        entry["memory"] = spelling.round_size(gpu.memory)
    if gpu.uuid is not None:
        entry["uuid"] = gpu.uuid
    if gpu.power_limit_w is not None:
        entry["powerLimit"] = gpu.power_limit_w
    return entry


def make_disk_entry(disk: Disk) -> dict[str, Any]:  # plain YAML
    """Make the entry of a drive."""
    size = None if disk.size is None else spelling.round_size(disk.size)
    return {key: value for key, value in (("name", disk.name), ("size", size), ("medium", disk.medium)) if value}


def list_values(facts: MachineFacts) -> dict[str, Any]:  # plain YAML
    """List the keys of a node apart from its name, address and GPUs; what is unknown is left out."""
    cpu = {"model": facts.cpu_model, "cores": facts.cpu_cores}
    values: dict[str, Any] = {
        "os": facts.os,
        "cpu": {key: value for key, value in cpu.items() if value is not None},
        "memory": None if facts.memory is None else spelling.round_size(facts.memory),
        "psu": None if facts.psu_w is None else {"watts": facts.psu_w},
        "disks": [make_disk_entry(disk) for disk in facts.disks],
    }
    return {key: value for key, value in values.items() if value}


def _write_lines(facts: MachineFacts) -> Iterator[str]:
    values = list_values(facts)
    yield f"{' ' * _DASH}- name: {spelling.write_scalar(facts.name)} # this machine"
    if "os" in values:
        yield from spelling.write_pair("os", values["os"], _KEYS)
    yield from _write_gpu_lines(facts)
    for key in ("cpu", "memory", "psu", "disks"):
        if key in values:
            yield from spelling.write_pair(key, values[key], _KEYS)
    if facts.psu_w is None:
        yield f"{' ' * _KEYS}# left open: psu: {{watts: ...}}, since the board does not report it"


def _write_gpu_lines(facts: MachineFacts) -> Iterator[str]:
    if facts.gpus is None:
        yield f"{' ' * _KEYS}# left open: gpus, since {facts.gpus_unknown_because or 'the driver does not answer'}"
        return
    if not facts.gpus:
        yield f"{' ' * _KEYS}gpus: []"
        return
    yield f"{' ' * _KEYS}gpus:"
    for gpu in facts.gpus:
        comment = _explain_gpu(gpu)
        yield f"{' ' * _ITEMS}- {spelling.write_flow(make_gpu_entry(gpu))}" + (f" # {comment}" if comment else "")


def _explain_gpu(gpu: InstalledGpu) -> str:
    """Explain what the entry cannot hold: that a GPU is lost, or that the catalogue does not know it."""
    notes = ["lost: it does not answer the driver"] if gpu.is_lost else []
    if gpu.model is None:
        name = "has no name from the driver" if gpu.driver_name is None else f"is `{_shorten(gpu.driver_name)}`"
        notes.append(f"{name}, which the catalogue does not resolve" if gpu.driver_name else name)
    return "; ".join(notes)


def _shorten(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:100]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledGpu:
    """One GPU of the machine as it was found."""

    index: int
    uuid: str | None = None
    model: str | None = None
    """The catalogue's name; None when it does not know the driver's name, or knows several such models."""
    driver_name: str | None = None
    memory: Bytes | None = None
    power_limit_w: int | None = None
    """The limit that was set; None when it is the GPU's own."""
    power_range_w: tuple[float, float] | None = None
    """The least and the most that its limit can be set to."""
    is_lost: bool = False
    """It does not answer: it fell off the bus, or the driver gives no handle to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """The machine as it was found; None is unknown."""

    name: str
    """Its host name, fitted to the names that the file takes."""
    address: str | None = None
    addresses: tuple[str, ...] = ()
    """All its addresses, its host name included."""
    os: str | None = None
    cpu_model: str | None = None
    cpu_cores: int | None = None
    memory: Bytes | None = None
    memory_is_installed: bool = False
    """Whether `memory` is what is installed; else it is what the kernel manages, which is a few per cent less."""
    psu_w: int | None = None
    disks: tuple[Disk, ...] = ()
    gpus: tuple[InstalledGpu, ...] | None = None
    """None: the driver does not answer."""
    gpus_unknown_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundServer:
    """A server of an engine that answers on the machine, or a program that Corral can run as one."""

    engine: str
    url: str | None = None
    """Where it answers; None where it does not run."""
    container: str | None = None
    """The container that it answers from."""
    preset: str | None = None
    """The preset that starts it, where it does not run."""
    folder: str | None = None
    """The folder of that start; None where it needs none."""


_FILE = """\
# Describes the machines, GPUs, engines and queues of one Corral. `corral schema` prints every key.
apiVersion: corral/v1
name: {name}

nodes:
{nodes}
{electricity}
engines:
  llama: {{}}
  whisper: {{}}
  piper: {{}}
{instances}  command: {{enabled: false}} # true lets administrators run any program as a task

queues:
  - name: default
    order: priority
"""


def write_default_file(name: str, node_name: str) -> str:
    """Write the file that `corral up` uses without one; names are fitted to those that the file accepts."""
    node = f"  - name: {_quote(fit_name(node_name))} # this machine: its GPUs are found when Corral starts"
    return _FILE.format(name=_quote(fit_name(name)), nodes=node, electricity="", instances="")


def write_file(
    facts: MachineFacts, *, servers: Sequence[FoundServer] = (), electricity: Electricity | None = None
) -> str:
    """Write a file with one node, the servers that were found on it, and the price of power where it is known."""
    engines = sorted({server.engine for server in servers})
    return _FILE.format(
        name=_quote(fit_name(facts.name)),
        nodes=write_section(facts),
        electricity="" if electricity is None else f"\n{_write_electricity(electricity)}\n",
        instances="".join(f"{line}\n" for engine in engines for line in _write_instances(engine, servers, facts)),
    )


def _write_electricity(electricity: Electricity) -> str:
    price = {"pricePerKwh": electricity.price_per_kwh, "currency": electricity.currency}
    return "\n".join(spelling.write_pair("electricity", price, 0))


def _write_instances(engine: str, servers: Sequence[FoundServer], facts: MachineFacts) -> Iterator[str]:
    """Write the servers of an engine; which of several GPUs a server computes on is unknown."""
    usable = [gpu.index for gpu in facts.gpus or () if not gpu.is_lost]
    place: dict[str, Any] = {"node": facts.name} | ({"gpu": usable[0]} if len(usable) == 1 else {})
    comment = " # `gpu: INDEX` names the GPU that it computes on" if len(usable) > 1 else ""
    yield f"{' ' * _DASH}{engine}:"
    yield f"{' ' * (_DASH + _DASH)}instances:"
    for number, server in enumerate((server for server in servers if server.engine == engine), start=1):
        name = engine if number == 1 else f"{engine}-{number}"
        yield f"{' ' * _ITEMS}- {spelling.write_flow({'name': name, **_write_way(server), **place})}{comment}"


def _write_way(server: FoundServer) -> dict[str, Any]:  # plain YAML
    """Write how a server is reached: the address of one that runs, else how Corral starts it."""
    if server.url is not None:
        return {"url": server.url}
    return {"run": {"preset": server.preset, **({"folder": server.folder} if server.folder else {})}}


def fit_name(name: str) -> str:
    """Turn a host name into a node's name: Windows and old networks allow characters that the file does not."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:63].strip("-_.") or "local"


def _quote(name: str) -> str:
    """Quote names that YAML would read as something else than text (`1`, `null`, `true`, `2024-01-01`)."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*-[A-Za-z0-9-]*[a-z0-9]|local|edge", name) else json.dumps(name)
