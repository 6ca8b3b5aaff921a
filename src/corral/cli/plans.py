"""Plans as people read them: the answer, the GPUs, what is without one and why, and what to beware of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.figure_text import shorten_names
from corral.cli.powers import describe_supplies
from corral.cli.tables import wrap_sentence
from corral.figures import Origin
from corral.units import format_bytes, format_list

if TYPE_CHECKING:
    from corral.hardware.power import NodePower
    from corral.planning.placement.values import Caution, GpuTotal, Plan, Proof, Unplaced

_CAUTION_INDENT = " " * 7
_TEXT_WIDTH = 112
_MOST_CAUTIONS = 3
"""Of one plan; of several, one less."""
_MOST_GPUS = 12
_GPU_COLUMNS = ("node", "GPU", "workload", "VRAM planned", "usable")


def put_plans(plans: Sequence[Plan], power: Sequence[NodePower], *, verbose: bool) -> None:
    """Print each layout's plan, and whether the power supplies carry it; with `verbose`, every reason and hint."""
    if len(plans) > 1:
        terminal.put_text(_answer_for_all(plans))
        terminal.put("")
    for plan in plans:
        _put_plan(plan, verbose=verbose, is_alone=len(plans) == 1)
        terminal.put("")
    if power and verbose:
        _put_power(power)
    elif power:
        terminal.put_text(f"power supplies at full load: {describe_supplies(power)}")
    if not verbose:
        terminal.note_more("-v adds every reason and hint, what is proven, and each node's power")


def _put_plan(plan: Plan, *, verbose: bool, is_alone: bool) -> None:
    terminal.put_text(_answer(plan))
    if plan.totals:
        rows = [_make_row(total, plan) for total in plan.totals]
        terminal.put_table(_GPU_COLUMNS, rows, empty="", most=None if verbose else _MOST_GPUS)
    for line in (*_list_without_gpu(plan), *_list_unplaced(plan, verbose=verbose)):
        terminal.put_text(line.lstrip(), indent=line[: len(line) - len(line.lstrip())])
    most = len(plan.cautions) if verbose else _MOST_CAUTIONS if is_alone else _MOST_CAUTIONS - 1
    # Hints of several plans are much alike and do not fit on a screen; those of one do.
    _put_cautions(plan.cautions[:most], with_hints=verbose or is_alone)
    if len(plan.cautions) > most:
        terminal.put(f"  ... and {terminal.format_count(len(plan.cautions) - most, 'more warning')}: -v")
    if verbose:
        for line in _list_proofs(plan):
            terminal.put(line)


def _answer_for_all(plans: Sequence[Plan]) -> str:
    lacking = [str(plan.layout) for plan in plans if plan.missing]
    if not lacking:
        names = format_list([str(plan.layout) for plan in plans])
        return f"everything that the layouts {names} name has its place"
    return f"{len(lacking)} of {len(plans)} layouts have no place for all they name: {', '.join(lacking)}"


def _answer(plan: Plan) -> str:
    """Say in one line whether everything has its place."""
    name = f"layout {plan.layout}" if plan.layout else "services, without a layout"
    turns = sum(unplaced.takes_turns for unplaced in plan.unplaced)
    parts = [_describe_missing(plan) if plan.missing else _describe_placed(plan)]
    parts += [f"{turns} on demand take turns" if turns > 1 else "1 on demand takes turns"] if turns else []
    parts += [terminal.format_count(len(plan.cautions), "warning")] if plan.cautions else []
    return f"{name}: {'; '.join(parts)}"


def _describe_placed(plan: Plan) -> str:
    if plan.placed:
        return f"all {len(plan.placed)} replicas have their place"
    return "nothing needs a place" if plan.totals else "nothing is planned, since the file describes no GPU"


def _describe_missing(plan: Plan) -> str:
    names = list(dict.fromkeys(_format_name(unplaced) for unplaced in plan.missing))
    is_best = plan.exact and all(proof.gap == 0 for proof in plan.proofs)
    proven = ", and no plan places more" if is_best else ""
    count = len(plan.placed) + len(plan.missing)
    return f"{len(plan.placed)} of {count} replicas have their place{proven}; none for {shorten_names(names)}"


def _format_name(unplaced: Unplaced) -> str:
    return unplaced.demand + (f" #{unplaced.replica + 1}" if unplaced.replica else "")


def _make_row(total: GpuTotal, plan: Plan) -> tuple[str, ...]:
    card = total.gpu
    usable = "unknown" if card.usable is None else format_bytes(card.usable)
    workload = ", ".join(_describe_workload(tenant, plan) for tenant in total.tenants) or "free"
    return card.node, f"gpu{card.index} {card.model or 'unknown model'}", workload, _describe_memory(total), usable


def _describe_memory(total: GpuTotal) -> str:
    if not total.tenants:
        return "0"
    if total.planned is None:
        return "up to all"
    return format_bytes(total.planned) + (" and more" if total.open_ended else "")


def _describe_workload(tenant: str, plan: Plan) -> str:
    services = next((placed.services for placed in plan.placed if placed.demand == tenant.split(" #")[0]), ())
    return f"{tenant} ({' + '.join(services)})" if len(services) > 1 else tenant


def _list_without_gpu(plan: Plan) -> Iterator[str]:
    resting = sorted((placed for placed in plan.placed if not placed.gpus), key=lambda placed: placed.node or "")
    groups = [
        f"{', '.join(dict.fromkeys(placed.demand for placed in members))} on {node or 'any node'}"
        for node, members in groupby(resting, key=lambda placed: placed.node)
    ]
    if groups:
        yield f"without a GPU: {'; '.join(groups)}"


def _list_unplaced(plan: Plan, *, verbose: bool) -> Iterator[str]:
    sections = (
        ("on demand, in turn with what holds the GPUs, through the queue", [u for u in plan.unplaced if u.takes_turns]),
        ("no place", list(plan.missing)),
    )
    for title, chosen in sections:
        if not chosen:
            continue
        yield ""
        yield title
        # What is the same for several is printed once.
        for lines, members in groupby(chosen, key=lambda unplaced: _explain_unplaced(unplaced, verbose=verbose)):
            yield "  " + ", ".join(_format_name(unplaced) for unplaced in members)
            yield from lines


def _explain_unplaced(unplaced: Unplaced, *, verbose: bool) -> list[str]:
    from corral.operations.planning import group_refusals

    lines: list[str] = []
    if unplaced.takes_turns:
        lines.append(f"    could run on {', '.join(unplaced.turns)}, in turn with {', '.join(unplaced.turns_with)}")
    if verbose or not unplaced.takes_turns:
        lines += [f"    {places}: {reason}" for reason, places in group_refusals(unplaced.refusals)]
    return lines


def _put_cautions(cautions: Sequence[Caution], *, with_hints: bool) -> None:
    if cautions:
        terminal.put("")
        terminal.put("warnings")
    width = terminal.count_columns() or _TEXT_WIDTH
    for caution in cautions:
        terminal.put(f"  {(caution.pitfall or '-').ljust(3)}  {caution.where}")
        for text in (caution.what, f"hint: {caution.hint}") if with_hints else (caution.what,):
            for line in wrap_sentence(_CAUTION_INDENT, text, _CAUTION_INDENT, width=width):
                terminal.put(line)


def _list_proofs(plan: Plan) -> Iterator[str]:
    asked = [proof for proof in plan.proofs if proof.asked]
    if asked:
        yield ""
    for proof in asked:
        yield f"{proof.tier.label}: {proof.placed} of {proof.asked} placed" + _describe_bound(proof)
    if not plan.exact:
        yield f"no plan is better by more than {plan.gap:.2%} (tiers weighed 100 : 10 : 1)"


def _describe_bound(proof: Proof) -> str:
    if proof.at_most is None or proof.placed == proof.asked:
        return ""
    return "; no plan places more" if proof.gap == 0 else f"; no plan places more than {proof.at_most}"


def _put_power(nodes: Sequence[NodePower]) -> None:
    """Print what the nodes with GPUs draw at most; `corral power` has all of it."""
    rows = [
        (
            node.node,
            f"{node.full.gpus.value:.0f} W" + (" or more" if node.unknown else ""),
            "-" if node.limited is None else f"{node.limited.gpus.value:.0f} W",
            _mark_assumed(node) + f"{node.full.system.value:.0f} W" + (" or more" if node.unknown else ""),
            "unknown" if node.psu is None else f"{node.psu.value:.0f} W",
            node.verdict.value,
        )
        for node in nodes
    ]
    head = ("node at full load", "GPUs", "with limits", "machine", "power supply", "sufficient")
    terminal.put_table(head, rows, empty="", expendable=("with limits", "GPUs"))


def _mark_assumed(node: NodePower) -> str:
    """Mark a sum with an assumption in it; `corral power` says which."""
    return "~" if node.other.origin is Origin.ASSUMED else ""
