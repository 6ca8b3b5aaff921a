"""Prompts in ComfyUI's own shapes: queue, history, jobs and files; pure.

Instances count their files each for itself, so two can have a `ComfyUI_00001_.png`. Here a file is in a subfolder of
its prompt's task, `task-41`, by the name that its instance gave it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from corral.gateway.comfyui.workshop import ListedPrompt, Stage, StoredPrompt
from corral.narrowing import as_list, as_object
from corral.work import Json

_PREVIEWS = ("images", "video", "gifs", "audio", "3d")
"""The lists of files that pages show; others are data (`MEDIA_TYPES` of `comfy_execution/jobs.py`)."""
_FOLDER = re.compile(r"task-([0-9]{1,18})(?:/(.*))?", re.ASCII | re.DOTALL)


# --- files ----------------------------------------------------------------------------------------------------------


def place_files(output: Json, task: int) -> dict[str, Json]:
    """Return what a node gave out, with its files in the subfolder of their task."""
    return {
        kind: [_place(item, task) for item in as_list(items)] if isinstance(items, list) else items
        for kind, items in as_object(output).items()
    }


def _place(item: Json, task: int) -> Json:
    file = as_object(item)
    if not isinstance(file.get("filename"), str):
        return item
    folder = f"task-{task}/{file.get('subfolder') or ''}".rstrip("/")
    # `fullpath` is a path on the instance, where no client of ours gets to.
    return {key: value for key, value in file.items() if key not in ("output", "fullpath")} | {"subfolder": folder}


def read_folder(subfolder: str) -> tuple[int, str] | None:
    """Return the task of a subfolder that `place_files` made, and the subfolder on its instance."""
    match = _FOLDER.fullmatch(subfolder.strip("/"))
    return None if match is None else (int(match[1]), match[2] or "")


def find_output_name(prompt: StoredPrompt, filename: str, subfolder: str, folder: str) -> str | None:
    """Return the name at Corral of a file that a prompt's instance named so; None where it is not kept."""
    for file in list_files(prompt):
        here = (file.get("filename"), file.get("subfolder") or "", file.get("type") or "output")
        if here == (filename, subfolder, folder) and isinstance(file.get("output"), str):
            return file["output"]
    return None


def list_files(prompt: StoredPrompt) -> Iterator[dict[str, Json]]:
    """Yield the files that the nodes of an ended prompt gave, as their instance names them."""
    for lists in prompt.end.nodes.values() if prompt.end is not None else ():
        for items in as_object(lists).values():
            yield from (file for item in as_list(items) if isinstance((file := as_object(item)).get("filename"), str))


# --- queue and history ----------------------------------------------------------------------------------------------


def describe_item(prompt: StoredPrompt) -> list[Json]:
    """Return a prompt as an item of the queue."""
    extra = {**prompt.extra_data, "create_time": prompt.created_ms}
    if prompt.client is not None:
        extra["client_id"] = prompt.client
    return [prompt.number, prompt.id, prompt.workflow, extra, list(prompt.outputs)]


def write_item(prompt: StoredPrompt) -> bytes:
    """Return a prompt as an item of the queue, as JSON."""
    return json.dumps(describe_item(prompt), separators=(",", ":")).encode()


def describe_outputs(prompt: StoredPrompt) -> dict[str, Json]:
    """Return what the nodes of an ended prompt gave."""
    nodes: Mapping[str, Json] = prompt.end.nodes if prompt.end is not None else {}
    return {node: place_files(output, prompt.task) for node, output in nodes.items()}


def describe_history(prompt: StoredPrompt) -> dict[str, Json]:
    """Return an ended prompt as the entry of the history under its id."""
    outputs = describe_outputs(prompt)
    return {
        "prompt": describe_item(prompt),
        "outputs": outputs,
        "status": {
            "status_str": "success" if prompt.stage is Stage.SUCCEEDED else "error",
            "completed": prompt.stage is Stage.SUCCEEDED,
            "messages": describe_messages(prompt),
        },
        "meta": {
            node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node} for node in outputs
        },
    }


def write_history(prompt: StoredPrompt) -> bytes:
    """Return an entry of the history with its key, as a part of a JSON object."""
    return f"{json.dumps(prompt.id)}:{json.dumps(describe_history(prompt), separators=(',', ':'))}".encode()


def describe_messages(prompt: StoredPrompt) -> list[Json]:
    """Return the events of an ended prompt's run, under the id that its client knows."""
    kept = [as_list(message) for message in (prompt.end.messages if prompt.end is not None else ())]
    messages: list[Json] = [
        [message[0], {**as_object(message[1]), "prompt_id": prompt.id}] for message in kept if len(message) == 2
    ]
    if not messages and prompt.started_ms is not None:
        messages.append(["execution_start", {"prompt_id": prompt.id, "timestamp": prompt.started_ms}])
    last = describe_end(prompt)
    if not messages or messages[-1][0] != last[0]:
        messages.append([*last])
    return messages


def describe_end(prompt: StoredPrompt) -> tuple[str, dict[str, Json]]:
    """Return the event that ends a prompt's run."""
    at = {"prompt_id": prompt.id, "timestamp": prompt.ended_ms}
    if prompt.stage is Stage.SUCCEEDED:
        return "execution_success", at
    node = prompt.end.node if prompt.end is not None else None
    node_type = as_object(prompt.workflow.get(node or "")).get("class_type")
    place: dict[str, Json] = {"node_id": node, "node_type": node_type, "executed": []}
    if prompt.stage is Stage.CANCELLED:
        return "execution_interrupted", {**at, **place}
    problem = (prompt.end.problem if prompt.end is not None else None) or "the prompt failed"
    kind, _, message = problem.partition(": ")
    is_named = bool(message) and kind.replace(".", "").replace("_", "").isalnum()
    return "execution_error", {
        **at,
        **place,
        "exception_type": kind if is_named else "CorralError",
        "exception_message": message if is_named else problem,
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    }


# --- jobs -----------------------------------------------------------------------------------------------------------


def describe_job(prompt: StoredPrompt, *, whole: bool = False) -> dict[str, Json]:
    """Return a prompt as `/api/jobs` lists it; with `whole` as `/api/jobs/{id}` answers."""
    outputs = describe_outputs(prompt)
    shown = [
        {**file, "nodeId": node, "mediaType": kind}
        for node, lists in outputs.items()
        for kind, items in lists.items()
        if kind in _PREVIEWS
        for file in as_list(items)
        if as_object(file)
    ]
    saved = [file for file in shown if file.get("type") == "output"]
    job: dict[str, Json] = {
        "id": prompt.id,
        "status": prompt.stage.value,
        "priority": prompt.number,
        "create_time": prompt.created_ms,
        "execution_start_time": prompt.started_ms,
        "execution_end_time": prompt.ended_ms,
        "execution_error": describe_end(prompt)[1] if prompt.stage is Stage.FAILED else None,
        "outputs_count": sum(len(as_list(items)) for lists in outputs.values() for items in lists.values()),
        "previewable_outputs_count": len(shown),
        "preview_output": next(iter(saved or shown), None),
        "workflow_id": find_workflow_id(prompt),
    }
    if whole:
        entry = describe_history(prompt) if prompt.end is not None or prompt.ended_ms is not None else {}
        extra = describe_item(prompt)[3]
        job |= {
            "outputs": outputs,
            "execution_status": entry.get("status"),
            "workflow": {"prompt": prompt.workflow, "extra_data": extra},
        }
    return job


def find_workflow_id(prompt: StoredPrompt) -> str | None:
    """Return the id of the drawn workflow that a prompt was made from, where its client sent it along."""
    drawn = as_object(as_object(prompt.extra_data.get("extra_pnginfo")).get("workflow"))
    return drawn["id"] if isinstance(drawn.get("id"), str) else None


@dataclass(frozen=True, slots=True)
class JobsPage:
    """The jobs of one page, and where it is among all that were asked for."""

    prompts: Sequence[ListedPrompt]
    pagination: Mapping[str, Json]


def page_jobs(prompts: Sequence[ListedPrompt], query: Mapping[str, str]) -> JobsPage | str:
    """Return the page of `/api/jobs` for a query, or what is wrong with the query."""
    stages = [word.strip() for word in query.get("status", "").split(",") if word.strip()]
    unknown = [word for word in stages if word not in set(Stage)]
    if unknown:
        return f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(sorted(Stage))}"
    sort_by, order = query.get("sort_by", "created_at"), query.get("sort_order", "desc")
    if sort_by not in ("created_at", "execution_duration") or order not in ("asc", "desc"):
        return "sort_by must be created_at or execution_duration, and sort_order asc or desc"
    limit, offset = _read_count(query.get("limit")), _read_count(query.get("offset")) or 0
    chosen = [
        prompt
        for prompt in prompts
        if (not stages or prompt.stage.value in stages) and query.get("workflow_id") in (None, "", prompt.workflow_id)
    ]
    chosen.sort(key=_measure_run if sort_by == "execution_duration" else _find_creation, reverse=order == "desc")
    page = chosen[offset:] if limit is None else chosen[offset : offset + limit]
    has_more = offset + len(page) < len(chosen)
    return JobsPage(page, {"offset": offset, "limit": limit, "total": len(chosen), "has_more": has_more})


def _read_count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else None


def _measure_run(prompt: ListedPrompt) -> int:
    return 0 if prompt.started_ms is None or prompt.ended_ms is None else prompt.ended_ms - prompt.started_ms


def _find_creation(prompt: ListedPrompt) -> tuple[int, int]:
    return prompt.created_ms, prompt.task
