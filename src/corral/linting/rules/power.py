"""Power limits, and what objects ask for together compared with what the machines have."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from corral.hardware.makers import NVIDIA, RESOURCES, find_resource
from corral.linting.corpus import Corpus, Text
from corral.linting.manifests import GPU_RESOURCE, Pod
from corral.linting.nix import Binding
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.values import Position
from corral.units import UnitError, format_bytes, parse_bytes

_LIMIT = re.compile(
    r"nvidia-smi\b(?P<before>[^\n`|;&]{0,300}?)(?:-pl|--power-limit)[= ]+(?P<watts>\d{2,4})\b"
    r"(?P<after>[^\n`|;&]{0,300})"
)
_CODE = frozenset({"nix", "sh", "bash", "shell", "console", "zsh"})
_AT_START = re.compile(r"systemd|oneshot|ExecStart|@reboot|rc\.local|udev")
"""What sets a limit again after a reboot."""
_OTHER_RESOURCES = frozenset(
    resource for maker, resources in RESOURCES.items() if maker != NVIDIA for resource in resources
)
_ONE_CARD = re.compile(r"(?:^|\s)(?:-i|--id)[= ]")


def _list_limits(corpus: Corpus) -> Iterator[tuple[Text | None, Position, re.Match[str], object]]:
    """Every command that sets a limit: in texts, and in the commands of containers."""
    for text in corpus.texts:
        for match in _LIMIT.finditer(text.text) if text.language in _CODE else ():
            yield text, text.locate(match.start()), match, ""
    for container in corpus.containers:
        for key in ("command", "args"):
            for word in container.tree[key].entries:
                for match in _LIMIT.finditer(word.raw or ""):
                    yield None, word.place, match, container.pod.owner


@checks("C01")
def check_limits_persist(corpus: Corpus) -> Iterator[Violation]:
    """Look for the command outside of units."""
    for text, place, match, subject in _list_limits(corpus):
        if text is not None and _AT_START.search(corpus.sources[text.file]):
            continue
        yield Violation(
            place=place, what=f"a limit of {match['watts']} W that is lost at the next reboot", subject=subject
        )


@checks("C02")
def check_limit_range(corpus: Corpus) -> Iterator[Violation]:
    """Look for limits far above what any GPU of the cluster file is made for."""
    powers = [model.tdp_w for model in corpus.gpu_models]
    if not powers or None in powers:
        return
    most = max(power or 0 for power in powers)
    for _, place, match, subject in _list_limits(corpus):
        if int(match["watts"]) > most * _HEADROOM:
            what = f"{match['watts']} W is above the design power of every GPU here ({most} W)"
            yield Violation(place=place, what=what, subject=subject)


_HEADROOM = 1.34
"""The highest limit that a maker allows over the design power: 600 W on GPUs of 450 W."""


@checks("C03")
def check_limits_name_gpu(corpus: Corpus) -> Iterator[Violation]:
    """Look for commands that name no GPU."""
    for _, place, match, subject in _list_limits(corpus):
        if not _ONE_CARD.search(match["before"]) and not _ONE_CARD.search(match["after"]):
            yield Violation(place=place, what=f"{match['watts']} W for every GPU of the machine", subject=subject)


@checks("C06", of_files=True)
def check_persistence_mode(corpus: Corpus) -> Iterator[Violation]:
    """Look for units that set a limit and name neither the daemon nor the persistence mode."""
    for text, module in corpus.modules:
        for match in _LIMIT.finditer(text.text):
            unit = _find_unit(module.bindings, match)
            if unit is not None and not _PERSISTENT.search(unit):
                what = f"a limit of {match['watts']} W that does not wait for nvidia-persistenced"
                yield Violation(place=text.locate(match.start()), what=what)


_PERSISTENT = re.compile(r"nvidia-persistenced|nvidia-smi\b[^\n]*(?:-pm|--persistence-mode)[= ]+(?:1|ENABLED)\b")


def _find_unit(bindings: Sequence[Binding], match: re.Match[str]) -> str | None:
    """Find the text of the unit that has a command; None when it is not in a unit."""
    names = [
        ".".join(binding.path.split(".")[:3])
        for binding in bindings
        if binding.path.startswith("systemd.services.")
        and binding.value_offset <= match.start() < binding.value_offset + len(binding.source)
    ]
    if not names:
        return None
    return "\n".join(binding.source for binding in bindings if f"{binding.path}.".startswith(f"{names[0]}."))


_STAYS = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "Pod"})


def _group_by_node(corpus: Corpus) -> Iterator[tuple[str, list[Pod]]]:
    """Pods by the node that their selector names."""
    nodes: dict[str, list[Pod]] = defaultdict(list)
    for pod in corpus.deployed_pods:
        node = pod.spec["nodeSelector"][HOSTNAME].raw
        if node is not None and pod.owner.kind in _STAYS:
            nodes[node].append(pod)
    yield from nodes.items()


@checks("A07")
def check_pinned_gpus(corpus: Corpus) -> Iterator[Violation]:
    """Look for nodes of the cluster file that have fewer GPUs than is pinned to them."""
    cards = {
        node.name: corpus.count_nvidia_gpus(node)
        for node in (corpus.cluster.nodes if corpus.cluster else ())
        if node.gpus is not None
    }
    for node, pods in _group_by_node(corpus) if not corpus.shares_gpus else ():
        asked = sum(pod.gpus * pod.owner.replicas for pod in pods)
        if node in cards and asked > cards[node]:
            last = [pod for pod in pods if pod.gpus][-1]
            place = last.spec["nodeSelector"][HOSTNAME].place
            what = f"{asked} {GPU_RESOURCE} are pinned to {node}, which has {cards[node]}"
            yield Violation(place=place, what=what, subject=last.owner)
    yield from _check_other_makers(corpus)


def _check_other_makers(corpus: Corpus) -> Iterator[Violation]:
    """Look for resources of AMD and Intel on nodes whose GPUs are of another maker, or of another driver."""
    nodes = {node.name: node for node in (corpus.cluster.nodes if corpus.cluster else ()) if node.gpus is not None}
    for name, pods in _group_by_node(corpus):
        for pod in pods if name in nodes else ():
            resources = {find_resource((gpu,)) for gpu in nodes[name].gpus or ()}
            for container in pod.containers:
                limits = container.tree["resources"]["limits"]
                for resource in _OTHER_RESOURCES - resources:
                    if limits[resource].count:
                        what = f"{resource} is asked for on {name}, whose GPUs are not given out by it"
                        yield Violation(place=limits[resource].place, what=what, subject=pod.owner)


@checks("A25")
def check_memory_limits(corpus: Corpus) -> Iterator[Violation]:
    """Look for limits that are over the memory of the node they are pinned to, alone or together."""
    memory = {node.name: node.memory for node in (corpus.cluster.nodes if corpus.cluster else ())}
    for node, pods in _group_by_node(corpus):
        has = memory.get(node)
        total = 0
        for pod in pods:
            for container in pod.containers:
                limit = container.tree["resources"]["limits"]["memory"]
                size = _parse_size(limit.raw)
                total += size * pod.owner.replicas if not container.is_init else 0
                if has is not None and size and total > has:
                    what = f"limits of {format_bytes(total)} on {node}, which has {format_bytes(has)}"
                    yield Violation(place=limit.place, what=what, subject=pod.owner)
                    has = None  # once for each node


def _parse_size(raw: str | None) -> int:
    try:
        return parse_bytes(raw) if raw else 0
    except UnitError:
        return 0
