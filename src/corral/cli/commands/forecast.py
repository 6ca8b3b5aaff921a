"""`corral forecast`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, DataDir, Url, make_example

if TYPE_CHECKING:
    from corral.batchfile.sources import Convert
    from corral.operations.forecast_requests import ForecastAsked
    from corral.operations.forecasting import Forecasts
    from corral.work import Json, SlotId

OfWorkload = Annotated[
    str | None, typer.Option("--workload", "-w", metavar="NAME", help="Forecast only this workload.")
]
Night = Annotated[
    str | None, typer.Option("--night", metavar="TIME", help="Let the night last this long. Default: as the file says.")
]
Nights = Annotated[int, typer.Option("--nights", min=1, max=3660, help="Forecast so many nights, one after the other.")]
Models = Annotated[int, typer.Option("--models", min=1, max=100, help="Let the tasks use so many models in turn.")]
SwapEvery = Annotated[
    int,
    typer.Option("--swap-every", min=1, metavar="TASKS", help="Change the model after so many tasks (with --models)."),
]
LoadTime = Annotated[str | None, typer.Option("--load", metavar="TIME", help="Let a model take this long to load.")]
Spread = Annotated[
    str | None, typer.Option("--spread", metavar="PERCENT", help="Let durations vary by so much above and below.")
]
Measured = Annotated[
    str | None,
    typer.Option(
        "--measured", metavar="SINCE", help="Take durations from what the queue finished since then, such as `7d`."
    ),
]
Slow = Annotated[
    list[str] | None,
    typer.Option("--slow", metavar="SLOT=FACTOR", help="Let tasks take FACTOR times as long on a slot (repeatable)."),
]
Fail = Annotated[
    list[str] | None,
    typer.Option(
        "--fail", metavar="SLOT@FROM..UNTIL", help="Let a slot be away, for good without `..UNTIL` (repeatable)."
    ),
]
Explain = Annotated[bool, typer.Option("--explain", "--verbose", "-v", help="Print every number with its origin.")]
GanttFile = Annotated[
    Path | None, typer.Option("--gantt", metavar="FILE", help="Draw the night of one workload into this SVG file.")
]
HtmlFile = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write everything as one HTML page.")]
BatchOf = Annotated[
    Path | None, typer.Option("--batch", metavar="FILE", help="Forecast this batch, instead of workloads.")
]
ReplaySince = Annotated[
    str | None,
    typer.Option("--replay", metavar="SINCE", help="Replay what the queue finished since then, such as `12h`."),
]
Against = Annotated[
    Path | None, typer.Option("--against", metavar="CLUSTER", help="Replay on this cluster file (with --replay).")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forecast", epilog=make_example("corral forecast cluster.yaml"))(forecast)


def forecast(
    cluster: ClusterArgument = None,
    workload: OfWorkload = None,
    night: Night = None,
    nights: Nights = 1,
    models: Models = 1,
    swap_every: SwapEvery = 1,
    load: LoadTime = None,
    spread: Spread = None,
    measured: Measured = None,
    slow: Slow = None,
    fail: Fail = None,
    explain: Explain = False,
    gantt: GanttFile = None,
    html: HtmlFile = None,
    batch: BatchOf = None,
    replay: ReplaySince = None,
    against: Against = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Forecast each workload's output in an hour and in a night.

    The night is played with the production policy. Each workload is played by itself, on the slots that its service
    has in the plan. Times in --fail count from the start of the night. With --models, --spread, --slow or --fail, a
    second row shows the night with that. Durations are those of the cluster file; with --measured, those of the
    queue's finished tasks where there are any.

    --batch forecasts how long a batch takes. --replay with --against asks what the tasks of last night would have
    taken on another cluster: as it was, simulated on the slots that it had, and simulated on the other file's.
    """
    from corral.client.converting import make_converter
    from corral.operations.cluster_file import FileText, read_cluster_file
    from corral.operations.forecast_requests import ForecastAsked, require_no_others
    from corral.operations.forecasting import play_workloads

    asked = ForecastAsked(
        cluster=FileText(text=""),  # read below, where it is needed
        workload=workload,
        night=night,
        nights=nights,
        models=models,
        swap_every=swap_every,
        load=load,
        measured=measured,
        spread=spread,
        slow=tuple(slow or ()),
        fail=tuple(fail or ()),
    )
    of_workloads = {**_list_given(asked), "--explain": explain, "--html": html is not None}
    replaying = {"--replay": replay is not None, "--against": against is not None}
    if batch is not None:
        require_no_others("--batch", {**of_workloads, **replaying})
        convert = make_converter(url, data_dir, terminal.note)
        return _forecast_batch(cluster, batch, gantt, convert, as_json=as_json)
    if any(replaying.values()):
        require_no_others("--replay", {**of_workloads, "--gantt": gantt is not None})
        return _replay(cluster, replay, against, url, data_dir, as_json=as_json)
    asked = dataclasses.replace(asked, cluster=read_cluster_file(cluster))
    forecasts = play_workloads(
        asked,
        finished=lambda since: _read_finished(since, url, data_dir),
        watts=lambda since: _read_watts(since, url, data_dir),
    )
    _write(forecasts, asked, gantt, html)
    return _put(forecasts, explain=explain, as_json=as_json)


def _list_given(asked: ForecastAsked) -> dict[str, bool]:
    """List the options about workloads that differ from their defaults."""
    return {
        f"--{field.name.replace('_', '-')}": bool(value) and value != field.default
        for field in dataclasses.fields(asked)
        if field.name != "cluster"
        for value in [getattr(asked, field.name)]
    }


def _read_finished(since: datetime, url: str | None, data_dir: Path | None) -> Sequence[Json]:
    from corral.client.connection import call_server
    from corral.client.following import read_succeeded

    return call_server(url, data_dir, lambda api: read_succeeded(api, since))


def _read_watts(since: datetime, url: str | None, data_dir: Path | None) -> Mapping[SlotId, float]:
    from corral.client.connection import call_server

    query = {"since": since.isoformat()}
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/usage/energy", query))
    return {device["device"]: device["watts"] for device in answer["items"] if device["watts"] is not None}


def _forecast_batch(cluster: Path | None, batch: Path, gantt: Path | None, convert: Convert, *, as_json: bool) -> None:
    from corral.batchfile.reading import open_batch_file
    from corral.cli.forecasts import put_batch
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.forecast_requests import BatchForecastAsked
    from corral.operations.forecasting import play_batch, write_batch
    from corral.requests import read_by

    read = open_batch_file(batch, convert).batch
    tasks = tuple(task.body for task in read.tasks)
    by, when = read.body.get("by"), read.body.get("when")
    forecast_of_batch = play_batch(
        BatchForecastAsked(
            cluster=read_cluster_file(cluster),
            tasks=tasks,
            by=None if by is None else read_by(by),
            when=when,
        )
    )
    if gantt is not None:
        write_batch(forecast_of_batch, read.name, gantt)
        terminal.note(f"wrote {gantt}")
    put_batch(forecast_of_batch, as_json=as_json)


def _replay(
    cluster: Path | None,
    since: str | None,
    against: Path | None,
    url: str | None,
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    from corral.cli.forecasts import put_replay
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.forecast_requests import ReplayAsked, require_both
    from corral.operations.forecasting import replay_tasks

    begin, other = require_both(since, against)
    asked = ReplayAsked(before=read_cluster_file(cluster), after=read_cluster_file(other), since=begin)
    replay_answer = replay_tasks(asked, finished=lambda since: _read_finished(since, url, data_dir))
    put_replay(replay_answer, as_json=as_json)


def _put(forecasts: Forecasts, *, explain: bool, as_json: bool) -> None:
    from corral.cli.forecasts import put_forecasts
    from corral.operations.forecasting import answer_forecasts
    from corral.wire import to_json

    if as_json:
        terminal.put_json(to_json(answer_forecasts(forecasts)))
    else:
        put_forecasts(forecasts, explain=explain)


def _write(forecasts: Forecasts, asked: ForecastAsked, gantt: Path | None, html: Path | None) -> None:
    """Write the files that were asked for, and say so."""
    from corral.operations.forecasting import write_gantt, write_page

    if gantt is not None:
        write_gantt(forecasts, gantt)
        terminal.note(f"wrote {gantt}")
    if html is not None:
        write_page(forecasts, asked, html)
        terminal.note(f"wrote {html}")
