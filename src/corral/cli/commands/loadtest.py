"""`corral loadtest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, make_example
from corral.data_dir import choose_data_dir, prepare_data_dir

NOT_PASSED = 1
"""The exit code when a GPU failed, or when the test says nothing."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("loadtest", epilog=make_example("corral loadtest --duration 30m --load 'gpu-burn 1800'"))(loadtest)


def loadtest(
    duration: Annotated[
        str, typer.Option("--duration", metavar="TIME", help="Watch for this long, such as `30m` or `90s`.")
    ] = "30m",
    gpu: Annotated[
        list[int] | None,
        typer.Option("--gpu", metavar="INDEX", min=0, help="Watch only the GPU of this index (repeatable)."),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(
            "--load",
            metavar="COMMAND",
            help="Run this for each GPU, with its UUID in CUDA_VISIBLE_DEVICES. Default: llama.cpp generates.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Start no load: watch whatever runs on the GPUs.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Write a Markdown report to this file, and its charts next to it."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Put GPUs under load, and judge them against their limits.

    It judges temperature, power, clocks and throttling. The load is llama.cpp, which generates with the largest model
    of this machine that each GPU holds, until the test ends; a GPU that is used less than 80 % is inconclusive.
    """
    from corral.cli.load_testing import check_request, choose_load, put_load_test, run_shown, write_report
    from corral.telemetry.loadtest.running import INTERRUPTED, LoadTestRequest
    from corral.telemetry.loadtest.verdict import Outcome

    if load is not None and watch:
        raise typer.BadParameter("give a load or watch what runs, not both", param_hint="--watch")
    seconds, gpus = check_request(duration, report), tuple(gpu) if gpu else None
    data = choose_data_dir(data_dir)
    prepare_data_dir(data)
    command = load if load is not None or watch else choose_load(data, gpus)
    wish = LoadTestRequest(seconds=seconds, gpus=gpus, load=command)
    test = run_shown(wish, data)
    if report is not None:
        terminal.note(f"report: {', '.join(str(path) for path in write_report(test, report))}")
    put_load_test(test, as_json=as_json)
    if test.ended == INTERRUPTED:
        raise KeyboardInterrupt
    if test.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        raise typer.Exit(NOT_PASSED)
