"""Which containers are asked, and what: logs of those that have trouble, `nvidia-smi` in those that have a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.diagnosis.case import GPU, Case, get_phase, is_ready, list_statuses
from corral.diagnosis.objects import get_list, get_map, get_text
from corral.diagnosis.values import ContainerKey, Questions
from corral.snapshot import Snapshot
from corral.work import Json

MOST = 40
"""Containers of each sort that are asked; of more, those with trouble come first."""
_ABOUT_GPUS = re.compile(r"device-plugin|dcgm|gpu-feature-discovery|dra-driver|ollama", re.IGNORECASE)


def list_questions(snapshot: Snapshot) -> Questions:
    """List the questions that a snapshot leaves open."""
    pods = Case(snapshot=snapshot).pods
    troubled = [key for pod in pods for key in _list_troubled(pod)]
    watched = [key for pod in pods for key in _list_watched(pod)]
    gpus = [key for pod in pods for key in _list_with_gpu(pod)]
    return Questions(logs=tuple(dict.fromkeys([*troubled, *watched]))[:MOST], gpus=tuple(gpus)[:MOST])


def _list_troubled(pod: Json) -> Iterator[ContainerKey]:
    """List the containers of a pod that are not ready, or that ended and were started again."""
    for status in list_statuses(pod):
        state = get_map(status, "state")
        ended = get_map(state, "terminated")
        has_log = bool(status.get("containerID") or "running" in state or ended or status.get("restartCount"))
        if (has_log and not (status.get("ready") or ended.get("reason") == "Completed")) or status.get("restartCount"):
            yield _make_key(pod, status["name"])
        elif ended and not is_ready(pod):
            yield _make_key(pod, status["name"])  # an init container can hide a failure (B02)


def _list_watched(pod: Json) -> Iterator[ContainerKey]:
    """List the containers that report on GPUs in their log."""
    for status in list_statuses(pod):
        names = f"{pod['metadata']['name']} {get_text(status, 'image')}"
        if "running" in get_map(status, "state") and _ABOUT_GPUS.search(names):
            yield _make_key(pod, status["name"])


def _list_with_gpu(pod: Json) -> Iterator[ContainerKey]:
    if get_phase(pod) != "Running":
        return
    running = {status["name"] for status in list_statuses(pod) if "running" in get_map(status, "state")}
    for container in get_list(pod["spec"], "containers"):
        resources = get_map(container, "resources")
        if container["name"] in running and (get_map(resources, "limits").get(GPU) or resources.get("claims")):
            yield _make_key(pod, container["name"])


def _make_key(pod: Json, container: str) -> ContainerKey:
    return ContainerKey(pod["metadata"]["namespace"], pod["metadata"]["name"], container)
