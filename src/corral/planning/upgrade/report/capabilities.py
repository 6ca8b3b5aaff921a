"""Part 3 of the report: what becomes possible."""

from __future__ import annotations

from corral.planning.forecast import Forecast
from corral.planning.upgrade.capacity import Capacity
from corral.planning.upgrade.choices import Survival
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import ABSENT, figure_text, number, origin_text
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
            one.workload,
            f"{_places(one.before)} → {_places(one.after)}",
            f"{figure_text(one.per_hour.before)} → {figure_text(one.per_hour.after)}",
            "unknown" if one.factor is None else f"{number(one.factor)}x",
            _why(one),
        )
        for one in throughput
    ]
    return [
        *paragraph("Independent tasks need no link between cards: as many run at once as there are slots for them."),
        *table(("Workload", "Tasks at once", "In an hour", "Factor", ""), rows),
        *paragraph("Where services take turns on a card, its slot is free for one only while the others leave it."),
    ]


def _places(one: Forecast | None) -> str:
    return ABSENT if one is None else str(len(one.slots))


def _why(one: Throughput) -> str:
    if one.per_night.after is None:
        return "; ".join(one.unknown) or "not in the file"
    return origin_text(one.per_hour.after)


def _training(upgrade: Upgrade) -> list[str]:
    nodes = [node for node in upgrade.hardware.changed if node.after and len(node.after.cards) > 1]
    names = [name for name, one in upgrade.adapted.workloads.items() if one.parallel_capable]
    if not nodes or not names:
        return paragraph("No node that changes has several GPUs, or no workload can use several for one task.")
    told: list[str] = []
    for node in nodes:
        count = len(node.after.cards) if node.after else 0
        if node.after and node.after.homogeneous:
            told.append(
                f"{node.name}: one task of {', '.join(names)} can have {count} equal cards (data parallel, one process "
                f"for each). At most {count}x as fast (computed: {count} cards / 1 card); the batch is {count}x as "
                "large at the same batch size for each card."
            )
        else:
            told.append(f"{node.name}: the cards differ; each step waits for the slowest of them.")
    told.append(
        "What is reached below that depends on model, batch and bus, and nobody has measured it here: unknown. Time "
        "saved = 1 - 1 / speed-up, so 1.8x would save 44 %. Train one epoch on one card and on all, and put the "
        "durations into the file."
    )
    return bullets(told)


def _combined(upgrade: Upgrade) -> list[str]:
    if not upgrade.capacity:
        return paragraph("No node that changes has GPUs whose memory is known.")
    lines: list[str] = []
    for one in upgrade.capacity:
        lines += differences([one.room])
        lines += table(
            (one.node, "On one GPU", "On each in a split", "Before", "After", "At most"),
            (
                (
                    fit.model,
                    figure_text(fit.alone),
                    "-" if fit.on_each is None else figure_text(fit.on_each),
                    fit.before.value,
                    fit.after.value,
                    "-" if fit.bound is None else figure_text(fit.bound),
                )
                for fit in one.fits
            ),
        )
        lines += bullets(_newly(one))
    return lines + paragraph(
        "Sizes stand for models of about so many parameters, at about 4.9 bits for each weight and a context of 4,096 "
        "tokens; `corral fit` says it for a particular file. A split by layers moves little over PCIe, and makes one "
        "stream no faster: the cards take turns. A split of every layer moves data at each of them, through the "
        "processor's memory, because GeForce cards do not reach each other directly (pitfalls A27)."
    )


def _newly(one: Capacity) -> list[str]:
    told = [f"newly on {one.node}: {', '.join(fit.model for fit in one.newly) or 'none of these sizes'}"]
    if one.no_longer:
        told.append(f"no longer on {one.node}: {', '.join(fit.model for fit in one.no_longer)}")
    return told


def _redundancy(upgrade: Upgrade) -> list[str]:
    lines = paragraph(
        "A service survives when enough cards that hold it are left; it starts again there, and whoever uses that card "
        "waits. Tasks of the queue are tried again by themselves."
    )
    lines += table(
        ("Service", "Cards before", "Survives", "Cards after", "Survives"),
        (
            (one.service, str(one.cards_before), _yes(one.before), str(one.cards_after), _yes(one.after))
            for one in upgrade.survivals
        ),
    )
    return [*lines, *bullets(_limits(upgrade))]


def _limits(upgrade: Upgrade) -> list[str]:
    told: list[str] = []
    by_node: dict[str, list[Survival]] = {}
    for one in upgrade.survivals:
        if one.one_node:
            by_node.setdefault(one.one_node, []).append(one)
    for node, services in by_node.items():
        told.append(f"{node} itself stays a single point of failure for {', '.join(one.service for one in services)}.")
    if upgrade.leans_on:
        told.append(f"So does what services share: {', '.join(upgrade.leans_on)}.")
    return told


def _yes(survives: bool | None) -> str:
    return "cannot run" if survives is None else "yes" if survives else "no"
