"""How files reach a Job that has no folder in common with the server: its pods fetch and deliver them.

The image of the task then runs as an init container, between one that fetches the inputs and the container that
delivers what it made, which starts only if it has succeeded. Only these two have the token, from a Secret that goes
with the Job; the image of the task sees its files alone.
"""

from __future__ import annotations

from corral.engines.job.inputs import MOUNT, JobInputs, JobOptions
from corral.work import Json, Work

_TOKEN_FOLDER = "/corral-token"
_HEADER = "header"
_CURL = f"curl --silent --show-error --fail --retry 8 --retry-all-errors --retry-delay 2 -H @{_TOKEN_FOLDER}/{_HEADER}"
"""Tried again eight times, 2 s apart: a server that restarts is away for less."""
_FETCH = (
    f'set -eu; for name; do {_CURL} --url-query "name=$name" -o "{MOUNT}/inputs/$name" "$CORRAL_FILES/inputs"; done'
)
_DELIVER = (
    f"set -eu; cd {MOUNT}/outputs; find . -type f >/tmp/files; while IFS= read -r file; do "
    f'{_CURL} --url-query "name=$file" -T "$file" "$CORRAL_FILES/outputs" </dev/null; done </tmp/files'
)
FILES: list[Json] = [{"name": name, "mountPath": f"{MOUNT}/{name}"} for name in ("inputs", "outputs")]
"""The mounts of an attempt's files."""


def needs_delivery(work: Work, inputs: JobInputs, options: JobOptions) -> bool:
    """Return whether the pods of an attempt fetch and deliver files over HTTP."""
    return options.shared_claim is None and options.server_url is not None and bool(work.files or inputs.outputs)


def make_token_secret(job: Json, token: str) -> Json:
    """Make the Secret with the token of a Job's attempt, as a header of HTTP; it goes with the Job."""
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "ownerReferences": [owner]},
        "stringData": {_HEADER: f"Authorization: Bearer {token}"},
    }


def list_delivery_volumes(job: str) -> list[Json]:
    """List the volumes of such a pod: its files, and the token."""
    secret = {"secretName": job, "defaultMode": 0o444}
    return [*({"name": mount["name"], "emptyDir": {}} for mount in FILES), {"name": "token", "secret": secret}]


def deliver(container: Json, work: Work, inputs: JobInputs, options: JobOptions) -> Json:
    """Make the containers of a pod around that of the task."""
    url = f"{options.server_url}/corral/v1/attempts/{work.attempt}"
    fetch = [_make_container("fetch", options, url, _FETCH, sorted(work.files))] if work.files else []
    last = _make_container("deliver", options, url, _DELIVER if inputs.outputs else "true", [])
    return {"initContainers": [*fetch, container], "containers": [last]}


def _make_container(name: str, options: JobOptions, url: str, script: str, arguments: list[str]) -> Json:
    return {
        "name": name,
        "image": options.delivery_image,
        "command": ["sh", "-c", script, "sh", *arguments],
        "env": [{"name": "CORRAL_FILES", "value": url}],
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [*FILES, {"name": "token", "mountPath": _TOKEN_FOLDER, "readOnly": True}],
    }
