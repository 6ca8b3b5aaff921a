"""Facts of a GPU's model that images, drivers and texts get wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from corral.hardware.nvidia_drivers import (
    CONSUMER_BLACKWELL,
    CUDA_OF_120,
    PYTORCH_OF_120,
)
from corral.linting.corpus import Corpus
from corral.linting.manifests import Pod
from corral.linting.registry import Violation, checks
from corral.linting.rules.gpu_selection import find_bound_node

_SM_100 = re.compile(r"\b(?:SM|sm|compute capability|CC)[ _-]?10[.]?0\b", re.IGNORECASE)
_SM_120 = re.compile(r"\b(?:SM|compute capability|CC)[ _-]?12[.]?0\b", re.IGNORECASE)
_CONSUMER_BLACKWELL = re.compile(r"\b(?:RTX\s*)?50[5-9]0(?:\s*Ti|Ti)?\b|RTX PRO [2-6]\d00 Blackwell", re.IGNORECASE)
_DATA_CENTRE_BLACKWELL = re.compile(r"\bG?B[1-3]00\b|data[ -]?cent(?:er|re)", re.IGNORECASE)
_DATA_PARALLEL = re.compile(r"\b(?:torch\.)?nn\.DataParallel\b")


def _join(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


_IN_IMAGE = (
    ("CUDA", re.compile(r"(?:cuda[:-]?v?|cu)(?P<major>1\d)[.-]?(?P<minor>\d)(?!\d{2})"), _join(CUDA_OF_120)),
    ("PyTorch", re.compile(r"(?:pytorch[:/-]v?|torch-?)(?P<major>[12])\.(?P<minor>\d+)"), _join(PYTORCH_OF_120)),
    ("vLLM", re.compile(r"\bvllm/vllm-openai:v(?P<major>\d+)\.(?P<minor>\d+)"), "0.9"),
    ("NVIDIA's release", re.compile(r"\bnvcr\.io/nvidia/[\w-]+:(?P<major>2\d)\.(?P<minor>\d\d)-"), "25.01"),
)
"""How images name a version, and the first with kernels for capability 12.0: vLLM 0.9.0 is the first with PyTorch 2.7
and CUDA 12.8 (vllm#18841), 25.01 the first with CUDA 12.8 (NVIDIA's support matrix of frameworks)."""
_WITHOUT_KERNELS = re.compile(r"\bnvidia/cuda:[^@]*-base\b")
"""NVIDIA's smallest images: the runtime library alone, for `nvidia-smi` and what brings its own (their README)."""
_CUDA_13 = re.compile(r"(?:cuda[:-]?v?|cu)(?P<major>1[3-9])[.-]?\d(?!\d{2})")
_OLDEST_OF_CUDA_13 = (7, 5)
"""Turing: CUDA 13.0 removed Maxwell, Pascal and Volta (its release notes; pytorch#182849 for its builds)."""


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
            paragraph = _cut_paragraph(text.text, match)
            if not _DATA_CENTRE_BLACKWELL.search(paragraph) and not _SM_120.search(paragraph):  # it names both
                what = f"{match[0]!r}: RTX 50 GPUs have capability 12.0"
                yield Violation(place=text.locate(match.start()), what=what)


def _cut_paragraph(text: str, match: re.Match[str]) -> str:
    """Cut out what is between the empty lines around a match."""
    return text[text.rfind("\n\n", 0, match.start()) + 1 : (text + "\n\n").find("\n\n", match.end())]


@checks("A33")
def check_image_versions(corpus: Corpus) -> Iterator[Violation]:
    """Look for GPU images that name a version too old for a GPU of the cluster file."""
    new = sorted({model.name for model in corpus.gpu_models if (model.cuda_capability or (0, 0)) >= CONSUMER_BLACKWELL})
    pods = {container.tree.place: container.pod for container in corpus.containers}
    for program in corpus.programs if new else ():
        pod = pods.get(program.tree.place)
        if not program.has_gpu or program.image is None or _WITHOUT_KERNELS.search(program.image):
            continue
        if pod is not None and not _can_meet(corpus, pod, new):
            continue
        for what, pattern, oldest in _IN_IMAGE:
            match = pattern.search(program.image)
            if match and (int(match["major"]), int(match["minor"])) < tuple(map(int, oldest.split("."))):
                said = f"{what} {match['major']}.{match['minor']}; {', '.join(new)} needs {oldest} or newer"
                yield Violation(place=program.place, what=said, subject=program.subject)


@checks("A41")
def check_dropped_generations(corpus: Corpus) -> Iterator[Violation]:
    """Look for GPU images with CUDA 13 where no GPU of the cluster file is new enough for it."""
    models = corpus.gpu_models
    names = sorted({model.name for model in models})
    if not models or any((model.cuda_capability or _OLDEST_OF_CUDA_13) >= _OLDEST_OF_CUDA_13 for model in models):
        return
    for program in corpus.programs:
        image = program.image or ""
        match = _CUDA_13.search(image) if program.has_gpu and not _WITHOUT_KERNELS.search(image) else None
        if match:
            what = f"CUDA {match['major']} has no kernels for {', '.join(names)}: 12.9 is its last"
            yield Violation(place=program.place, what=what, subject=program.subject)


def _can_meet(corpus: Corpus, pod: Pod, models: Collection[str]) -> bool:
    """Return whether a pod can get a GPU of these models: it is not bound to a node without one."""
    node = find_bound_node(corpus, pod)
    return node is None or any(any(model in (gpu.model or "") for model in models) for gpu in node.gpus or ())
