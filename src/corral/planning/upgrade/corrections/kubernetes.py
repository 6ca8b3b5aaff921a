"""Beliefs about pods: which cards they get, how they are spread, replaced and reached."""

from __future__ import annotations

from corral.planning.upgrade.corrections.values import Belief, Situation


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
