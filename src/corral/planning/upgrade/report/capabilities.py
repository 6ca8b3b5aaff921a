"""Part 3 of the report: what becomes possible."""

from __future__ import annotations

from corral.planning.forecast import Forecast
from corral.planning.upgrade.capacity import Capacity
from corral.planning.upgrade.choices import Survival
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import ABSENT, figure_text, format_number, origin_text
from corral.planning.upgrade.report.pieces import bullets, differences, paragraph, table
from corral.planning.upgrade.throughput import Throughput


def capabilities(upgrade: Upgrade) -> list[str]:
    """Write Part 3."""
    return [
        "## Part 3: What becomes possible",
        "",
        "### 3.1 Tasks side by side",
        "",
        *_throughput(upgrade.findings.throughput),
        "### 3.2 Training on several GPUs",
        "",
        *_training(upgrade),
        "### 3.3 VRAM of several GPUs together",
        "",
        *_combined(upgrade),
        "### 3.4 When a GPU is lost",
        "",
        *_redundancy(upgrade),
    ]


def _throughput(throughput: tuple[Throughput, ...]) -> list[str]:
    if not throughput:
        return paragraph("The file declares no workload, so nothing could be simulated.")
    rows = [
        (
            workload.workload,
            f"{_places(workload.before)} → {_places(workload.after)}",
            f"{figure_text(workload.per_hour.before)} → {figure_text(workload.per_hour.after)}",
            "unknown" if workload.factor is None else f"{format_number(workload.factor)}x",
            _why(workload),
        )
        for workload in throughput
    ]
    return [
        *paragraph("Independent tasks need no link between GPUs: as many run at once as there are slots for them."),
        *table(("Workload", "Tasks at once", "In an hour", "Factor", ""), rows),
        *paragraph("Where services take turns on a GPU, its slot is free for one only while the others leave it."),
    ]


def _places(forecast: Forecast | None) -> str:
    return ABSENT if forecast is None else str(len(forecast.slots))


def _why(workload: Throughput) -> str:
    if workload.per_night.after is None:
        return "; ".join(workload.unknown) or "not in the file"
    return origin_text(workload.per_hour.after)


def _training(upgrade: Upgrade) -> list[str]:
    nodes = [node for node in upgrade.hardware.changed if node.after and len(node.after.gpus) > 1]
    names = [name for name, workload in upgrade.adapted.workloads.items() if workload.parallel_capable]
    if not nodes or not names:
        return paragraph("No node that changes has several GPUs, or no workload can use several for one task.")
    notes: list[str] = []
    for node in nodes:
        count = len(node.after.gpus) if node.after else 0
        if node.after and node.after.homogeneous:
            notes.append(
                f"{node.name}: one task of {', '.join(names)} can have {count} equal GPUs (data parallel, one process "
                f"for each). At most {count}x as fast (computed: {count} GPUs / 1 GPU); the batch is {count}x as "
                "large at the same batch size for each GPU."
            )
        else:
            notes.append(f"{node.name}: the GPUs differ; each step waits for the slowest of them.")
    notes.append(
        "The speed-up that is reached depends on model, batch and bus, and was not measured here: unknown. Time "
        "saved = 1 - 1 / speed-up, so 1.8x would save 44 %. Train one epoch on one GPU and on all, and put the "
        "durations into the file."
    )
    return bullets(notes)


def _combined(upgrade: Upgrade) -> list[str]:
    if not upgrade.capacity:
        return paragraph("No node that changes has GPUs whose memory is known.")
    lines: list[str] = []
    for node in upgrade.capacity:
        lines += differences([node.room])
        lines += table(
            (node.node, "On one GPU", "On each in a split", "Before", "After", "At most"),
            (
                (
                    fit.model,
                    figure_text(fit.alone),
                    "-" if fit.on_each is None else figure_text(fit.on_each),
                    fit.before.value,
                    fit.after.value,
                    "-" if fit.bound is None else figure_text(fit.bound),
                )
                for fit in node.fits
            ),
        )
        lines += bullets(_newly(node))
    return lines + paragraph(
        "Sizes stand for models of about so many parameters, at about 4.9 bits for each weight and a context of 4,096 "
        "tokens; `corral fit` says it for a particular file. A split by layers moves little over PCIe, and makes one "
        "stream no faster: the GPUs take turns. A split of every layer moves data at each of them, through the "
        "processor's memory, because GeForce GPUs do not reach each other directly (pitfalls A27)."
    )


def _newly(capacity: Capacity) -> list[str]:
    notes = [f"newly on {capacity.node}: {', '.join(fit.model for fit in capacity.newly) or 'none of these sizes'}"]
    if capacity.no_longer:
        notes.append(f"no longer on {capacity.node}: {', '.join(fit.model for fit in capacity.no_longer)}")
    return notes


def _redundancy(upgrade: Upgrade) -> list[str]:
    lines = paragraph(
        "A service survives when enough GPUs that hold it are left; it starts again there, and the service that uses "
        "that GPU waits. Tasks of the queue are tried again by themselves."
    )
    lines += table(
        ("Service", "GPUs before", "Survives", "GPUs after", "Survives"),
        (
            (
                survival.service,
                str(survival.gpus_before),
                _yes(survival.before),
                str(survival.gpus_after),
                _yes(survival.after),
            )
            for survival in upgrade.survivals
        ),
    )
    return [*lines, *bullets(_limits(upgrade))]


def _limits(upgrade: Upgrade) -> list[str]:
    notes: list[str] = []
    by_node: dict[str, list[Survival]] = {}
    for survival in upgrade.survivals:
        if survival.one_node:
            by_node.setdefault(survival.one_node, []).append(survival)
    for node, services in by_node.items():
        notes.append(
            f"{node} itself stays a single point of failure for {', '.join(service.service for service in services)}."
        )
    if upgrade.leans_on:
        notes.append(f"So does what services share: {', '.join(upgrade.leans_on)}.")
    return notes


def _yes(survives: bool | None) -> str:
    return "cannot run" if survives is None else "yes" if survives else "no"
