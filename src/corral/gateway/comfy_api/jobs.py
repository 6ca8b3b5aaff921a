"""Jobs in the shapes of Comfy API v2; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid4, uuid5

from corral.gateway.comfy_api.assets import make_output_id
from corral.gateway.comfyui.asked import PromptAsked
from corral.gateway.comfyui.shapes import describe_end
from corral.gateway.comfyui.workshop import ENDED, Course, FileName, ListedPrompt, Stage, StoredPrompt
from corral.narrowing import as_list, as_object
from corral.work import Json

LONGEST_METADATA = 1024
"""Bytes of a job's metadata as JSON."""
LARGEST_PRIORITY = 1_000_000
ASSET = "asset"
"""The folder of file names that are ids of assets."""
_SECRETS = frozenset({"api_key_comfy_org", "auth_token_comfy_org"})
_STATUSES = {
    Stage.PENDING: "queued",
    Stage.RUNNING: "running",
    Stage.SUCCEEDED: "succeeded",
    Stage.FAILED: "failed",
    Stage.CANCELLED: "canceled",
}
_TYPES = {"images": "image", "video": "video", "gifs": "video", "audio": "audio", "latents": "latent"}
_TEXT_NAME = re.compile(r"text_(.+)_\d+\.txt")
_UI_KEYS = frozenset({"nodes", "links"})


class ApiError(Exception):
    """A refusal in the shape of this API."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, Json] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message, "details": None if details is None else {**details}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAsked:
    """The body of `POST jobs`."""

    prompt: PromptAsked
    facts: Mapping[str, Json]
    assets: tuple[FileName, ...]


def read_job(asked: Mapping[str, Json], owner: str, key: str | None) -> JobAsked:
    """Read a job. Raises: ApiError."""
    unknown = asked.keys() - {"workflow", "extra_data", "metadata", "priority"}
    if unknown:
        raise ApiError(422, "invalid_request", f"not offered here: {', '.join(sorted(unknown))}")
    workflow = asked.get("workflow")
    if not isinstance(workflow, dict) or not workflow:
        raise ApiError(422, "invalid_workflow", "`workflow` is not an object of nodes", {"node_errors": {}})
    graph = as_object(workflow)
    if graph.keys() >= _UI_KEYS:
        message = "the workflow is as the editor saves it; export it with Workflow > Export (API)"
        raise ApiError(422, "workflow_format_ui", message)
    priority = asked.get("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > LARGEST_PRIORITY:
        limit = f"a whole number from -{LARGEST_PRIORITY} to {LARGEST_PRIORITY}"
        raise ApiError(422, "invalid_request", f"`priority` is not {limit}")
    metadata = _read_metadata(asked.get("metadata"))
    # A key is good for one job: the job has its id of it.
    id = str(uuid5(NAMESPACE_URL, f"corral:{owner}\n{key}")) if key is not None else str(uuid4())
    extra = {name: value for name, value in as_object(asked.get("extra_data")).items() if name not in _SECRETS}
    prompt = PromptAsked(id=id, client=None, workflow=graph, extra_data=extra, precedence=priority)
    return JobAsked(
        prompt=prompt, facts={"metadata": metadata, "priority": priority}, assets=tuple(_list_assets(graph))
    )


def _read_metadata(given: Json) -> Json:
    """Comfy's own proxy takes text, its other servers a map of texts."""
    if given is None:
        return None
    labels = as_object(given)
    is_map = isinstance(given, dict) and all(isinstance(value, str) for value in labels.values())
    if not is_map and not isinstance(given, str):
        raise ApiError(422, "metadata_invalid", "`metadata` is neither text nor an object of texts")
    if len(json.dumps(labels or given)) > LONGEST_METADATA:
        raise ApiError(422, "metadata_invalid", f"`metadata` has more than {LONGEST_METADATA} bytes")
    return given if isinstance(given, str) else labels


def _list_assets(workflow: Mapping[str, Json]) -> Iterator[FileName]:
    """Yield the inputs whose value is an asset. Raises: ApiError for a reference without an id."""
    for node_id, node in workflow.items():
        for name, value in as_object(as_object(node).get("inputs")).items():
            reference = as_object(value)
            if reference.get("__type") == "core/ASSET":
                id = as_object(reference.get("info")).get("id")
                if not isinstance(id, str) or not id:
                    raise ApiError(422, "missing_asset", f"node {node_id} input {name!r}: the reference has no id")
                yield FileName(node_id, name, ASSET, id)


# --- answers --------------------------------------------------------------------------------------------------------


def find_status(prompt: StoredPrompt) -> str:
    """Return a job's status."""
    return "canceling" if prompt.is_cancelling else _STATUSES[prompt.stage]


def list_stages(status: str) -> frozenset[Stage]:
    """Return the stages of a status; none for one that does not exist here."""
    return frozenset(stage for stage, name in _STATUSES.items() if name == status)


def describe_job(
    prompt: StoredPrompt, base: str, prefix: str, kept_for: timedelta, course: Course | None, position: int | None
) -> dict[str, Json]:
    """Return a job; `base` is the address of the API, `prefix` its path."""
    expires_at = _to_time((prompt.ended_ms or prompt.created_ms) + int(kept_for.total_seconds() * 1000))
    return {
        "id": prompt.id,
        "status": find_status(prompt),
        "created_at": _to_time(prompt.created_ms),
        "started_at": None if prompt.started_ms is None else _to_time(prompt.started_ms),
        "completed_at": None if prompt.ended_ms is None else _to_time(prompt.ended_ms),
        "expires_at": expires_at,
        "queue_position": position if prompt.stage is Stage.PENDING else None,
        "progress": describe_progress(prompt, course),
        "outputs": describe_outputs(prompt, base, expires_at),
        "outputs_reused": False,
        "error": _describe_error(prompt),
        "metadata": prompt.facts.get("metadata"),
        "priority": prompt.facts.get("priority", 0),
        "metrics": {
            "queue_ms": None if prompt.started_ms is None else prompt.started_ms - prompt.created_ms,
            "execution_ms": None
            if prompt.started_ms is None or prompt.ended_ms is None
            else prompt.ended_ms - prompt.started_ms,
        },
        "urls": {
            "self": f"{prefix}/jobs/{prompt.id}",
            "events": f"{prefix}/jobs/{prompt.id}/events",
            "cancel": f"{prefix}/jobs/{prompt.id}/cancel",
        },
    }


def describe_entry(prompt: StoredPrompt) -> dict[str, Json]:
    """Return a job as a list has it."""
    newest = prompt.ended_ms or prompt.started_ms or prompt.created_ms
    return {
        "id": prompt.id,
        "status": find_status(prompt),
        "create_time": _to_time(prompt.created_ms),
        "update_time": _to_time(newest),
        "metadata": prompt.facts.get("metadata"),
        "priority": prompt.facts.get("priority", 0),
    }


def describe_progress(prompt: StoredPrompt, course: Course | None) -> dict[str, Json] | None:
    """Return how far a job is; None where it never ran."""
    total = len(prompt.workflow)
    if prompt.stage is Stage.SUCCEEDED:
        return {"value": 1.0, "nodes_done": total, "nodes_total": total} | dict.fromkeys(
            ("current_node", "current_node_class", "step", "steps", "message")
        )
    if course is None or prompt.stage in ENDED:
        return None
    states = as_object(course.events.get("progress_state", {}).get("nodes"))
    done = {node for node, state in states.items() if as_object(state).get("state") == "finished"}
    done |= {str(node) for node in as_list(course.events.get("execution_cached", {}).get("nodes"))}
    node = next((node for node, state in states.items() if as_object(state).get("state") == "running"), None)
    state = as_object(states.get(node or ""))
    has_steps = isinstance(state.get("max"), int | float) and state["max"] > 1
    return {
        "value": course.fraction or 0.0,
        "nodes_done": len(done & prompt.workflow.keys()),
        "nodes_total": total,
        "current_node": node,
        "current_node_class": as_object(prompt.workflow.get(node or "")).get("class_type"),
        "step": int(state["value"]) if has_steps else None,
        "steps": int(state["max"]) if has_steps else None,
        "message": course.note or None,
    }


def describe_outputs(prompt: StoredPrompt, base: str, expires_at: str) -> list[Json]:
    """Return the files of an ended job, in the order of their names."""
    places = _find_places(prompt)
    outputs: list[Json] = []
    for index, (name, file) in enumerate(sorted(prompt.files.items())):
        id = make_output_id(prompt.task, index)
        node, kind = places.get(name) or _guess_place(name)
        outputs.append(
            {
                "node_id": node,
                "name": name,
                "type": "video" if file.media_type.startswith("video/") else kind,
                "content_type": file.media_type,
                "size_bytes": file.size,
                "id": str(id),
                "hash": None,
                "url": f"{base}/assets/{id}/content",
                "url_expires_at": expires_at,
                "job_id": prompt.id,
            }
        )
    return outputs


def _find_places(prompt: StoredPrompt) -> dict[str, tuple[str, str]]:
    """Return node and kind of each file by its name at Corral."""
    nodes: Mapping[str, Json] = prompt.end.nodes if prompt.end is not None else {}
    return {
        file["output"]: (node, _TYPES.get(kind, "file"))
        for node, lists in nodes.items()
        for kind, items in as_object(lists).items()
        for item in as_list(items)
        if isinstance((file := as_object(item)).get("output"), str)
    }


def _guess_place(name: str) -> tuple[str, str]:
    match = _TEXT_NAME.fullmatch(name)
    return ("", "file") if match is None else (match[1], "text")


def _describe_error(prompt: StoredPrompt) -> dict[str, Json] | None:
    if prompt.stage is not Stage.FAILED:
        return None
    end = describe_end(prompt)[1]
    return {
        "code": "node_execution_error" if end["node_id"] is not None else "execution_error",
        "message": f"{end['exception_type']}: {end['exception_message']}",
        "node_id": end["node_id"],
        "class_type": end["node_type"],
        "traceback": None,
    }


def find_position(prompt: StoredPrompt, waiting: Sequence[ListedPrompt]) -> int | None:
    """Return how many of the owner's jobs start before a queued one at least."""
    ids = [other.id for other in waiting if other.stage is Stage.PENDING]
    return ids.index(prompt.id) if prompt.id in ids else None


def _to_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()
