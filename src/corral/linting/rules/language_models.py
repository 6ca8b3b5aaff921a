"""Language models that are routed to GPUs that cannot hold them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from corral.cluster.values import Cluster, Node
from corral.engine_kinds import OLLAMA
from corral.hardware.fit.names import estimate_need, estimate_shape
from corral.hardware.fit.serving import LEAST_USUAL_SHARE_OF_VLLM
from corral.linting.compose.merging import split_command
from corral.linting.compose.projects import Project
from corral.linting.compose.services import ComposeService
from corral.linting.corpus import Corpus
from corral.linting.kustomizing import split_image
from corral.linting.manifests import Pod
from corral.linting.programs import Program, read_service
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.linting.tree import Tree
from corral.linting.values import Severity
from corral.units import UnitError, format_bytes, parse_bytes

_OLLAMA = re.compile(r"^ollama(?:_chat)?/(?P<model>.+)$")
_PULL = re.compile(r"\bollama\s+(?:pull|run)\s+(?P<model>[\w./:-]+)")


@checks("B08")
def check_model_size(corpus: Corpus) -> Iterator[Violation]:
    """Look for routes of LiteLLM and pulls of containers, where the cluster file says what the GPUs have."""
    if corpus.cluster is None:
        return
    for tree, model, node in _list_models(corpus, corpus.cluster):
        need = estimate_need(OLLAMA.name, model)
        has = sum_memory(node) if node else max((sum_memory(node) or 0 for node in corpus.cluster.nodes), default=0)
        if need is None or not has:
            continue
        size = need.divide(1)
        if size > has:
            where = f"the GPUs of {node.name} have" if node else "the largest machine's GPUs have"
            what = f"{model} needs about {format_bytes(size)}, and {where} {format_bytes(has)}"
            yield Violation(place=tree.place, what=what)


@checks("B09")
def check_overcommitted_memory(corpus: Corpus) -> Iterator[Violation]:
    """Look for nodes of the cluster file with shared GPUs whose pods are known to need more than all of them have."""
    memory = {node.name: sum_memory(node) for node in (corpus.cluster.nodes if corpus.cluster else ())}
    needed: dict[str, int] = defaultdict(int)
    for pod in corpus.deployed_pods if corpus.shares_gpus else ():
        node = pod.spec["nodeSelector"][HOSTNAME].raw or ""
        need = _estimate_need(pod) * pod.owner.replicas
        before, needed[node] = needed[node], needed[node] + need
        if need and memory.get(node) and before <= memory[node] < needed[node]:
            what = f"pods on {node} need about {format_bytes(needed[node])}, its GPUs have {format_bytes(memory[node])}"
            yield Violation(place=pod.spec["nodeSelector"][HOSTNAME].place, what=what, subject=pod.owner)


def _estimate_need(pod: Pod) -> int:
    """VRAM of the largest model that a pod pulls, or what its annotation says; 0 when neither is known."""
    said = pod.template["metadata"]["annotations"]["gpu-memory"].count
    if said is not None:
        return said * 2**20
    needs = [estimate_need(OLLAMA.name, model) for _, model in list_pulls(pod)]
    return max((need.divide(1) for need in needs if need), default=0)


@checks("E09")
def check_claim_size(corpus: Corpus) -> Iterator[Violation]:
    """Look for Ollama's claims that do not hold what its pods pull."""
    for pod in corpus.pods:
        pulled = dict.fromkeys(model for _, model in list_pulls(pod))
        shapes = [estimate_shape(model, engine=OLLAMA.name) for model in pulled]
        total = sum(shape.weights for shape in shapes if shape)
        for volume in pod.spec["volumes"].entries if total else ():
            name = volume["persistentVolumeClaim"]["claimName"]
            claim = corpus.find_named("PersistentVolumeClaim", pod.owner.namespace, name.raw)
            asked = claim.tree.follow("spec", "resources", "requests", "storage") if claim else None
            size = _parse_size(asked.raw) if asked else 0
            if asked is not None and 0 < size < total and _is_ollamas(pod, volume["name"].raw):
                what = f"{format_bytes(size)} for models of about {format_bytes(total)} ({', '.join(pulled)})"
                yield Violation(place=asked.place, what=what, subject=claim)


def _is_ollamas(pod: Pod, volume: str | None) -> bool:
    """Return whether a volume is mounted where Ollama keeps its models."""
    return any(
        mount["name"].raw == volume and ".ollama" in (mount["mountPath"].raw or "")
        for container in pod.containers
        for mount in container.tree["volumeMounts"].entries
    )


def _parse_size(raw: str | None) -> int:
    try:
        return parse_bytes(raw) if raw else 0
    except UnitError:
        return 0


def list_pulls(pod: Pod) -> Iterator[tuple[Tree, str]]:
    """Every `ollama pull` of a pod's commands and hooks, with the model."""
    for container in pod.containers:
        hook = container.tree["lifecycle"]["postStart"]["exec"]["command"]
        for word in (*container.tree["command"].entries, *container.tree["args"].entries, *hook.entries):
            for match in _PULL.finditer(word.script or ""):
                yield word, match["model"]


def list_project_pulls(project: Project) -> Iterator[tuple[Tree, str]]:
    """Every `ollama pull` of a project's commands and hooks, with the model; a service often pulls for another."""
    for service in project.services:
        hooks = [split_command(hook["command"]) for hook in service.tree["post_start"].entries]
        for words in (service.words, *(hook.entries for hook in hooks)):
            for match in _PULL.finditer(" ".join(word.script or "" for word in words)):
                model = match["model"]
                yield next((word for word in words if model in (word.script or "")), words[0]), model


_ADDS_PATH = re.compile(r"^ollama(?:_chat)?/")
_OPENAI = re.compile(r"^(?:openai|hosted_vllm|text-completion-openai)/")
_OLLAMA_PORT = 11434


@checks("D13", of_files=True)
def check_route_addresses(corpus: Corpus) -> Iterator[Violation]:
    """Look for routes to Ollama's own API with /v1 or /api, and for routes to OpenAI's without a path."""
    for spot in corpus.find_under("model_list"):
        for entry in spot.tree.entries:
            parameters = entry["litellm_params"]
            model, base = parameters["model"].raw or "", parameters["api_base"]
            url = base.raw or ""
            if not url.startswith(("http://", "https://")):
                continue
            path = _read_path(url)
            if _ADDS_PATH.match(model) and path.endswith(("/v1", "/api")):
                what = f"{model} at {url}: LiteLLM adds /api itself, and asks for {path}/api"
                yield Violation(place=base.place, what=what, subject=spot.subject)
            elif _OPENAI.match(model) and not path:
                is_ollama = f":{_OLLAMA_PORT}" in url
                what = f"{model} at {url} has no path: most servers answer below /v1"
                known = None if is_ollama else Severity.WARNING  # some answer without it, too
                yield Violation(place=base.place, what=what, subject=spot.subject, severity=known)


def _read_path(url: str) -> str:
    try:
        return urlsplit(url).path.rstrip("/")
    except ValueError:  # a bracket that is never closed
        return "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """The part of a GPU that a vLLM takes at its start."""

    program: Program
    part: float
    place: Tree


_VLLM = re.compile(r"(?:^|/)vllm")
_SHARE_FLAG = re.compile(r"--gpu-memory-utilization[= ](?P<share>[\d.]+)")


@checks("B14", of_files=True)
def check_shares(corpus: Corpus) -> Iterator[Violation]:
    """Look for vLLM services of a project on one GPU whose shares are together more than the GPU."""
    for project in corpus.projects:
        shares: dict[str, list[_Share]] = defaultdict(list)
        for service in project.services:
            for gpu in _list_gpu_names(service):
                share = _read_share(read_service(service))
                if share is not None and not service.is_optional:
                    shares[gpu].append(share)
        for gpu, group in shares.items():
            total = sum(share.part for share in group)
            if len(group) > 1 and total > 1:
                parts = " + ".join(f"{share.part:g}" for share in group)
                names = " and ".join(share.program.title for share in group)
                what = f"{names} take {parts} = {total:g} of GPU {gpu}: the last to start finds too little"
                yield Violation(place=group[-1].place.place, what=what, subject=group[-1].program.subject)


def _list_gpu_names(service: ComposeService) -> tuple[str, ...]:
    """List the GPUs of a service by what it is known by: the first ones by number where they are counted."""
    access = service.gpus
    if access is None:
        return ()
    return access.ids or tuple(str(number) for number in range(access.count or 0))


def _read_share(program: Program) -> _Share | None:
    """Read the share of a vLLM; None for other programs."""
    is_vllm = _VLLM.search(split_image(program.image or "")[0]) or "vllm serve" in program.script
    if not is_vllm:
        return None
    match = _SHARE_FLAG.search(program.script)
    place = next((word for word in program.words if "gpu-memory-utilization" in (word.raw or "")), None)
    try:
        part = float(match["share"]) if match else LEAST_USUAL_SHARE_OF_VLLM
    except ValueError:
        return None
    return _Share(program=program, part=part, place=place or program.tree["image"] or program.tree)


def _list_models(corpus: Corpus, cluster: Cluster) -> Iterator[tuple[Tree, str, Node | None]]:
    """Each model with the node that its address leads to; None when the files do not say."""
    for spot in corpus.find_under("model_list"):
        for entry in spot.tree.entries:
            parameters = entry["litellm_params"]
            match = _OLLAMA.match(parameters["model"].raw or "")
            if match:
                host = _parse_host(parameters["api_base"].raw or "")
                yield parameters["model"], match["model"], _find_node_of_host(cluster, host)
    for pod in corpus.pods:
        for word, model in list_pulls(pod):
            yield word, model, find_node_of_pod(cluster, pod)
    only = cluster.nodes[0] if len(cluster.nodes) == 1 else None  # a project runs on one machine
    for project in corpus.projects:
        for word, model in list_project_pulls(project):
            yield word, model, only


def _parse_host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # a bracket that is never closed
        return None


def find_node_of_pod(cluster: Cluster, pod: Pod) -> Node | None:
    """The node that a pod is pinned to by its host name."""
    name = pod.spec["nodeSelector"][HOSTNAME].raw
    return next((node for node in cluster.nodes if node.name == name), None)


def _find_node_of_host(cluster: Cluster, host: str | None) -> Node | None:
    """The node on which a layout deploys the service of this name, or that has this address."""
    name = (host or "").split(".")[0]
    nodes = {node.name: node for node in cluster.nodes}
    for layout in cluster.layouts.values():
        for service, placement in layout.services.items():
            if name and name in (placement.name, service) and placement.node:
                return nodes.get(placement.node)
    return next((node for node in cluster.nodes if host and node.address == host), None)


def sum_memory(node: Node) -> int:
    """VRAM of all GPUs of a node: Ollama spreads a model over them; 0 when one is unknown."""
    sizes = [gpu.memory for gpu in node.gpus or ()]
    return 0 if None in sizes else sum(size or 0 for size in sizes)
