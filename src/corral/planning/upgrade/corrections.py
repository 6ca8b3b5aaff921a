"""Common beliefs that are wrong, each only where the cluster or the upgrade is such that it would do harm.

The ids are those of the catalogue of pitfalls. What is said to be true was reproduced on a control plane, read in the
source of the program, or is in the GPU catalogue; `source` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from corral.cluster.values import Cluster, Node, Service
from corral.planning.upgrade.capacity import Capacity, ModelFit, Seating
from corral.planning.upgrade.cards import all_cards, cards_of
from corral.planning.upgrade.differences import figure_text, origin_text
from corral.planning.upgrade.file_changes import NodeLabels
from corral.planning.upgrade.hardware import Hardware
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """A belief whose truth is the same everywhere."""

    id: str
    belief: str
    truth: str
    source: str
    where: Callable[[Situation], Sequence[str]]
    """Finds what it would do harm to; nothing, where it would do none."""
    separator: str = ", "

    def corrected(self, now: Situation) -> Correction | None:
        """The correction, if the situation calls for it."""
        found = self.where(now)
        if not found:
            return None
        here = self.separator.join(dict.fromkeys(found))
        return Correction(id=self.id, belief=self.belief, truth=self.truth, here=here, source=self.source)


def key_given_twice(now: Situation) -> Correction | None:
    """Tell of the first node whose roles share one label key."""
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
    distinct = ", ".join(f"`workload.{prefix}/{role}=true`" for role in node.roles)
    return Correction(
        id="F01",
        belief="One label key given in several `--node-label` flags gives the node several values.",
        truth="A key has one value, and the last flag wins. Several roles need a key each, such as " + distinct + ".",
        here=f"{node.name} has the roles {', '.join(node.roles)}, and `{key}` can only say {value}",
        source="K3s, read in its source",
    )


def value_with_comma(now: Situation) -> Correction | None:
    """Tell of the first label with classes of cards on a node of several models."""
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


def _removals(now: Situation) -> list[str]:
    if not now.is_k3s:
        return []
    return [f"`{command}`" for one in now.labels for command in one.commands]


STALE_LABEL = Belief(
    id="F02",
    belief="Node labels are set when a node registers only; or: what leaves the agent's flags leaves the node.",
    truth="K3s sets every `--node-label` again at each start of the agent: added and changed labels land after a "
    "restart. A label whose flag is gone stays until it is removed by hand.",
    source="K3s, read in its source",
    separator="; ",
    where=_removals,
)


def _replicas_on_one_node(now: Situation) -> list[str]:
    if now.after.kubernetes is None:
        return []
    return [f"{service.name} on {node.name}" for service, node in now.gpu_services() if service.replicas > 1]


ANTI_AFFINITY = Belief(
    id="A01",
    belief="podAntiAffinity with `topologyKey: nvidia.com/gpu` spreads replicas over the GPUs of a node.",
    truth="It is accepted and does nothing, because no node has a label of that name. Replicas that ask for "
    "`nvidia.com/gpu: 1` get a card each anyway.",
    source="reproduced on Kubernetes 1.36",
    where=_replicas_on_one_node,
)


def _later_cards(now: Situation) -> list[str]:
    if now.after.kubernetes is None:
        return []
    return [
        f"{name} on {placement.node or 'its node'}: gpu{index}"
        for layout in now.before.layouts.values()
        for name, placement in layout.services.items()
        for index in placement.gpus or ()
        if index > 0
    ]


DEVICE_INDEX = Belief(
    id="A10",
    belief="`CUDA_VISIBLE_DEVICES` with the host's index chooses the card inside a container.",
    truth="A container that asks for one GPU sees one, as number 0: `CUDA_VISIBLE_DEVICES=1` leaves it none. The "
    "device plugin chooses the card; with equal cards nothing has to be chosen.",
    source="nvidia-docker#907, nvidia-docker#262",
    where=_later_cards,
)


def _mixed_nodes(now: Situation) -> list[str]:
    if now.after.kubernetes is None:
        return []
    return [
        node.name
        for node in now.hardware.changed
        if any(side is not None and side.homogeneous is False for side in (node.before, node.after))
    ]


NODE_SELECTOR = Belief(
    id="A11",
    belief="A node selector such as `has-<model>: true` gives a pod that card.",
    truth="It chooses the node. Which of its cards a pod with `nvidia.com/gpu: 1` gets is the device plugin's "
    "choice, whatever the models. Only equal cards, one model for each node, or DRA with a selector settle it.",
    source="k8s-device-plugin#133, #1169; reproduced with DRA on Kubernetes 1.36",
    where=_mixed_nodes,
)


def _services_on_all_cards(now: Situation) -> list[str]:
    if now.after.kubernetes is None:
        return []
    return [
        f"{service.name} on {node.name}"
        for service, node in now.gpu_services()
        if service.replicas * (service.gpus or 0) >= len(node.gpus or ()) > 0
    ]


ROLLOUT = Belief(
    id="A02",
    belief="A Deployment updates itself without a stop.",
    truth="The default makes a new pod before it stops an old one. With no GPU to spare the new one waits for "
    "ever, and the old one never stops. Set `maxSurge: 0` and `maxUnavailable: 1`; with one replica, `Recreate`.",
    source="reproduced on Kubernetes 1.36",
    where=_services_on_all_cards,
)


def _replicated_comfyui(now: Situation) -> list[str]:
    return [service.name for service, _ in now.gpu_services() if "comfyui" in service.engines and service.replicas > 1]


LOAD_BALANCER = Belief(
    id="D02",
    belief="A load balancer in front of several ComfyUI shares the work out.",
    truth="Each ComfyUI has its own queue, `/history` and `/ws`: behind one address, a client asks one instance "
    "for what the other has made. Give each replica an address of its own, and let one queue send to them.",
    source="ComfyUI#8154, ComfyUI#2401",
    where=_replicated_comfyui,
)


def capability(now: Situation) -> Correction | None:
    """Tell the CUDA capability of a consumer Blackwell card, a new one if there is one."""
    known = {card.model for card in all_cards(now.before)}
    names = {node.name for node in now.hardware.changed}
    cards = [card for card in all_cards(now.after) if card.node in names and capability_of(card) == "12.0"]
    if not cards:
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


def split_model(now: Situation) -> Correction | None:
    """Tell what a 33B model takes on each card of a split, on the first node that has several."""
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


def _parallel_workloads(now: Situation) -> list[str]:
    if not any(len(node.gpus or ()) > 1 for node in now.changed_nodes):
        return []
    return [one.name for one in now.after.workloads.values() if one.parallel_capable]


DATA_PARALLEL = Belief(
    id="A28",
    belief="`torch.nn.DataParallel` is how to train on two cards.",
    truth="PyTorch recommends DistributedDataParallel, one process for each card, also on one machine "
    "(`accelerate launch --multi_gpu --num_processes 2`). In a container it needs more than the 64 MB of "
    "`/dev/shm` that pods have (pitfalls A26).",
    source="PyTorch documentation, torch.nn.DataParallel: warning",
    where=_parallel_workloads,
)


def _equal_pairs(now: Situation) -> list[str]:
    return [
        node.name
        for node in now.hardware.changed
        if node.after and len(node.after.cards) > 1 and node.after.homogeneous
    ]


SINGLE_POINT = Belief(
    id="B15",
    belief="With two cards there is no single point of failure.",
    truth="The machine, its power supply, its driver and the server of its data remain. A card that falls off the "
    "bus can even keep the other from new pods until the device plugin restarts.",
    source="k8s-device-plugin#2038; its health check, read in its source",
    where=_equal_pairs,
)


def _limited_cards(now: Situation) -> list[str]:
    return [
        card.name
        for node in now.changed_nodes
        for card in cards_of(node)
        if card.power_limit_w is not None and card.is_nvidia
    ]


POWER_LIMIT = Belief(
    id="C01",
    belief="`nvidia-smi -pl` undervolts a card, once and for all.",
    truth="It limits power, and the voltage curve stays. The limit is gone after a restart or a reload of the "
    "driver, so a service has to set it at each start; without `-i` it is set on every card of the machine.",
    source="NVIDIA, nvidia-smi: Power Limit; nixos_config#1396",
    where=_limited_cards,
)


_RULES: tuple[Callable[[Situation], Correction | None], ...] = (
    capability,
    STALE_LABEL.corrected,
    key_given_twice,
    value_with_comma,
    NODE_SELECTOR.corrected,
    DEVICE_INDEX.corrected,
    ANTI_AFFINITY.corrected,
    LOAD_BALANCER.corrected,
    ROLLOUT.corrected,
    DATA_PARALLEL.corrected,
    split_model,
    SINGLE_POINT.corrected,
    POWER_LIMIT.corrected,
)
"""In the order in which a report tells them."""


def find_corrections(situation: Situation) -> tuple[Correction, ...]:
    """List the corrections that the situation calls for, each once."""
    found = (rule(situation) for rule in _RULES)
    return tuple(one for one in found if one is not None)
