"""Settings that programs need beside those of the cluster file, which always win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corral.cluster.values import SecretKey, Service, ServiceKind
from corral.rendering.programs import mount_paths

MASTER_KEY = "LITELLM_MASTER_KEY"
"""Without it LiteLLM would serve everybody; newer ones refuse to start."""
_SPEECH = frozenset({"whisper", "chatterbox", "piper"})
"""Engines that fetch their models by name and keep them in caches below the home directory, unless told otherwise."""
_WORKERS = ("UVICORN_WORKERS", "WEB_CONCURRENCY")


def usual_settings(service: Service, volumes: Sequence[str]) -> dict[str, str]:
    """What the program of a service wants to be told; `volumes` are the names of those that it uses."""
    if service.kind is ServiceKind.LITELLM:
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it fetches a list of prices at each start
    if _SPEECH.isdisjoint(service.engines) or not volumes:
        return {}
    return _caches(mount_paths(service, volumes)[volumes[0]])


def without_extra_workers(gpus: int, env: Mapping[str, str]) -> dict[str, str]:
    """Keep a GPU service to one process: each further one loads all models once more (pitfall B06)."""
    return {name: "1" if _is_multiplied(gpus, name, value) else value for name, value in env.items()}


def worker_notes(name: str, gpus: int, env: Mapping[str, str]) -> list[str]:
    """Say which settings of the file are not followed."""
    return [
        f"{name}: {variable} is 1 instead of {value}, since each process would load its models once more."
        for variable, value in env.items()
        if _is_multiplied(gpus, variable, value)
    ]


def secrets_of(service: Service, name: str) -> dict[str, SecretKey]:
    """The secret settings of a service; what LiteLLM needs and the file leaves open lies in a Secret of its name."""
    needed: list[str] = []
    if service.kind is ServiceKind.LITELLM:
        needed = [MASTER_KEY, *(route.key_from for route in service.routes if route.key_from)]
    usual = {key: SecretKey(secret=name, key=key) for key in needed if key not in service.env}
    return usual | dict(service.secrets)


def _caches(folder: str) -> dict[str, str]:
    """Caches of Hugging Face, of PyTorch and of all that follows XDG (openai-whisper), on a volume."""
    return {
        "HF_HOME": f"{folder}/huggingface",
        "TORCH_HOME": f"{folder}/torch",
        "XDG_CACHE_HOME": f"{folder}/cache",
    }


def _is_multiplied(gpus: int, name: str, value: str) -> bool:
    return gpus > 0 and name in _WORKERS and value.strip().isdecimal() and int(value) > 1
