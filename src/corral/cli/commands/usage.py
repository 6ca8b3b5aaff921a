"""`corral usage`: requests, tokens, seconds and energy of keys, models, engines, doors and days, and of GPUs."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, Url, make_example
from corral.client.connection import call_server
from corral.units import format_duration

_NONE = {"key": "(no key)", "engine": "(elsewhere, or unknown)"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("usage", epilog=make_example("corral usage --by model --since 2026-11-01"))(usage)


def usage(
    by: Annotated[
        Literal["key", "model", "day", "engine", "door"],
        typer.Option("--by", help="Sum up by key, model, engine, door (the way in) or day (UTC)."),
    ] = "key",
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="Count from this day on, such as 2026-11-01.")
    ] = None,
    energy: Annotated[
        bool, typer.Option("--energy", help="Show what each GPU drew, with its cost: in the last day, or since a day.")
    ] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show requests, tokens and energy of keys, or energy of GPUs.

    Energy is what GPUs of the server's own machine were measured to draw; a part that was not measured is missing.
    """
    if energy:
        _show_energy(since, url, data_dir, as_json=as_json)
        return
    query = {"by": by} if since is None else {"by": by, "since": since}
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/usage", query))
    if as_json:
        terminal.put_json(answer)
        return
    titles = ("key", "owner") if by == "key" else (by,)
    rows = [
        (
            *(line[title] or _NONE.get(title, "unknown") for title in titles),
            *(f"{line[name]:,}" for name in ("requests", "prompt_tokens", "completion_tokens")),
            f"{line['seconds']:,.1f}",
            *_describe_energy(line),
        )
        for line in answer["items"]
    ]
    columns = ("requests", "tokens read", "written", "seconds", "energy", "for each", "for 1,000 tokens")
    terminal.put_table((*titles, *columns), rows, empty="no model was used", expendable=columns[:4:-1])


def _describe_energy(line: dict[str, Any]) -> tuple[str, str, str]:  # Any: JSON
    """Describe the energy of a line, of a request or task of it, and of 1,000 tokens that were written."""
    if line["joules"] is None:
        return "", "", ""
    watt_hours = line["joules"] / 3600
    written = line["completion_tokens"]
    return (
        f"{watt_hours:,.1f} Wh",
        f"{watt_hours / line['metered']:,.3g} Wh" if line["metered"] else "",
        f"{watt_hours / written * 1000:,.3g} Wh" if written else "",
    )


def _show_energy(since: str | None, url: str | None, data_dir: DataDir, *, as_json: bool) -> None:
    query = {} if since is None else {"since": _read_day(since).isoformat()}
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/usage/energy", query))
    if as_json:
        terminal.put_json(answer)
        return
    currency, devices = answer["currency"], answer["items"]
    columns = ("GPU", "measured", "energy", "of work", "worked", "draws at work", "expected", "deviation", "cost")
    rows = [_make_row(device, currency) for device in devices]
    if len(devices) > 1:
        rows.append(_make_row(_add_up(devices), currency))
    empty = "no energy was measured: the server looks at the NVIDIA GPUs of its own machine"
    terminal.put_table(columns, rows, empty=empty, expendable=("measured", "worked", "expected"))


def _make_row(device: dict[str, Any], currency: str | None) -> tuple[str, ...]:  # Any: JSON
    from corral.hardware.power.measured import JOULES_PER_KWH  # here: other commands start without it

    watts, expected, deviation, cost = (device[name] for name in ("watts", "expected_watts", "deviation", "cost"))
    return (
        device["device"],
        format_duration(device["seconds"]),
        f"{device['joules'] / JOULES_PER_KWH:,.3f} kWh",
        f"{device['work_joules'] / JOULES_PER_KWH:,.3f} kWh",
        format_duration(device["worked_seconds"]),
        "" if watts is None else f"{watts:,.0f} W",
        "" if expected is None else f"{expected:,.0f} W",
        "" if deviation is None else f"{deviation:+.0%}",
        "" if cost is None else f"{cost:,.2f} {currency}",
    )


def _add_up(devices: list[dict[str, Any]]) -> dict[str, Any]:  # Any: JSON
    """Return the line of all GPUs together; what cannot be added up is null."""
    sums = ("joules", "work_joules", "seconds", "worked_seconds")
    costs = [device["cost"] for device in devices]
    return {
        "device": "all",
        **{name: sum(device[name] for device in devices) for name in sums},
        **dict.fromkeys(("watts", "expected_watts", "deviation")),
        "cost": None if None in costs else sum(costs),
    }


def _read_day(text: str) -> dt.datetime:
    """Return the beginning of a day (UTC), as the usage of models counts days. Raises: typer.BadParameter."""
    try:
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day such as 2026-11-01", param_hint="--since") from None
