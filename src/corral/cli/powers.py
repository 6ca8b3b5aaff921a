"""Power of nodes as people read it: the answer, a table, what to do, what is unknown; each sentence once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.figure_text import format_figure, shorten_names
from corral.figures import Origin
from corral.hardware.power.values import CIRCUIT, WIRING, Verdict
from corral.hardware.power.wiring import CONTINUOUS_SHARE, USUAL_LINES, share_line
from corral.units import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from corral.figures import Figure
    from corral.hardware.power import Draw, NodePower
    from corral.hardware.power.values import Judgement

_TO_DO = "to do"
_COSTS = "costs"
_BY_HOUR = "by the hour"
_SECTIONS = (
    *(Verdict.NOT_ENOUGH.value, Verdict.TIGHT.value, _TO_DO, Verdict.UNKNOWN.value),
    *(_COSTS, _BY_HOUR, Verdict.OK.value),
)
_EXPENDABLE = ("12 V, GPUs/all", "heat", "advised", "night", "cost", "load", "wall")
_OF_GPU = re.compile(r"(.+) of (GPU \d+)")
_NO_NODES = "the cluster file has no nodes"


def put_power(nodes: Sequence[NodePower], *, verbose: bool) -> None:
    """Print whether the supplies carry the nodes, each node's draw, and what to do; with `verbose`, every reason."""
    if not nodes:
        terminal.note(_NO_NODES)
        return
    terminal.put_text(f"power supplies: {describe_supplies(nodes)}")
    terminal.put_text(_describe_draw(nodes))
    if circuits := _describe_circuits(nodes):
        terminal.put_text(circuits)
    terminal.put("")
    rows = [_make_row(node) for node in nodes]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    table = [[row[name] for name in names] for row in rows]
    terminal.put_table(names, table, empty="", expendable=() if verbose else _EXPENDABLE)
    notes = _collect_notes(nodes, verbose=verbose)
    for section in _SECTIONS:
        texts = [(text, names) for (kind, text), names in notes.items() if kind == section]
        if texts and (verbose or section != Verdict.OK):
            terminal.put(f"\n{section}")
            for text, names in texts:
                terminal.put_text(f"{shorten_names(names)}: {text}", indent="  ")
    if not verbose:
        terminal.note_more("-v adds the reasons and what is ok; --explain every number with its origin")


def put_power_sources(nodes: Sequence[NodePower]) -> None:
    """Print every number with its origin."""
    rows = [
        (node.node, name, format_figure(figure), figure.origin.value, figure.source)
        for node in nodes
        for name, figure in _list_figures(node)
    ]
    terminal.put_table(("node", "what", "value", "origin", "where from"), rows, empty=_NO_NODES)


def describe_supplies(nodes: Sequence[NodePower]) -> str:
    """Say which supplies are enough, in one line: `1 ok (hydra-compute), 2 unknown (hydra-ai, hydra-storage)`."""
    by_verdict = {verdict: [node.node for node in nodes if node.verdict is verdict] for verdict in _WORST_FIRST}
    parts: list[str] = []
    for verdict, names in by_verdict.items():
        bound = sorted({condition for node in nodes if node.verdict is verdict for condition in node.conditions})
        if_so = f" if {' and '.join(bound)}" if bound and verdict is Verdict.OK else ""
        if names:
            parts.append(f"{len(names)} {verdict.value}{if_so} ({shorten_names(names)})")
    return ", ".join(parts)


_WORST_FIRST = (Verdict.NOT_ENOUGH, Verdict.TIGHT, Verdict.OK, Verdict.UNKNOWN)


def _describe_draw(nodes: Sequence[NodePower]) -> str:
    """Add up the nodes."""
    is_assumed = any(_is_assumed(node) for node in nodes)
    mark = ">=" if any(node.unknown for node in nodes) else "~" if is_assumed else ""

    def add_up(figure_of: Callable[[Draw], Figure | None], *, is_limited: bool = False) -> str:
        draws = [node.limited if is_limited and node.limited else node.full for node in nodes]
        figures = [figure for draw in draws if (figure := figure_of(draw)) is not None]
        if not figures:
            return ""
        total = replace(figures[0], value=sum(figure.value for figure in figures))
        return mark + format_figure(total, is_assumed=is_assumed)

    is_limited = any(node.limited for node in nodes)
    limits = add_up(lambda draw: draw.system, is_limited=True) if is_limited else ""
    watts = add_up(lambda draw: draw.system) + (f" ({limits} with the power limits of the file)" if limits else "")

    def count(figure_of: Callable[[Draw], Figure | None]) -> str:
        return add_up(figure_of, is_limited=is_limited)

    cost = count(lambda draw: draw.cost)
    night = f"{count(lambda draw: draw.energy)} a night" + (f" for {cost}" if cost else "")
    held = "with the limits " if is_limited else ""
    wall = count(lambda draw: draw.wall)
    return f"at full load: {watts}; {held}{wall} at the wall, {count(lambda draw: draw.heat)} of heat, {night}"


def _describe_circuits(nodes: Sequence[NodePower]) -> str | None:
    """Write the share of a usual circuit that all nodes together take, where the file states none."""
    wall = sum((node.limited or node.full).wall.value for node in nodes)
    if not wall or any(judgement.about == CIRCUIT for node in nodes for judgement in node.judgements):
        return None
    shares = [f"{100 * share_line(wall, line):.0f} % of {line.amps} A/{line.volts} V" for line in USUAL_LINES]
    return f"on one circuit: {', '.join(shares)}; hours take up to {100 * CONTINUOUS_SHARE:.0f} %"


def _is_assumed(node: NodePower) -> bool:
    return node.other.origin is Origin.ASSUMED


def _make_row(node: NodePower) -> dict[str, str]:
    """Make the row of a node.

    `>=` marks a sum that lacks a GPU, `~` one that rests on an assumption, `->` what the file's limits make of it.
    """
    lacking = ">=" if node.unknown else ""
    is_assumed = _is_assumed(node)
    guessed = lacking or ("~" if is_assumed else "")
    limited = node.limited
    gpus = "" if limited is None else f" -> {format_figure(limited.gpus)}"
    system = "" if limited is None else f" -> {format_figure(limited.system, is_assumed=is_assumed)}"

    def guess(figure: Figure | None) -> str:
        return "" if figure is None else guessed + format_figure(figure, is_assumed=is_assumed)

    def change(figure_of: Callable[[Draw], Figure | None]) -> str:
        after = "" if limited is None else f" -> {format_figure(figure_of(limited), is_assumed=is_assumed)}"
        before = figure_of(node.full)
        return "" if before is None else guess(before) + after

    amperes = format_figure(node.full.gpu_current).removesuffix(" A")
    return {
        "node": node.node,
        "GPUs": lacking + format_figure(node.full.gpus) + gpus,
        "system": guess(node.full.system) + system,
        "PSU": format_figure(node.psu) or "unknown",
        "load": change(lambda draw: draw.psu_load),
        "wall": change(lambda draw: draw.wall),
        "advised": lacking + format_figure(node.recommended_psu) if node.recommended_psu else "",
        "12 V, GPUs/all": f"{lacking}{amperes}/{guess(node.full.system_current)}",
        "heat": change(lambda draw: draw.heat),
        "night": change(lambda draw: draw.energy),
        "cost": change(lambda draw: draw.cost),
        "verdict": node.verdict.value + (" if one rail" if node.conditions and node.verdict is Verdict.OK else ""),
    }


def _collect_notes(nodes: Sequence[NodePower], *, verbose: bool) -> dict[tuple[str, str], list[str]]:
    """Collect sentences by section, each with the nodes that it is about."""
    notes: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        if node.gpus or node.unknown:
            for note in _list_notes(node, verbose=verbose):
                notes.setdefault(note, []).append(node.node)
    return notes


def _list_notes(node: NodePower, *, verbose: bool) -> Iterator[tuple[str, str]]:
    for lacking in node.unknown:
        yield Verdict.UNKNOWN.value, lacking
    for about, judgements in _group_judgements(node.judgements).items():
        reasons = "; ".join(dict.fromkeys(judgement.reason for judgement in judgements))
        first = judgements[0]
        if about == WIRING and not verbose and not (node.conditions and node.verdict is Verdict.OK):
            continue
        yield first.verdict.value, f"{about}: {first.what}{f' ({reasons})' if verbose else ''}"
    losses: dict[str, list[str]] = {}
    for card in node.gpus:
        for loss in card.speed_losses:
            work = loss.source if verbose else loss.source.partition(", measured")[0]
            losses.setdefault(f"{loss.value:g} % of the speed of {work}", []).append(f"GPU {card.index}")
    for loss, gpus in losses.items():
        yield _COSTS, f"the power limit of {format_list(gpus)} costs at most {loss}"
    for card in node.gpus:
        for hourly in card.hourly_limits:
            yield (
                _BY_HOUR,
                f"GPU {card.index}: {format_figure(hourly.limit)} {hourly.hours}; the figures count none of it",
            )
    for advice in node.advice:
        yield _TO_DO, advice


def _group_judgements(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """Join what is the same for several GPUs of a node, under one heading."""
    alike: dict[tuple[str, Verdict, str], list[Judgement]] = {}
    for judgement in judgements:
        match = _OF_GPU.fullmatch(judgement.about)
        about = match.group(1) if match else judgement.about
        alike.setdefault((about, judgement.verdict, judgement.what), []).append(judgement)
    grouped: dict[str, list[Judgement]] = {}
    for (about, _, _), members in alike.items():
        gpus = [match.group(2) for member in members if (match := _OF_GPU.fullmatch(member.about))]
        grouped[f"{about} of {format_list(gpus)}" if gpus else about] = members
    return grouped


def _list_figures(node: NodePower) -> Iterator[tuple[str, Figure]]:
    """Walk over every number that is known about the power of a node, with its name."""
    for card in node.gpus:
        name = f"GPU {card.index} {card.model or ''}".rstrip()
        parts = (("power", card.tgp), ("limit", card.limit), ("slots", card.slots), ("length", card.length))
        yield from ((f"{name}: {part}", figure) for part, figure in parts if figure)
        yield from ((f"{name}: speed lost to the limit", loss) for loss in card.speed_losses)
    alone = (
        ("next to the GPUs", node.other),
        ("PSU", node.psu),
        ("advised PSU", node.recommended_psu),
        ("catalogue's PSU for one GPU", node.catalogue_psu),
        ("slots", node.slots),
    )
    yield from ((name, figure) for name, figure in alone if figure)
    yield from _list_draw_figures(node.full, "")
    if node.limited is not None:
        yield from _list_draw_figures(node.limited, ", limited")


def _list_draw_figures(draw: Draw, suffix: str) -> Iterator[tuple[str, Figure]]:
    parts = (
        ("GPUs", draw.gpus),
        ("system", draw.system),
        ("efficiency of the PSU", draw.efficiency),
        ("at the wall", draw.wall),
        ("load of the PSU", draw.psu_load),
        ("12 V, GPUs", draw.gpu_current),
        ("12 V, system", draw.system_current),
        ("peak of about 1 ms", draw.peak),
        ("margin over that peak", draw.margin),
        ("heat", draw.heat),
        ("energy of a night", draw.energy),
        ("cost of a night", draw.cost),
    )
    yield from ((name + suffix, figure) for name, figure in parts if figure)
