"""`corral hold`: a turn on the GPUs for any program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from corral.cli.options import AsJson, DataDir, DryRun, Url, make_example
from corral.errors import CorralError, Kind

if TYPE_CHECKING:
    from corral.work import Json

Command = Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The program and its arguments, after `--`.")]
Gpus = Annotated[int, typer.Option("--gpus", "-g", metavar="N", min=1, max=64, help="Take so many GPUs at once.")]
Memory = Annotated[
    str | None,
    typer.Option("--memory", "-m", metavar="SIZE", help="Take so much memory of each, such as 8Gi. Default: all."),
]
OnNode = Annotated[
    str | None, typer.Option("--node", metavar="NODE", help="Refuse to run elsewhere than on this node.")
]
InQueue = Annotated[str, typer.Option("--queue", "-q", metavar="QUEUE", help="Wait in this queue.")]
InClass = Annotated[str, typer.Option("--class", metavar="CLASS", help="Wait as `interactive` or as `batch`.")]
WithPriority = Annotated[
    str, typer.Option("--priority", "-p", metavar="PRIORITY", help="Wait as critical, high, normal, low or idle.")
]
AtMost = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="Stop the program after this time, such as 2h. Default: never."),
]
OnProcessor = Annotated[bool, typer.Option("--cpu", help="Take a turn on the processor of a machine without a GPU.")]
Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Wait and run in the background; `corral holds logs` prints the log.")
]
Taken = Annotated[
    int | None,
    typer.Option("--hold", metavar="HOLD", min=1, help="Start the program with this hold. Default: a new one."),
]


class NoProgramError(CorralError):
    """The program of a hold is not on this machine."""

    code: ClassVar[str] = "hold.no_program"
    kind: ClassVar[Kind] = Kind.MISSING


class JsonWithoutDetachError(CorralError):
    """JSON was asked for where standard output is the program's."""

    code: ClassVar[str] = "hold.json_without_detach"
    kind: ClassVar[Kind] = Kind.INVALID


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "hold",
        epilog=make_example("corral hold --memory 8Gi -- python train.py"),
        context_settings={"allow_interspersed_args": False},
    )(hold)


def hold(
    command: Command,
    gpus: Gpus = 1,
    memory: Memory = None,
    node: OnNode = None,
    queue: InQueue = "default",
    task_class: InClass = "batch",
    priority: WithPriority = "normal",
    at_most: AtMost = None,
    cpu: OnProcessor = False,
    detach: Detach = False,
    taken: Taken = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Run a program when its turn on the GPUs comes.

    It waits in the same queue as everything else, gets GPUs of this machine (`CUDA_VISIBLE_DEVICES` and the like), and
    gives them back when it ends. Signals and the exit code pass through. When the GPUs are taken back, or this command
    is killed, the program is ended.
    """
    from corral.cli import terminal
    from corral.cli.lending import WaitLine, run_with_gpus
    from corral.client.connection import locate
    from corral.client.holding import Holder

    _check(command, as_json=as_json, detach=detach)
    asked = _describe_asked(gpus, memory, node, queue, task_class, priority, at_most, cpu, command)
    if dry_run:
        terminal.note(f"would wait for {', '.join(f'{name} {value}' for name, value in asked.items())}")
        return
    if detach:
        _detach(asked, command, url, data_dir, as_json=as_json)
        return
    line = WaitLine()

    async def take(holder: Holder) -> Json:
        if taken is None:
            await holder.ask(asked)
        else:
            await holder.find(taken)
        granted = await holder.wait()
        line.end(granted)
        return granted

    run_with_gpus(Holder(lambda: locate(url, data_dir), seen=line.show), take, command)


def _check(command: Sequence[str], *, as_json: bool, detach: bool) -> None:
    """Refuse before the wait. Raises: NoProgramError, JsonWithoutDetachError."""
    import shutil

    if shutil.which(command[0]) is None:
        raise NoProgramError(f"there is no program {command[0]!r}", hint="give its path, or install it")
    if as_json and not detach:
        raise JsonWithoutDetachError("standard output is the program's", hint="add `--detach`, or leave `--json` out")


def _describe_asked(
    gpus: int,
    memory: str | None,
    node: str | None,
    queue: str,
    task_class: str,
    priority: str,
    at_most: str | None,
    cpu: bool,
    command: Sequence[str],
) -> dict[str, Json]:
    from corral.processes.kernel import identify_machine

    asked: dict[str, Json] = {
        "gpus": gpus,
        "memory": memory,
        "node": node,
        "queue": queue,
        "class": task_class,
        "priority": priority,
        "for": at_most,
        "cpu": cpu,
        "program": _name_program(command),
        "machine": identify_machine(),
    }
    return {name: value for name, value in asked.items() if value is not None}


def _name_program(command: Sequence[str]) -> str:
    """Name a program for people: other arguments can be secrets."""
    program = Path(command[0]).name
    return f"{program} {command[1]}" if len(command) > 1 and Path(command[1]).is_file() else program


def _detach(
    asked: dict[str, Json], command: Sequence[str], url: str | None, data_dir: Path | None, *, as_json: bool
) -> None:
    from corral.cli import terminal
    from corral.cli.lending import start_detached
    from corral.client.connection import call_server
    from corral.client.holding import HOLDS
    from corral.data_dir import choose_data_dir

    waiting = call_server(url, data_dir, lambda api: api.post(HOLDS, asked))
    folder = choose_data_dir(data_dir)
    options = [*(() if url is None else ("--url", url)), *(() if data_dir is None else ("--data-dir", str(data_dir)))]
    log = name_log(folder, waiting["id"])
    start_detached(waiting["id"], command, options, log)
    if as_json:
        terminal.put_json(waiting)
        return
    terminal.put(f"hold {waiting['id']} waits in the background; log: {log}")
    terminal.note(f"stop it with `corral holds release {waiting['id']}`")


def name_log(data_dir: Path, id: int) -> Path:
    """Name the log of a program that runs in the background."""
    return data_dir / "logs" / "holds" / f"{id}.log"
