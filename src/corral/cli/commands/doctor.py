"""`corral doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, example
from corral.data_dir import choose_data_dir

UNHEALTHY = 1
"""The exit code when something does not work."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=example("corral doctor"))(doctor)


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look this machine over: GPUs, drivers, engines, database, memory, disk; each finding with its fix."""
    from corral.cli.doctor import examine
    from corral.telemetry.findings import State

    findings = examine(choose_data_dir(data_dir))
    if as_json:
        terminal.put_json({"items": [asdict(finding) for finding in findings]})
    else:
        terminal.put_table(
            ("", "what", "finding"), [(one.state.value, one.name, one.what) for one in findings], empty="no findings"
        )
        for one in findings:
            if one.fix:
                terminal.put(f"{one.name}: {one.fix}")
    if any(one.state is State.ERROR for one in findings):
        raise typer.Exit(UNHEALTHY)
