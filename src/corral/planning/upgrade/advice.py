"""The advice about an upgrade: its reasons for and against, each with its remedy, and what follows from them.

The rules are few and are in `_decide`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from corral.hardware.power import SUPPLY, Judgement, NodePower, Verdict
from corral.hardware.power.values import DECIDING
from corral.planning.upgrade.adaptations import Adaptation
from corral.planning.upgrade.capacity import Capacity
from corral.planning.upgrade.choices import Distribution, Freedom, ServiceChoice, Survival
from corral.planning.upgrade.differences import change_text, figure_text, format_number, list_names
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
    reasons = list_reasons(evidence)
    advice = _decide(reasons)
    return Recommendation(advice=advice, sentence=_write_sentence(advice, reasons), reasons=reasons)


def _decide(reasons: tuple[Reason, ...]) -> Advice:
    weights = [reason.weight for reason in reasons]
    if Weight.BLOCKER in weights or Weight.GAIN not in weights:
        return Advice.DONT
    if weights.count(Weight.LOSS) > weights.count(Weight.GAIN):
        return Advice.DONT
    return Advice.CONDITIONS if Weight.LOSS in weights or Weight.CONDITION in weights else Advice.GO


def _write_sentence(advice: Advice, reasons: tuple[Reason, ...]) -> str:
    def describe(*weights: Weight) -> str:
        return "; ".join(reason.what for weight in weights for reason in reasons if reason.weight is weight)

    if advice is Advice.GO:
        text = describe(Weight.GAIN)
    elif advice is Advice.CONDITIONS:
        text = f"{describe(Weight.GAIN)}; once this is settled: {describe(Weight.CONDITION, Weight.LOSS)}"
    else:
        text = describe(Weight.BLOCKER, Weight.LOSS) or "nothing improves"
    return f"{text}."


_SAME_SPEED = 0.005
"""Differences of speed below half a percent do not count: two nights of one machine differ by more."""


class Weight(StrEnum):
    """The weight of a reason."""

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


def list_reasons(evidence: Evidence) -> tuple[Reason, ...]:
    """List all reasons, in the order of the report."""
    lost = {choice.service for choice in evidence.choices if choice.freedom is Freedom.LOST}
    return (
        *_judge_memory(evidence.hardware),
        *_judge_pools(evidence.hardware),
        *_judge_models(evidence.capacity),
        *_judge_speed(evidence.throughput),
        *_judge_services(evidence.choices),
        *_judge_locations(evidence.distribution, lost),
        *_judge_redundancy(evidence.survivals),
        *_judge_drivers(evidence.uniformity),
        *_judge_supply(evidence.power),
        *_list_prices(evidence.adaptations),
    )


def _judge_memory(hardware: Hardware) -> Iterator[Reason]:
    change = hardware.memory.change
    if change is None:
        changes = [node.memory for node in hardware.changed if node.memory.change is not None]
        change = sum(difference.change or 0 for difference in changes)
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
        yield Reason(weight=Weight.LOSS, what=what, remedy="keep the GPUs, or choose ones with at least as much VRAM")


def _judge_pools(hardware: Hardware) -> Iterator[Reason]:
    for node in hardware.changed:
        if node.becomes_homogeneous:
            yield Reason(
                weight=Weight.GAIN,
                what=f"{node.name} becomes one pool of {_describe_gpus(node)}: any GPU does for any task",
            )
        if node.becomes_mixed:
            yield Reason(
                weight=Weight.LOSS,
                what=f"the pool of {node.name} becomes mixed ({_describe_gpus(node)}): a pod that asks for one GPU can "
                "get either (pitfalls A11)",
                remedy=f"choose the model that {node.name} has already, or put the GPU into a node of its own",
            )


def _describe_gpus(node: NodeComparison) -> str:
    titles = [gpu.title for gpu in node.after.gpus] if node.after else []
    return ", ".join(f"{titles.count(title)} x {title}" for title in dict.fromkeys(titles))


def _judge_models(capacity: tuple[Capacity, ...]) -> Iterator[Reason]:
    for node in capacity:
        newly, no_longer = (", ".join(fit.model for fit in fits) for fits in (node.newly, node.no_longer))
        if newly:
            yield Reason(weight=Weight.GAIN, what=f"{node.node} holds models of the size {newly}, which it could not")
        if no_longer:
            yield Reason(
                weight=Weight.LOSS,
                what=f"{node.node} no longer holds models of the size {no_longer}",
                remedy="keep the VRAM that they need on one node",
            )


def _judge_speed(throughput: tuple[Throughput, ...]) -> Iterator[Reason]:
    for workload in throughput:
        if workload.factor is None or abs(workload.factor - 1) < _SAME_SPEED:
            continue
        change = f"{figure_text(workload.per_night.before)} → {figure_text(workload.per_night.after)} in a night"
        if workload.factor > 1:
            yield Reason(weight=Weight.GAIN, what=f"{workload.workload}: {format_number(workload.factor)}x ({change})")
        else:
            yield Reason(
                weight=Weight.LOSS,
                what=f"{workload.workload} gets slower: {change}",
                remedy=f"leave {workload.workload} the GPUs that it has",
            )


def _judge_services(choices: tuple[ServiceChoice, ...]) -> Iterator[Reason]:
    wider = [choice.service for choice in choices if choice.freedom is Freedom.WIDER]
    if wider:
        yield Reason(weight=Weight.GAIN, what=f"more GPUs that can run {list_names(wider)}")
    gained = [choice.service for choice in choices if choice.freedom is Freedom.GAINED and choice.before is not None]
    if gained:
        yield Reason(weight=Weight.GAIN, what=f"{list_names(gained)} could not run, and can now")
    narrower = [choice.service for choice in choices if choice.freedom is Freedom.NARROWER]
    if narrower:
        yield Reason(
            weight=Weight.LOSS,
            what=f"fewer GPUs that can run {list_names(narrower)}",
            remedy="choose a GPU with enough VRAM for them",
        )
    for choice in choices:
        if choice.freedom is Freedom.LOST and choice.after is not None:
            reason = choice.after.refused[0][1] if choice.after.refused else "its node has no GPU any more"
            yield Reason(
                weight=Weight.BLOCKER,
                what=f"no GPU is left that can run {choice.service} ({reason})",
                remedy=f"leave a GPU for {choice.service}, lower what it needs, or take it out of the file",
            )


def _judge_locations(distribution: tuple[Distribution, ...], known: set[str]) -> Iterator[Reason]:
    """List the services that have no place any more in a layout; those that no GPU could hold are reported already."""
    for layout in distribution:
        where = f" in the layout {layout.layout}" if layout.layout else ""
        lost = [name for name in layout.lost if name not in known]
        if lost:
            yield Reason(
                weight=Weight.BLOCKER,
                what=f"no place is left for {list_names(lost)}{where}",
                remedy=f"give {list_names(lost)} another node or another GPU{where}",
            )
        if layout.gained:
            yield Reason(weight=Weight.GAIN, what=f"a place for {list_names(layout.gained)}{where}, which had none")


def _judge_redundancy(survivals: tuple[Survival, ...]) -> Iterator[Reason]:
    gained = [survival.service for survival in survivals if survival.before is False and survival.after is True]
    if gained:
        yield Reason(weight=Weight.GAIN, what=f"{list_names(gained)} would survive the loss of a GPU")
    lost = [survival.service for survival in survivals if survival.before is True and survival.after is False]
    if lost:
        yield Reason(
            weight=Weight.LOSS,
            what=f"{list_names(lost)} would no longer survive the loss of a GPU",
            remedy="keep two GPUs that can run them",
        )


def _judge_drivers(uniformity: tuple[Uniformity, ...]) -> Iterator[Reason]:
    for node in uniformity:
        if node.conflict:
            yield Reason(
                weight=Weight.BLOCKER,
                what=f"{node.node}: {node.conflict}",
                remedy="put the GPUs into different machines",
            )


def _list_prices(adaptations: tuple[Adaptation, ...]) -> Iterator[Reason]:
    for adaptation in adaptations:
        if adaptation.price:
            yield Reason(weight=Weight.COST, what=f"{adaptation.about}: {adaptation.price}")


def _judge_supply(power: tuple[PowerComparison, ...]) -> Iterator[Reason]:
    for machine in power:
        if machine.after is not None:
            yield from _draw(machine)
            yield from _list_judged(machine, machine.after)


def _draw(machine: PowerComparison) -> Iterator[Reason]:
    makers, limited = machine.row(TGP), machine.row(LIMITED)
    if makers is not None and makers.change is not None and makers.change > 0:
        yield Reason(weight=Weight.COST, what=f"{change_text(makers)} of GPU power on {machine.node}")
    if limited is not None and limited.change is not None and limited.change < 0:
        yield Reason(weight=Weight.GAIN, what=f"{change_text(limited)} at full load on {machine.node}, by power limits")


def _list_judged(machine: PowerComparison, after: NodePower) -> Iterator[Reason]:
    before = {judgement.about: judgement.verdict for judgement in machine.before.judgements} if machine.before else {}
    for judgement in after.judgements:
        what = f"{machine.node}, {judgement.about}: {judgement.what}"
        if judgement.verdict is Verdict.NOT_ENOUGH:
            yield Reason(weight=Weight.BLOCKER, what=what, remedy=_find_remedy(judgement, machine.node, after))
        elif judgement.verdict is Verdict.TIGHT:
            yield Reason(weight=Weight.CONDITION, what=what, remedy=_find_remedy(judgement, machine.node, after))
        elif judgement.verdict is Verdict.UNKNOWN and judgement.about == SUPPLY and after.gpus:
            yield Reason(
                weight=Weight.CONDITION,
                what=f"the power supply of {machine.node} is not in the file; recommended: {recommended_text(after)}",
                remedy=f"state `psu.watts` of {machine.node}, or add `--psu {machine.node}=WATTS`",
            )
        elif before.get(judgement.about) in (Verdict.NOT_ENOUGH, Verdict.TIGHT) and judgement.verdict is Verdict.OK:
            yield Reason(weight=Weight.GAIN, what=f"{what}, which was {before[judgement.about].value}")


def _find_remedy(judgement: Judgement, node: str, after: NodePower) -> str:
    """Say what would take a judgement away that is not good."""
    if judgement.about not in DECIDING:
        return f"another {judgement.about} of {node}"
    asked = recommended_text(after)
    if asked == NO_SINGLE_SUPPLY:
        return f"fewer GPUs in {node}, or two supplies: {asked}"
    least = "at least " if judgement.verdict is Verdict.NOT_ENOUGH else ""
    return f"a power supply of {least}{asked} (`--psu {node}=WATTS` shows what it changes)"
