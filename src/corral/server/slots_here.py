"""The devices and slots of this server: this machine's, and the instances that are reached by URL."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from corral.cluster.values import Cluster, EngineSettings, Instance, Node
from corral.cluster.yields import YieldTo
from corral.data_dir import ENGINES_FOLDER, KEPT_FOLDER
from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES
from corral.engines.building import Device, build, build_remote
from corral.engines.cluster_seams import ClusterSeams
from corral.engines.credentials import name_credentials
from corral.engines.environments.finding import Environments
from corral.engines.inputs import check_options
from corral.engines.local.registering import ModelShelf
from corral.engines.machine_share import name_worker_log
from corral.engines.servers.building import build_instance_server, name_log
from corral.engines.servers.directory import Directory
from corral.engines.servers.recipe import describe_run
from corral.errors import Problem, ProblemsError
from corral.operations.reloading import LocalCluster
from corral.scheduling.values import PolicyBounds, Queue
from corral.slots.values import DeviceSpec, SlotSpec, Wanted
from corral.telemetry.devices import LocalDevice, list_local_devices
from corral.telemetry.kernel_gpus import find_all_gpus
from corral.telemetry.machine import describe
from corral.work import Engine, HoldBook, SlotId

IN_POD = "KUBERNETES_SERVICE_HOST"
"""A variable that the kubelet sets in every container."""


def localize(
    cluster: Cluster,
    *,
    data_dir: Path,
    locate: Callable[[str], Path],
    holds: HoldBook | None = None,
    directory: Directory | None = None,
    seams: ClusterSeams | None = None,
    shelf: ModelShelf | None = None,
    root: Path = Path("/"),
) -> LocalCluster:
    """Look at this machine and return everything on which this server can run tasks; nothing is started.

    Without `holds` no device can be lent to programs; `directory` gets the servers that Corral runs, `seams` are
    for jobs on a cluster, and `shelf` for results that become models. `root` is where /sys is found, with the GPUs of
    AMD and Intel.

    Raises: ProblemsError when options of engines are wrong.
    """
    _check_options(cluster)
    here = find_here(cluster)
    local: tuple[LocalDevice, ...] = ()
    problems: tuple[Problem, ...] = ()
    if here is not None:
        machine = list_local_devices(here, find_all_gpus(root), describe(data_dir))
        local, problems = machine.devices, machine.problems
    devices = {device.spec.name: device.spec for device in local}
    problems += tuple(_list_misplaced(cluster, here, devices))
    log_dir = data_dir / "logs"
    makers = {
        settings.name: partial(
            build,
            settings.name,
            options=settings.options,
            locate=locate,
            log_dir=log_dir,
            holds=holds,
            environments=Environments(data_dir / ENGINES_FOLDER),
            keep=data_dir / KEPT_FOLDER,
            shelf=shelf,
        )
        for settings in _list_enabled(cluster)
        if not ENGINES[settings.name].remote and (holds is not None or ENGINES[settings.name].held is None)
    }
    slots = [
        _make_local_slot(device, cluster.engines[name], make, log_dir)
        for device in local
        for name, make in makers.items()
        if _suits(device, ENGINES[name], local)
    ]
    build_run = partial(build_instance_server, log_dir=log_dir, directory=directory or Directory())
    build_url = partial(build_remote, seams=seams)
    for settings in _list_enabled(cluster):
        for instance in settings.instances:
            if _explain_misplaced(instance, here, devices) is not None:
                continue
            device = _find_device(cluster, instance)
            device = devices.setdefault(device.name, device)
            slot = _make_instance_slot(device, settings, instance, build_run=build_run, build_url=build_url)
            log = None if instance.run is None else name_log(log_dir, settings.name, instance.name)
            slots.append(replace(slot, log=log))
    used = {slot.device for slot in slots}
    wanted = Wanted(
        devices=tuple(device for name, device in devices.items() if name in used), slots=tuple(_group_slots(slots))
    )
    return LocalCluster(cluster=cluster, wanted=wanted, problems=problems)


def find_here(cluster: Cluster, environment: Mapping[str, str] = os.environ) -> Node | None:
    """Return the node that this machine is; None in a pod of the file's Kubernetes, whose GPUs are those of others."""
    if cluster.kubernetes is not None and IN_POD in environment:
        return None
    return find_this_node(cluster.nodes, socket.gethostname())


def find_this_node(nodes: Sequence[Node], hostname: str) -> Node | None:
    """Return the node that is this machine: the one without an address, else the one with this host name."""
    for node in nodes:
        if node.address is None:
            return node
    short = hostname.split(".")[0]
    for node in nodes:
        if node.name in (hostname, short) or node.address in (hostname, short, "localhost", "127.0.0.1"):
            return node
    return None


def _list_enabled(cluster: Cluster) -> list[EngineSettings]:
    return [cluster.engines[name] for name in ENGINES if cluster.engines[name].enabled]


def _check_options(cluster: Cluster) -> None:
    problems = [
        problem
        for settings in _list_enabled(cluster)
        if settings.options
        for problem in check_options(settings.name, settings.options)
    ]
    if problems:
        raise ProblemsError(problems)


def _suits(device: LocalDevice, kind: EngineKind, devices: Sequence[LocalDevice]) -> bool:
    """Whether an engine has a slot on a device; a processor is lent only where there is no GPU to lend."""
    if kind.held is not None and device.spec.visible is None and any(other.spec.visible for other in devices):
        return False
    return device.suits(any_gpu=kind.any_gpu)


def _make_local_slot(
    device: LocalDevice, settings: EngineSettings, make: Callable[..., Engine], log_dir: Path
) -> SlotSpec:
    spec, kind = device.spec, ENGINES[settings.name]
    has_worker = kind.in_process is None and kind.held is None  # only what computes has threads that could change
    name = spec.name.partition("/")[2]
    return SlotSpec(
        id=SlotId(f"{spec.name}/{settings.name}"),
        device=spec.name,
        place=_find_place(spec, settings),
        engine=settings.name,
        exclusive=_is_exclusive(settings),
        lanes=settings.lanes,
        settings={
            "gpu": spec.visible,
            **({"threads": device.threads} if has_worker else {}),
            **_describe_options(settings),
        },
        make=partial(
            make, device=Device(name=name, gpu=spec.visible), threads=device.threads, lanes=settings.lanes or 1
        ),
        log=name_worker_log(log_dir, settings.name, name) if has_worker else None,
    )


def _make_instance_slot(
    device: DeviceSpec,
    settings: EngineSettings,
    instance: Instance,
    *,
    build_run: Callable[..., Engine],
    build_url: Callable[..., Engine],
) -> SlotSpec:
    spec = SlotSpec(
        id=SlotId(f"{device.name}/{settings.name}"),
        device=device.name,
        place=_find_place(device, settings),
        engine=settings.name,
        instance=instance.name,
        exclusive=_is_exclusive(settings) if instance.exclusive is None else instance.exclusive,
        lanes=instance.lanes or settings.lanes,
        settings={**_describe_credentials(instance), **_describe_options(settings)},
        make=partial(build_run, settings, instance, gpu=device.visible),
    )
    if instance.run is not None:
        return replace(spec, settings={"gpu": device.visible, **describe_run(instance.run), **spec.settings})
    make = partial(
        build_url,
        settings.name,
        url=instance.url or "",
        options=settings.options,
        credentials=name_credentials(instance),
    )
    return replace(spec, settings={"url": instance.url, **spec.settings}, make=make)


def _list_misplaced(cluster: Cluster, here: Node | None, devices: Collection[SlotId]) -> Iterator[Problem]:
    """List the instances whose `run` is for a place that is not here."""
    for settings in _list_enabled(cluster):
        for instance in settings.instances:
            problem = _explain_misplaced(instance, here, devices)
            if problem is not None:
                yield replace(problem, where=f"engines.{settings.name}.instances[{instance.name}]")


def _explain_misplaced(instance: Instance, here: Node | None, devices: Collection[SlotId]) -> Problem | None:
    """Explain why Corral cannot run an instance on this machine; None where it can, or does not."""
    if instance.run is None:
        return None
    if instance.node is not None and (here is None or instance.node != here.name):
        return Problem(
            code="machine.other_node",
            what=f"its `run` is for node {instance.node!r}, and this machine is "
            + (f"{here.name!r}" if here else "no node of the file"),
            hint="run it there, and give its address as `url`; or name this machine's node",
        )
    if instance.gpu is not None and SlotId(f"{instance.node}/gpu{instance.gpu}") not in devices:
        return Problem(
            code="machine.gpu_absent",
            what=f"its `run` is for {instance.node}/gpu{instance.gpu}, which was not found",
            hint="run `corral doctor` to see what the driver reports; without `gpu` it runs on the processor",
        )
    return None


def _find_place(device: DeviceSpec, settings: EngineSettings) -> SlotId:
    """Return the place of an engine's slot: of a GPU its own, of a share of a processor that of all."""
    return device.name if device.processor is None else SlotId(f"{device.name}/{settings.name}")


def _is_exclusive(settings: EngineSettings) -> bool:
    """Return whether an engine computes alone, according to the file or else to its kind."""
    return ENGINES[settings.name].exclusive if settings.exclusive is None else settings.exclusive


def _describe_credentials(instance: Instance) -> dict[str, object]:
    """Name the variables that hold an instance's secrets; the secrets are not read here."""
    headers: dict[str, object] = {f"headers.{name}": variable for name, variable in instance.headers_from.items()}
    return headers if instance.token_from is None else {"token_from": instance.token_from, **headers}


def _describe_options(settings: EngineSettings) -> dict[str, object]:
    return {f"options.{name}": value for name, value in settings.options.items()}


def _group_slots(slots: Iterable[SlotSpec]) -> Iterable[SlotSpec]:
    """Name instances where a device has several of an engine; each is a place of its own."""
    listed = list(slots)
    count = Counter(slot.id for slot in listed)
    for slot in listed:
        if count[slot.id] == 1:
            yield slot
        else:
            name = SlotId(f"{slot.id}/{slot.instance}")
            yield replace(slot, id=name, place=name)


def _find_device(cluster: Cluster, instance: Instance) -> DeviceSpec:
    """Describe what an instance computes on, by the cluster file alone."""
    if instance.node is None or instance.gpu is None:
        name = SlotId(instance.name)
        return DeviceSpec(
            name=name,
            node=instance.node or name,
            provider=name,
            model="unknown",
            memory=instance.memory,
            hours=next((node.find_hours() for node in cluster.nodes if node.name == instance.node), None),
        )
    name = SlotId(f"{instance.node}/gpu{instance.gpu}")
    node = next(node for node in cluster.nodes if node.name == instance.node)
    gpu = next((gpu for gpu in node.gpus or () if gpu.index == instance.gpu), None)
    return DeviceSpec(
        name=name,
        node=instance.node,
        provider=name,
        model=gpu.model if gpu and gpu.model else "unknown",
        memory=instance.memory or (gpu.memory if gpu else None),
        hours=node.find_hours(gpu),
    )


def make_queues(cluster: Cluster, wanted: Wanted) -> dict[str, Queue]:
    """Return the queues of the cluster file, with their pools as slots."""
    return {
        name: Queue(
            name=name,
            pool=None if queue.pool is None else _find_pool(queue.pool, wanted),
            order=queue.order,
            max_running_per_owner=queue.max_running_per_owner,
            hours=queue.hours,
        )
        for name, queue in cluster.queues.items()
    }


def _find_pool(selectors: Sequence[str], wanted: Wanted) -> frozenset[SlotId]:
    nodes = {device.name: device.node for device in wanted.devices}
    return frozenset(
        slot.id
        for slot in wanted.slots
        for selector in selectors
        if selector in (nodes[slot.device], slot.device, slot.id, f"{slot.device}/{slot.engine}")
        or _is_cpu_of(slot.device, selector)
    )


def _is_cpu_of(device: SlotId, selector: str) -> bool:
    return selector.endswith("/cpu") and device.startswith(selector)


def make_yields(cluster: Cluster) -> dict[SlotId, YieldTo]:
    """Return the programs and users that each device is given to."""
    return {
        SlotId(f"{node.name}/gpu{gpu.index}"): gpu.yield_to
        for node in cluster.nodes
        for gpu in node.gpus or ()
        if gpu.yield_to is not None
    }


def make_policy_bounds(cluster: Cluster) -> PolicyBounds:
    """Return the policy's bounds as the cluster file sets them."""
    cheap = None if cluster.electricity is None else cluster.electricity.find_cheap_hours()
    return PolicyBounds(promote_after=cluster.promote_after, model_wait=cluster.model_wait, cheap_hours=cheap)
