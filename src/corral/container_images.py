"""Facts of popular images that rendering and linting depend on: ports, folders, variables, tools, GPUs.

Only what an image's own documentation or Dockerfile says is here, with the place where it says so; what is not known is
not set, and nothing is concluded from it. Images of the same program that others build are not meant.

Belongs here: facts about images, as values.
Does not belong here: facts about the engines of the queue (`corral.engine_kinds`), which image a service runs.
May import: nothing of Corral.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType


class Maker(StrEnum):
    """The maker of a GPU, for which an image has tags of its own."""

    NVIDIA = "NVIDIA"
    AMD = "AMD"
    INTEL = "Intel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """The facts of the images of one repository."""

    repositories: tuple[str, ...]
    """Names without a tag, as Docker resolves them: `ollama/ollama`, `ghcr.io/owner/name`."""
    source: str
    """Where the facts are from."""
    port: int | None = None
    """The port on which it listens unless it is configured otherwise."""
    health_path: str | None = None
    """The path that answers 200 once it can serve; None when unknown."""
    folders: tuple[str, ...] = ()
    """Where it keeps what must last: models and results; any of them can be a volume."""
    folder_variables: tuple[str, ...] = ()
    """Variables that move these folders."""
    has_login: bool | None = None
    """Whether it asks its users who they are; None when unknown."""
    missing_tools: frozenset[str] = frozenset()
    """Programs for health checks that it is known to lack."""
    health: tuple[str, ...] = ()
    """A health check that works with what it has, as Compose writes one; empty when none is known."""
    tags: Mapping[Maker, str] = field(default_factory=dict[Maker, str])
    """For each maker of GPUs a pattern of the tags that use them; empty where every tag is for the same hardware."""
    example_tags: Mapping[Maker, str] = field(default_factory=dict[Maker, str])
    """How such a tag is written: `-cuda`."""
    any_maker_variable: str = ""
    """A variable that makes every tag use any maker's GPU."""
    needs_gpu: bool = False
    """Whether it cannot start without a GPU; of an image with `tags`, those of a maker."""
    platforms: tuple[str, ...] = ()
    """The processor architectures of its images, as Kubernetes writes them; empty when unknown."""
    addresses: Mapping[str, str] = field(default_factory=dict[str, str])
    """The variables with the addresses of others that it reads, by what they lead to: `ollama`, `openai`."""
    misread: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables that people write and that it does not read, with the one that it reads."""
    loads_by_request: bool = False
    """Whether it loads its models with requests, and gives them up after a time."""


_AMD64 = ("amd64",)
OLLAMA = ImageFacts(
    repositories=("ollama/ollama",),
    source="ollama's Dockerfile and docs/docker.mdx, docs/faq.mdx; ollama#9781 on curl",
    port=11434,
    folders=("/root/.ollama",),
    folder_variables=("OLLAMA_MODELS",),
    has_login=False,
    missing_tools=frozenset({"curl", "wget", "python", "python3", "nc"}),
    health=("CMD", "ollama", "list"),
    tags={Maker.NVIDIA: r"^(?!.*rocm)", Maker.AMD: "rocm"},
    example_tags={Maker.NVIDIA: "without -rocm", Maker.AMD: "-rocm"},
    any_maker_variable="OLLAMA_VULKAN",
    loads_by_request=True,
)
OPEN_WEBUI = ImageFacts(
    repositories=("ghcr.io/open-webui/open-webui", "openwebui/open-webui"),
    source="open-webui's Dockerfile and docs.openwebui.com (environment variables)",
    port=8080,
    health_path="/health",
    folders=("/app/backend/data",),
    folder_variables=("DATA_DIR", "DATABASE_URL"),
    has_login=True,
    tags={Maker.NVIDIA: r"cuda|ollama"},
    example_tags={Maker.NVIDIA: ":cuda"},
    addresses={"ollama": "OLLAMA_BASE_URL", "openai": "OPENAI_API_BASE_URL"},
    misread={
        "OLLAMA_HOST": "OLLAMA_BASE_URL",
        "OLLAMA_URL": "OLLAMA_BASE_URL",
        "OLLAMA_API_URL": "OLLAMA_BASE_URL",
        "OLLAMA_BASE_URI": "OLLAMA_BASE_URL",
        "OPENAI_BASE_URL": "OPENAI_API_BASE_URL",
        "OPENAI_API_BASE": "OPENAI_API_BASE_URL",
    },
)
VLLM = ImageFacts(
    repositories=("vllm/vllm-openai",),
    source="docs.vllm.ai (using Docker), vLLM's docker/Dockerfile",
    port=8000,
    health_path="/health",
    folders=("/root/.cache/huggingface",),
    folder_variables=("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
    has_login=False,
    needs_gpu=True,
)
IMAGES: tuple[ImageFacts, ...] = (
    OLLAMA,
    OPEN_WEBUI,
    VLLM,
    ImageFacts(
        repositories=("lmsysorg/sglang",),
        source="docs.sglang.ai (install with Docker; CPU servers; AMD GPUs; Ascend NPUs)",
        port=30000,
        health_path="/health",
        folders=("/root/.cache/huggingface",),
        folder_variables=("HF_HOME",),
        has_login=False,
        needs_gpu=True,
        tags={Maker.NVIDIA: r"^(?!.*(?:rocm|xeon|cann|npu))", Maker.AMD: "rocm"},
        example_tags={Maker.AMD: "-rocm"},
    ),
    ImageFacts(
        repositories=("ghcr.io/huggingface/text-generation-inference",),
        source="huggingface.co/docs/text-generation-inference (quick tour)",
        port=80,
        health_path="/health",
        folders=("/data",),
        folder_variables=("HF_HOME", "HUGGINGFACE_HUB_CACHE"),
        has_login=False,
        tags={Maker.NVIDIA: r"^(?!.*(?:rocm|intel|gaudi|neuron))", Maker.AMD: "rocm", Maker.INTEL: "intel"},
        example_tags={Maker.AMD: "-rocm", Maker.INTEL: "-intel-xpu"},
    ),
    ImageFacts(
        repositories=("ghcr.io/huggingface/text-embeddings-inference",),
        source="huggingface.co/docs/text-embeddings-inference (supported hardware)",
        port=80,
        health_path="/health",
        folders=("/data",),
        folder_variables=("HF_HOME", "HUGGINGFACE_HUB_CACHE"),
        has_login=False,
        tags={Maker.NVIDIA: r"^(?!cpu-|xpu-|hpu-)"},
        example_tags={Maker.NVIDIA: "without cpu-"},
    ),
    ImageFacts(
        repositories=("ghcr.io/ggml-org/llama.cpp", "ghcr.io/ggerganov/llama.cpp"),
        source="llama.cpp's docs/docker.md",
        port=8080,
        health_path="/health",
        has_login=False,
        tags={Maker.NVIDIA: "cuda|vulkan", Maker.AMD: "rocm|vulkan", Maker.INTEL: "intel|vulkan"},
        example_tags={Maker.NVIDIA: ":server-cuda", Maker.AMD: ":server-rocm", Maker.INTEL: ":server-intel"},
    ),
    ImageFacts(
        repositories=("localai/localai", "quay.io/go-skynet/local-ai"),
        source="localai.io (container images)",
        port=8080,
        health_path="/readyz",
        has_login=False,
        tags={
            Maker.NVIDIA: "nvidia|cublas|cuda|vulkan",
            Maker.AMD: "hipblas|vulkan",
            Maker.INTEL: "intel|sycl|vulkan",
        },
        example_tags={
            Maker.NVIDIA: ":latest-gpu-nvidia-cuda-12",
            Maker.AMD: ":latest-gpu-hipblas",
            Maker.INTEL: ":latest-gpu-intel",
        },
    ),
    ImageFacts(
        repositories=("ghcr.io/immich-app/immich-machine-learning",),
        source="docs.immich.app (hardware-accelerated machine learning)",
        port=3003,
        health_path="/ping",
        folders=("/cache",),
        folder_variables=("MACHINE_LEARNING_CACHE_FOLDER",),
        tags={Maker.NVIDIA: "cuda", Maker.AMD: "rocm", Maker.INTEL: "openvino"},
        example_tags={Maker.NVIDIA: "-cuda", Maker.AMD: "-rocm", Maker.INTEL: "-openvino"},
    ),
    ImageFacts(
        repositories=("ghcr.io/speaches-ai/speaches",),
        source="speaches.ai (installation)",
        port=8000,
        health_path="/health",
        folders=("/home/ubuntu/.cache/huggingface", "/home/ubuntu/.cache/huggingface/hub"),
        folder_variables=("HF_HOME", "HF_HUB_CACHE"),
        tags={Maker.NVIDIA: "cuda"},
        example_tags={Maker.NVIDIA: "-cuda"},
    ),
    ImageFacts(
        repositories=("fedirz/faster-whisper-server",),
        source="its README (quick start)",
        port=8000,
        folders=("/root/.cache/huggingface",),
        tags={Maker.NVIDIA: "cuda"},
        example_tags={Maker.NVIDIA: ":latest-cuda"},
    ),
    ImageFacts(
        repositories=("onerahmet/openai-whisper-asr-webservice",),
        source="ahmetoner.com/whisper-asr-webservice (run)",
        port=9000,
        tags={Maker.NVIDIA: "gpu"},
        example_tags={Maker.NVIDIA: ":latest-gpu"},
    ),
    ImageFacts(
        repositories=("lscr.io/linuxserver/faster-whisper", "linuxserver/faster-whisper"),
        source="docs.linuxserver.io (faster-whisper, tags)",
        port=10300,
        folders=("/config",),
        tags={Maker.NVIDIA: "gpu"},
        example_tags={Maker.NVIDIA: ":gpu"},
    ),
    ImageFacts(
        repositories=("ghcr.io/remsky/kokoro-fastapi-cpu",),
        source="Kokoro-FastAPI's README: its CPU image has no CUDA",
        port=8880,
        tags={Maker.NVIDIA: r"(?!)"},
        example_tags={Maker.NVIDIA: "ghcr.io/remsky/kokoro-fastapi-gpu"},
    ),
    ImageFacts(
        repositories=("qdrant/qdrant",),
        source="qdrant.tech (running Qdrant with GPU)",
        port=6333,
        missing_tools=frozenset({"curl", "wget", "python", "python3", "nc"}),
        health_path="/readyz",
        folders=("/qdrant/storage",),
        tags={Maker.NVIDIA: "gpu-nvidia", Maker.AMD: "gpu-amd"},
        example_tags={Maker.NVIDIA: "-gpu-nvidia", Maker.AMD: "-gpu-amd"},
    ),
    ImageFacts(
        repositories=("tensorflow/tensorflow",),
        source="tensorflow.org/install/docker",
        tags={Maker.NVIDIA: "gpu"},
        example_tags={Maker.NVIDIA: "-gpu"},
    ),
    ImageFacts(
        repositories=("quay.io/docling-project/docling-serve-cpu", "ghcr.io/docling-project/docling-serve-cpu"),
        source="docling-serve's README (container images)",
        port=5001,
        tags={Maker.NVIDIA: r"(?!)"},
        example_tags={Maker.NVIDIA: "docling-serve-cu128"},
    ),
    ImageFacts(
        repositories=("yanwk/comfyui-boot",),
        source="ComfyUI-Docker's README",
        port=8188,
        folders=("/root",),
        has_login=False,
    ),
    ImageFacts(
        repositories=("intel/intel-deviceplugin-operator", "intel/intel-gpu-plugin", "intel/intel-gpu-levelzero"),
        source="intel/helm-charts#39",
        platforms=_AMD64,
    ),
    ImageFacts(
        repositories=("rocm/k8s-device-plugin", "rocm/pytorch", "rocm/vllm", "rocm/rocm-terminal", "rocm/gpu-operator"),
        source="ROCm/k8s-device-plugin#151; ROCm is built for x86-64 (rocm.docs.amd.com, system requirements)",
        platforms=_AMD64,
    ),
)
"""Every image of which something is known."""

_HOSTS = ("docker.io/library/", "docker.io/", "index.docker.io/", "registry-1.docker.io/")
_TAG = re.compile(r"^(?P<name>.+?)(?::(?P<tag>[^:/@]+))?(?:@sha256:[0-9a-f]+)?$")
_BY_NAME: Mapping[str, ImageFacts] = MappingProxyType(
    {repository: facts for facts in IMAGES for repository in facts.repositories}
)


def split_reference(image: str) -> tuple[str, str]:
    """Split an image into its name and its tag; the tag is `latest` where neither tag nor digest is written, and empty
    where only a digest is."""
    match = _TAG.match(image)
    if match is None:
        return image, ""
    name = match["name"]
    for host in _HOSTS:
        name = name.removeprefix(host)
    return name, match["tag"] or ("" if "@" in image else "latest")


@lru_cache(maxsize=1024)
def find_image(image: str) -> ImageFacts | None:
    """Find the facts of an image; None when nothing is known of it."""
    return _BY_NAME.get(split_reference(image)[0])


def starts_without_gpu(image: str) -> bool:
    """Return whether an image can start without a GPU, as far as known: most can, and some have tags that can."""
    facts = find_image(image)
    if facts is None or not facts.needs_gpu:
        return True
    return bool(facts.tags) and not list_makers(facts, split_reference(image)[1])


def list_makers(facts: ImageFacts, tag: str, variables: Iterable[str] = ()) -> frozenset[Maker]:
    """List the makers whose GPUs a tag uses, of those that the facts are about."""
    if facts.any_maker_variable in variables and facts.any_maker_variable:
        return frozenset(Maker)
    return frozenset(maker for maker, pattern in facts.tags.items() if re.search(pattern, tag, re.IGNORECASE))
