"""Part 2 of the report: what becomes simpler, or harder, for the senders of work."""

from __future__ import annotations

from corral.cluster.values import GpuMode
from corral.planning.placement.values import Caution
from corral.planning.upgrade.choices import Choice, Distribution, ServiceChoice
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, format_amount
from corral.planning.upgrade.hardware import NodeComparison
from corral.planning.upgrade.report.pieces import bullets, code, differences, paragraph, table
from corral.planning.upgrade.uniformity import Generation, Uniformity
from corral.rendering.gpu_modes import choose_gpu_mode


def write_scheduling(upgrade: Upgrade) -> list[str]:
    """Write Part 2."""
    changed = upgrade.hardware.changed
    simpler = any(node.becomes_homogeneous for node in changed)
    harder = any(node.becomes_mixed for node in changed)
    heading = "What becomes simpler" if simpler and not harder else "What becomes harder" if harder else "Scheduling"
    return [
        f"## Part 2: {heading}",
        "",
        "### 2.1 Scheduling on the GPUs",
        "",
        *_write_complexity(upgrade),
        "### 2.2 Node labels",
        "",
        *_write_labels(upgrade),
        "### 2.3 Who can run where",
        "",
        *_write_choices(upgrade),
        "### 2.4 Architecture and driver",
        "",
        *_write_uniformity(upgrade.uniformity),
    ]


def _write_complexity(upgrade: Upgrade) -> list[str]:
    lines: list[str] = []
    for node, complexity in zip(upgrade.hardware.changed, upgrade.complexity, strict=True):
        lines += paragraph(f"**{complexity.node}**: {complexity.before} before, {complexity.after} after.")
        lines += differences(complexity.rows)
        lines += _write_selector(node, upgrade)
    return lines or paragraph("No node's GPUs change.")


def _write_selector(node: NodeComparison, upgrade: Upgrade) -> list[str]:
    if upgrade.after.kubernetes is None or node.after is None or len(node.after.gpus) < 2:
        return []
    by_claim = choose_gpu_mode(upgrade.adapted) is GpuMode.DRA
    if node.after.homogeneous is not True:
        return paragraph(_MIXED_BY_CLAIM if by_claim else _MIXED_BY_NUMBER)
    text = (
        "# all GPUs of the node are the same: the node is all that has to be chosen\n"
        f"nodeSelector:\n  kubernetes.io/hostname: {node.name}"
    )
    return code("yaml", text if by_claim else f"{text}\nresources:\n  limits:\n    nvidia.com/gpu: 1")


_MIXED_BY_NUMBER = (
    "A node selector cannot choose between these GPUs: a pod that asks for `nvidia.com/gpu: 1` gets whichever the "
    "device plugin hands out (pitfalls A11). Plan for the smallest GPU, or let Corral's queue choose the slot."
)
_MIXED_BY_CLAIM = (
    "A node selector cannot choose between these GPUs, and a number of `nvidia.com/gpu` neither (pitfalls A11). The "
    "claims (DRA) that `corral render` writes do, by the memory that a service asks for."
)


def _write_labels(upgrade: Upgrade) -> list[str]:
    labels = upgrade.labels
    if not labels:
        return paragraph("No label changes.")
    rows = [
        *((label.node, f"`{key}`", "-", value, "added") for label in labels for key, value in label.added),
        *((label.node, f"`{key}`", old, new, "changed") for label in labels for key, old, new in label.changed),
        *((label.node, f"`{key}`", value, "-", "removed") for label in labels for key, value in label.removed),
        *((label.node, f"`{key}`", value, value, "kept") for label in labels for key, value in label.kept),
    ]
    note = "Labels as `corral render` gives them to a node: those of the file, its roles, and what its GPUs are."
    return [*(paragraph(note) if upgrade.after.kubernetes else []), *table(_LABEL_COLUMNS, rows)]


_LABEL_COLUMNS = ("Node", "Label", "Before", "After", "")


def _write_choices(upgrade: Upgrade) -> list[str]:
    if not upgrade.choices:
        return paragraph("The file gives no service a GPU.")
    lines = paragraph("GPUs that hold one replica, by VRAM alone; what the driver keeps for itself is taken off.")
    lines += table(
        ("Service", "Needs", "Before", "After", ""),
        (
            (service.service, _need(service), _choice(service.before), _choice(service.after), service.freedom.value)
            for service in upgrade.choices
        ),
    )
    refused = [
        f"{service.service}, {when}: {gpu}: {reason}"
        for service in upgrade.choices
        for when, choice in (("before", service.before), ("after", service.after))
        for gpu, reason in (choice.refused if choice else ())
        if choice and len(choice.refused) <= _MOST_REFUSALS
    ]
    lines += bullets(refused)
    for distribution in upgrade.distribution:
        lines += _write_distribution(distribution)
    return lines


_MOST_REFUSALS = 4
"""In a large cluster every service is refused by most GPUs; `corral plan` has all of it."""
_MOST_CARDS = 4


def _need(choice: ServiceChoice) -> str:
    memory = UNKNOWN if choice.needs is None else format_amount(choice.needs, "B")
    return memory if choice.gpus == 1 else f"{choice.gpus} GPUs, {memory} on each"


def _choice(choice: Choice | None) -> str:
    if choice is None:
        return "-"
    gpus = ", ".join(choice.fits) if len(choice.fits) <= _MOST_CARDS else f"{len(choice.fits)} GPUs"
    pins = f" (layout {'; '.join(choice.pins)})" if choice.pins else ""
    return f"{gpus or 'none'}{pins}"


def _write_distribution(distribution: Distribution) -> list[str]:
    if not distribution.locations:
        return []
    name = f"In the layout `{distribution.layout}`" if distribution.layout else "With every service running"
    return [
        *paragraph(f"{name}, each replica on GPUs of its own:"),
        *table(
            ("Service", "Before", "After"), ((row.service, row.before, row.after) for row in distribution.locations)
        ),
        *bullets(
            [f"no longer warned of: {_warning(caution)}" for caution in distribution.settled]
            + [f"**new warning**: {_warning(caution)}; {caution.hint}" for caution in distribution.arisen]
        ),
    ]


def _warning(caution: Caution) -> str:
    pitfall = f" (pitfalls {caution.pitfall})" if caution.pitfall else ""
    return f"{caution.where}: {caution.what}{pitfall}"


def _write_uniformity(uniformity: tuple[Uniformity, ...]) -> list[str]:
    lines: list[str] = []
    for node in uniformity:
        lines += table(
            (node.node, "Architecture", "CUDA capability", "GPUs", "Bus", "Source"),
            [_generation("before", entry) for entry in node.before]
            + [_generation("after", entry) for entry in node.after],
        )
        notes = list(node.asks)
        if node.conflict:
            notes.append(f"**{node.conflict}**")
        if len(node.after) == 1 < len(node.before):
            notes.append("one architecture is left: one build of each library, and one set of kernels, serves the node")
        notes.append("video encoders and decoders: the catalogue does not list them; unknown")
        lines += bullets(notes)
    return lines or paragraph("No GPU changes.")


def _generation(when: str, generation: Generation) -> tuple[str, ...]:
    return (
        when,
        generation.architecture,
        generation.capability or "none or unknown",
        ", ".join(generation.gpus),
        ", ".join(generation.buses) or UNKNOWN,
        generation.source or "in no catalogue",
    )
