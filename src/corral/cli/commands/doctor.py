"""`corral doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, make_example
from corral.data_dir import choose_data_dir

UNHEALTHY = 1
"""The exit code when something does not work."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=make_example("corral doctor"))(doctor)


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look this machine over: GPUs, drivers, engines, database, memory, disk; each finding with its fix."""
    from corral.cli.doctor import examine
    from corral.telemetry.findings import State

    findings = examine(choose_data_dir(data_dir))
    if as_json:
        terminal.put_json({"items": [asdict(finding) for finding in findings]})
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
