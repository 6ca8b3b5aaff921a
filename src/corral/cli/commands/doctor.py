"""`corral doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, Verbose, make_example
from corral.data_dir import choose_data_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.client.api import Api
    from corral.client.connection import Server
    from corral.telemetry.doctor import Finding

_VERDICTS = {"error": "does not work", "warning": "works, with a warning", "unknown": "unknown", "ok": "works"}
UNHEALTHY = 1
"""The exit code when something does not work."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=make_example("corral doctor"))(doctor)


Kubernetes = Annotated[bool, typer.Option("--kubernetes", help="Check a Kubernetes cluster instead of this machine.")]
Context = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="Use this context of the kubeconfig. Default: the current one."),
]
Cluster = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        "-c",
        metavar="FILE",
        help="With --kubernetes: compare with this cluster file. Default: `cluster.yaml` in this folder, if any.",
    ),
]


def doctor(
    kubernetes: Kubernetes = False,
    context: Context = None,
    cluster: Cluster = None,
    data_dir: DataDir = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine or a Kubernetes cluster; findings have fixes.

    It checks GPUs, drivers, engines, database, memory and disk. With --kubernetes it looks for the causes of pods that
    wait or fail, Services without pods, volumes on other nodes, quotas that are not real and more; -v adds the
    evidence. It reads objects and logs, runs `nvidia-smi -L` in containers that have a GPU, and changes nothing.
    """
    if kubernetes:
        from corral.cli.cluster_doctor import report_cluster

        report_cluster(context, cluster, verbose=verbose, as_json=as_json)
        return
    if context is not None or cluster is not None:
        raise typer.BadParameter("--context and --cluster are for --kubernetes")
    from corral.operations.doctor import examine
    from corral.telemetry.doctor import State
    from corral.wire import to_json

    folder = choose_data_dir(data_dir)
    answer = examine(folder, _ask_server(folder))
    findings = answer.items
    if as_json:
        terminal.put_json(to_json(answer))
    else:
        _put_findings(findings, verbose=verbose)
    if any(finding.state is State.ERROR for finding in findings):
        raise typer.Exit(UNHEALTHY)


def _put_findings(findings: Sequence[Finding], *, verbose: bool) -> None:
    """Print whether everything works, then what does not, and how to fix it; with `verbose`, what works as well."""
    from corral.telemetry.doctor import State

    names = {state: [finding.name for finding in findings if finding.state is state] for state in State}
    states = (State.ERROR, State.WARNING, State.UNKNOWN, State.OK)
    terminal.put_text(
        "; ".join(f"{_VERDICTS[state]}: {', '.join(names[state])}" for state in states if names[state]) or "no findings"
    )
    shown = [finding for finding in findings if verbose or finding.state is not State.OK]
    if shown:
        terminal.put("")
        rows = [(finding.state.value, finding.name, finding.what) for finding in shown]
        terminal.put_table(("", "what", "finding"), rows, empty="")
    for finding in shown:
        if finding.fix:
            terminal.put_text(f"{finding.name}: {finding.fix}")
    if not verbose and names[State.OK]:
        terminal.note_more("-v adds what works")


def _ask_server(folder: Path) -> tuple[Finding, ...] | None:
    """Return what the server of a data directory says of itself; None when none runs."""
    import asyncio

    from corral.client.connection import find_local_server

    server = find_local_server(folder)
    return None if server is None else asyncio.run(_examine_server(server))


async def _examine_server(server: Server) -> tuple[Finding, ...]:
    from corral.client.api import Api
    from corral.errors import CorralError
    from corral.operations.doctor import judge_server
    from corral.telemetry.doctor import Finding, State

    async with Api(server.url, server.token) as api:
        try:
            ready = await api.get("/health/ready")
            slots = (await api.get("/corral/v1/slots"))["items"]
            status = await api.get("/corral/v1/status")
        except CorralError as error:
            return (Finding(name="server", state=State.ERROR, what=error.what, fix=error.hint),)
        lanes = await _check_lanes(api)
    alarms = ready.get("alarms", ())
    served = judge_server(
        server.url,
        ready["dispatcher"],
        slots,
        alarms,
        trusts_loopback=status.get("trusts_loopback"),
        listeners=status.get("listeners", ()),
    )
    return (*served, *lanes)


async def _check_lanes(api: Api) -> tuple[Finding, ...]:
    """Return the server's findings on lanes; none where it is of an earlier version, or does not answer in time."""
    from corral.errors import CorralError
    from corral.operations.lane_checks import LONGEST_S
    from corral.telemetry.doctor import Finding, State

    try:
        checked = (await api.post("/corral/v1/slots/lanes/check", within_s=2 * LONGEST_S))["items"]
    except CorralError:
        return ()
    return tuple(Finding(**{**finding, "state": State(finding["state"])}) for finding in checked)
