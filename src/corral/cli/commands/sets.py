"""`corral sets`: pictures of characters, checked, and made again where they are rejected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, DryRun, Url, Yes, make_example, make_group
from corral.client.connection import call_server

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "sets"
SetName = Annotated[str, typer.Argument(metavar="SET", help="The set's name.")]
SetFile = Annotated[Path, typer.Argument(metavar="FILE", help="A set file; `corral schema --set` describes it.")]
RemakeStale = Annotated[bool, typer.Option("--remake-stale", help="Make stale pictures anew, too.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until no picture is left to make, and show how it goes on.")]
By = Annotated[
    Literal["model", "sampler", "lora", "seed", "character", "shot", "variant"],
    typer.Option("--by", help="The setting by which pictures are grouped."),
]
Chart = Annotated[Path | None, typer.Option("--chart", metavar="FILE", help="Draw the shares into this SVG file.")]
app = make_group("Make, list, show and cancel sets of pictures.", example_command="corral sets list")


@app.command("make", epilog=make_example("corral sets make examples/studio/set.yaml --dry-run"))
def make(
    file: SetFile,
    remake_stale: RemakeStale = False,
    wait: Wait = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make what a set lacks; what is accepted already stays."""
    from corral.client.sets import wait_for_set
    from corral.studio.sets.reading import open_set_file

    value = open_set_file(file)
    asked = {"file": value, "dry_run": dry_run, "remake_stale": remake_stale}

    async def use(api: Api) -> tuple[Json, Json]:
        made = await api.post("/corral/v1/sets", asked)
        if not as_json:
            _put_made(value["name"], made)
        waited = wait and not dry_run
        return made, await wait_for_set(api, value["name"], _note_progress) if waited else None

    made, shown = call_server(url, data_dir, use)
    if as_json:
        terminal.put_json(made if shown is None else {**made, "set": shown})
    elif shown is not None:
        terminal.put(f"set {shown['name']}: {_format_states(shown)}")


@app.command("list", epilog=make_example("corral sets list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List sets, the last changed first."""
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/sets"))
    if as_json:
        terminal.put_json(answer)
        return
    columns = ("set", "owner", "pictures", "states", "remade", "stale", "ends")
    rows = [
        (
            *(shown["name"], shown["owner"], str(shown["pictures"]), _format_states(shown)),
            *(str(shown["remade"]), str(shown["stale"]), _format_end(shown["forecast"]["ends_at"])),
        )
        for shown in answer["items"]
    ]
    terminal.put_table(columns, rows, empty="there are no sets", expendable=("owner", "remade"))


@app.command("show", epilog=make_example("corral sets show portraits"))
def show(name: SetName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show how far a set is and when it would be done."""
    shown = call_server(url, data_dir, lambda api: api.get(f"/corral/v1/sets/{name}"))
    if as_json:
        terminal.put_json(shown)
        return
    forecast = shown["forecast"]
    terminal.put_fields(
        (
            ("set", shown["name"]),
            ("pictures", f"{shown['pictures']}: {_format_states(shown)}"),
            ("made", f"{shown['takes']}, of these {shown['remade']} again"),
            ("stale", shown["stale"]),
            ("left", f"{forecast['pictures']}, with about {forecast['expected_takes']} to make"),
            ("ends", _format_end(forecast["ends_at"]) or ("unknown" if forecast["pictures"] else "done")),
        )
    )


@app.command("stale", epilog=make_example("corral sets stale portraits"))
def stale(name: SetName, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List pictures whose inputs were changed since they were made."""
    answer = call_server(url, data_dir, lambda api: api.get(f"/corral/v1/sets/{name}/stale"))
    if as_json:
        terminal.put_json(answer)
        return
    rows = [(picture["key"], ", ".join(picture["changed"])) for picture in answer["items"]]
    terminal.put_table(("picture", "changed"), rows, empty="no picture is stale")


@app.command("measures", epilog=make_example("corral sets measures portraits --by shot --chart keepers.svg"))
def measures(
    name: SetName,
    by: By = "model",
    chart: Chart = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show which settings give pictures that are kept."""
    answer = call_server(url, data_dir, lambda api: api.get(f"/corral/v1/sets/{name}/measures", {"by": by}))
    if chart is not None:
        _write_chart(chart, name, answer)
    if as_json:
        terminal.put_json(answer)
        return
    names = sorted({measure for group in answer["items"] for measure in group["means"]})
    rows = [
        (
            *(group["value"], str(group["takes"]), str(group["accepted"]), f"{group['share']:.0%}"),
            *("" if measure not in group["means"] else f"{group['means'][measure]:g}" for measure in names),
        )
        for group in answer["items"]
    ]
    columns = (by, "takes", "accepted", "share", *names)
    terminal.put_table(columns, rows, empty="no picture has a verdict", expendable=tuple(reversed(names)))


@app.command("reject", epilog=make_example("corral sets reject portraits elena/portrait/1"))
def reject(
    name: SetName,
    keys: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Keys of pictures, `elena/portrait/1`.")],
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Reject pictures and make them again with another seed."""
    answer = call_server(url, data_dir, lambda api: api.post(f"/corral/v1/sets/{name}/reject", {"keys": keys}))
    if as_json:
        terminal.put_json(answer)
        return
    terminal.put(f"{terminal.format_count(len(answer['keys']), 'picture')} of set {name} made again")
    left = [key for key in keys if key not in answer["keys"]]
    if left:
        terminal.note(f"left as they are, being made or not of the set: {', '.join(left)}")


@app.command("cancel", epilog=make_example("corral sets cancel portraits --yes"))
def cancel(
    name: SetName,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Cancel the pictures of a set that are not done."""

    async def use(api: Api) -> Json:
        shown = await api.get(f"/corral/v1/sets/{name}")
        words = terminal.format_count(shown["forecast"]["pictures"], "picture")
        if dry_run:
            terminal.note(f"{words} of set {name} would be cancelled")
            return shown
        terminal.confirm(f"cancel {words} of set {name}?", agreed=yes)
        return await api.post(f"/corral/v1/sets/{name}/cancel")

    shown = call_server(url, data_dir, use)
    if as_json:
        terminal.put_json(shown)
    else:
        terminal.put(f"set {shown['name']}: {_format_states(shown)}")


def _put_made(name: str, made: dict[str, Any]) -> None:  # Any: JSON
    would = "would be made" if made["dry_run"] else "to make"
    parts = [f"{terminal.format_count(made['planned'], 'picture')} {would}", f"{made['kept']} kept"]
    if made["stale"]:
        parts.append(f"{len(made['stale'])} stale (`corral sets stale {name}`)")
    terminal.put(f"set {name}: {', '.join(parts)}")
    if made["planned"]:
        terminal.put(f"ends: {_format_end(made['ends_at']) or 'unknown, as nothing like it was measured here yet'}")


def _note_progress(shown: dict[str, Any]) -> None:  # Any: JSON
    terminal.note(f"{shown['name']}: {_format_states(shown)}, {shown['remade']} made again")


def _format_states(shown: dict[str, Any]) -> str:  # Any: JSON
    return ", ".join(f"{count} {state}" for state, count in shown["states"].items()) or "empty"


def _format_end(instant: str | None) -> str:
    from corral.cli.listing import format_clock

    return "" if instant is None else format_clock(instant)


def _write_chart(path: Path, name: str, answer: dict[str, Any]) -> None:  # Any: JSON
    from corral.charts.plots import draw_bars
    from corral.files import write_whole

    groups = {group["value"]: {"accepted": group["share"] * 100} for group in answer["items"]}
    write_whole(path, draw_bars(f"Accepted pictures of {name} by {answer['by']}", "%", groups))
