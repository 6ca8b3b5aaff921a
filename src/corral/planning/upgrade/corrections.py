"""Common beliefs that are wrong, each told only where the cluster or the upgrade is such that it would do harm.

The ids are those of the catalogue of pitfalls. What is said to be true was reproduced on a control plane, read in the
source of the program, or is in the GPU catalogue; `source` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corral.cluster.values import Cluster, Node, Service
from corral.planning.upgrade.capacity import Capacity, ModelFit, Seating
from corral.planning.upgrade.cards import all_cards, cards_of
from corral.planning.upgrade.differences import figure_text, origin_text
from corral.planning.upgrade.hardware import Hardware
from corral.planning.upgrade.labels import NodeLabels
from corral.planning.upgrade.uniformity import capability_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A belief, why it matters here, and what is true."""

    id: str
    belief: str
    truth: str
    here: str
    """What in this cluster or upgrade it is about."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a correction may look at."""

    before: Cluster
    after: Cluster
    """With the adaptations that the report proposes."""
    hardware: Hardware
    labels: tuple[NodeLabels, ...]
    capacity: tuple[Capacity, ...]

    @property
    def is_k3s(self) -> bool:
        """Whether K3s runs the services."""
        return self.after.kubernetes is not None and self.after.kubernetes.distribution == "k3s"

    @property
    def changed_nodes(self) -> tuple[Node, ...]:
        """The nodes whose cards change, as they are afterwards."""
        names = {node.name for node in self.hardware.changed}
        return tuple(node for node in self.after.nodes if node.name in names)

    def gpu_services(self) -> Iterator[tuple[Service, Node]]:
        """List the services with whole GPUs that are bound to a changed node."""
        for node in self.changed_nodes:
            for service in self.after.services.values():
                if service.gpus and service.node == node.name:
                    yield service, node


def find_corrections(situation: Situation) -> tuple[Correction, ...]:
    """List the corrections that the situation calls for, each once."""
    found = (rule(situation) for rule in _RULES)
    return tuple(one for one in found if one is not None)


def _capability(now: Situation) -> Correction | None:
    known = {card.model for card in all_cards(now.before)}
    names = {node.name for node in now.hardware.changed}
    cards = [card for card in all_cards(now.after) if card.node in names and capability_of(card) == "12.0"]
    if not cards or cards[0].facts is None:
        return None
    card = next((card for card in cards if card.model not in known), cards[0])
    return Correction(
        id="A29",
        belief="Consumer Blackwell cards have CUDA capability 10.0 (`sm_100`).",
        truth=f"{card.title} has CUDA capability 12.0 (`sm_120`). 10.0 is the data centre's Blackwell; kernels for "
        "`sm_100` do not run here. Builds need CUDA 12.8 or newer (PyTorch 2.7 or newer).",
        here=", ".join(one.name for one in cards),
        source=(card.facts.source if card.facts else None) or "the GPU catalogue",
    )


def _stale_label(now: Situation) -> Correction | None:
    removed = [(one.node, key) for one in now.labels for key, _ in one.removed]
    if not removed or not now.is_k3s:
        return None
    return Correction(
        id="F02",
        belief="Node labels are set when a node registers only; or: what leaves the agent's flags leaves the node.",
        truth="K3s sets every `--node-label` again at each start of the agent: added and changed labels land after a "
        "restart. A label whose flag is gone stays until it is removed by hand.",
        here="; ".join(f"`kubectl label node {node} {key}-`" for node, key in removed),
        source="K3s, read in its source",
    )


def _twice(now: Situation) -> Correction | None:
    found = [
        (node, key, value)
        for node in now.after.nodes
        for key, value in node.labels.items()
        if len(node.roles) > 1 and value in node.roles
    ]
    if not found or not now.is_k3s:
        return None
    node, key, value = found[0]
    prefix = key.partition("/")[0]
    distinct = ", ".join(f"`{role}.{prefix}/workload=true`" for role in node.roles)
    return Correction(
        id="F01",
        belief="One label key given in several `--node-label` flags gives the node several values.",
        truth="A key has one value, and the last flag wins. Several roles need a key each, such as " + distinct + ".",
        here=f"{node.name} has the roles {', '.join(node.roles)}, and `{key}` can only say {value}",
        source="K3s, read in its source",
    )


def _comma(now: Situation) -> Correction | None:
    found = [
        (node.name, key)
        for cluster in (now.before, now.after)
        for node in cluster.nodes
        for key in node.labels
        if key.endswith("/gpu-classes") and len({card.model for card in cards_of(node)}) > 1
    ]
    if not found:
        return None
    node, key = found[0]
    return Correction(
        id="label-comma",
        belief="A label can hold a list with commas.",
        truth="A label's value has letters, digits, `-`, `_` and `.` only, at most 63 of them; the API server refuses "
        "a comma. Join with a dash, or give each class a label of its own.",
        here=f"`{key}` of {node}, a node with several models",
        source="Kubernetes documentation, Labels and Selectors: syntax and character set",
    )


def _anti_affinity(now: Situation) -> Correction | None:
    spread = [f"{service.name} on {node.name}" for service, node in now.gpu_services() if service.replicas > 1]
    if not spread or now.after.kubernetes is None:
        return None
    return Correction(
        id="A01",
        belief="podAntiAffinity with `topologyKey: nvidia.com/gpu` spreads replicas over the GPUs of a node.",
        truth="It is accepted and does nothing, because no node has a label of that name. Replicas that ask for "
        "`nvidia.com/gpu: 1` get a card each anyway.",
        here=", ".join(spread),
        source="reproduced on Kubernetes 1.36",
    )


def _device_index(now: Situation) -> Correction | None:
    pinned = [
        f"{name} on {placement.node or 'its node'}: gpu{index}"
        for layout in now.before.layouts.values()
        for name, placement in layout.services.items()
        for index in placement.gpus or ()
        if index > 0
    ]
    if not pinned or now.after.kubernetes is None:
        return None
    return Correction(
        id="A10",
        belief="`CUDA_VISIBLE_DEVICES` with the host's index chooses the card inside a container.",
        truth="A container that asks for one GPU sees one, as number 0: `CUDA_VISIBLE_DEVICES=1` leaves it none. The "
        "device plugin chooses the card; with equal cards nothing has to be chosen.",
        here=", ".join(dict.fromkeys(pinned)),
        source="nvidia-docker#907, nvidia-docker#262",
    )


def _mixed_node(now: Situation) -> Correction | None:
    mixed = [
        node.name
        for node in now.hardware.changed
        if any(side is not None and side.homogeneous is False for side in (node.before, node.after))
    ]
    if not mixed or now.after.kubernetes is None:
        return None
    return Correction(
        id="A11",
        belief="A node selector such as `has-<model>: true` gives a pod that card.",
        truth="It chooses the node. Which of its cards a pod with `nvidia.com/gpu: 1` gets is the device plugin's "
        "choice, whatever the models. Only equal cards, one model for each node, or DRA with a selector settle it.",
        here=", ".join(mixed),
        source="k8s-device-plugin#133, #1169; reproduced with DRA on Kubernetes 1.36",
    )


def _load_balancer(now: Situation) -> Correction | None:
    found = [service.name for service, _ in now.gpu_services() if "comfyui" in service.engines and service.replicas > 1]
    if not found:
        return None
    return Correction(
        id="D02",
        belief="A load balancer in front of several ComfyUI shares the work out.",
        truth="Each ComfyUI has its own queue, `/history` and `/ws`: behind one address, a client asks one instance "
        "for what the other has made. Give each replica an address of its own, and let one queue send to them.",
        here=", ".join(found),
        source="ComfyUI#8154, ComfyUI#2401",
    )


def _rollout(now: Situation) -> Correction | None:
    found = [
        f"{service.name} on {node.name}"
        for service, node in now.gpu_services()
        if service.replicas * (service.gpus or 0) >= len(node.gpus or ()) > 0
    ]
    if not found or now.after.kubernetes is None:
        return None
    return Correction(
        id="A02",
        belief="A Deployment updates itself without a stop.",
        truth="The default makes a new pod before it stops an old one. With no GPU to spare the new one waits for "
        "ever, and the old one never stops. Set `maxSurge: 0` and `maxUnavailable: 1`; with one replica, `Recreate`.",
        here=", ".join(found),
        source="reproduced on Kubernetes 1.36",
    )


def _data_parallel(now: Situation) -> Correction | None:
    names = [one.name for one in now.after.workloads.values() if one.parallel_capable]
    if not names or not any(len(node.gpus or ()) > 1 for node in now.changed_nodes):
        return None
    return Correction(
        id="A28",
        belief="`torch.nn.DataParallel` is how to train on two cards.",
        truth="PyTorch recommends DistributedDataParallel, one process for each card, also on one machine "
        "(`accelerate launch --multi_gpu --num_processes 2`). In a container it needs more than the 64 MB of "
        "`/dev/shm` that pods have (pitfalls A26).",
        here=", ".join(names),
        source="PyTorch documentation, torch.nn.DataParallel: warning",
    )


def _split_model(now: Situation) -> Correction | None:
    found = [(one.node, fit) for one in now.capacity for fit in one.fits if fit.model.startswith("33b") and fit.on_each]
    if not found:
        return None
    node, fit = found[0]
    return Correction(
        id="split-33b",
        belief="A 33B model at 4 bits needs about 16 GB on each of two cards.",
        truth=f"It needs {figure_text(fit.alone)} on one card, and {figure_text(fit.on_each)} on each card of an even "
        f"split over those of {node}. {_before_and_after(fit)}",
        here=", ".join(node for node, _ in found),
        source=origin_text(fit.alone),
    )


def _before_and_after(fit: ModelFit) -> str:
    if Seating.NO not in (fit.before, fit.after):
        return "So it fits after the upgrade, and it did before."
    return f"Before the upgrade: {fit.before.value}. After it: {fit.after.value}."


def _single_point(now: Situation) -> Correction | None:
    equal = [
        node.name
        for node in now.hardware.changed
        if node.after and len(node.after.cards) > 1 and node.after.homogeneous
    ]
    if not equal:
        return None
    return Correction(
        id="B15",
        belief="With two cards there is no single point of failure.",
        truth="The machine, its power supply, its driver and the server of its data remain. A card that falls off the "
        "bus can even keep the other from new pods until the device plugin restarts.",
        here=", ".join(equal),
        source="k8s-device-plugin#2038; its health check, read in its source",
    )


def _power_limit(now: Situation) -> Correction | None:
    limited = [
        card.name
        for node in now.changed_nodes
        for card in cards_of(node)
        if card.power_limit_w is not None and card.is_nvidia
    ]
    if not limited:
        return None
    return Correction(
        id="C01",
        belief="`nvidia-smi -pl` undervolts a card, once and for all.",
        truth="It limits power, and the voltage curve stays. The limit is gone after a restart or a reload of the "
        "driver, so a service has to set it at each start; without `-i` it is set on every card of the machine.",
        here=", ".join(limited),
        source="NVIDIA, nvidia-smi: Power Limit; nixos_config#1396",
    )


_RULES: tuple[Callable[[Situation], Correction | None], ...] = (
    _capability,
    _stale_label,
    _twice,
    _comma,
    _mixed_node,
    _device_index,
    _anti_affinity,
    _load_balancer,
    _rollout,
    _data_parallel,
    _split_model,
    _single_point,
    _power_limit,
)
