"""The report as plain values for programs.

The shape is stable: keys are added, and none changes its meaning. A figure is `{value, unit, origin, source}`, null
where it is unknown; bytes are bytes, watts are watts.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from corral.figures import Figure
from corral.planning.checklist import Item
from corral.planning.forecast import Forecast
from corral.planning.upgrade.capacity import ModelFit
from corral.planning.upgrade.cards import Card
from corral.planning.upgrade.choices import Choice
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import Difference
from corral.planning.upgrade.file_changes import Records
from corral.planning.upgrade.hardware import NodeComparison, Side
from corral.planning.upgrade.power import PowerComparison
from corral.work import Json

Record = dict[str, Any]  # JSON


def to_record(upgrade: Upgrade) -> Json:
    """Make the record."""
    return {
        "cluster": upgrade.after.name,
        "recommendation": _recommendation(upgrade),
        "hardware": _hardware(upgrade),
        "power": [_power(one) for one in upgrade.power],
        "complexity": [
            {"node": one.node, "before": one.before, "after": one.after, "counts": _differences(one.rows)}
            for one in upgrade.complexity
        ],
        "labels": [_with_commands(asdict(one), one.commands) for one in upgrade.labels],
        "agent_flags": [asdict(one) for one in upgrade.agent_flags],
        "services": _services(upgrade),
        "layouts": [asdict(one) for one in upgrade.distribution],
        "architectures": [asdict(one) for one in upgrade.uniformity],
        "throughput": _throughput(upgrade),
        "capacity": [
            {"node": one.node, "room": _difference(one.room), "models": [_fit(fit) for fit in one.fits]}
            for one in upgrade.capacity
        ],
        "queues": [asdict(one) for one in upgrade.queues],
        "adaptations": [
            {"about": one.about, "before": one.before, "after": one.after, "why": one.why, "price": one.price}
            for one in upgrade.adaptations
        ],
        "records": {"before": _records(upgrade.records_before), "after": _records(upgrade.records_after)},
        "unchanged": asdict(upgrade.unchanged),
        "checklist": [_item(one) for one in upgrade.checklist.items],
        "corrections": [asdict(one) for one in upgrade.corrections],
        "cluster_file_diff": upgrade.findings.cluster_diff,
        "proposal_diff": upgrade.findings.proposal_diff,
        "file_diffs": dict(upgrade.findings.file_diffs) if upgrade.findings.every_file else {},
        "notes": [asdict(one) for one in upgrade.findings.notes],
    }


def figure_record(figure: Figure | None) -> Record | None:
    """Write a figure with its origin; None stays None."""
    if figure is None:
        return None
    return {"value": figure.value, "unit": figure.unit, "origin": figure.origin.value, "source": figure.source}


def _difference(one: Difference) -> Record:
    return {"before": figure_record(one.before), "after": figure_record(one.after), "change": one.change}


def _differences(rows: tuple[Difference, ...]) -> list[Record]:
    return [{"name": row.name, **_difference(row)} for row in rows]


def _recommendation(upgrade: Upgrade) -> Record:
    advice = upgrade.recommendation
    reasons = [{"weight": one.weight.value, "what": one.what, "remedy": one.remedy} for one in advice.reasons]
    return {
        "advice": advice.advice.value,
        "sentence": advice.sentence,
        "reasons": reasons,
        "would_change": list(advice.would_change),
    }


def _hardware(upgrade: Upgrade) -> Record:
    hardware = upgrade.hardware
    return {
        "memory": _difference(hardware.memory),
        "gpus": _difference(hardware.cards),
        "nodes": [_node(node) for node in hardware.nodes],
        "changes": [
            {"kind": one.kind.value, "gpu": one.place, "before": _card(one.before), "after": _card(one.after)}
            for one in hardware.changes
        ],
    }


def _node(node: NodeComparison) -> Record:
    return {
        "name": node.name,
        "changes": node.cards_change,
        "memory": _difference(node.memory),
        "tgp": _difference(node.tgp),
        "before": _side(node.before),
        "after": _side(node.after),
    }


def _side(side: Side | None) -> Record | None:
    if side is None:
        return None
    return {"gpus": [_card(card) for card in side.cards], "homogeneous": side.homogeneous}


def _card(card: Card | None) -> Record | None:
    if card is None:
        return None
    return {
        "gpu": card.name,
        "model": card.model,
        "memory": card.memory,
        "power_limit_w": card.power_limit_w,
        "source": card.facts.source if card.facts else None,
    }


def _power(one: PowerComparison) -> Record:
    judgements = one.after.judgements if one.after else ()
    return {
        "node": one.node,
        "figures": _differences(one.rows),
        "judgements": [
            {"about": judged.about, "verdict": judged.verdict.value, "what": judged.what, "reason": judged.reason}
            for judged in judgements
        ],
        "actions": [{"what": item.what, "state": item.state.value, "evidence": item.evidence} for item in one.actions],
    }


def _with_commands(record: Record, commands: tuple[str, ...]) -> Record:
    return {**record, "commands": list(commands)}


def _services(upgrade: Upgrade) -> list[Record]:
    survivals = {one.service: one for one in upgrade.survivals}
    return [
        {
            "service": one.service,
            "needs": one.needs,
            "gpus": one.gpus,
            "freedom": one.freedom.value,
            "before": _choice(one.before),
            "after": _choice(one.after),
            "survives_a_gpu": {"before": survivals[one.service].before, "after": survivals[one.service].after},
        }
        for one in upgrade.choices
    ]


def _choice(choice: Choice | None) -> Record | None:
    if choice is None:
        return None
    refused = [{"gpu": gpu, "reason": reason} for gpu, reason in choice.refused]
    return {"fits": list(choice.fits), "refused": refused, "pins": list(choice.pins)}


def _throughput(upgrade: Upgrade) -> list[Record]:
    return [
        {
            "workload": one.workload,
            "unit": one.unit,
            "per_hour": _difference(one.per_hour),
            "per_night": _difference(one.per_night),
            "energy_each": _difference(one.energy_each),
            "factor": one.factor,
            "slots": {"before": _slots(one.before), "after": _slots(one.after)},
            "unknown": list(one.unknown),
            "unadapted_per_night": figure_record(one.unadapted),
        }
        for one in upgrade.findings.throughput
    ]


def _slots(one: Forecast | None) -> list[str] | None:
    return None if one is None else list(one.slots)


def _fit(fit: ModelFit) -> Record:
    return {
        "model": fit.model,
        "on_one_gpu": figure_record(fit.alone),
        "on_each_gpu": figure_record(fit.on_each),
        "before": fit.before.value,
        "after": fit.after.value,
        "bound": figure_record(fit.bound),
    }


def _item(item: Item) -> Record:
    return {
        "id": item.id,
        "phase": item.phase.value,
        "kind": item.kind.value,
        "node": item.node,
        "title": item.title,
        "task": item.task,
        "why": item.why,
        "material": item.material,
    }


def _records(records: Records) -> Record:
    return {
        "pools": [asdict(one) for one in records.pools],
        "classes": list(records.classes),
        "resources": [asdict(one) for one in records.resources],
        "workloads": [asdict(one) for one in records.workloads],
    }
