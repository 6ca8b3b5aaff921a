"""GPUs and settings with which vLLM and SGLang refuse to start a model.

Both take a share of each GPU and keep all of a model in it; vLLM wants room for one sequence of the longest context
next to it (docs.vllm.ai, "Conserving memory"; docs.sglang.ai, server arguments). With tensor parallelism each GPU has
a slice of every matrix: heads are dealt out whole, and matrices that are quantized in groups or blocks are cut between
those.
Only what is certain is reported: what the engines use on top, activations and CUDA graphs, is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from corral.hardware.catalogue import list_matching
from corral.hardware.fit.memory import Running, count_block_cache_bytes
from corral.hardware.fit.names import estimate_shape, find_model
from corral.hardware.fit.precisions import Scheme
from corral.hardware.fit.published import Published
from corral.hardware.fit.shape import ModelShape
from corral.units import format_bytes


class Server(StrEnum):
    """A program that serves repositories of Hugging Face."""

    VLLM = "vLLM"
    SGLANG = "SGLang"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A server, its model and its settings."""

    server: Server
    model: str
    tensor_parallel: int = 1
    share: float | None = None
    """Of each GPU's memory; None is not set."""
    context: int | None = None
    """Tokens of the longest sequence; None is what the model was trained for."""
    cache_bits: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingGpu:
    """A GPU as a server sees it; None is unknown."""

    name: str
    memory: int | None = None
    cuda_capability: tuple[int, int] | None = None


def describe_gpu(model: str | None, memory: int | None, *, name: str = "GPU") -> ServingGpu:
    """Describe a GPU by its model; its capability is known where all models of that name have the same."""
    capabilities = {known.cuda_capability for known in list_matching(model)} if model else set[tuple[int, int] | None]()
    capability = capabilities.pop() if len(capabilities) == 1 else None
    return ServingGpu(name=model or name, memory=memory, cuda_capability=capability)


LEAST_USUAL_SHARE_OF_VLLM = 0.9
"""The least share of a vLLM without `--gpu-memory-utilization`: 0.9 before 0.19, 0.92 since."""
_USUAL_SHARES: Mapping[Server, float] = MappingProxyType({Server.VLLM: 0.92, Server.SGLANG: 1.0})
"""The most that they take where none is set; SGLang works its `--mem-fraction-static` out, below 1."""
_IMAGES = ((re.compile(r"(?:^|/)vllm"), Server.VLLM), (re.compile(r"(?:^|/)sglang"), Server.SGLANG))
_COMMANDS = (
    (re.compile(r"\bvllm\s+serve\b|\bvllm\.entrypoints\b"), Server.VLLM),
    (re.compile(r"\bsglang\.launch_server\b|\bsglang\s+serve\b"), Server.SGLANG),
)
_MODEL = re.compile(r"(?:--model(?:-path)?[= ]|\bvllm\s+serve\s+)[\"']?(?P<value>[\w.-]+/[\w.-]+)")
_PARALLEL = re.compile(r"(?:--tensor-parallel-size|--tp-size|--tp|-tp)[= ](?P<value>\d{1,3})\b")
_SHARE = re.compile(r"(?:--gpu-memory-utilization|--mem-fraction-static)[= ](?P<value>\d?\.\d+|1)")
_CONTEXT = re.compile(r"(?:--max-model-len|--context-length)[= ](?P<value>\d{1,8})(?P<times>[kK]?)\b")
_FP8_CACHE = re.compile(r"--kv-cache-dtype[= ]fp8")


def read_serving(image: str | None, command: str) -> Serving | None:
    """Read what an image and its command line serve; None for other programs, and where no model is named."""
    name = (image or "").partition("@")[0]
    by_image = next((server for pattern, server in _IMAGES if pattern.search(name)), None)
    by_command = next((server for pattern, server in _COMMANDS if pattern.search(command)), None)
    server, model = by_command or by_image, _MODEL.search(command)
    if server is None or model is None:
        return None
    parallel, share, context = (pattern.search(command) for pattern in (_PARALLEL, _SHARE, _CONTEXT))
    return Serving(
        server=server,
        model=model["value"],
        tensor_parallel=max(1, int(parallel["value"])) if parallel else 1,
        share=float(share["value"]) if share else None,
        context=int(context["value"]) * (1024 if context["times"] else 1) if context else None,
        cache_bits=8 if _FP8_CACHE.search(command) else 16,
    )


def find_obstacles(serving: Serving, gpus: Sequence[ServingGpu]) -> tuple[str, ...]:
    """List the reasons for which a server does not start on GPUs, of which it takes as many as it splits over.

    Empty when none is certain. `gpus` are those that it can have; with none, only its settings are judged.
    """
    known, shape = find_model(serving.model), estimate_shape(serving.model)
    slices = () if known is None else (*_check_heads(serving, known), *_check_groups(serving, known, shape))
    if not gpus:
        return slices
    if len(gpus) < serving.tensor_parallel:
        count = f"{len(gpus)} GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
        return (*slices, f"{serving.server} splits over {serving.tensor_parallel} GPUs and has {count}")
    return (*slices, *_check_capability(serving, shape, gpus), *(_check_room(serving, shape, gpus) if shape else ()))


def _check_heads(serving: Serving, model: Published) -> Iterator[str]:
    parts = serving.tensor_parallel
    if model.heads % parts:
        yield f"{model.heads} attention heads cannot be dealt out to {parts} GPUs: choose a divisor"
    elif model.kv_heads and model.kv_heads % parts and parts % model.kv_heads:
        yield f"{model.kv_heads} key-value heads can be neither dealt out to {parts} GPUs nor repeated on them"


_GROUP = 128
"""Weights of a group (AWQ, GPTQ, INT4), and rows and columns of a block of FP8, in nearly all repositories."""
_GROUPED = frozenset({Scheme.AWQ, Scheme.GPTQ, Scheme.INT4})
_BLOCK_OWNERS = ("qwen/", "deepseek-ai/", "zai-org/", "minimaxai/", "moonshotai/")
"""Publishers whose FP8 is in blocks; that of others has a scale for each row and can be cut anywhere."""


def _check_groups(serving: Serving, model: Published, shape: ModelShape | None) -> Iterator[str]:
    scheme, parts = shape.quantization if shape else None, serving.tensor_parallel
    is_block = scheme == Scheme.FP8 and serving.model.lower().startswith(_BLOCK_OWNERS)
    if (scheme in _GROUPED or is_block) and model.ffn % (parts * _GROUP) and parts > 1:
        unit = "blocks" if is_block else "groups"
        yield f"feed-forward matrices {model.ffn} wide cannot be cut into {parts} parts of whole {unit} of {_GROUP}"


_LEAST_CAPABILITY: Mapping[str, tuple[int, int]] = MappingProxyType(
    {Scheme.AWQ: (7, 5), Scheme.FP8: (7, 5), Scheme.INT4: (7, 5), Scheme.INT8: (7, 5), Scheme.NVFP4: (7, 5),
     Scheme.MXFP4: (8, 0)}
)  # fmt: skip
"""vLLM's table of quantizations and hardware (docs.vllm.ai/quantization): FP8 and NVFP4 run as weights alone there."""
_LEAST_OF_SERVER = (7, 0)
"""vLLM's requirement: Volta."""


def _check_capability(serving: Serving, shape: ModelShape | None, gpus: Sequence[ServingGpu]) -> Iterator[str]:
    quantization = shape.quantization if shape else None
    least = _LEAST_CAPABILITY.get(quantization or "", _LEAST_OF_SERVER)
    for gpu in {gpu.name: gpu for gpu in gpus}.values():
        if gpu.cuda_capability is None or gpu.cuda_capability >= least:
            continue
        what = f"{quantization} in {serving.server}" if least != _LEAST_OF_SERVER else f"{serving.server}"
        yield f"{what} needs compute capability {_version(least)}, and {gpu.name} has {_version(gpu.cuda_capability)}"


def _version(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _check_room(serving: Serving, shape: ModelShape, gpus: Sequence[ServingGpu]) -> Iterator[str]:
    largest = sorted((gpu.memory for gpu in gpus if gpu.memory is not None), reverse=True)
    if len(largest) < len(gpus) or serving.cache_bits not in (8, 16):
        return
    parts = serving.tensor_parallel
    memory, share = largest[parts - 1], serving.share or _USUAL_SHARES[serving.server]
    room, weights = round(memory * share), shape.weights // parts
    of_what = f"{share:g} of {format_bytes(memory)} is {format_bytes(room)}"
    if weights > room:
        yield f"{format_bytes(weights)} of weights on each GPU, and {of_what}"
        return
    context = serving.context or shape.context_length
    if context is None or serving.server is not Server.VLLM:
        return  # SGLang starts with less cache than its longest context, and refuses the requests that are longer
    cache = _count_cache(shape, context, serving)
    if cache is not None and weights + cache > room:
        yield (
            f"{format_bytes(weights)} of weights and {format_bytes(cache)} of cache for {context:,} tokens on each GPU,"
            f" and {of_what}: lower `--max-model-len`"
        )


def _count_cache(shape: ModelShape, context: int, serving: Serving) -> int | None:
    """Count the cache of one sequence on each GPU; a GPU has a key-value head at least."""
    if not shape.is_attention_known:
        return None
    running = Running(context=context)
    total = 0
    for block in shape.blocks:
        shared = min(serving.tensor_parallel, block.attention.kv_heads) if block.attention else serving.tensor_parallel
        total += count_block_cache_bytes(block, running) // shared
    return total * serving.cache_bits // 16
