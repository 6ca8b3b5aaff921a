"""What fills a volume before a service starts: Ollama's models are pulled, files and repositories downloaded.

A script for `sh` in which every name is quoted: models are texts of the cluster file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from corral.cluster.values import StorageKind
from corral.rendering.installation import Deployed, Installation
from corral.rendering.models import models_that_fit
from corral.rendering.programs import CURL, image_of, mount_paths

_PULL = """\
set -eu
ollama serve &
server=$!
until ollama list > /dev/null 2>&1; do kill -0 "$server"; sleep 1; done
{pulls}
kill "$server"
wait "$server" || true
"""
_SPEECH = frozenset({"whisper", "chatterbox"})
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SNAPSHOT = (
    "import sys; from huggingface_hub import snapshot_download; [snapshot_download(one) for one in sys.argv[1:]]"
)
"""Runs in the image of the service: what serves models of Hugging Face has its library, and the same cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """A container that runs to its end before the service starts, with the service's first volume."""

    name: str
    image: str | None
    script: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])


def filling_of(installation: Installation, one: Deployed) -> Filling | None:
    """What fills the first volume of a service; None when there is nothing to fetch, or nothing to keep it in."""
    if not one.storage:
        return None
    if "ollama" in one.service.engines:
        return _pulled(installation, one)
    if one.storage[0].kind is not StorageKind.EPHEMERAL:
        return None
    return _downloaded(one) or _snapshots(one)


def _pulled(installation: Installation, one: Deployed) -> Filling | None:
    models = models_that_fit(installation, one)
    if not models:
        return None
    pulls = "\n".join(f"ollama pull {shlex.quote(model)}" for model in models)
    return Filling(name=f"pull-{one.service.name}", image=image_of(one.service), script=_PULL.format(pulls=pulls))


def _downloaded(one: Deployed) -> Filling | None:
    folder = mount_paths(one.service, [storage.name for storage in one.storage])[one.storage[0].name]
    lines = [_curl(url, folder) for url in one.service.models if url.startswith("https://")]
    if not lines:
        return None
    return Filling(name=f"download-{one.service.name}", image=CURL, script="\n".join(["set -eu", *lines, ""]))


def _curl(url: str, folder: str) -> str:
    path = shlex.quote(f"{folder}/{url.rpartition('/')[2]}")
    return f"curl --fail --location --continue-at - --output {path} {shlex.quote(url)}"


def _snapshots(one: Deployed) -> Filling | None:
    """Repositories of Hugging Face, into the cache that the service itself looks into."""
    found = [model for model in one.service.models if _REPOSITORY.fullmatch(model)]
    home = one.env.get("HF_HOME")
    if not found or home is None or _SPEECH.isdisjoint(one.service.engines):
        return None
    words = " ".join(shlex.quote(model) for model in found)
    script = f"set -eu\npython3 -c {shlex.quote(_SNAPSHOT)} {words}\n"
    return Filling(
        name=f"download-{one.service.name}", image=image_of(one.service), script=script, env={"HF_HOME": home}
    )
