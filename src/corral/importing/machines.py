"""The machines that an input names, and the models of their GPUs: by labels, names of nodes, and what a person says.

A model that nothing names stays open; none is guessed from the memory that a service asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from corral.cluster.values import K3sRole
from corral.hardware.catalogue import resolve_gpu
from corral.importing.understanding import Account
from corral.importing.values import ImportedGpu, ImportedService, ImportedVolume, Machine
from corral.linting.manifests import GPU_RESOURCE, Manifest
from corral.linting.tree import Tree, parse_count
from corral.units import Bytes, UnitError, parse_bytes

PRODUCT = "nvidia.com/gpu.product"
"""NVIDIA's feature discovery: the driver's name of the GPUs, with dashes for blanks."""
UNNAMED = "local"
"""The machine of an input that names none."""
_COUNT = "nvidia.com/gpu.count"
_CLASS, _OWN_COUNT = "/gpu-class", "/gpu-count"
"""Endings of the labels of Corral, and of installations with the same conventions."""
_SHARED = re.compile(r"-SHARED$")
_CLASS_SPELLING = re.compile(
    r"(?:(?P<series>rtx|gtx|rx)[ _-]?)?(?P<number>\d{4})[ _-]?(?P<rest>ti|super|ti[ _-]?super|xtx|xt)?"
)
_IN_A_NAME = re.compile(r"(?:^|[-_.])" + _CLASS_SPELLING.pattern + r"(?:$|[-_.])", re.IGNORECASE)
_SERVER_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_OF_THE_SYSTEM = re.compile(
    r"^(?:beta\.)?kubernetes\.io/|^node(?:\.beta)?\.kubernetes\.io/|^node-role\.kubernetes\.io/|^k3s\.io/|^p2p\.k3s"
    r"|^egress\.k3s|^nvidia\.com/|^feature\.node\.kubernetes\.io/"
)
"""Labels that a kubelet, K3s or NVIDIA's feature discovery set by themselves."""


def read_model(text: str) -> str | None:
    """Read a model from a label or a name: the catalogue's name, where it is one model only."""
    model = resolve_gpu(_SHARED.sub("", text).replace("-", " ").replace("_", " "))
    return model.name if model else None


def read_class(text: str) -> str | None:
    """Read a class such as `5070ti` or `rtx4090`, as labels have it."""
    match = _CLASS_SPELLING.fullmatch(text.lower())
    if match is None:
        return None
    words = [match["number"], *(re.sub(r"[ _-]", " ", match["rest"]).split() if match["rest"] else [])]
    for series in [match["series"]] if match["series"] else ("rtx", "gtx", "rx"):
        model = read_model(" ".join([series, *words]))
        if model is not None:
            return model
    return None


def read_node(manifest: Manifest, account: Account) -> Machine:
    """Read a Node object."""
    tree = manifest.tree
    labels = {name: account.read(value) or "" for name, value in tree["metadata"]["labels"].items}
    status, info = tree["status"], tree["status"]["nodeInfo"]
    account.take(status, tree["metadata"]["annotations"], tree["spec"]["podCIDR"], tree["spec"]["podCIDRs"])
    account.take(tree["spec"]["providerID"])
    is_k3s = "+k3s" in (info["kubeletVersion"].raw or "")
    is_server = any(label in labels for label in _SERVER_LABELS)
    address = next(
        (entry["address"].raw for entry in status["addresses"].entries if entry["type"].raw == "InternalIP"), None
    )
    gpus, source = read_gpus_of_labels(labels, _read_count(status["capacity"][GPU_RESOURCE]))
    return Machine(
        name=manifest.name or "?",
        gpus=gpus,
        source=source,
        address=address,
        os=_read_system(info["osImage"].raw),
        memory=read_quantity(status["capacity"]["memory"].raw),
        k3s_role=(K3sRole.SERVER if is_server else K3sRole.AGENT) if is_k3s else None,
        labels={name: value for name, value in sorted(labels.items()) if not _OF_THE_SYSTEM.match(name)},
    )


def read_gpus_of_labels(labels: Mapping[str, str], offered: int | None) -> tuple[tuple[ImportedGpu, ...], str | None]:
    """Read the GPUs of a node: as many as a label or the device plugin says, of the model that a label names."""
    counts = [parse_count(value) for name, value in labels.items() if name == _COUNT or name.endswith(_OWN_COUNT)]
    count = next((count for count in (*counts, offered) if count is not None), None)
    models = {
        name: model
        for name, value in labels.items()
        if (model := read_model(value) if name == PRODUCT else read_class(value) if name.endswith(_CLASS) else None)
    }
    name, model = next(iter(models.items()), (None, None))
    number = count if count is not None else int(model is not None)
    return tuple(ImportedGpu(index=index, model=model) for index in range(number)), name and f"the label {name}"


def read_quantity(text: str | None) -> Bytes | None:
    """Read an amount of memory in the notation of Kubernetes; None for none that is known."""
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except UnitError:
        return None


def complete_machines(
    machines: Sequence[Machine],
    services: Sequence[ImportedService],
    volumes: Iterable[ImportedVolume],
    models: Mapping[str, Sequence[str]],
    *,
    named: str | None,
) -> tuple[Machine, ...]:
    """Add the machines that only services, volumes or a person name, and the GPUs that are asked for there.

    `models` are the GPUs that a person names, by machine, in the order of their index; `named` is the machine of an
    input that names none, if the person did.
    """
    known = {machine.name: machine for machine in machines}
    names = [*(service.node for service in services), *(volume.node for volume in volumes), *models]
    for name in dict.fromkeys(name for name in names if name is not None):
        known.setdefault(name, Machine(name=name, is_assumed=name == UNNAMED))
    if not known:
        name = named or UNNAMED
        known[name] = Machine(name=name, is_assumed=named is None)
    alone = next(iter(known)) if len(known) == 1 else None
    return tuple(_complete(machine, services, models, is_alone=machine.name == alone) for machine in known.values())


def _complete(
    machine: Machine, services: Sequence[ImportedService], models: Mapping[str, Sequence[str]], *, is_alone: bool
) -> Machine:
    if machine.name in models:
        gpus = tuple(ImportedGpu(index=index, model=model) for index, model in enumerate(models[machine.name]))
        return replace(machine, gpus=gpus, source="--gpu")
    here = [service for service in services if service.node == machine.name or (service.node is None and is_alone)]
    gpus = machine.gpus or tuple(_list_asked(here))
    if not gpus and any(service.every_gpu for service in here):
        return replace(machine, gpus=None)
    model = next((service.gpu_model for service in here if service.gpu_model), None)
    source = "a node selector"
    if model is None:
        model, source = _read_name(machine.name), "the machine's name"
    if not gpus or any(gpu.model for gpu in gpus) or model is None:
        return replace(machine, gpus=gpus)
    return replace(machine, gpus=tuple(replace(gpu, model=model) for gpu in gpus), source=source)


def _read_name(name: str) -> str | None:
    match = _IN_A_NAME.search(name)
    return read_class(match[0].strip("-_.")) if match else None


def _list_asked(services: Sequence[ImportedService]) -> Iterator[ImportedGpu]:
    """List the GPUs that services are given by name, else as many as they ask for at the same time."""
    ids = dict.fromkeys(id for service in services for id in service.gpu_ids)
    indexes = [int(id) for id in ids if id.isdecimal()]
    uuids = [id for id in ids if not id.isdecimal()]
    least = max((service.gpus for service in services), default=0)
    together = sum(service.gpus * service.replicas for service in services if not (service.is_job or service.gpu_ids))
    number = max(least, together, len(uuids), max(indexes, default=-1) + 1)
    for index in range(number):
        yield ImportedGpu(index=index, uuid=uuids[index] if index < len(uuids) and not indexes else None)


def _read_system(image: str | None) -> str | None:
    """Read a system as `ID` of /etc/os-release has it, from its pretty name."""
    words = (image or "").split()
    return None if not words else "pop-os" if words[0].startswith("Pop!") else words[0].lower()


def _read_count(tree: Tree) -> int | None:
    return parse_count(tree.raw or "")
