"""Prints a plan for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.tables import wrap_sentence
from corral.figures import Origin
from corral.units import format_bytes

if TYPE_CHECKING:
    from corral.hardware.power import NodePower
    from corral.planning.placement.values import CardTotal, Plan, Proof, Unplaced

_CAUTION_INDENT = " " * 7
_TEXT_WIDTH = 112


def put_plan(plan: Plan) -> None:
    """Print the GPU allocation, what runs without a GPU, what has no place and why, and the cautions."""
    terminal.put(f"layout {plan.layout}" if plan.layout else "services, without a layout")
    rows = [_row(total, plan) for total in plan.totals]
    if rows:
        terminal.put_rows([("node", "GPU", "workload", "VRAM planned / usable"), *rows])
    else:
        terminal.put("the file describes no GPU")
    for line in (*_without_gpu(plan), *_unplaced(plan)):
        terminal.put_text(line.lstrip(), indent=line[: len(line) - len(line.lstrip())])
    for line in (*_cautions(plan), *_verdict(plan)):
        terminal.put(line)


def _row(total: CardTotal, plan: Plan) -> tuple[str, str, str, str]:
    card = total.card
    size = "VRAM unknown" if card.memory is None else format_bytes(card.memory)
    workload = ", ".join(_workload(tenant, plan) for tenant in total.tenants) or "free"
    return card.node, f"gpu{card.index} {card.model or 'unknown model'} ({size})", workload, _planned(total)


def _planned(total: CardTotal) -> str:
    usable = "unknown" if total.card.usable is None else format_bytes(total.card.usable)
    if not total.tenants:
        return f"0 / {usable}"
    if total.planned is None:
        return f"up to all / {usable}"
    more = " and more" if total.open_ended else ""
    return f"{format_bytes(total.planned)}{more} / {usable}"


def _workload(tenant: str, plan: Plan) -> str:
    services = next((one.services for one in plan.placed if one.ask == tenant.split(" #")[0]), ())
    return f"{tenant} ({' + '.join(services)})" if len(services) > 1 else tenant


def _without_gpu(plan: Plan) -> Iterator[str]:
    resting = [one for one in plan.placed if not one.gpus]
    if resting:
        yield ""
        yield "without a GPU"
    for node, there in groupby(sorted(resting, key=lambda one: one.node or ""), key=lambda one: one.node):
        names = ", ".join(dict.fromkeys(one.ask for one in there))
        yield f"  {node or 'any node'}: {names}"


def _unplaced(plan: Plan) -> Iterator[str]:
    for title, chosen in (
        (
            "on demand: these take turns with what holds the GPUs, through the queue",
            [one for one in plan.unplaced if one.takes_turns],
        ),
        ("no place", list(plan.missing)),
    ):
        if chosen:
            yield ""
            yield title
        yield from _alike(chosen)


def _alike(chosen: Sequence[Unplaced]) -> Iterator[str]:
    """Say once what is the same for several."""
    for lines, ones in groupby(chosen, key=_why_unplaced):
        yield "  " + ", ".join(one.ask + (f" #{one.replica + 1}" if one.replica else "") for one in ones)
        yield from lines


def _why_unplaced(one: Unplaced) -> list[str]:
    from corral.operations.planning import grouped

    lines = [f"    {places}: {reason}" for reason, places in grouped(one.refusals)]
    if one.takes_turns:
        lines.insert(0, f"    could run on {', '.join(one.turns)}, in turn with {', '.join(one.turns_with)}")
    return lines


def _cautions(plan: Plan) -> Iterator[str]:
    if plan.cautions:
        yield ""
        yield "warnings"
    for caution in plan.cautions:
        yield f"  {(caution.pitfall or '-').ljust(3)}  {caution.where}"
        for text in (caution.what, f"hint: {caution.hint}"):
            yield from wrap_sentence(
                _CAUTION_INDENT, text, _CAUTION_INDENT, width=terminal.count_columns() or _TEXT_WIDTH
            )


def _verdict(plan: Plan) -> Iterator[str]:
    asked = [proof for proof in plan.proofs if proof.asked]
    if asked:
        yield ""
    for proof in asked:
        yield f"{proof.tier.label}: {proof.placed} of {proof.asked} placed" + _bound(proof)
    if not plan.exact:
        yield f"no plan is better by more than {plan.gap:.2%} (tiers weighed 100 : 10 : 1)"


def _bound(proof: Proof) -> str:
    if proof.at_most is None or proof.placed == proof.asked:
        return ""
    return "; no plan places more" if proof.gap == 0 else f"; no plan places more than {proof.at_most}"


def put_power(nodes: Sequence[NodePower]) -> None:
    """Print what the nodes with GPUs draw at most."""
    if not nodes:
        return
    terminal.put("")
    rows = [
        (
            one.node,
            f"{one.full.gpus.value:.0f} W" + (" or more" if one.unknown else ""),
            "-" if one.limited is None else f"{one.limited.gpus.value:.0f} W",
            _about(one) + f"{one.full.system.value:.0f} W" + (" or more" if one.unknown else ""),
            "unknown" if one.psu is None else f"{one.psu.value:.0f} W",
            one.verdict.value,
        )
        for one in nodes
    ]
    head = ("node at full load", "GPUs", "with limits", "machine", "power supply", "sufficient")
    terminal.put_table(head, rows, empty="")


def _about(one: NodePower) -> str:
    """Mark a sum with an assumption in it; `corral power` says which."""
    return "~" if one.other.origin is Origin.ASSUMED else ""
