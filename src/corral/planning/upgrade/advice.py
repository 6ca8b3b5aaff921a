"""The advice about an upgrade: its reasons for and against, each with its remedy, and what follows from them.

The rules are few and stand in `_verdict`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from corral.hardware.power import SUPPLY, Judgement, NodePower, Verdict
from corral.hardware.power.values import DECIDING
from corral.planning.upgrade.adaptations import Adaptation
from corral.planning.upgrade.capacity import Capacity
from corral.planning.upgrade.choices import Freedom, ServiceChoice, Survival
from corral.planning.upgrade.differences import change_text, figure_text, named, number
from corral.planning.upgrade.distribution import Distribution
from corral.planning.upgrade.hardware import Hardware, NodeComparison
from corral.planning.upgrade.power import LIMITED, NO_SINGLE_SUPPLY, TGP, PowerComparison, recommended_text
from corral.planning.upgrade.throughput import Throughput
from corral.planning.upgrade.uniformity import Uniformity


class Advice(StrEnum):
    """What to do."""

    GO = "go"
    CONDITIONS = "go with conditions"
    DONT = "don't"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The verdict."""

    advice: Advice
    sentence: str
    reasons: tuple[Reason, ...]

    def of(self, *weights: Weight) -> tuple[Reason, ...]:
        """List the reasons of some weights."""
        return tuple(reason for reason in self.reasons if reason.weight in weights)

    @property
    def would_change(self) -> tuple[str, ...]:
        """What would change the verdict."""
        return tuple(dict.fromkeys(reason.remedy for reason in self.reasons if reason.remedy))


def advise(evidence: Evidence) -> Recommendation:
    """Weigh what changes."""
    reasons = reasons_in(evidence)
    advice = _verdict(reasons)
    return Recommendation(advice=advice, sentence=_sentence(advice, reasons), reasons=reasons)


def _verdict(reasons: tuple[Reason, ...]) -> Advice:
    weights = [reason.weight for reason in reasons]
    if Weight.BLOCKER in weights or Weight.GAIN not in weights:
        return Advice.DONT
    if weights.count(Weight.LOSS) > weights.count(Weight.GAIN):
        return Advice.DONT
    return Advice.CONDITIONS if Weight.LOSS in weights or Weight.CONDITION in weights else Advice.GO


def _sentence(advice: Advice, reasons: tuple[Reason, ...]) -> str:
    def told(*weights: Weight) -> str:
        return "; ".join(reason.what for weight in weights for reason in reasons if reason.weight is weight)

    if advice is Advice.GO:
        text = told(Weight.GAIN)
    elif advice is Advice.CONDITIONS:
        text = f"{told(Weight.GAIN)}; once this is settled: {told(Weight.CONDITION, Weight.LOSS)}"
    else:
        text = told(Weight.BLOCKER, Weight.LOSS) or "nothing gets better by it"
    return f"{text}."


_SAME_SPEED = 0.005
"""Differences of speed below half a percent are no difference: less than two nights of one machine differ."""


class Weight(StrEnum):
    """What a reason counts for."""

    GAIN = "gain"
    COST = "cost"
    """To know, and no reason against it."""
    CONDITION = "condition"
    """To settle before."""
    LOSS = "loss"
    """Something that worked is worse or gone."""
    BLOCKER = "blocker"
    """It must not be done like this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that speaks for or against."""

    weight: Weight
    what: str
    remedy: str | None = None
    """What would take it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The comparisons in which reasons are found."""

    hardware: Hardware
    power: tuple[PowerComparison, ...]
    capacity: tuple[Capacity, ...]
    choices: tuple[ServiceChoice, ...]
    distribution: tuple[Distribution, ...]
    survivals: tuple[Survival, ...]
    uniformity: tuple[Uniformity, ...]
    throughput: tuple[Throughput, ...]
    adaptations: tuple[Adaptation, ...]


def reasons_in(evidence: Evidence) -> tuple[Reason, ...]:
    """List all reasons, in the order in which a report tells them."""
    lost = {one.service for one in evidence.choices if one.freedom is Freedom.LOST}
    return (
        *_memory(evidence.hardware),
        *_pools(evidence.hardware),
        *_models(evidence.capacity),
        *_speed(evidence.throughput),
        *_services(evidence.choices),
        *_places(evidence.distribution, lost),
        *_redundancy(evidence.survivals),
        *_drivers(evidence.uniformity),
        *_supply(evidence.power),
        *_prices(evidence.adaptations),
    )


def _memory(hardware: Hardware) -> Iterator[Reason]:
    change = hardware.memory.change
    if change is None:
        changes = [node.memory for node in hardware.changed if node.memory.change is not None]
        change = sum(one.change or 0 for one in changes)
    if not change:
        return
    per_node = [
        f"{change_text(memory)} on {node.name} ({figure_text(memory.before)} → {figure_text(memory.after)})"
        for node in hardware.changed
        if (memory := node.memory).change
    ]
    what = "VRAM " + ", ".join(per_node) if per_node else f"VRAM {change_text(hardware.memory)}"
    if change > 0:
        yield Reason(weight=Weight.GAIN, what=what)
    else:
        yield Reason(weight=Weight.LOSS, what=what, remedy="keep the cards, or choose ones with at least as much VRAM")


def _pools(hardware: Hardware) -> Iterator[Reason]:
    for node in hardware.changed:
        if node.becomes_homogeneous:
            yield Reason(
                weight=Weight.GAIN, what=f"{node.name} becomes one pool of {_cards(node)}: any card does for any task"
            )
        if node.becomes_mixed:
            yield Reason(
                weight=Weight.LOSS,
                what=f"the pool of {node.name} becomes mixed ({_cards(node)}): a pod that asks for one GPU may get "
                "either (pitfalls A11)",
                remedy=f"choose the model that {node.name} has already, or put the card into a node of its own",
            )


def _cards(node: NodeComparison) -> str:
    titles = [card.title for card in node.after.cards] if node.after else []
    return ", ".join(f"{titles.count(title)} x {title}" for title in dict.fromkeys(titles))


def _models(capacity: tuple[Capacity, ...]) -> Iterator[Reason]:
    for one in capacity:
        newly, no_longer = (", ".join(fit.model for fit in fits) for fits in (one.newly, one.no_longer))
        if newly:
            yield Reason(weight=Weight.GAIN, what=f"{one.node} holds models of the size {newly}, which it could not")
        if no_longer:
            yield Reason(
                weight=Weight.LOSS,
                what=f"{one.node} no longer holds models of the size {no_longer}",
                remedy="keep the VRAM that they need on one node",
            )


def _speed(throughput: tuple[Throughput, ...]) -> Iterator[Reason]:
    for one in throughput:
        if one.factor is None or abs(one.factor - 1) < _SAME_SPEED:
            continue
        told = f"{figure_text(one.per_night.before)} → {figure_text(one.per_night.after)} in a night"
        if one.factor > 1:
            yield Reason(weight=Weight.GAIN, what=f"{one.workload}: {number(one.factor)}x ({told})")
        else:
            yield Reason(
                weight=Weight.LOSS,
                what=f"{one.workload} gets slower: {told}",
                remedy=f"leave {one.workload} the cards that it has",
            )


def _services(choices: tuple[ServiceChoice, ...]) -> Iterator[Reason]:
    wider = [one.service for one in choices if one.freedom is Freedom.WIDER]
    if wider:
        yield Reason(weight=Weight.GAIN, what=f"more cards that can run {named(wider)}")
    gained = [one.service for one in choices if one.freedom is Freedom.GAINED and one.before is not None]
    if gained:
        yield Reason(weight=Weight.GAIN, what=f"{named(gained)} could not run, and can now")
    narrower = [one.service for one in choices if one.freedom is Freedom.NARROWER]
    if narrower:
        yield Reason(
            weight=Weight.LOSS,
            what=f"fewer cards that can run {named(narrower)}",
            remedy="choose a card with enough VRAM for them",
        )
    for one in choices:
        if one.freedom is Freedom.LOST and one.after is not None:
            reason = one.after.refused[0][1] if one.after.refused else "its node has no GPU any more"
            yield Reason(
                weight=Weight.BLOCKER,
                what=f"no card is left that can run {one.service} ({reason})",
                remedy=f"leave a card for {one.service}, lower what it needs, or take it out of the file",
            )


def _places(distribution: tuple[Distribution, ...], told: set[str]) -> Iterator[Reason]:
    """Say who has no place any more in a layout; what no card could hold is told already."""
    for one in distribution:
        where = f" in the layout {one.layout}" if one.layout else ""
        lost = [name for name in one.lost if name not in told]
        if lost:
            yield Reason(
                weight=Weight.BLOCKER,
                what=f"no place is left for {named(lost)}{where}",
                remedy=f"give {named(lost)} another node or another GPU{where}",
            )
        if one.gained:
            yield Reason(weight=Weight.GAIN, what=f"a place for {named(one.gained)}{where}, which had none")


def _redundancy(survivals: tuple[Survival, ...]) -> Iterator[Reason]:
    gained = [one.service for one in survivals if one.before is False and one.after is True]
    if gained:
        yield Reason(weight=Weight.GAIN, what=f"{named(gained)} would survive the loss of a card")
    lost = [one.service for one in survivals if one.before is True and one.after is False]
    if lost:
        yield Reason(
            weight=Weight.LOSS,
            what=f"{named(lost)} would no longer survive the loss of a card",
            remedy="keep two cards that can run them",
        )


def _drivers(uniformity: tuple[Uniformity, ...]) -> Iterator[Reason]:
    for one in uniformity:
        if one.conflict:
            yield Reason(
                weight=Weight.BLOCKER,
                what=f"{one.node}: {one.conflict}",
                remedy="put the cards into different machines",
            )


def _prices(adaptations: tuple[Adaptation, ...]) -> Iterator[Reason]:
    for one in adaptations:
        if one.price:
            yield Reason(weight=Weight.COST, what=f"{one.about}: {one.price}")


def _supply(power: tuple[PowerComparison, ...]) -> Iterator[Reason]:
    for one in power:
        if one.after is not None:
            yield from _draw(one)
            yield from _judged(one, one.after)


def _draw(one: PowerComparison) -> Iterator[Reason]:
    makers, limited = one.row(TGP), one.row(LIMITED)
    if makers is not None and makers.change is not None and makers.change > 0:
        yield Reason(weight=Weight.COST, what=f"{change_text(makers)} of GPU power on {one.node}")
    if limited is not None and limited.change is not None and limited.change < 0:
        yield Reason(weight=Weight.GAIN, what=f"{change_text(limited)} at full load on {one.node}, by power limits")


def _judged(one: PowerComparison, after: NodePower) -> Iterator[Reason]:
    before = {judgement.about: judgement.verdict for judgement in one.before.judgements} if one.before else {}
    for judgement in after.judgements:
        told = f"{one.node}, {judgement.about}: {judgement.what}"
        if judgement.verdict is Verdict.NOT_ENOUGH:
            yield Reason(weight=Weight.BLOCKER, what=told, remedy=_remedy(judgement, one.node, after))
        elif judgement.verdict is Verdict.TIGHT:
            yield Reason(weight=Weight.CONDITION, what=told, remedy=_remedy(judgement, one.node, after))
        elif judgement.verdict is Verdict.UNKNOWN and judgement.about == SUPPLY and after.cards:
            yield Reason(
                weight=Weight.CONDITION,
                what=f"the file does not state the power supply of {one.node}; recommended: {recommended_text(after)}",
                remedy=f"state `psu.watts` of {one.node}, or add `--psu {one.node}=WATTS`",
            )
        elif before.get(judgement.about) in (Verdict.NOT_ENOUGH, Verdict.TIGHT) and judgement.verdict is Verdict.OK:
            yield Reason(weight=Weight.GAIN, what=f"{told}, which was {before[judgement.about].value}")


def _remedy(judgement: Judgement, node: str, after: NodePower) -> str:
    """Say what would take a judgement away that is not good."""
    if judgement.about not in DECIDING:
        return f"another {judgement.about} of {node}"
    asked = recommended_text(after)
    if asked == NO_SINGLE_SUPPLY:
        return f"fewer cards in {node}, or two supplies: {asked}"
    least = "at least " if judgement.verdict is Verdict.NOT_ENOUGH else ""
    return f"a power supply of {least}{asked} (`--psu {node}=WATTS` shows what it changes)"
