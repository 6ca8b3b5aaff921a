"""Inference servers whose model, GPUs and settings do not go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster, Node
from corral.container_images import OLLAMA as OLLAMA_IMAGE
from corral.container_images import find_image
from corral.engine_kinds import OLLAMA
from corral.hardware.fit.memory import USUAL_CONTEXT
from corral.hardware.fit.names import estimate_need
from corral.hardware.fit.serving import Serving, ServingGpu, describe_gpu, find_obstacles, read_serving
from corral.linting.compose.services import ComposeService
from corral.linting.corpus import Corpus
from corral.linting.programs import Program, read_container, read_service
from corral.linting.registry import Violation, checks
from corral.linting.rules.language_models import find_node_of_pod, list_project_pulls, list_pulls, sum_memory
from corral.linting.values import Position
from corral.units import format_bytes


@checks("B16")
def check_servers(corpus: Corpus) -> Iterator[Violation]:
    """Look for vLLM and SGLang that are certain to end at their start, on every node of the cluster file with GPUs."""
    for program in corpus.programs:
        serving = read_serving(program.image, program.script)
        if serving is None or program.gpus == 0:
            continue
        nodes = [node for node in (corpus.cluster.nodes if corpus.cluster else ()) if node.gpus]
        answers = [find_obstacles(serving, _list_gpus(node, program)) for node in nodes]
        if not nodes:
            answers = [find_obstacles(serving, (ServingGpu(name="GPU"),) * (program.gpus or serving.tensor_parallel))]
        if all(answers):
            what = f"{program.title} serves {serving.model}: {min(answers, key=len)[0]}"
            yield Violation(place=_find_place(program, serving), what=what, subject=program.subject)


def _list_gpus(node: Node, program: Program) -> Sequence[ServingGpu]:
    """List the GPUs of a node that a program can get, the largest first where it gets some of them."""
    gpus = [describe_gpu(gpu.model, gpu.memory) for gpu in node.gpus or ()]
    gpus.sort(key=lambda gpu: gpu.memory or 0, reverse=True)
    return gpus if program.gpus is None else gpus[: program.gpus]


def _find_place(program: Program, serving: Serving) -> Position:
    word = next((word for word in program.words if serving.model in (word.raw or "")), None)
    return (word or program.tree["image"] or program.tree).place


@checks("B07")
def check_contexts(corpus: Corpus) -> Iterator[Violation]:
    """Look for parallel requests of several models, and for contexts that the cluster file's GPUs cannot hold."""
    for program in corpus.programs:
        parallel, loaded = program.settings.get("OLLAMA_NUM_PARALLEL"), program.settings.get("OLLAMA_MAX_LOADED_MODELS")
        if parallel and loaded and (parallel.count or 0) > 1 and (loaded.count or 0) > 1:
            what = f"{parallel.raw} parallel requests for each of {loaded.raw} models on one GPU"
            yield Violation(place=parallel.place, what=what, subject=program.subject)
    if corpus.cluster is None:
        return
    largest = max((sum_memory(node) for node in corpus.cluster.nodes), default=0)
    for pod in corpus.pods:
        node = find_node_of_pod(corpus.cluster, pod)
        models = tuple(dict.fromkeys(model for _, model in list_pulls(pod)))
        for container in pod.containers:
            yield from _check_cache(read_container(container), models, sum_memory(node) if node else largest)
    for service, models, has in _list_ollama_services(corpus, corpus.cluster):
        yield from _check_cache(read_service(service), models, has)


def _list_ollama_services(corpus: Corpus, cluster: Cluster) -> Iterator[tuple[ComposeService, tuple[str, ...], int]]:
    """List Ollama's Compose services with a GPU, the models that their project pulls, and the bytes that they get of
    the machine with most; 0 when unknown."""
    for project in corpus.projects:
        models = tuple(dict.fromkeys(model for _, model in list_project_pulls(project)))
        for service in project.services if models else ():
            if find_image(service.image or "") is OLLAMA_IMAGE and service.gpus is not None:
                count = service.gpus.count
                yield service, models, max((_sum_largest(node, count) for node in cluster.nodes), default=0)


def _sum_largest(node: Node, count: int | None) -> int:
    """Sum the memory of the largest GPUs of a node, so many as a service gets; 0 when one is unknown."""
    sizes = [gpu.memory or 0 for gpu in node.gpus or ()]
    return sum(sorted(sizes, reverse=True)[:count]) if all(sizes) else 0


@checks("B17")
def check_kept_models(corpus: Corpus) -> Iterator[Violation]:
    """Look for Ollamas that keep all their models for ever on GPUs which hold each of them, and not all."""
    if corpus.cluster is None:
        return
    largest = max((sum_memory(node) for node in corpus.cluster.nodes), default=0)
    for pod in corpus.pods:
        node = find_node_of_pod(corpus.cluster, pod)
        models = tuple(dict.fromkeys(model for _, model in list_pulls(pod)))
        for container in pod.containers if len(models) > 1 else ():
            yield from _check_kept(read_container(container), models, sum_memory(node) if node else largest)
    for service, models, has in _list_ollama_services(corpus, corpus.cluster):
        yield from _check_kept(read_service(service), models, has)


def _check_kept(program: Program, models: Sequence[str], has: int) -> Iterator[Violation]:
    kept = program.settings.get("OLLAMA_KEEP_ALIVE")
    if kept is None or not (kept.raw or "").startswith("-") or not has:
        return
    known = [need.divide(1) for model in models if (need := estimate_need(OLLAMA.name, model)) is not None]
    if len(known) > 1 and max(known) <= has < sum(known):
        what = (
            f"{len(known)} models that are kept for ever need {format_bytes(sum(known))} together, and the GPUs have "
            f"{format_bytes(has)}"
        )
        yield Violation(place=kept.place, what=what, subject=program.subject)


def _check_cache(program: Program, models: Sequence[str], has: int) -> Iterator[Violation]:
    """Look for a context, times its parallel requests, for which a model has no room where Ollama's own has."""
    context, parallel = program.settings.get("OLLAMA_CONTEXT_LENGTH"), program.settings.get("OLLAMA_NUM_PARALLEL")
    place = parallel or context
    if place is None or not has:
        return
    sequences = (parallel.count if parallel else None) or 1
    tokens = (context.count if context else None) or USUAL_CONTEXT
    for model in models:
        usual = estimate_need(OLLAMA.name, model)
        asked = estimate_need(OLLAMA.name, model, context=tokens, parallel=sequences)
        if usual is None or asked is None or usual.divide(1) > has or asked.divide(1) <= has:
            continue
        more = format_bytes(asked.divide(1) - usual.divide(1))
        what = (
            f"{sequences} x {tokens:,} tokens of {model} need {format_bytes(asked.divide(1))}, {more} more than"
            f" Ollama's own {USUAL_CONTEXT:,}, and the GPUs have {format_bytes(has)}: layers go to the processor"
        )
        yield Violation(place=place.place, what=what, subject=program.subject)
