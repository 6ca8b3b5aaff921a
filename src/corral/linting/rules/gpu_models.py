"""Facts of a GPU's model that images, drivers and texts get wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

from corral.cluster.values import Node
from corral.hardware.catalogue import GpuModel
from corral.linting.corpus import Corpus, Text
from corral.linting.manifests import Pod
from corral.linting.nix import Binding
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import find_bound_node

_SM_100 = re.compile(r"\b(?:SM|sm|compute capability|CC)[ _-]?10[.]?0\b", re.IGNORECASE)
_SM_120 = re.compile(r"\b(?:SM|compute capability|CC)[ _-]?12[.]?0\b", re.IGNORECASE)
_CONSUMER_BLACKWELL = re.compile(r"\b(?:RTX\s*)?50[5-9]0(?:\s*Ti|Ti)?\b|RTX PRO [2-6]\d00 Blackwell", re.IGNORECASE)
_DATA_CENTRE_BLACKWELL = re.compile(r"\bG?B[1-3]00\b|data[ -]?cent(?:er|re)", re.IGNORECASE)
_DATA_PARALLEL = re.compile(r"\b(?:torch\.)?nn\.DataParallel\b")
_IN_IMAGE = (
    ("CUDA", re.compile(r"(?:cuda[:-]?v?|cu)(?P<major>1\d)[.-]?(?P<minor>\d)(?!\d{2})"), (12, 8)),
    ("PyTorch", re.compile(r"(?:pytorch[:/-]v?|torch-?)(?P<major>[12])\.(?P<minor>\d+)"), (2, 7)),
)
"""How images name a version, and the first with kernels for capability 12.0 (pytorch#153928)."""
_CONSUMER_BLACKWELL_CAPABILITY = (12, 0)


@checks("A28", of_files=True)
def check_data_parallel(corpus: Corpus) -> Iterator[Violation]:
    """Look for the class in code, also in pages."""
    for text in corpus.texts:
        if text.language == "markdown":
            continue  # its blocks are texts of their own
        for match in _DATA_PARALLEL.finditer(text.text):
            yield Violation(place=text.locate(match.start()), what="nn.DataParallel drives all GPUs from one process")


@checks("A29", of_files=True)
def check_capability(corpus: Corpus) -> Iterator[Violation]:
    """Look for SM 100 in a text that is about RTX 50 GPUs."""
    for text in corpus.texts:
        if text.is_block or not _CONSUMER_BLACKWELL.search(text.text):
            continue  # a block of a page is judged with its page
        for match in _SM_100.finditer(text.text):
            line = text.text[text.text.rfind("\n", 0, match.start()) + 1 : (text.text + "\n").find("\n", match.end())]
            if not _DATA_CENTRE_BLACKWELL.search(line) and not _SM_120.search(line):  # it names both
                what = f"{match[0]!r}: RTX 50 GPUs have capability 12.0"
                yield Violation(place=text.locate(match.start()), what=what)


@checks("A33")
def check_image_versions(corpus: Corpus) -> Iterator[Violation]:
    """Look for GPU images that name a version too old for a GPU of the cluster file."""
    new = sorted(
        {
            model.name
            for model in corpus.gpu_models
            if (model.cuda_capability or (0, 0)) >= _CONSUMER_BLACKWELL_CAPABILITY
        }
    )
    pods = {container.tree.place: container.pod for container in corpus.containers}
    for program in corpus.programs if new else ():
        pod = pods.get(program.tree.place)
        if not program.has_gpu or program.image is None or (pod is not None and not _can_meet(corpus, pod, new)):
            continue
        for what, pattern, oldest in _IN_IMAGE:
            match = pattern.search(program.image)
            if match and (int(match["major"]), int(match["minor"])) < oldest:
                needs = ".".join(map(str, oldest))
                said = f"{what} {match['major']}.{match['minor']}; {', '.join(new)} needs {needs} or newer"
                yield Violation(place=program.place, what=said, subject=program.subject)


def _can_meet(corpus: Corpus, pod: Pod, models: Collection[str]) -> bool:
    """Return whether a pod can get a GPU of these models: it is not bound to a node without one."""
    node = find_bound_node(corpus, pod)
    return node is None or any(any(model in (gpu.model or "") for model in models) for gpu in node.gpus or ())


_NAMES = ("networking.hostName", "services.k3s.nodeName")
_OPEN_SINCE = (7, 5)
"""Turing: the first that the open modules drive."""
_ONLY_OPEN_SINCE = (10, 0)
"""Blackwell: the open modules are the only ones for it."""


@checks("A30")
def check_kernel_modules(corpus: Corpus) -> Iterator[Violation]:
    """Look for closed modules where a GPU is of Blackwell, and for open ones on a node whose GPUs are all too old."""
    for text, module in corpus.modules if corpus.cluster else ():
        for binding in module.bindings:
            if binding.path == "hardware.nvidia.open":
                needed = _find_needed_modules(
                    corpus, _find_node(corpus, text, module.bindings), is_open=binding.boolean
                )
                if needed:
                    yield Violation(place=text.locate(binding.offset), what=needed)


def _find_needed_modules(corpus: Corpus, node: Node | None, *, is_open: bool | None) -> str | None:
    """Describe the modules that the GPUs need instead; without a node, only if some GPU of the cluster needs them."""
    models = corpus.gpu_models if node is None else corpus.find_models(node)
    new = [model.name for model in models if _get_capability(model) >= _ONLY_OPEN_SINCE]
    old = [model.name for model in models if _get_capability(model) < _OPEN_SINCE]
    if is_open is False and new:
        return f"{_join_names(new)} needs the open kernel modules"
    if is_open is True and node is not None and old and not new:
        return f"{_join_names(old)} needs the closed kernel modules"
    return None


def _find_node(corpus: Corpus, text: Text, bindings: Sequence[Binding]) -> Node | None:
    """The node that a module is for: by the name that it sets, else by its file's."""
    names = [binding.text for binding in bindings if binding.path in _NAMES and binding.text]
    wanted = names[0] if names else PurePosixPath(text.file).stem
    return next((node for node in (corpus.cluster.nodes if corpus.cluster else ()) if node.name == wanted), None)


def _get_capability(model: GpuModel) -> tuple[int, int]:
    """Its CUDA capability; of a GPU that has none, one that asks for nothing."""
    return model.cuda_capability or _OPEN_SINCE


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(sorted(set(names)))
