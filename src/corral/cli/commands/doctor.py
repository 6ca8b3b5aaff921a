"""`corral doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, make_example
from corral.data_dir import choose_data_dir

if TYPE_CHECKING:
    from corral.client.connection import Server
    from corral.telemetry.findings import Finding

UNHEALTHY = 1
"""The exit code when something does not work."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=make_example("corral doctor"))(doctor)


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look this machine over: GPUs, drivers, engines, database, memory, disk; each finding with its fix."""
    from corral.operations.doctor import examine
    from corral.telemetry.findings import State
    from corral.wire import to_json

    folder = choose_data_dir(data_dir)
    answer = examine(folder, _ask_server(folder))
    findings = answer.items
    if as_json:
        terminal.put_json(to_json(answer))
    else:
        terminal.put_table(
            ("", "what", "finding"),
            [(finding.state.value, finding.name, finding.what) for finding in findings],
            empty="no findings",
        )
        for finding in findings:
            if finding.fix:
                terminal.put(f"{finding.name}: {finding.fix}")
    if any(finding.state is State.ERROR for finding in findings):
        raise typer.Exit(UNHEALTHY)


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
    from corral.telemetry.findings import Finding, State

    async with Api(server.url, server.token) as api:
        try:
            ready = await api.get("/health/ready")
            slots = (await api.get("/corral/v1/slots"))["items"]
        except CorralError as error:
            return (Finding(name="server", state=State.ERROR, what=error.what, fix=error.hint),)
    return judge_server(server.url, ready["dispatcher"], slots)
