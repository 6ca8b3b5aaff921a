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
from corral.planning.upgrade.choices import Choice
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import Difference
from corral.planning.upgrade.file_changes import Records
from corral.planning.upgrade.hardware import NodeComparison, NodeGpu, Side
from corral.planning.upgrade.power import PowerComparison
from corral.planning.upgrade.video import compare_video
from corral.work import Json

Record = dict[str, Any]  # JSON


def to_record(upgrade: Upgrade) -> Json:
    """Make the record."""
    return {
        "cluster": upgrade.after.name,
        "recommendation": _recommendation(upgrade),
        "hardware": _hardware(upgrade),
        "power": [_power(machine) for machine in upgrade.power],
        "complexity": [
            {"node": node.node, "before": node.before, "after": node.after, "counts": _differences(node.rows)}
            for node in upgrade.complexity
        ],
        "labels": [_with_commands(asdict(label), label.commands) for label in upgrade.labels],
        "agent_flags": [asdict(flag) for flag in upgrade.agent_flags],
        "services": _services(upgrade),
        "layouts": [asdict(layout) for layout in upgrade.distribution],
        "architectures": [asdict(node) for node in upgrade.uniformity],
        "throughput": _throughput(upgrade),
        "capacity": [
            {"node": node.node, "room": _difference(node.room), "models": [_fit(fit) for fit in node.fits]}
            for node in upgrade.capacity
        ],
        "video": [asdict(machine) for machine in compare_video(upgrade.hardware)],
        "queues": [asdict(queue) for queue in upgrade.queues],
        "adaptations": [
            {
                "about": adaptation.about,
                "before": adaptation.before,
                "after": adaptation.after,
                "why": adaptation.why,
                "price": adaptation.price,
            }
            for adaptation in upgrade.adaptations
        ],
        "records": {"before": _records(upgrade.records_before), "after": _records(upgrade.records_after)},
        "unchanged": asdict(upgrade.unchanged),
        "checklist": [_item(item) for item in upgrade.checklist.items],
        "corrections": [asdict(correction) for correction in upgrade.corrections],
        "cluster_file_diff": upgrade.findings.cluster_diff,
        "proposal_diff": upgrade.findings.proposal_diff,
        "file_diffs": dict(upgrade.findings.file_diffs) if upgrade.findings.every_file else {},
        "notes": [asdict(note) for note in upgrade.findings.notes],
    }


def figure_record(figure: Figure | None) -> Record | None:
    """Write a figure with its origin; None stays None."""
    if figure is None:
        return None
    return {"value": figure.value, "unit": figure.unit, "origin": figure.origin.value, "source": figure.source}


def _difference(difference: Difference) -> Record:
    return {
        "before": figure_record(difference.before),
        "after": figure_record(difference.after),
        "change": difference.change,
    }


def _differences(rows: tuple[Difference, ...]) -> list[Record]:
    return [{"name": row.name, **_difference(row)} for row in rows]


def _recommendation(upgrade: Upgrade) -> Record:
    advice = upgrade.recommendation
    reasons = [
        {"weight": reason.weight.value, "what": reason.what, "remedy": reason.remedy} for reason in advice.reasons
    ]
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
        "gpus": _difference(hardware.gpus),
        "nodes": [_node(node) for node in hardware.nodes],
        "changes": [
            {
                "kind": change.kind.value,
                "gpu": change.gpu,
                "before": _card(change.before),
                "after": _card(change.after),
            }
            for change in hardware.changes
        ],
    }


def _node(node: NodeComparison) -> Record:
    return {
        "name": node.name,
        "changes": node.gpus_change,
        "memory": _difference(node.memory),
        "tgp": _difference(node.tgp),
        "before": _side(node.before),
        "after": _side(node.after),
    }


def _side(side: Side | None) -> Record | None:
    if side is None:
        return None
    return {"gpus": [_card(gpu) for gpu in side.gpus], "homogeneous": side.homogeneous}


def _card(gpu: NodeGpu | None) -> Record | None:
    if gpu is None:
        return None
    return {
        "gpu": gpu.name,
        "model": gpu.model,
        "memory": gpu.memory,
        "power_limit_w": gpu.power_limit_w,
        "source": gpu.facts.source if gpu.facts else None,
    }


def _power(machine: PowerComparison) -> Record:
    judgements = machine.after.judgements if machine.after else ()
    return {
        "node": machine.node,
        "figures": _differences(machine.rows),
        "judgements": [
            {"about": judged.about, "verdict": judged.verdict.value, "what": judged.what, "reason": judged.reason}
            for judged in judgements
        ],
        "actions": [
            {"what": item.what, "state": item.state.value, "evidence": item.evidence} for item in machine.actions
        ],
    }


def _with_commands(record: Record, commands: tuple[str, ...]) -> Record:
    return {**record, "commands": list(commands)}


def _services(upgrade: Upgrade) -> list[Record]:
    survivals = {survival.service: survival for survival in upgrade.survivals}
    return [
        {
            "service": choice.service,
            "needs": choice.needs,
            "gpus": choice.gpus,
            "freedom": choice.freedom.value,
            "before": _choice(choice.before),
            "after": _choice(choice.after),
            "survives_a_gpu": {"before": survivals[choice.service].before, "after": survivals[choice.service].after},
        }
        for choice in upgrade.choices
    ]


def _choice(choice: Choice | None) -> Record | None:
    if choice is None:
        return None
    refused = [{"gpu": gpu, "reason": reason} for gpu, reason in choice.refused]
    return {"fits": list(choice.fits), "refused": refused, "pins": list(choice.pins)}


def _throughput(upgrade: Upgrade) -> list[Record]:
    return [
        {
            "workload": workload.workload,
            "unit": workload.unit,
            "per_hour": _difference(workload.per_hour),
            "per_night": _difference(workload.per_night),
            "energy_each": _difference(workload.energy_each),
            "factor": workload.factor,
            "slots": {"before": _slots(workload.before), "after": _slots(workload.after)},
            "unknown": list(workload.unknown),
            "unadapted_per_night": figure_record(workload.unadapted),
        }
        for workload in upgrade.findings.throughput
    ]


def _slots(forecast: Forecast | None) -> list[str] | None:
    return None if forecast is None else list(forecast.slots)


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
        "pools": [asdict(pool) for pool in records.pools],
        "classes": list(records.classes),
        "resources": [asdict(resource) for resource in records.resources],
        "workloads": [asdict(workload) for workload in records.workloads],
    }
