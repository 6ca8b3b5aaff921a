"""The command `corral`: its commands put together, and the one place where an error becomes an exit code.

Commands import what they need when they run, so that `corral --help` and completion answer at once.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from gc import set_threshold
from typing import ClassVar

import typer
from typer import Context
from typer.exceptions import TyperException
from typer.main import get_command

from corral.cli import exits, terminal
from corral.cli.commands import (
    apply,
    audit,
    backup,
    batches,
    characters,
    checklist,
    console,
    delete,
    diff,
    doctor,
    down,
    engines,
    fit,
    forecast,
    gc,
    gpus,
    hold,
    holds,
    importing,
    init,
    inventory,
    lint,
    loadtest,
    logs,
    mcp,
    models,
    notify,
    pictures,
    plan,
    power,
    queues,
    reload,
    render,
    restore,
    rollback,
    run,
    schema,
    service,
    sets,
    slots,
    status,
    submit,
    switch,
    tasks,
    tokens,
    up,
    upgrade,
    uploads,
    usage,
    verify,
    version,
)
from corral.cli.help_page import CommandsByPurpose
from corral.cli.options import ROOT, make_example
from corral.errors import CorralError, Kind

app = typer.Typer(
    name=ROOT,
    cls=CommandsByPurpose,
    help="Run AI work on the GPUs you own: one file, one durable queue, every GPU busy.",
    epilog=make_example("corral run examples/first-batch.yaml"),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for single in (
    up,
    down,
    console,
    mcp,
    run,
    submit,
    hold,
    status,
    fit,
    plan,
    power,
    upgrade,
    forecast,
    init,
    importing,
    inventory,
    schema,
    render,
    apply,
    diff,
    verify,
    switch,
    delete,
    logs,
    lint,
    checklist,
    loadtest,
    doctor,
    usage,
    gc,
    backup,
    restore,
    rollback,
    reload,
    version,
):
    single.register(app)
for group in (
    tasks,
    batches,
    characters,
    sets,
    slots,
    holds,
    queues,
    engines,
    models,
    gpus,
    pictures,
    uploads,
    tokens,
    notify,
    audit,
    service,
):
    app.add_typer(group.app, name=group.NAME)
version.register_option(app)


class UsageError(CorralError):
    """The command line itself cannot be understood."""

    code: ClassVar[str] = "cli.usage"
    kind: ClassVar[Kind] = Kind.INVALID


class NoSpaceError(CorralError):
    """The disk has no room for what is written or printed."""

    code: ClassVar[str] = "cli.no_space"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class UnexpectedError(CorralError):
    """A bug in Corral."""

    code: ClassVar[str] = "cli.unexpected"
    kind: ClassVar[Kind] = Kind.BUG


_OBJECTS_BEFORE_A_LOOK = 50_000
"""New objects before garbage is looked for: modules and a short command make much that stays. With Python's 700, a
fifth of a server's start is looking."""


def main() -> None:
    """Run the command line of this process and exit."""
    set_threshold(_OBJECTS_BEFORE_A_LOOK)
    _open_closed_streams()
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error is printed here, and nowhere else."""
    as_json = "--json" in arguments
    try:
        code = get_command(app).main(args=list(arguments), prog_name=ROOT, standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk or a reader that has left is still distinct from a bug
    except CorralError as error:
        terminal.report(error, as_json=as_json)
        return exits.CODES[error.kind]
    except TyperException as error:
        context = getattr(error, "ctx", None)
        if context is not None and error.message == context.get_help():  # a group without one of its commands
            terminal.put(error.message)
            return exits.CODES[Kind.INVALID]
        usage = UsageError(_to_fact(error.format_message()), hint=_help_with(context))
        terminal.report(usage, as_json=as_json)
        return exits.CODES[usage.kind]
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except (BrokenPipeError, SystemExit):  # typer's own answer to a reader that has left is `sys.exit(1)`
        _drop_output()  # the reader (`head`) has left
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _report_bug(error, as_json=as_json)
        full = NoSpaceError(str(error.strerror).lower(), where=error.filename, hint="make room, and run it again")
        terminal.report(full, as_json=as_json)
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return exits.CODES[full.kind]
    except Exception as error:  # noqa: BLE001  the outermost edge: whatever is left is a bug
        return _report_bug(error, as_json=as_json)
    return code if isinstance(code, int) else 0


def _open_closed_streams() -> None:
    """Give a process that was started with `>&-` somewhere to write: Python has None in place of a closed stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  as long as the process


def _drop_output() -> None:
    """Drop output that has no reader: Python would try again at the end, and end with a code of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(error: Exception, *, as_json: bool) -> int:
    if os.environ.get("CORRAL_TRACEBACK"):
        traceback.print_exception(error)
    bug = UnexpectedError(
        f"{type(error).__name__}: {error}",
        hint="report it with what `CORRAL_TRACEBACK=1` in the environment makes this command print",
    )
    terminal.report(bug, as_json=as_json)
    return exits.CODES[bug.kind]


def _to_fact(message: str) -> str:
    """Write a message of the parser as ours are: lower case, no final period."""
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _help_with(context: Context | None) -> str:
    """Say where the help of the command is that was not understood, with an example of it."""
    if context is None:
        return f"run `{ROOT} --help`"
    example = (context.command.epilog or "").removeprefix(make_example(""))
    return f"run `{context.command_path} --help`" + (f"; for example `{example}`" if example else "")
