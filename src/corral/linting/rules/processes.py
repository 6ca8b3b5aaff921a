"""Processes of containers: start scripts, probes, workers, images."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Corpus
from corral.linting.kustomizing import split_image
from corral.linting.programs import Program
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree
from corral.linting.values import Severity

_SERVER_THEN = re.compile(
    r"(?:^|[\n;&|({]|\bexec )[ \t]*(?:ollama serve|(?:uvicorn|python3? main\.py) [^\n&|;]{0,500})[ \t]{0,100}&&"
)
_SHELLS = re.compile(r"(?:^|/)(?:ba|da|z|a)?sh$")
_STOPS = re.compile(r"\bset\s+-[a-z]*e|\bset\s+-o\s+errexit")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_LONGEST_LOAD_S = 300
"""Models of tens of gigabytes take minutes from a disk; a liveness probe that waits less needs a startup probe."""
_LISTENS_FIRST = re.compile(r"(?:^|/)(?:ollama|llama-swap|local-?ai)(?:[:@/]|$)", re.IGNORECASE)
"""Programs that answer at once and load a model with its first request."""
_LOADS_FIRST = re.compile(
    r"vllm|sglang|text-generation|text-embeddings|triton|llama[._-]?cpp|kserve|nim\b|whisper|torchserve"
)
"""Programs that answer once their model is loaded."""
_NO_MODEL = re.compile(
    r"jellyfin|plex|emby|frigate|tdarr|ffmpeg|unmanic|scrypted|go2rtc|jupyter|notebook|code-server|rstudio|webtop"
    r"|dcgm|device-plugin|gpu-feature-discovery|nvidia-smi",
    re.IGNORECASE,
)
"""Programs that use a GPU without loading a model for minutes, and answer meanwhile."""
_SERVERS = re.compile(r"uvicorn|gunicorn|hypercorn|fastapi|granian|^[\w.]+:[a-z_]\w*$")
_WORKERS = frozenset({"UVICORN_WORKERS", "WEB_CONCURRENCY", "GUNICORN_WORKERS"})
_WORKERS_FLAG = re.compile(r"--workers[= ](?P<count>\d{1,9})")
_READY_WITHOUT_MODEL = frozenset({"/docs", "/api/tags", "/openapi.json"})
_IMAGE = re.compile(r"(?!your\b|my-?(?:image|app|registry)\b)[a-z0-9][\w.:/-]*")
"""The name of an image; anything else is a placeholder."""
_OFFICIAL = frozenset(
    {"api-firewall", "eclipse-mosquitto", "eclipse-temurin", "express-gateway", "hello-world", "ibm-semeru-runtimes",
     "nats-streaming", "open-liberty", "php-zendserver", "websphere-liberty"}
)  # fmt: skip
"""Docker Hub's official images with a dash in their name: they are pulled without an owner."""


@checks("B01")
def check_server_first(corpus: Corpus) -> Iterator[Violation]:
    """Look for a server in front of `&&`."""
    for program in corpus.programs:
        for word in program.words:
            if _SERVER_THEN.search(word.script or ""):
                what = f"{program.title} continues only after its server has ended"
                yield Violation(place=word.place, what=what, subject=program.subject)


@checks("B02")
def check_scripts_stop(corpus: Corpus) -> Iterator[Violation]:
    """Look for shell scripts of several commands in init containers."""
    for container in corpus.containers:
        words = [*container.tree["command"].entries, *container.tree["args"].entries]
        if not container.is_init or not any(_SHELLS.search(word.raw or "") for word in words[:1]):
            continue
        has_flag = any(re.fullmatch(r"-[a-z]*e[a-z]*", word.raw or "") for word in words)
        for word in words:
            number = count_fallible_commands(word.script or "")
            if number > 1 and not has_flag and not _STOPS.search(word.script or ""):
                what = f"the script of init container {container.name!r} has {number} commands and no `set -e`"
                yield Violation(place=word.place, what=what, subject=container.pod.owner)


@checks("B03")
def check_liveness_patience(corpus: Corpus) -> Iterator[Violation]:
    """Look for liveness probes of GPU containers that give less than five minutes, without a startup probe."""
    for container in corpus.containers:
        probe, image = container.tree["livenessProbe"], container.image or ""
        if not probe or not container.gpus or container.tree["startupProbe"]:
            continue
        if _LISTENS_FIRST.search(image) or _NO_MODEL.search(image):
            continue
        patience = _get_seconds(probe, "initialDelaySeconds", 0) + _get_seconds(
            probe, "periodSeconds", 10
        ) * _get_seconds(probe, "failureThreshold", 3)
        if patience < _LONGEST_LOAD_S:
            what = f"container {container.name!r} is killed when it does not answer within {patience} s of its start"
            known = None if _LOADS_FIRST.search(image) else Severity.WARNING
            yield Violation(place=probe.key or probe.place, what=what, subject=container.pod.owner, severity=known)


def _get_seconds(probe: Tree, name: str, default: int) -> int:
    number = probe[name].number
    return default if number is None else number


@checks("B04")
def check_probe_timeouts(corpus: Corpus) -> Iterator[Violation]:
    """Look for probes without a timeout, or with one of a second."""
    for container in corpus.containers:
        for name in _PROBES if container.gpus and not _NO_MODEL.search(container.image or "") else ():
            probe = container.tree[name]
            if probe and _get_seconds(probe, "timeoutSeconds", 1) <= 1 and not probe["exec"] and not probe["tcpSocket"]:
                what = f"the {name} of container {container.name!r} waits one second for an answer"
                yield Violation(place=probe.key or probe.place, what=what, subject=container.pod.owner)
    for service in corpus.services:
        timeout = service.tree["healthcheck"]["timeout"]
        is_served = service.gpus is not None and not _NO_MODEL.search(service.image or "")
        if is_served and _SHORT.fullmatch(timeout.raw or ""):
            what = f"the health check of service {service.name!r} waits {timeout.raw} for an answer"
            yield Violation(place=timeout.place, what=what, subject=service)


_SHORT = re.compile(r"\d{1,3}ms|1s|1000ms")
"""A duration of up to a second, as Compose writes it; its own is 30 s."""


@checks("B05")
def check_readiness_paths(corpus: Corpus) -> Iterator[Violation]:
    """Look for readiness probes on such paths."""
    for container in corpus.containers:
        path = container.tree["readinessProbe"]["httpGet"]["path"]
        if path.raw in _READY_WITHOUT_MODEL:
            what = f"container {container.name!r} is ready when {path.raw} answers"
            yield Violation(place=path.place, what=what, subject=container.pod.owner)


@checks("B06")
def check_workers(corpus: Corpus) -> Iterator[Violation]:
    """Look for several workers in containers with a GPU."""
    for program in corpus.programs:
        if not program.has_gpu:
            continue
        for name, value in program.env:
            if name in _WORKERS and (value.count or 0) > 1:
                what = f"{program.title} starts {value.raw} workers on one GPU"
                yield Violation(place=value.place, what=what, subject=program.subject)
        is_server = any(_SERVERS.search(word.script or "") for word in program.words)
        for word, following in _pair_words(program):
            match = _WORKERS_FLAG.search(f"{word.script} {following}") if is_server else None
            if match and int(match["count"]) > 1:
                what = f"{program.title} starts {match['count']} workers on one GPU"
                yield Violation(place=word.place, what=what, subject=program.subject)


def _pair_words(program: Program) -> Iterator[tuple[Tree, str]]:
    """Each word with the one that follows it."""
    words = program.words
    for index, word in enumerate(words):
        is_flag = (word.raw or "") == "--workers"
        following = (words[index + 1].raw or "") if is_flag and index + 1 < len(words) else ""
        yield word, following


@checks("B11")
def check_image_tags(corpus: Corpus) -> Iterator[Violation]:
    """Look for `latest` and for no tag at all, as kustomizations leave it; a service that builds its image names it."""
    for program in corpus.programs:
        image = program.image
        if not image or "@" in image or not _IMAGE.fullmatch(image) or program.tree["build"]:
            continue
        _, _, tag = split_image(image)
        is_local = not tag and "/" not in image and not program.tree["name"]  # a Compose file names what it builds so
        if tag in ("", "latest") and not is_local:
            what = f"{program.title} runs {image!r}: {'no tag' if not tag else 'whatever is latest'}"
            yield Violation(place=program.place, what=what, subject=program.subject)


@checks("B12")
def check_pull_policy(corpus: Corpus) -> Iterator[Violation]:
    """Look for the policy on images without a registry and without an owner."""
    for container in corpus.containers:
        policy = container.tree["imagePullPolicy"]
        name = split_image(container.image or "")[0]
        if policy.raw == "Always" and "/" not in name and "-" in name and name not in _OFFICIAL:
            yield Violation(
                place=policy.place,
                what=f"container {container.name!r} pulls {container.image!r} at every start",
                subject=container.pod.owner,
                edits=policy.edit("IfNotPresent"),
            )


_JOINED = re.compile(r"(?:\\|&&|\|\||\|)[ \t]*\n")
_OPENS = re.compile(r"^(?:if|for|while|until|case)\b")
_CLOSES = re.compile(r"(?:^|;[ \t]*|[ \t])(?:fi|done|esac)\b")
_HARMLESS = re.compile(r"^(?:echo|printf|export|sleep|true|:|exit|[A-Za-z_]\w*=[^$`]*$|[{}()]|\w+[ \t]*\(\))")
_GUARDED = re.compile(r"\|\|[ \t]*(?:exit|return|\{)")


def count_fallible_commands(script: str) -> int:
    """Count the commands of a script whose failure the next one would hide; a loop or a condition is one command."""
    depth = number = 0
    for line in _JOINED.sub(" ", script).splitlines():
        command = line.strip()
        if not command or command.startswith("#"):
            continue
        if depth == 0 and not _HARMLESS.match(command) and not _GUARDED.search(command):
            number += 1
        depth = max(0, depth + bool(_OPENS.match(command)) - len(_CLOSES.findall(command)))
    return number
