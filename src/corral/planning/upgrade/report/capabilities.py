"""Parts 3 and 6 of the report: what becomes possible, and what the machines make in an hour and in a night."""

from __future__ import annotations

from corral.hardware.power import GpuPower
from corral.hardware.video import SOURCE
from corral.planning.forecast import Forecast
from corral.planning.upgrade.capacity import Capacity
from corral.planning.upgrade.choices import Survival
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, figure_text, format_number, origin_text
from corral.planning.upgrade.power import PowerComparison
from corral.planning.upgrade.report.pieces import bullets, differences, paragraph, table
from corral.planning.upgrade.throughput import Throughput
from corral.planning.upgrade.video import VideoComparison, compare_video
from corral.units import format_duration

_INSTANTS = 4
_MOST_STARTS = 4


def write_capabilities(upgrade: Upgrade) -> list[str]:
    """Write Part 3."""
    return [
        "## Part 3: What becomes possible",
        "",
        "### 3.1 Tasks side by side",
        "",
        *_write_throughput(upgrade.findings.throughput),
        "### 3.2 Training on several GPUs",
        "",
        *_write_training(upgrade),
        "### 3.3 VRAM of several GPUs together",
        "",
        *_write_combined(upgrade),
        "### 3.4 When a GPU is lost",
        "",
        *_write_redundancy(upgrade),
        "### 3.5 Video encoders and decoders",
        "",
        *_write_video(compare_video(upgrade.hardware)),
    ]


def _write_video(machines: tuple[VideoComparison, ...]) -> list[str]:
    """Write what machines encode and decode, with what is gained and lost."""
    if not machines:
        return paragraph("No machine's GPUs change.")
    rows = [
        (machine.node, when, _count(side.encoders), ", ".join(side.encodes) or "nothing", _count(side.decoders))
        for machine in machines
        for when, side in (("before", machine.before), ("after", machine.after))
        if side is not None
    ]
    notes: list[str] = []
    for machine in machines:
        notes += [f"{machine.node} encodes {', '.join(machine.gained)} now"] if machine.gained else []
        notes += [f"{machine.node} no longer encodes {', '.join(machine.lost)}"] if machine.lost else []
        sessions = machine.after.sessions if machine.after else ()
        notes += [f"{machine.node}: streams that are encoded at once: {text}" for text in sessions]
        unknown = [gpu for side in (machine.before, machine.after) if side for gpu in side.unknown]
        notes += [f"unknown of {', '.join(dict.fromkeys(unknown))}"] if unknown else []
    return [
        *table(("Node", "", "NVENC", "Encodes", "NVDEC"), rows),
        *bullets(notes),
        *paragraph(f"Source: {SOURCE}."),
    ]


def _count(engines: int | None) -> str:
    return UNKNOWN if engines is None else str(engines)


def _write_throughput(throughput: tuple[Throughput, ...]) -> list[str]:
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


def _write_training(upgrade: Upgrade) -> list[str]:
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


def _write_combined(upgrade: Upgrade) -> list[str]:
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
        lines += bullets(_write_newly(node))
    return lines + paragraph(
        "Sizes stand for models of about so many parameters, at about 4.9 bits for each weight and a context of 4,096 "
        "tokens; `corral fit` says it for a particular file. A split by layers moves little over PCIe, and makes one "
        "stream no faster: the GPUs take turns. A split of every layer moves data at each of them, through the "
        "processor's memory, because GeForce GPUs do not reach each other directly (pitfalls A27)."
    )


def _write_newly(capacity: Capacity) -> list[str]:
    notes = [f"newly on {capacity.node}: {', '.join(fit.model for fit in capacity.newly) or 'none of these sizes'}"]
    if capacity.no_longer:
        notes.append(f"no longer on {capacity.node}: {', '.join(fit.model for fit in capacity.no_longer)}")
    return notes


def _write_redundancy(upgrade: Upgrade) -> list[str]:
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
                _yes(survival.before, survival),
                str(survival.gpus_after),
                _yes(survival.after, survival),
            )
            for survival in upgrade.survivals
        ),
    )
    return [*lines, *bullets(_write_limits(upgrade))]


def _write_limits(upgrade: Upgrade) -> list[str]:
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


def _yes(survives: bool | None, survival: Survival) -> str:
    if survival.is_unknown:
        return UNKNOWN
    return "cannot run" if survives is None else "yes" if survives else "no"


def write_pipeline(upgrade: Upgrade) -> list[str]:
    """Write Part 6."""
    night = format_duration(upgrade.adapted.night.total_seconds())
    lines = ["## Part 6: Throughput of the pipeline", "", f"### 6.1 A night of {night}", ""]
    known = [workload for workload in upgrade.findings.throughput if workload.per_night.after is not None]
    lines += _write_nights(known)
    if known:
        lines += bullets(dict.fromkeys(note for machine in upgrade.power for note in _note_limits(machine)))
    unknown = [
        f"{workload.workload}: unknown: {why}" for workload in upgrade.findings.throughput for why in workload.unknown
    ]
    if unknown:
        lines += bullets(unknown)
        lines += paragraph("A `duration` in `workloads`, or some finished tasks, settle that.")
    return lines


def _note_limits(machine: PowerComparison) -> list[str]:
    """Say what the power limits of the file cost in speed, which the durations do not know of."""
    gpus = [gpu for gpu in machine.after.gpus if gpu.limit] if machine.after else []
    return [
        f"Not in these figures: what a limit of {figure_text(gpu.limit)} costs on {gpu.model or 'the GPUs'} of "
        f"{machine.node}. {_losses(gpu)}"
        for gpu in gpus
    ]


def _losses(gpu: GpuPower) -> str:
    if not gpu.speed_losses:
        return "Not measured for this model: unknown."
    return "; ".join(f"At most {figure_text(loss)} ({origin_text(loss)})" for loss in gpu.speed_losses) + "."


def _write_nights(known: list[Throughput]) -> list[str]:
    if not known:
        return paragraph("No workload of the file has a duration, so nothing could be simulated.")
    rows = [
        (
            forecast.workload,
            figure_text(forecast.per_hour.before),
            figure_text(forecast.per_hour.after),
            figure_text(forecast.per_night.before),
            figure_text(forecast.per_night.after),
            UNKNOWN if forecast.factor is None else f"{format_number(forecast.factor)}x",
        )
        for forecast in known
    ]
    lines = paragraph("Each workload by itself, simulated with the policy that the queue runs on; loading included.")
    lines += table(("Workload", "In an hour, before", "after", "In a night, before", "after", "Factor"), rows)
    lines += differences(forecast.energy_each for forecast in known if forecast.energy_each.after)
    lines += bullets(note for forecast in known for note in _write_notes(forecast))
    faster = [forecast for forecast in known if forecast.factor is not None and forecast.factor != 1]
    return lines + [line for workload in faster for line in _write_timeline(workload)]


def _write_timeline(workload: Throughput) -> list[str]:
    """Write how the night begins, before and after."""
    before, after = _starts(workload.before), _starts(workload.after)
    instants = sorted({*before, *after})[:_INSTANTS]
    if not instants:
        return []
    rows = [(_clock(at), before.get(at, "-"), after.get(at, "-")) for at in instants]
    lines = paragraph(f"How a night of {workload.workload} begins, task by task:")
    return lines + table(("At", "Before", "After"), rows)


def _starts(forecast: Forecast | None) -> dict[float, str]:
    """Say what starts at each of the first instants."""
    starts: dict[float, list[str]] = {}
    for span in forecast.run.spans if forecast and forecast.run else ():
        if len(starts) == _INSTANTS and span.from_s not in starts:
            break
        starts.setdefault(span.from_s, []).append(f"{span.task} on {', '.join(span.places)}")
    return {
        at: ", ".join(start) if len(start) <= _MOST_STARTS else f"{len(start)} tasks on as many GPUs"
        for at, start in starts.items()
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _write_notes(workload: Throughput) -> list[str]:
    notes = [f"{workload.workload}: {origin_text(workload.per_night.after)}"]
    notes += [
        f"{workload.workload}: assumed: {assumed}" for assumed in (workload.after.assumed if workload.after else ())
    ]
    alone = workload.unadapted
    if alone is not None and workload.per_night.after is not None and alone.value != workload.per_night.after.value:
        notes.append(
            f"{workload.workload} with the new GPUs alone, and nothing sent to them: {figure_text(alone)} in a night; "
            "section 4.5 says what is missing"
        )
    return notes
