"""`corral init`: the first cluster file of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

import typer

from corral.cli import terminal
from corral.cli.options import DryRun, make_example
from corral.errors import CorralError, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corral.cluster.values import Electricity
    from corral.cluster.writing import FoundServer, MachineFacts

NewFile = Annotated[Path | None, typer.Argument(metavar="FILE", help="The file to write, `cluster.yaml` unless named.")]
NoQuestions = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what is unknown is left open.")]

_MOST_WATTS = 100_000
_HIGHEST_PRICE = 100
"""The limits of the cluster file."""
Answer = TypeVar("Answer")


class FileExistsAlreadyError(CorralError):
    """There is a cluster file already."""

    code: ClassVar[str] = "init.exists"
    kind: ClassVar[Kind] = Kind.CONFLICT


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", epilog=make_example("corral init --dry-run"))(init)


def init(file: NewFile = None, yes: NoQuestions = False, dry_run: DryRun = False) -> None:
    """Look at this machine, and write its first cluster file.

    GPUs, processor, memory and drives are read. Servers of engines are found where they answer: on their usual ports,
    on others that their programs listen on, in containers of docker and podman. ComfyUI in its usual folders and Ollama
    on the path are proposed as servers that Corral runs. At a terminal it asks for the little that a machine does not
    report: the power supply, the price of power. With --dry-run the file is printed, and not written.
    """
    import asyncio

    from corral.files import write_whole
    from corral.operations.cluster_file import USUAL_NAME
    from corral.operations.first_file import find_proposals, write_first_file
    from corral.operations.inventory import collect_facts
    from corral.telemetry.inventory import take_inventory

    file = file or Path(USUAL_NAME)
    if not dry_run:
        _refuse_existing(file)
    facts = collect_facts(take_inventory())
    servers = asyncio.run(find_proposals())
    for line in _describe(facts, servers):
        terminal.note(f"found  {line}")
    electricity: Electricity | None = None
    if not yes and terminal.is_attended():
        if facts.psu_w is None:
            watts = _ask("power supply in watts (Enter: unknown):", read_watts, f"1 to {_MOST_WATTS}, such as `850`")
            facts = replace(facts, psu_w=watts)
        question = "price of a kilowatt hour, such as `0.30 EUR` (Enter: not set):"
        electricity = _ask(question, read_price, f"0 to {_HIGHEST_PRICE}, and a currency")
    text = write_first_file(facts, servers, electricity, name=str(file))
    if dry_run:
        terminal.put(text.rstrip("\n"))
        return
    _refuse_existing(file)  # it can have appeared while the questions were open
    write_whole(file, text)
    terminal.put(f"wrote  {file}")
    terminal.put(f"next   corral up --cluster {file}")


def _refuse_existing(file: Path) -> None:
    """Raises: FileExistsAlreadyError."""
    if file.exists():
        hint = f"edit it, or merge this machine into it: `corral inventory --merge {file}`"
        raise FileExistsAlreadyError("there is a file of this name already", where=str(file), hint=hint)


def _describe(facts: MachineFacts, servers: tuple[FoundServer, ...]) -> Iterator[str]:
    """List what was found, a line each."""
    if facts.gpus is None:
        yield f"GPUs: unknown, since {facts.gpus_unknown_because}"
    elif not facts.gpus:
        yield "no GPU: work runs on the processor"
    for gpu in facts.gpus or ():
        yield f"GPU {gpu.index}: {gpu.model or gpu.driver_name or 'unknown model'}"
    yield f"{facts.cpu_model or 'processor of unknown model'}, {facts.cpu_cores or 'unknown'} cores"
    for server in servers:
        if server.url is None:
            yield f"{server.engine}{f' in {server.folder}' if server.folder else ''}: Corral runs it"
        else:
            yield f"{server.engine} at {server.url}{f', container {server.container}' if server.container else ''}"


def read_watts(answer: str) -> int:
    """Read the watts of a power supply: `850` or `850 W`. Raises: ValueError."""
    watts = int(answer.upper().removesuffix("W"))
    if not 0 < watts <= _MOST_WATTS:
        raise ValueError(answer)
    return watts


def read_price(answer: str) -> Electricity:
    """Read a price with its currency, EUR if there is none: `0.30`, `0,30 chf`. Raises: ValueError."""
    from corral.cluster.values import Electricity

    number, _, currency = answer.partition(" ")
    price = float(number.replace(",", "."))
    if not 0 <= price <= _HIGHEST_PRICE or not (currency or "EUR").isalpha():
        raise ValueError(answer)
    return Electricity(price_per_kwh=price, currency=(currency or "EUR").upper())


def _ask(question: str, read: Callable[[str], Answer], help_text: str) -> Answer | None:
    """Ask until the answer can be read; an empty one leaves it unknown."""
    while answer := terminal.ask(question):
        try:
            return read(answer)
        except ValueError:
            terminal.note(help_text)
    return None
