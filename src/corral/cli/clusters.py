"""A Kubernetes cluster for the commands that work on one: opened as kubectl does, and what they print alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from corral.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.deploying.lacking import Lack, MissingKey
    from corral.deploying.readiness import Unready
    from corral.kubernetes.api import Api
    from corral.operations.deploying.stepping import Report, StepDone

Answer = TypeVar("Answer")
Context = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="Use this context of the kubeconfig. Default: its current one."),
]
LayoutName = Annotated[
    str | None,
    typer.Option("--layout", "-l", metavar="NAME", help="Choose the layout. Default: the one that is active there."),
]
Force = Annotated[bool, typer.Option("--force", help="Take over fields that others have set to other values.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return once everything is applied, ready or not.")]
Within = Annotated[
    str | None,
    typer.Option(
        "--within",
        metavar="DURATION",
        help="Wait so long for services to be ready: 10m. Default: what they are expected to need, and a margin.",
    ),
]
_SHOWN = frozenset({"created", "changed", "replaced", "deleted"})


def run_on_cluster(context: str | None, work: Callable[[Api], Awaitable[Answer]]) -> Answer:
    """Connect to a cluster and do work on it. Raises: CorralError."""
    import asyncio

    from corral.kubernetes.api import open_api

    async def run() -> Answer:
        async with open_api(context) as api:
            return await work(api)

    return asyncio.run(run())


def make_report(*, verbose: bool, dry_run: bool) -> Report:
    """Make what prints each step that changes something; with `verbose` the others as well."""
    would = " (not really: --dry-run)" if dry_run else ""

    def report(done: StepDone) -> None:
        if verbose or done.result in _SHOWN:
            terminal.note(f"{done.number:>3} of {done.of}  {done.result:9}  {done.step.key}{would}")

    return report


def report_unready(unready: Sequence[Unready]) -> None:
    """Print the workloads that are not ready, each with its causes."""
    for workload in unready:
        terminal.note(f"waits    {workload}")


def put_lacking(lacking: Sequence[Lack]) -> None:
    """Print what a cluster lacks and the next commands, to stderr: it is not the answer."""
    from corral.deploying.lacking import LackKind, write_next

    needed = [lack for lack in lacking if lack.kind is not LackKind.WATCHING]
    watching = [lack.what for lack in lacking if lack.kind is LackKind.WATCHING]
    if needed:
        terminal.note(f"missing  {', '.join(lack.what for lack in needed)}")
    if watching:
        terminal.note(f"missing  for dashboards and alerts: {', '.join(watching)}")
    for command in write_next(lacking):
        terminal.note(f"next     {command}")


def ask_secret(key: MissingKey) -> str:
    """Ask for the value of a key without showing it; empty for none. Raises: UnconfirmedError without a terminal."""
    from getpass import getpass

    from corral.operations.deploying.looking import generate_secret, is_generated

    if not terminal.is_attended():
        raise terminal.UnconfirmedError(
            f"Secret {key.namespace}/{key.secret} lacks {key.key}, and there is no terminal to ask on",
            hint=f"kubectl create secret generic {key.secret} --namespace {key.namespace} --from-file={key.key}=FILE",
        )
    generated = is_generated(key)
    otherwise = "empty: a random one" if generated else "empty: left out"
    value = getpass(f"{key.secret}, {key.key} ({otherwise}): ")
    return value or (generate_secret(key) if generated else "")
