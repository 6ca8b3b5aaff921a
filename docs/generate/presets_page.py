"""The reference of presets, from their table: every fact with its source."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pieces import code, page, table

from corral.presets.catalogue import Preset, Unloading, list_presets


def render() -> str:
    """Make the page."""
    presets = list_presets().values()
    overview = table(
        ("preset", "program", "engine", "seen"),
        ((code(preset.name), preset.title, code(preset.engine), _say_seen(preset)) for preset in presets),
    )
    return page("Presets", _OPENING, overview, *(_write_section(preset) for preset in presets))


_OPENING = """`run: {preset: NAME}` of an instance starts one of these programs.
[The guide](../guides/run-your-servers.md) shows how.
*Started* means that this version was started through Corral, on a machine without a GPU, and ran a task. *From its
documentation* means that it was read about, and not started.

The first program of a list that is on the machine is started, at a free port unless the instance has one. Its folder is
`folder`, and its GPU is handed over by variables. Arguments of the instance come last, or where the list has
`{arguments}`."""


def _say_seen(preset: Preset) -> str:
    return "from its documentation" if preset.started is None else f"started: {preset.started}"


def _write_section(preset: Preset) -> str:
    rows = [(what, value, f"{fact[0]} ({fact[1]})") for what, value, fact in _list_facts(preset)]
    return f"## {preset.title}\n\n{table(('fact', 'value', 'source (version)'), rows)}"


def _list_facts(preset: Preset) -> Iterator[tuple[str, str, tuple[str, str]]]:
    start, listens, ready, unloads = preset.start, preset.listens, preset.ready, preset.unloads
    of_start = (start.source, start.version)
    yield "programs", ", ".join(map(code, start.programs)), of_start
    yield "arguments", code(shlex.join(start.arguments).replace("'", "")), of_start
    if start.on_processor:
        yield "more of them without a GPU", code(shlex.join(start.on_processor)), of_start
    if start.environment:
        yield "variables", ", ".join(code(f"{name}={value}") for name, value in start.environment.items()), of_start
    if start.lane_arguments or start.lane_environment:
        words = [*start.lane_arguments, *(f"{name}={value}" for name, value in start.lane_environment.items())]
        yield "with `lanes`", code(" ".join(words)), of_start
    if start.needs_file is not None:
        yield "its folder has", code(start.needs_file), of_start
    if start.asks_for is not None:
        yield "the instance's arguments give", code(start.asks_for), of_start
    yield "its own default port", code(listens.port), (listens.source, listens.version)
    of_ready = (ready.source, ready.version)
    yield "ready when this answers 200", code(ready.path), of_ready
    if ready.prints is not None:
        yield "and its log has", code(ready.prints), of_ready
    yield "bound of a start", f"{ready.within_s / 60:g} min (an estimate of Corral's)", of_ready
    way = "its engine asks it to" if unloads.way is Unloading.ADAPTER else "it is stopped"
    request = "" if unloads.request is None else f"; its own request: {code(unloads.request)}"
    yield "gives memory back", f"{way}{request}", (unloads.source, unloads.version)
