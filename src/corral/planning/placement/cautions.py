"""Cautions about a plan that holds: what will go wrong or surprise, by node, service and volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster, K3sRole, Layout, Service, Storage
from corral.engine_kinds import COMFYUI, OLLAMA
from corral.hardware.fit.names import TEXT_ENGINES, estimate_shape
from corral.hardware.fit.pipelines import find_pipeline
from corral.hardware.fit.serving import Serving, describe_gpu, find_obstacles, read_serving
from corral.hardware.makers import NVIDIA
from corral.planning.placement.demand import Demand, list_volumes, wants_gpu
from corral.planning.placement.eligibility import Eligibility
from corral.planning.placement.ledger import Ledger, list_unit_names
from corral.planning.placement.values import NODE_RESERVE, Caution, Machine, PlannedGpu
from corral.planning.placement.vram import Vram
from corral.rendering.nodes import WrongLabel, find_unknown_server, list_wrong_labels
from corral.units import format_bytes


def find_cautions(
    cluster: Cluster, layout: Layout | None, demands: Sequence[Demand], eligibility: Eligibility
) -> tuple[Caution, ...]:
    """List the cautions about nodes, then about services and volumes, in the order of the file."""
    ledger = eligibility.ledger
    cautions = [
        *_check_joined_server(cluster),
        *_check_nodes(cluster, demands, ledger),
        *(caution for demand in demands for caution in find_cautions_of_demand(demand, eligibility)),
        *(_check_sharing(cluster, ledger) if cluster.kubernetes is not None else ()),
        *_check_volumes(cluster, layout),
        *_check_main_memory(cluster, demands, ledger),
        *_check_servers(cluster, demands, eligibility),
    ]
    return tuple(dict.fromkeys(cautions))


def _check_joined_server(cluster: Cluster) -> Iterator[Caution]:
    server = find_unknown_server(cluster)
    if server is None:
        return
    agents = [node.name for node in cluster.nodes if node.k3s_role is K3sRole.AGENT]
    yield Caution(
        pitfall="",
        where="kubernetes.server",
        what=f"{', '.join(agents)} {'joins' if len(agents) == 1 else 'join'} {server}, and no node of the file has that"
        " address",
        hint="give the node that it is `k3sRole: server` and this `address`, or correct `kubernetes.server`",
    )


def _check_nodes(cluster: Cluster, demands: Sequence[Demand], ledger: Ledger) -> Iterator[Caution]:
    limits = _count_limits(cluster, demands, ledger)
    wrong = list_wrong_labels(cluster)
    for machine in ledger.machines.values():
        if cluster.kubernetes is not None:
            yield from _warn_of_mixed(machine)
        yield from (_warn_of_label(label) for label in wrong if label.node == machine.name)
        yield from _check_limits(machine, limits[machine.name])
        yield from _warn_of_unknown_gpus(machine)


def _warn_of_mixed(machine: Machine) -> Iterator[Caution]:
    gpus = [gpu for gpu in machine.gpus if gpu.maker in (None, NVIDIA)]
    models = Counter(gpu.model or "unknown model" for gpu in gpus)
    if len(models) < 2:
        return
    smallest = min((gpu.usable for gpu in gpus if gpu.usable is not None), default=None)
    listed = ", ".join(f"{count} x {model}" for model, count in models.items())
    room_for = "" if smallest is None else f"; only {format_bytes(smallest)} can be counted on"
    yield Caution(
        pitfall="A11",
        where=machine.name,
        what=f"the node has {listed}, and `nvidia.com/gpu` hands out any of them{room_for}",
        hint="choose the GPU with a device claim (DRA: `gpuMode`, which NVIDIA's driver cannot do on NixOS), give a"
        " service all GPUs of the node, or keep one model in a node",
    )


def _warn_of_label(label: WrongLabel) -> Caution:
    return Caution(
        pitfall="",
        where=label.node,
        what=f"its label {label.key} is {label.written!r}, and its GPUs make it "
        + ("none" if label.computed is None else repr(label.computed)),
        hint="remove it from `labels`, since it is computed, or correct `gpus`",
    )


def _count_limits(cluster: Cluster, demands: Sequence[Demand], ledger: Ledger) -> Counter[str]:
    limits = {
        demand.number: sum(cluster.services[name].memory_limit or 0 for name in demand.services) for demand in demands
    }
    sums: Counter[str] = Counter()
    for (number, node), replicas in ledger.on_node.items():
        sums[node] += limits[number] * replicas
    return sums


def _check_limits(machine: Machine, limits: int) -> Iterator[Caution]:
    if machine.memory is None:
        return
    if limits <= machine.memory:
        return
    yield Caution(
        pitfall="A25",
        where=machine.name,
        what=f"the memory limits there add up to {format_bytes(limits)}, and {format_bytes(machine.memory)} are left of"
        f" {format_bytes(machine.memory + NODE_RESERVE)} for services",
        hint="lower the limits, or move a service: nothing checks limits when services start",
    )


_UNIFIED_HINT = "give the node's `memory`, which the GPU shares, or its part of that as the GPU's `memory`"


def _warn_of_unknown_gpus(machine: Machine) -> Iterator[Caution]:
    if not machine.described:
        yield Caution(
            pitfall="",
            where=machine.name,
            what="the file does not say which GPUs the node has, so nothing is planned on them",
            hint="run `corral inventory` there; it writes the node's section",
        )
    for gpu in machine.gpus:
        if gpu.usable is None:
            yield Caution(
                pitfall="",
                where=gpu.name,
                what="the VRAM of the GPU is unknown, so nothing is checked against it",
                hint=_UNIFIED_HINT
                if gpu.is_unified
                else "name its `model`, or give its `memory`; `corral inventory` reads both",
            )


def _check_sharing(cluster: Cluster, ledger: Ledger) -> Iterator[Caution]:
    """Warn of GPUs that Kubernetes would not share as the plan does."""
    for key, gpu in ledger.gpus.items():
        tenants = ledger.tenants.get(key, [])
        if len(tenants) > 1:
            yield Caution(
                pitfall="A14",
                where=gpu.name,
                what=f"{list_unit_names(tenants)} share the GPU, and nothing holds each to what it declares: one that"
                " takes more makes the others fail",
                hint="set limits with MPS, HAMi or a device claim (DRA) with a capacity, or give one its own GPU",
            )
        for demand, _ in tenants:
            users = [name for name in demand.services if wants_gpu(cluster.services[name])]
            if len(users) > 1:
                yield Caution(
                    pitfall="A08",
                    where=demand.name,
                    what=f"{' and '.join(users)} use one GPU from one pod, and `nvidia.com/gpu: 1` gives it to one"
                    " container alone",
                    hint="let both containers name one device claim (DRA), as `corral render` does unless `gpuMode`"
                    " says otherwise; or run them in pods of their own",
                )


def _check_volumes(cluster: Cluster, layout: Layout | None) -> Iterator[Caution]:
    """Warn of volumes that cannot hold the models of the services that use them."""
    users: dict[str, list[Service]] = {}
    for service in cluster.services.values():
        for name in list_volumes(service, layout):
            users.setdefault(name, []).append(service)
    for volume in cluster.storage.values():
        if volume.size is not None and volume.name in users:
            yield from _warn_of_small_volume(volume, volume.size, users[volume.name])


def _warn_of_small_volume(volume: Storage, size: int, users: Sequence[Service]) -> Iterator[Caution]:
    names = dict.fromkeys(model for user in users if TEXT_ENGINES.intersection(user.engines) for model in user.models)
    shapes = {name: shape for name in names if (shape := estimate_shape(name, engine=OLLAMA.name)) is not None}
    needed = sum(shape.weights for shape in shapes.values())
    if needed > size:
        yield Caution(
            pitfall="E09",
            where=volume.name,
            what=f"the weights of {', '.join(shapes)} take {format_bytes(needed)} on disk, and the volume has"
            f" {format_bytes(size)}",
            hint="enlarge the volume, or keep fewer models",
        )


def _check_main_memory(cluster: Cluster, demands: Sequence[Demand], ledger: Ledger) -> Iterator[Caution]:
    """Warn of image and video models whose parts have no room in main memory between their turns on the GPU."""
    for demand in demands:
        least = min(_list_memories(demand, ledger), default=None)
        for service in (cluster.services[name] for name in demand.services):
            has = service.memory_limit or least
            if COMFYUI.name in service.engines and has is not None:
                yield from _warn_of_short_memory(service, has)


def _list_memories(demand: Demand, ledger: Ledger) -> Iterator[int]:
    """List the main memory of the nodes on which a demand is placed, as far as it is known."""
    for replica in range(demand.replicas):
        location = ledger.locations.get((demand.number, replica))
        memory = ledger.machines[location[0]].memory if location and location[0] else None
        if memory is not None:
            yield memory


def _warn_of_short_memory(service: Service, has: int) -> Iterator[Caution]:
    for model in service.models:
        pipeline = find_pipeline(model)
        if pipeline is not None and pipeline.main_memory.value > has:
            needed = format_bytes(round(pipeline.main_memory.value))
            yield Caution(
                pitfall="",
                where=f"{service.name}: {model}",
                what=f"its parts take turns on the GPU and {needed} of main memory between them, and it has"
                f" {format_bytes(has)}: parts are read from disk again at each turn, or the program is killed",
                hint="raise the service's memory limit, add memory to the node, or choose a smaller precision",
            )


def find_cautions_of_demand(demand: Demand, eligibility: Eligibility) -> Iterator[Caution]:
    """List what is wrong with a service or pod, wherever it is."""
    if demand.vram is not None:
        yield from _warn_of_unknown_needs(demand)
        yield from _check_sizes(demand, eligibility)
        yield from _check_counts(demand, eligibility)
    yield from _bound_by_volume(demand)


def _check_servers(cluster: Cluster, demands: Sequence[Demand], eligibility: Eligibility) -> Iterator[Caution]:
    """Warn of vLLM and SGLang that are certain to end at their start on the GPUs that they have."""
    for demand in demands:
        for service in (cluster.services[name] for name in demand.services):
            serving = read_serving(service.image, " ".join(service.command))
            if serving is not None and demand.vram is not None:
                yield from _warn_of_server(service.name, serving, _list_gpus(demand, eligibility))


def _warn_of_server(name: str, serving: Serving, gpus: Sequence[PlannedGpu]) -> Iterator[Caution]:
    for obstacle in find_obstacles(serving, [describe_gpu(gpu.model, gpu.memory, name=gpu.name) for gpu in gpus]):
        yield Caution(
            pitfall="B16",
            where=name,
            what=f"{serving.server} would not start with {serving.model}: {obstacle}",
            hint="change its settings, choose a quantization that its GPUs run, or give it others",
        )


def _warn_of_unknown_needs(demand: Demand) -> Iterator[Caution]:
    assert demand.vram is not None
    if demand.vram.figure is None and all(model.bytes is None for model in demand.vram.models):
        yield Caution(
            pitfall="",
            where=demand.name,
            what="what it needs in VRAM is unknown, so it has its GPU alone and nothing is checked",
            hint="give its `gpuMemory`, or its `models`",
        )
        return
    unknown = [model.model for model in demand.vram.models if model.bytes is None and demand.vram.is_open]
    if unknown:
        yield Caution(
            pitfall="",
            where=demand.name,
            what=f"what {', '.join(unknown)} need in VRAM is unknown",
            hint="name the models with their size, or run `corral fit` on them",
        )


def _check_sizes(demand: Demand, eligibility: Eligibility) -> Iterator[Caution]:
    if demand.vram is None or not demand.vram.models:
        return
    gpus = [gpu for gpu in _list_gpus(demand, eligibility) if gpu.usable is not None]
    if gpus:
        best = max(gpus, key=lambda gpu: gpu.usable or 0)
        yield from _warn_of_large_models(demand, demand.vram, best, eligibility.ledger.machines[best.node].memory)
        yield from _warn_of_turns(demand, demand.vram, best)


def _warn_of_large_models(demand: Demand, vram: Vram, best: PlannedGpu, main_memory: int | None) -> Iterator[Caution]:
    for model in vram.models:
        ledger = _count_left(vram, best) if model.within is None else model.within
        if model.bytes is None or model.bytes <= ledger:
            continue
        has = (
            f"{format_bytes(ledger)} are usable on {_name_where(vram, best)}"
            if model.within is None
            else f"`gpuMemory` of {model.service} is {format_bytes(ledger)}"
        )
        rest = "what does not fit is computed by the processor, many times slower"
        if best.is_unified:
            rest = "the processor has no other memory for the rest"
        elif find_pipeline(model.model) is not None:
            rest = "its blocks take turns on the GPU and wait in main memory, slower"
        elif main_memory is not None and model.bytes - ledger > main_memory:
            lack = f"the rest is more than the {format_bytes(main_memory)} of main memory"
            rest = f"{lack}: it is refused, or read from disk for each token"
        yield Caution(
            pitfall="B08",
            where=f"{demand.name}: {model.model}",
            what=f"the model needs {format_bytes(model.bytes)}, and {has}: {rest}",
            hint=f"choose a smaller quantization (`corral fit {model.model}` lists what fits), or a larger GPU",
        )


def _warn_of_turns(demand: Demand, vram: Vram, best: PlannedGpu) -> Iterator[Caution]:
    counted = [model.bytes for model in vram.models if model.bytes is not None and model.within is None]
    if vram.swaps and len(counted) > 1:
        yield Caution(
            pitfall="B10",
            where=demand.name,
            what=f"its {len(counted)} models need {format_bytes(sum(counted))} together, and"
            f" {format_bytes(_count_left(vram, best))} are usable on {_name_where(vram, best)}: they take turns, each"
            " unloaded before the next is loaded",
            hint="keep one model loaded at a time (OLLAMA_MAX_LOADED_MODELS=1), or give a model its own GPU",
        )


def _count_left(vram: Vram, gpu: PlannedGpu) -> int:
    return (gpu.usable or 0) - vram.declared


def _name_where(vram: Vram, gpu: PlannedGpu) -> str:
    others = f" next to {format_bytes(vram.declared)} for the rest of the pod" if vram.declared else ""
    return f"{gpu.name} ({gpu.model or 'unknown model'}){others}"


def _list_gpus(demand: Demand, eligibility: Eligibility) -> Sequence[PlannedGpu]:
    """Return the GPUs it has, or those it could have."""
    locations = [eligibility.ledger.locations.get((demand.number, replica)) for replica in range(demand.replicas)]
    gpus = [
        eligibility.ledger.gpus[location[0], index]
        for location in locations
        if location and location[0]
        for index in location[1]
    ]
    return gpus or eligibility.allowed(demand)


def _check_counts(demand: Demand, eligibility: Eligibility) -> Iterator[Caution]:
    gpus, most = len(eligibility.allowed(demand)), eligibility.most_on_a_node(demand)
    wanted = demand.replicas * demand.gpus
    if demand.whole and 0 < most < demand.gpus:
        yield Caution(
            pitfall="A06",
            where=demand.name,
            what=f"a replica wants {demand.gpus} GPUs, and no node that it can run on has more than {most}: it would"
            " wait for ever",
            hint="ask for fewer GPUs per replica",
        )
    elif demand.whole and wanted > gpus and (demand.bonds or demand.indexes):
        yield Caution(
            pitfall="A07",
            where=demand.name,
            what=_explain_too_few(demand, wanted, gpus),
            hint="lower `replicas`, or name more GPUs or another node" if gpus else "name a node that has GPUs",
        )


def _explain_too_few(demand: Demand, wanted: int, gpus: int) -> str:
    need = "a GPU" if demand.gpus == 1 else f"{demand.gpus} GPUs"
    if not gpus:
        return f"it wants {need}, and there is none where it can run: it would wait for ever"
    return (
        f"{demand.replicas} replicas with {need} each want {wanted}, and where they can run there"
        f" {'is one' if gpus == 1 else f'are {gpus}'}: the rest would wait for ever"
    )


def _bound_by_volume(demand: Demand) -> Iterator[Caution]:
    for bond in demand.bonds:
        if bond.volume is None:
            continue
        named = any(other.volume is None and other.node == bond.node for other in demand.bonds)
        if not named:
            yield Caution(
                pitfall="E01",
                where=demand.name,
                what=f"only its volume {bond.volume} decides where it runs: that is on {bond.node} and keeps it there",
                hint=f"write `node: {bond.node}`, or use a volume that every node reaches",
            )
        if demand.replicas > 1 and not named:
            yield Caution(
                pitfall="E03",
                where=demand.name,
                what=f"its {demand.replicas} replicas share the local volume {bond.volume}, so all of them stay on"
                f" {bond.node}",
                hint="use an nfs volume, or a volume for each node",
            )
