"""Common beliefs that are wrong, each only where the cluster or the upgrade is such that it would do harm.

The ids are those of the catalogue of pitfalls. What is said to be true was reproduced on a control plane, read in the
source of the program, or is in the GPU catalogue; `source` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from corral.cluster.values import Cluster, Node, Service
from corral.engine_kinds import COMFYUI
from corral.planning.upgrade.capacity import Capacity, ModelFit, Seating
from corral.planning.upgrade.differences import figure_text, origin_text
from corral.planning.upgrade.file_changes import NodeLabels
from corral.planning.upgrade.hardware import Hardware, list_all_gpus, list_gpus
from corral.planning.upgrade.uniformity import write_capability


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
    """The facts that a correction can look at."""

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
        """The nodes whose GPUs change, as they are afterwards."""
        names = {node.name for node in self.hardware.changed}
        return tuple(node for node in self.after.nodes if node.name in names)

    def list_gpu_services(self) -> Iterator[tuple[Service, Node]]:
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

    def correct(self, now: Situation) -> Correction | None:
        """The correction, if the situation calls for it."""
        examples = self.where(now)
        if not examples:
            return None
        here = self.separator.join(dict.fromkeys(examples))
        return Correction(id=self.id, belief=self.belief, truth=self.truth, here=here, source=self.source)


def find_key_given_twice(now: Situation) -> Correction | None:
    """Report the first node whose roles share one label key."""
    keys = [
        (node, key, value)
        for node in now.after.nodes
        for key, value in node.labels.items()
        if len(node.roles) > 1 and value in node.roles
    ]
    if not keys or not now.is_k3s:
        return None
    node, key, value = keys[0]
    prefix = key.partition("/")[0]
    distinct = ", ".join(f"`workload.{prefix}/{role}=true`" for role in node.roles)
    return Correction(
        id="F01",
        belief="One label key given in several `--node-label` flags gives the node several values.",
        truth="A key has one value, and the last flag wins. Several roles need a key each, such as " + distinct + ".",
        here=f"{node.name} has the roles {', '.join(node.roles)}, and `{key}` can only say {value}",
        source="K3s, read in its source",
    )


def find_value_with_comma(now: Situation) -> Correction | None:
    """Report the first label with classes of GPUs on a node of several models."""
    values = [
        (node.name, key)
        for cluster in (now.before, now.after)
        for node in cluster.nodes
        for key in node.labels
        if key.endswith("/gpu-classes") and len({gpu.model for gpu in list_gpus(node)}) > 1
    ]
    if not values:
        return None
    node, key = values[0]
    return Correction(
        id="label-comma",
        belief="A label can hold a list with commas.",
        truth="A label's value has letters, digits, `-`, `_` and `.` only, at most 63 of them; the API server refuses "
        "a comma. Join with a dash, or give each class a label of its own.",
        here=f"`{key}` of {node}, a node with several models",
        source="Kubernetes documentation, Labels and Selectors: syntax and character set",
    )


def _list_removals(now: Situation) -> list[str]:
    if not now.is_k3s:
        return []
    return [f"`{command}`" for label in now.labels for command in label.commands]


STALE_LABEL = Belief(
    id="F02",
    belief="Node labels are set when a node registers only; or: what leaves the agent's flags leaves the node.",
    truth="K3s sets every `--node-label` again at each start of the agent: added and changed labels land after a "
    "restart. A label whose flag is gone stays until it is removed by hand.",
    source="K3s, read in its source",
    separator="; ",
    where=_list_removals,
)


def _list_replicas_on_one_node(now: Situation) -> list[str]:
    if now.after.kubernetes is None:
        return []
    return [f"{service.name} on {node.name}" for service, node in now.list_gpu_services() if service.replicas > 1]


ANTI_AFFINITY = Belief(
    id="A01",
    belief="podAntiAffinity with `topologyKey: nvidia.com/gpu` spreads replicas over the GPUs of a node.",
    truth="It is accepted and does nothing, because no node has a label of that name. Replicas that ask for "
    "`nvidia.com/gpu: 1` get a GPU each anyway.",
    source="reproduced on Kubernetes 1.36",
    where=_list_replicas_on_one_node,
)


def _list_later_gpus(now: Situation) -> list[str]:
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
    belief="`CUDA_VISIBLE_DEVICES` with the host's index chooses the GPU inside a container.",
    truth="A container that asks for one GPU sees one, as number 0: `CUDA_VISIBLE_DEVICES=1` leaves it none. The "
    "device plugin chooses the GPU; with equal GPUs nothing has to be chosen.",
    source="nvidia-docker#907, nvidia-docker#262",
    where=_list_later_gpus,
)


def _list_mixed_nodes(now: Situation) -> list[str]:
    if now.after.kubernetes is None:
        return []
    return [
        node.name
        for node in now.hardware.changed
        if any(side is not None and side.homogeneous is False for side in (node.before, node.after))
    ]


NODE_SELECTOR = Belief(
    id="A11",
    belief="A node selector such as `has-<model>: true` gives a pod that GPU.",
    truth="It chooses the node. Which of its GPUs a pod with `nvidia.com/gpu: 1` gets is the device plugin's "
    "choice, whatever the models. Only equal GPUs, one model for each node, or DRA with a selector settle it.",
    source="k8s-device-plugin#133, #1169; reproduced with DRA on Kubernetes 1.36",
    where=_list_mixed_nodes,
)


def _list_services_on_all_gpus(now: Situation) -> list[str]:
    if now.after.kubernetes is None:
        return []
    return [
        f"{service.name} on {node.name}"
        for service, node in now.list_gpu_services()
        if service.replicas * (service.gpus or 0) >= len(node.gpus or ()) > 0
    ]


ROLLOUT = Belief(
    id="A02",
    belief="A Deployment updates itself without a stop.",
    truth="The default makes a new pod before it stops an old one. With no GPU to spare the new one waits for "
    "ever, and the old one never stops. Set `maxSurge: 0` and `maxUnavailable: 1`; with one replica, `Recreate`.",
    source="reproduced on Kubernetes 1.36",
    where=_list_services_on_all_gpus,
)


def _list_replicated_comfyui(now: Situation) -> list[str]:
    return [
        service.name
        for service, _ in now.list_gpu_services()
        if COMFYUI.name in service.engines and service.replicas > 1
    ]


LOAD_BALANCER = Belief(
    id="D02",
    belief="A load balancer in front of several ComfyUI shares the work out.",
    truth="Each ComfyUI has its own queue, `/history` and `/ws`: behind one address, a client asks one instance "
    "for what the other has made. Give each replica an address of its own, and let one queue send to them.",
    source="ComfyUI#8154, ComfyUI#2401",
    where=_list_replicated_comfyui,
)


def explain_capability(now: Situation) -> Correction | None:
    """Report the CUDA capability of a consumer Blackwell GPU, a new one if there is one."""
    known = {gpu.model for gpu in list_all_gpus(now.before)}
    names = {node.name for node in now.hardware.changed}
    gpus = [gpu for gpu in list_all_gpus(now.after) if gpu.node in names and write_capability(gpu) == "12.0"]
    if not gpus:
        return None
    gpu = next((gpu for gpu in gpus if gpu.model not in known), gpus[0])
    return Correction(
        id="A29",
        belief="Consumer Blackwell GPUs have CUDA capability 10.0 (`sm_100`).",
        truth=f"{gpu.title} has CUDA capability 12.0 (`sm_120`). 10.0 is the data centre's Blackwell; kernels for "
        "`sm_100` do not run here. Builds need CUDA 12.8 or newer (PyTorch 2.7 or newer).",
        here=", ".join(new_gpu.name for new_gpu in gpus),
        source=(gpu.facts.source if gpu.facts else None) or "the GPU catalogue",
    )


def split_model(now: Situation) -> Correction | None:
    """Report what a 33B model takes on each GPU of a split, on the first node that has several."""
    fits = [
        (there.node, fit) for there in now.capacity for fit in there.fits if fit.model.startswith("33b") and fit.on_each
    ]
    if not fits:
        return None
    node, fit = fits[0]
    return Correction(
        id="split-33b",
        belief="A 33B model at 4 bits needs about 16 GB on each of two GPUs.",
        truth=f"It needs {figure_text(fit.alone)} on one GPU, and {figure_text(fit.on_each)} on each GPU of an even "
        f"split over those of {node}. {_compare(fit)}",
        here=", ".join(node for node, _ in fits),
        source=origin_text(fit.alone),
    )


def _compare(fit: ModelFit) -> str:
    if Seating.NO not in (fit.before, fit.after):
        return "So it fits after the upgrade, and it did before."
    return f"Before the upgrade: {fit.before.value}. After it: {fit.after.value}."


def _list_parallel_workloads(now: Situation) -> list[str]:
    if not any(len(node.gpus or ()) > 1 for node in now.changed_nodes):
        return []
    return [workload.name for workload in now.after.workloads.values() if workload.parallel_capable]


DATA_PARALLEL = Belief(
    id="A28",
    belief="`torch.nn.DataParallel` is how to train on two GPUs.",
    truth="PyTorch recommends DistributedDataParallel, one process for each GPU, also on one machine "
    "(`accelerate launch --multi_gpu --num_processes 2`). In a container it needs more than the 64 MB of "
    "`/dev/shm` that pods have (pitfalls A26).",
    source="PyTorch documentation, torch.nn.DataParallel: warning",
    where=_list_parallel_workloads,
)


def _list_equal_pairs(now: Situation) -> list[str]:
    return [
        node.name for node in now.hardware.changed if node.after and len(node.after.gpus) > 1 and node.after.homogeneous
    ]


SINGLE_POINT = Belief(
    id="B15",
    belief="With two GPUs there is no single point of failure.",
    truth="The machine, its power supply, its driver and the server of its data remain. A GPU that falls off the "
    "bus can even keep the other from new pods until the device plugin restarts.",
    source="k8s-device-plugin#2038; its health check, read in its source",
    where=_list_equal_pairs,
)


def _list_limited_gpus(now: Situation) -> list[str]:
    return [
        gpu.name
        for node in now.changed_nodes
        for gpu in list_gpus(node)
        if gpu.power_limit_w is not None and gpu.is_nvidia
    ]


POWER_LIMIT = Belief(
    id="C01",
    belief="`nvidia-smi -pl` undervolts a GPU, once and for all.",
    truth="It limits power, and the voltage curve stays. The limit is gone after a restart or a reload of the "
    "driver, so a service has to set it at each start; without `-i` it is set on every GPU of the machine.",
    source="NVIDIA, nvidia-smi: Power Limit; nixos_config#1396",
    where=_list_limited_gpus,
)


_RULES: tuple[Callable[[Situation], Correction | None], ...] = (
    explain_capability,
    STALE_LABEL.correct,
    find_key_given_twice,
    find_value_with_comma,
    NODE_SELECTOR.correct,
    DEVICE_INDEX.correct,
    ANTI_AFFINITY.correct,
    LOAD_BALANCER.correct,
    ROLLOUT.correct,
    DATA_PARALLEL.correct,
    split_model,
    SINGLE_POINT.correct,
    POWER_LIMIT.correct,
)
"""In the order of the report."""


def find_corrections(situation: Situation) -> tuple[Correction, ...]:
    """List the corrections that the situation calls for, each once."""
    corrections = (rule(situation) for rule in _RULES)
    return tuple(correction for correction in corrections if correction is not None)
