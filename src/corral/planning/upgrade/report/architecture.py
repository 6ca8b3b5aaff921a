"""Part 4 of the report: what has to change around the cards."""

from __future__ import annotations

from collections.abc import Iterable

from corral.hardware.profiles import ResourceProfile
from corral.planning.changes import Note
from corral.planning.upgrade.adaptations import Adaptation
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, amount
from corral.planning.upgrade.labels import AgentFlags, NodeLabels
from corral.planning.upgrade.queues import QueueChange
from corral.planning.upgrade.report.manifest import addresses_of, manifest_of, several_replicas
from corral.planning.upgrade.report.pieces import bullets, code, paragraph, table


def architecture(upgrade: Upgrade) -> list[str]:
    """Write Part 4."""
    return [
        "## Part 4: What has to change around the cards",
        "",
        "### 4.1 Node labels",
        "",
        *_labels(upgrade.labels),
        "### 4.2 K3s agent",
        "",
        *_flags(upgrade.agent_flags),
        "### 4.3 Resource profiles",
        "",
        *_profiles(upgrade),
        "### 4.4 Queues",
        "",
        *_queues(upgrade.queues),
        "### 4.5 Services",
        "",
        *_adaptations(upgrade.adaptations),
        *_manifests(upgrade),
        "### 4.6 Files",
        "",
        *_files(upgrade),
    ]


def _labels(labels: tuple[NodeLabels, ...]) -> list[str]:
    if not labels:
        return paragraph("None changes.")
    commands = [command for one in labels for command in one.commands]
    added = sum(len(one.added) + len(one.changed) for one in labels)
    lines = paragraph(f"{added} are added or changed; they land when the agent starts with its new flags.")
    if commands:
        lines += paragraph(f"{len(commands)} have to be taken off by hand, since no agent removes a label:")
        lines += code("sh", "\n".join(commands))
    return lines


def _flags(flags: tuple[AgentFlags, ...]) -> list[str]:
    if not flags:
        return paragraph("No K3s node of the file gets other flags.")
    lines: list[str] = []
    for one in flags:
        if one.nixos:
            lines += paragraph(f"On {one.node}, in its NixOS configuration; then `sudo nixos-rebuild switch`:")
            lines += code("nix", "\n".join(_nix(one)))
        else:
            lines += paragraph(f"On {one.node}, in `/etc/rancher/k3s/config.yaml`; then restart the agent:")
            lines += code("yaml", "\n".join(_yaml(one)))
    return lines


def _nix(one: AgentFlags) -> list[str]:
    address = [f'  serverAddr = "{one.server}";'] if one.server and one.role == "agent" else []
    return [
        "services.k3s = {",
        "  enable = true;",
        f'  role = "{one.role}";',
        *address,
        '  tokenFile = "/etc/rancher/k3s/token"; # not `token`: everybody can read the Nix store (pitfalls F06)',
        "  extraFlags = [",
        *(f'    "{flag}"{_was(one, flag)}' for flag in one.after),
        *(f"    # gone: {flag}" for flag in one.before if _key(flag) not in map(_key, one.after)),
        "  ];",
        "};",
    ]


def _yaml(one: AgentFlags) -> list[str]:
    labels = [flag.removeprefix("--node-label=") for flag in one.after if flag.startswith("--node-label=")]
    kubelet = [flag.removeprefix("--kubelet-arg=") for flag in one.after if flag.startswith("--kubelet-arg=")]
    lines = ["node-label:", *(f'  - "{label}"' for label in labels)] if labels else []
    return lines + (["kubelet-arg:", *(f'  - "{argument}"' for argument in kubelet)] if kubelet else [])


def _was(one: AgentFlags, flag: str) -> str:
    if flag in one.before:
        return ""
    old = next((before for before in one.before if _key(before) == _key(flag)), None)
    return " # new" if old is None else f" # was {old.rpartition('=')[2]}"


def _key(flag: str) -> str:
    return flag.rpartition("=")[0]


def _profiles(upgrade: Upgrade) -> list[str]:
    before, after = upgrade.records_before.resources, upgrade.records_after.resources
    if before == after:
        return paragraph("What nodes offer to workloads stays as it is.")
    rows = [_profile("before", one) for one in before if one not in after]
    return table(
        ("", "Profile", "Class", "VRAM of each GPU", "Tasks at once", "Several GPUs for one task"),
        rows + [_profile("after", one) for one in after if one not in before],
    )


def _profile(when: str, one: ResourceProfile) -> tuple[str, ...]:
    memory = UNKNOWN if one.vram_per_gpu is None else amount(one.vram_per_gpu, "B")
    several = "yes" if one.parallel_capable else "no"
    return (when, f"`{one.name}`", one.gpu_class, memory, str(one.max_workloads), several)


def _queues(queues: tuple[QueueChange, ...]) -> list[str]:
    if not queues:
        return paragraph("Every queue keeps its pool.")
    return table(
        ("Queue", "Before", "After"), ((f"`{one.name}`", one.before or "-", one.after or "gone") for one in queues)
    )


def _adaptations(adaptations: tuple[Adaptation, ...]) -> list[str]:
    if not adaptations:
        return paragraph("Nothing else has to change for the cards to be used.")
    lines = paragraph(
        "The cards alone change nothing for work that is not sent to them. Proposed, and part of every figure that "
        "says *after*; `--adapt` writes what the file can say:"
    )
    return lines + table(
        ("What", "Before", "After", "Why", "Price"),
        ((one.about, one.before, one.after, one.why, one.price or "none known") for one in adaptations),
    )


def _manifests(upgrade: Upgrade) -> list[str]:
    cluster = upgrade.adapted
    nodes = {node.name for node in upgrade.hardware.changed}
    lines: list[str] = []
    for service in several_replicas(cluster) if cluster.kubernetes else ():
        if service.node not in nodes:
            continue
        lines += paragraph(
            f"`{service.name}` with {service.replicas} replicas: a StatefulSet, so that each has an address of its own "
            "and an update needs no spare GPU. It takes the place of a Deployment of that name. Volumes are left out."
        )
        lines += code("yaml", manifest_of(service, cluster))
        lines += bullets(f"address of a replica inside the cluster: `{one}`" for one in addresses_of(service, cluster))
    return lines


def _files(upgrade: Upgrade) -> list[str]:
    findings = upgrade.findings
    lines = paragraph("The cluster file; comments stay where they are, and those about what changed are yours to read.")
    lines += code("diff", findings.cluster_diff) if findings.cluster_diff else paragraph("It does not change.")
    if findings.proposal_diff:
        lines += [*paragraph("What `--adapt` adds to it:"), *code("diff", findings.proposal_diff)]
    lines += bullets(_grouped(findings.notes))
    for path, diff in findings.file_diffs.items():
        lines += [*paragraph(f"`{path}`, with the proposals:"), *code("diff", diff)]
    if upgrade.after.kubernetes and not findings.file_diffs:
        lines += paragraph("`--files` shows how the files of `corral render` change.")
    return lines


def _grouped(notes: Iterable[Note]) -> list[str]:
    """Say what several notes share once, with all their places."""
    places: dict[str, list[str]] = {}
    for note in notes:
        places.setdefault(note.what, []).append(note.where)
    return [f"{what} ({', '.join(there)})" for what, there in places.items()]
