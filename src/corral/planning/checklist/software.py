"""The software phase: the driver, what has to survive a restart, the node's configuration and its labels."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator

from corral.cluster.values import Cluster, GpuMode
from corral.hardware.nvidia_drivers import find_driver_need
from corral.hardware.pools import UNKNOWN_CLASS, get_class
from corral.planning.checklist import commands
from corral.planning.checklist.commands import write_power_limit_unit
from corral.planning.checklist.nodes import NodeChange
from corral.planning.checklist.probes import (
    ConfigurationRendered,
    DriverSuits,
    GpuPodsAlive,
    LabelsOnNode,
    LimitsPersist,
    NodeReady,
    PersistenceOn,
)
from corral.planning.checklist.values import Command, Item, Outlook, Phase, Question, Work
from corral.rendering.gpu_modes import choose_gpu_mode
from corral.rendering.makers import runs_nixos
from corral.rendering.nodes import name_module


def list_software_items(change: NodeChange, before: Cluster, after: Cluster, outlook: Outlook) -> Iterator[Item]:
    """List what a node's software needs, in order."""
    yield from _check_driver(change)
    yield from _keep_drivers_loaded(change)
    yield from _change_configuration(change)
    yield from _apply(change, after, outlook)
    yield from _check_labels(change, after)
    yield from _check_node_is_back(change, after)
    yield from make_references_item(change, before, after)


def _make_item(change: NodeChange, what: str, *, title: str, why: str, work: Work, material: str | None = None) -> Item:
    return Item(
        id=f"software.{change.name}.{what}",
        phase=Phase.SOFTWARE,
        node=change.name,
        title=title,
        why=why,
        work=work,
        material=material,
    )


def _check_driver(change: NodeChange) -> Iterator[Item]:
    if not change.came:
        return
    need = find_driver_need(model for gpu in change.nvidia if (model := change.models.get(gpu.model or "")))
    if need is None:
        return
    if need.contradiction:
        yield _make_item(
            change,
            "driver-conflict",
            title=f"{change.name}: its GPUs need different drivers",
            why=need.contradiction,
            work=Question(text="has one of the GPUs moved to another machine?"),
        )
        return
    modules = " with the open kernel modules (A30)" if need.open_modules else ""
    yield _make_item(
        change,
        "driver",
        title=f"{change.name}: the driver knows {need.newest_gpu}",
        why=f"{need.newest_gpu} runs from driver {need.first_driver[0]} on{modules}; an older one does not see the GPU",
        work=DriverSuits(
            node=change.name,
            first_driver=need.first_driver,
            last_branch=need.last_branch,
            open_modules=need.open_modules,
        ),
    )


def _keep_drivers_loaded(change: NodeChange) -> Iterator[Item]:
    if not change.limits or not change.nvidia or runs_nixos(change.after):  # there, the rendered module does both
        return
    gpus = tuple(gpu.index for gpu in change.nvidia)
    yield _make_item(
        change,
        "persistenced",
        title=f"{change.name}: keep the driver loaded",
        why="without it the driver unloads when the last program leaves, and forgets the power limits (C01)",
        work=Command(line=commands.keep_driver_loaded(change.after)),
    )
    by_hours = any(gpu.power_windows for gpu in change.gpus)
    unit = "the unit of `corral render --only systemd`" if by_hours else "the unit below"
    yield _make_item(
        change,
        "limits-unit",
        title=f"{change.name}: a unit that sets the power limits at each start",
        why="`nvidia-smi -pl` holds until the driver reloads: after a restart the GPU draws its maker's limit (C01)",
        work=Question(text=f"is {unit} in the machine's configuration?"),
        material=None if by_hours else write_power_limit_unit(change.limits),
    )
    yield from _make_persisting_probes(change, gpus)


def _make_persisting_probes(change: NodeChange, gpus: tuple[int, ...]) -> Iterator[Item]:
    yield _make_item(
        change,
        "persistence",
        title=f"{change.name}: persistence mode is on",
        why="without it the driver unloads when the last program leaves, and forgets the power limits (C01)",
        work=PersistenceOn(node=change.name, gpus=gpus),
    )
    yield _make_item(
        change,
        "limits-persist",
        title=f"{change.name}: the power limits come back after a restart",
        why="the supply and the heat were planned with the limits; without them the next power cut undoes both (C01)",
        work=LimitsPersist(node=change.name),
    )


def _change_configuration(change: NodeChange) -> Iterator[Item]:
    if not (change.new_labels or change.removed_labels) or runs_nixos(change.after):
        return
    lines = [f"--node-label={key}={value}" for key, value in sorted(change.after.labels.items())]
    lines += [f"# gone: --node-label={key}=..." for key in sorted(change.removed_labels)]
    yield _make_item(
        change,
        "labels-configured",
        title=f"{change.name}: the new labels are in its configuration",
        why="K3s sets the labels of its flags again at each start, so a label that is set by hand does not last (F03)",
        work=Question(
            text="does the node's K3s or kubelet configuration have these flags, each key once (of two, the last wins: "
            "F01)?"
        ),
        material="\n".join(lines),
    )


def _apply(change: NodeChange, after: Cluster, outlook: Outlook) -> Iterator[Item]:
    relabelled = bool(change.new_labels or change.removed_labels)
    if runs_nixos(change.after) and (relabelled or change.limits or change.came):
        yield from _apply_flake(change, outlook)
        if change.limits and change.nvidia:
            yield from _make_persisting_probes(change, tuple(gpu.index for gpu in change.nvidia))
    elif relabelled and change.after.k3s_role is not None:
        yield _make_item(
            change,
            "restart-k3s",
            title=f"{change.name}: restart K3s",
            why="K3s reads its flags at its start",
            work=Command(line=commands.restart_k3s(change.after)),
        )
    elif relabelled and after.kubernetes is not None:
        for key, value in change.new_labels:
            yield _make_item(
                change,
                f"label.{key}",
                title=f"{change.name}: set the label {key}={value}",
                why="nothing on this node sets labels at its start, as far as the file says",
                work=Command(
                    line=commands.write_kubectl("label", "node", change.name, f"{key}={value}", "--overwrite")
                ),
            )


def _apply_flake(change: NodeChange, outlook: Outlook) -> Iterator[Item]:
    """List the look at the rendered module, and the command that applies it, which shows how the module changes."""
    path = name_module(change.after)
    old, new = outlook.before.files.get(path, ""), outlook.after.files.get(path)
    if new is not None:
        yield _make_item(
            change,
            "rendered",
            title=f"{change.name}: the flake has the new configuration",
            why="what is applied is what is in the folder: labels, driver and power limits of the old file otherwise",
            work=ConfigurationRendered(path=path, text=new),
        )
    lines = difflib.unified_diff(old.splitlines(), (new or "").splitlines(), "before", "after", lineterm="", n=1)
    yield _make_item(
        change,
        "rebuild",
        title=f"{change.name}: apply the NixOS configuration",
        why="labels, driver and units of the new configuration are live only then",
        work=Command(line=commands.rebuild(change.after)),
        material="\n".join(lines) or None,
    )


def _check_labels(change: NodeChange, after: Cluster) -> Iterator[Item]:
    if after.kubernetes is None or not (change.new_labels or change.removed_labels):
        return
    for key in change.removed_labels:
        yield _make_item(
            change,
            f"unlabel.{key}",
            title=f"{change.name}: take the label {key} off",
            why="a label whose flag is gone stays on the node for ever: K3s only ever adds them (F02)",
            work=Command(line=commands.write_kubectl("label", "node", change.name, f"{key}-")),
        )
    yield _make_item(
        change,
        "labels",
        title=f"{change.name}: the node carries the new labels",
        why="selectors match what the node has, not what the configuration says",
        work=LabelsOnNode(
            node=change.name, labels=tuple(sorted(change.after.labels.items())), gone=change.removed_labels
        ),
    )


def _check_node_is_back(change: NodeChange, after: Cluster) -> Iterator[Item]:
    if after.kubernetes is None:
        return
    by_claim = choose_gpu_mode(after) is GpuMode.DRA
    if change.hardware_differs and change.before is not None:
        yield _make_item(
            change,
            "uncordon",
            title=f"{change.name}: let pods in again",
            why="a node stays closed until it is opened again, over restarts too",
            work=Command(line=commands.write_kubectl("uncordon", change.name)),
        )
    yield _make_item(
        change,
        "ready",
        title=f"{change.name}: back in Kubernetes with all its GPUs",
        why="pods wait for ever for a GPU that NVIDIA's driver does not offer for claims"
        if by_claim
        else "the device plugin holds a GPU that had an error as unhealthy until it is restarted (B15)",
        work=NodeReady(node=change.name, gpus=len(change.nvidia), by_claim=by_claim),
    )
    if change.nvidia:
        yield _make_item(
            change,
            "gpu-pods",
            title=f"{change.name}: pods still reach their GPUs",
            why="a reload of systemd, as in `nixos-rebuild switch`, can take running pods' GPUs away (B13)",
            work=GpuPodsAlive(node=change.name),
        )


_ALWAYS = (r"CUDA_VISIBLE_DEVICES", r"NVIDIA_VISIBLE_DEVICES")


"""Numbers of GPUs in a pod or a script: inside a container counting starts at 0 (A10)."""


def list_old_words(change: NodeChange, before: Cluster, after: Cluster) -> tuple[str, ...]:
    """List what named the GPUs, labels and queues that go: model classes, label keys, queue names."""
    stays = {get_class(gpu) for gpu in change.gpus}
    classes = [get_class(gpu) for gpu in change.went]
    words = [name for name in classes if name not in stays and name != UNKNOWN_CLASS]
    words += change.removed_labels
    words += [name for name in before.queues if name not in after.queues]
    return tuple(dict.fromkeys(words))


def make_references_item(change: NodeChange, before: Cluster, after: Cluster) -> Iterator[Item]:
    """Make the item that looks for them; none when no GPU moved."""
    if not change.went:
        return
    words = list_old_words(change, before, after)
    pattern = "|".join([*(re.escape(word) for word in words), *_ALWAYS])
    yield Item(
        id=f"software.{change.name}.references",
        phase=Phase.SOFTWARE,
        node=change.name,
        title=f"{change.name}: no manifest or script names what is gone",
        why="a selector for a label that is gone leaves pods waiting for ever, a GPU's number picks the wrong GPU",
        work=Command(line=f"! grep -rnIE --exclude-dir=.git {shlex.quote(pattern)} ."),
        material="run it where manifests and scripts are kept; it succeeds when nothing is found",
    )
