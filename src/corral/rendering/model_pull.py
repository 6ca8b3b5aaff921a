"""Models of services: which fit the GPUs, how long they take to load, and what fills a volume before a service starts.

A model that cannot run is not pulled and not routed to (pitfall B08). Ollama's models are pulled, files and
repositories downloaded, by a script for `sh` in which every name is quoted: models are texts of the cluster file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from corral.cluster.values import StorageKind
from corral.engine_kinds import OLLAMA, SERVICE_ENGINES
from corral.hardware.fit.memory import get_usable
from corral.hardware.fit.names import estimate_need
from corral.hardware.needs import needs_of
from corral.rendering.installation import Deployed, Installation
from corral.rendering.programs import CURL, image_of, is_voice_backend, mount_paths
from corral.units import format_bytes

_PULL = """\
set -eu
ollama serve &
server=$!
until ollama list > /dev/null 2>&1; do kill -0 "$server"; sleep 1; done
{pulls}
kill "$server"
wait "$server" || true
"""
_HUGGING_FACE = frozenset(
    name for name, engine in SERVICE_ENGINES.items() if engine.program is not None and engine.program.uses_hugging_face
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SNAPSHOT = (
    "import sys; from huggingface_hub import snapshot_download; [snapshot_download(one) for one in sys.argv[1:]]"
)
"""Runs in the image of the service: what serves models of Hugging Face has its library, and the same cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPull:
    """A container that runs to its end before the service starts, with the service's first volume."""

    name: str
    image: str | None
    script: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])


def make_model_pull(installation: Installation, deployed: Deployed) -> ModelPull | None:
    """Make the container that fills the first volume; None without anything to fetch, or a volume that keeps it."""
    if not deployed.storage:
        return None
    if OLLAMA.name in deployed.service.engines:
        return _pull_with_ollama(installation, deployed)
    if deployed.storage[0].kind is not StorageKind.EPHEMERAL:
        return None
    if is_voice_backend(deployed.service):
        return _pull_with_corral(deployed)
    return _download_files(deployed) or _download_repositories(deployed)


def _pull_with_ollama(installation: Installation, deployed: Deployed) -> ModelPull | None:
    models = list_fitting_models(installation, deployed)
    if not models:
        return None
    pulls = "\n".join(f"ollama pull {shlex.quote(model)}" for model in models)
    return ModelPull(
        name=f"pull-{deployed.service.name}", image=image_of(deployed.service), script=_PULL.format(pulls=pulls)
    )


def _pull_with_corral(deployed: Deployed) -> ModelPull | None:
    """Pull models of Corral's catalogue, and whatever else its store takes by name."""
    if not deployed.service.models:
        return None
    folder = mount_paths(deployed.service, [storage.name for storage in deployed.storage])[deployed.storage[0].name]
    pulls = [f"corral models pull {shlex.quote(model)}" for model in deployed.service.models]
    return ModelPull(
        name=f"pull-{deployed.service.name}",
        image=image_of(deployed.service),
        script="\n".join(["set -eu", *pulls, ""]),
        env={"CORRAL_DATA_DIR": folder},
    )


def _download_files(deployed: Deployed) -> ModelPull | None:
    folder = mount_paths(deployed.service, [storage.name for storage in deployed.storage])[deployed.storage[0].name]
    lines = [_write_download(url, folder) for url in deployed.service.models if url.startswith("https://")]
    if not lines:
        return None
    return ModelPull(name=f"download-{deployed.service.name}", image=CURL, script="\n".join(["set -eu", *lines, ""]))


def _write_download(url: str, folder: str) -> str:
    path = shlex.quote(f"{folder}/{url.rpartition('/')[2]}")
    return f"curl --fail --location --continue-at - --output {path} {shlex.quote(url)}"


def _download_repositories(deployed: Deployed) -> ModelPull | None:
    """Download repositories of Hugging Face into the cache in which the service itself looks."""
    repositories = [model for model in deployed.service.models if _REPOSITORY.fullmatch(model)]
    home = deployed.env.get("HF_HOME")
    if not repositories or home is None or _HUGGING_FACE.isdisjoint(deployed.service.engines):
        return None
    words = " ".join(shlex.quote(model) for model in repositories)
    script = f"set -eu\npython3 -c {shlex.quote(_SNAPSHOT)} {words}\n"
    return ModelPull(
        name=f"download-{deployed.service.name}", image=image_of(deployed.service), script=script, env={"HF_HOME": home}
    )


def list_fitting_models(installation: Installation, deployed: Deployed) -> tuple[str, ...]:
    """List the models of a service that its GPUs can hold; unknown ones count as fitting."""
    return tuple(model for model in deployed.service.models if explain_misfit(installation, deployed, model) is None)


def explain_misfit(installation: Installation, deployed: Deployed, model: str) -> str | None:
    """Explain why a model cannot run where its service does; None when it can, or when too little is known."""
    known = needs_of(installation.cluster, installation.layout)
    needs = [need for engine in deployed.service.engines if (need := known.get((engine, model))) is not None]
    gpus = max(1, deployed.gpu_count)
    has = _find_usable_memory(installation, deployed, gpus)
    if not needs or not has:
        return None
    needed = needs[0].divide(gpus if needs[0].splits else 1)
    if needed <= has:
        return None
    what = f"{model} needs about {format_bytes(needed)}"
    if gpus == 1:
        return f"{what}, and its GPUs have {format_bytes(has)} for it"
    return f"{what} on each of {gpus} GPUs, and they have {format_bytes(has)} for it"


def _find_usable_memory(installation: Installation, deployed: Deployed, gpus: int) -> int:
    """Find the VRAM on each GPU that a replica can get, in bytes: of the node with most; 0 when that is unknown."""
    wanted = {(place.node, index) for place in deployed.places for index in place.gpus}
    most: list[int] = []
    for node in installation.cluster.nodes:
        if deployed.node not in (None, node.name):
            continue
        sizes = [
            gpu.memory
            for gpu in node.gpus or ()
            if (deployed.gpus is None or node.name != deployed.node or gpu.index in deployed.gpus)
            and (not wanted or (node.name, gpu.index) in wanted)
        ]
        usable = sorted((get_usable(size) for size in sizes if size), reverse=True)
        if len(usable) == len(sizes) >= gpus:
            most.append(usable[gpus - 1])
    return max(most, default=0)


_BYTES_PER_S = {"nvme": 2.0e9, "ssd": 0.45e9, "hdd": 0.15e9}
"""Sequential reading of ordinary drives: PCIe 3 NVMe, SATA 3 (its bound is 0.6), 7,200 turns a minute."""
_NFS_BYTES_PER_S = 0.11e9
"""A gigabit network, less its overhead."""
_UNKNOWN_BYTES_PER_S = _NFS_BYTES_PER_S
_UNKNOWN_MODEL_BYTES = 10 * 2**30
"""For engines whose models are not known by name; as large as the checkpoints of image models usually are."""


def forecast_load_time(deployed: Deployed) -> int:
    """Forecast how long the largest model of a service takes to load, in whole seconds; 0 when it has none."""
    if not deployed.service.models and not deployed.gpu_count:
        return 0
    needs = [estimate_need(engine, model) for engine in deployed.service.engines for model in deployed.service.models]
    sizes = [need.divisible.value for need in needs if need is not None]
    size = max(sizes, default=deployed.service.gpu_memory or _UNKNOWN_MODEL_BYTES)
    return -(-int(size) // int(_find_read_speed(deployed)))


def _find_read_speed(deployed: Deployed) -> float:
    speeds = [
        _NFS_BYTES_PER_S if storage.kind is StorageKind.NFS else _BYTES_PER_S.get(storage.medium or "")
        for storage in deployed.storage
    ]
    known = [speed for speed in speeds if speed is not None]
    return min(known, default=_UNKNOWN_BYTES_PER_S)


_SHORTEST_START_S = 120
"""The start time of a program without models. Pulling its image is not part of it: probes begin when it runs."""
_PATIENCE = 3
"""How many times the forecast load time a start can take before it counts as failed: disks are shared."""


def forecast_start_time(deployed: Deployed) -> int:
    """The seconds that a start can take: several times the forecast load time of the largest model."""
    return max(_SHORTEST_START_S, _PATIENCE * forecast_load_time(deployed))
