"""Answers of the HTTP API, printed: tables for people, the answer itself for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from corral.cli import terminal
from corral.units import format_bytes, format_duration
from corral.work import Json

if TYPE_CHECKING:
    from corral.batchfile.values import BatchFile
    from corral.client.fetching import Fetched


def put_tasks(tasks: Sequence[Json], *, as_json: bool) -> None:
    """Print a list of tasks."""
    if as_json:
        terminal.put_json({"items": list(tasks)})
        return
    columns = ("task", "name", "state", "engine", "model", "slot", "batch", "created", "took")
    rows = [
        (
            task["id"],
            task["name"],
            task["state"],
            task["engine"],
            task["model"],
            ", ".join(task["slots"]),
            task["batch"],
            format_ago(task["created_at"]),
            format_span(task["started_at"], task["finished_at"]),
        )
        for task in tasks
    ]
    terminal.put_table(columns, rows, empty="no tasks", expendable=("batch", "model", "took", "engine", "slot"))


def put_task(task: Json, story: Sequence[Json], *, as_json: bool) -> None:
    """Print one task with its story."""
    if as_json:
        terminal.put_json({**task, "story": list(story)})
        return
    terminal.put_text(_answer(task))
    terminal.put("")
    plain = ("id", "name", "state", "batch", "owner", "queue", "class", "priority", "engine", "model", "gpus", "node")
    fields = [(name, task.get(name)) for name in plain]
    fields += [
        ("prefers node", task.get("prefer_node")),
        ("failed attempts", f"{task['attempts']} of {task['max_attempts']}" if task["attempts"] else ""),
        ("slots", ", ".join(task["slots"])),
        ("created", format_ago(task["created_at"])),
        ("ran", format_span(task["started_at"], task["finished_at"])),
        ("energy", f"{joules / 3600:.3g} Wh of GPUs" if (joules := task.get("joules")) else ""),
        ("retry of", task.get("retry_of")),
        ("needs", ", ".join(str(need) for need in task["needs"])),
        ("labels", ", ".join(f"{key}={value}" for key, value in task["labels"].items())),
    ]
    fields += [(f"input {name}", _shorten(value)) for name, value in task["inputs"].items()]
    values: dict[str, Json] = task["result"] or {}
    fields += [(f"value {name}", _shorten(value)) for name, value in values.items()]
    fields += [
        (f"output {output['name']}", f"{format_bytes(output['size'])}  {output['sha256']}")
        for output in task["outputs"]
    ]
    terminal.put_fields(fields)
    terminal.put("")
    for event in story:
        terminal.put(format_event(event))


def _answer(task: Json) -> str:
    """Say in one line, or as an error, how a task is."""
    if task["error"]:
        return format_problem(task["error"])
    took = format_span(task["started_at"], task["finished_at"])
    where = f" on {', '.join(task['slots'])}" if task["slots"] else ""
    return f"task {task['id']}, {task['name']}: {task['state']}{where}{f' after {took}' if took else ''}"


def format_event(event: Json) -> str:
    """Write one line of a task's story: the time, what happened, and what belongs to it."""
    at = datetime.fromisoformat(event["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    data = {name: value for name, value in event["data"].items() if name not in ("attempt", "state", "error")}
    details = "  ".join(_format_detail(name, value) for name, value in data.items())
    error = event["data"].get("error")
    words = [at, event["kind"], f"-> {event['data']['state']}" if "state" in event["data"] else "", details]
    words.append(f"{error['code']}: {error['what']}" if error else "")
    return "  ".join(word for word in words if word)


def _format_detail(name: str, value: Json) -> str:
    if name == "because":
        return f"({_REASONS.get(value, value)})"
    return f"{name}={_shorten(value)}"


_REASONS = {
    "lost attempt ran here": "an attempt that was lost ran there",
    "model resident": "its model is loaded there",
    "fastest measured": "it is the fastest so far",
    "fewest models given up": "fewest models are unloaded for it",
    "least memory left over": "it leaves the least memory unused",
    "first of alike slots": "the free slots are alike, and it is the first",
    "only slot free": "it is the only free slot that fits",
}
"""Why a task got its slot, in the words of people; by what the scheduler notes."""


def put_explanation(answer: Json, *, as_json: bool) -> None:
    """Print why a task waits, or where it is."""
    if as_json:
        terminal.put_json(answer)
        return
    terminal.put_text(f"task {answer['task']}: {answer.get('summary') or 'nothing more is known'}")
    state, rule = answer["state"], answer.get("rule")
    terminal.put_fields(
        [
            ("state", state),
            ("rule", None if rule == state else rule),
            ("for", format_span(answer.get("since"), datetime.now(UTC).isoformat())),
            ("can start", format_ago(answer.get("may_start_at"))),
        ]
    )
    reasons: dict[str, str] = answer.get("slots") or {}
    for slot, reason in reasons.items():
        terminal.put(f"  {slot}: {reason}")


def put_change(tasks: Sequence[Json], *, verb: str, as_json: bool) -> None:
    """Print what a change did to tasks."""
    if as_json:
        terminal.put_json({"items": list(tasks)})
        return
    for task in tasks:
        origin = f" (of task {task['retry_of']})" if task.get("retry_of") else ""
        terminal.put(f"task {task['id']}, {task['name']}: {verb}{origin}; {task['state']}")


def put_batches(batches: Sequence[Json], *, as_json: bool) -> None:
    """Print a list of batches."""
    if as_json:
        terminal.put_json({"items": list(batches)})
        return
    has_deadlines = any(batch.get("by") for batch in batches)
    rows = [
        (
            batch["id"],
            batch["name"],
            batch["owner"],
            batch["task_count"],
            format_states(batch["states"]),
            format_ago(batch["created_at"]),
            *((_format_deadline(batch),) if has_deadlines else ()),
        )
        for batch in batches
    ]
    terminal.put_table(
        ("batch", "name", "owner", "tasks", "states", "created", *(("by",) if has_deadlines else ())),
        rows,
        empty="no batches",
        expendable=("owner", "created"),
    )


def _format_deadline(batch: Json) -> str:
    if not batch.get("by"):  # a server of an earlier version knows no deadlines
        return ""
    deadline: Json = batch["deadline"]
    return f"{format_clock(batch['by'], zone=deadline['time_zone'])} {deadline['verdict'].replace('_', ' ')}"


def describe_deadline(batch: Json) -> str | None:
    """Print whether a batch will be done by its deadline; None where it has none."""
    deadline: Json = batch.get("deadline")
    if deadline is None:
        return None
    zone = deadline["time_zone"]
    by, ready, start, after_all = (
        format_clock(text, zone=zone)
        for text in (batch["by"], deadline["ready_at"], deadline["latest_start"], deadline["ready_after_all"])
    )
    match deadline["verdict"]:
        case "in_time":
            return (
                f"by {by}: in time, ready about {ready} if it goes first, {after_all or 'later'} after all that waits"
            )
        case "tight":
            return f"by {by}: tight, ready about {ready} if it goes first; from {start} no slack is left"
        case "late":
            tasks = f"{deadline['done_by']} of {batch['task_count']} tasks"
            return f"by {by}: late, ready about {ready or 'later'} at the earliest; by then {tasks} can be done"
        case "met":
            return f"by {by}: met at {ready}"
        case "missed":
            return f"by {by}: missed" + (f", done at {ready}" if batch["done"] else "")
        case _:
            return f"by {by}: unknown, since no task like these was measured yet, or no open slot runs them"


def put_caution(accepted: Json) -> None:
    """Note what keeps a batch that was accepted from starting; a server of an earlier version does not report it."""
    if caution := accepted.get("caution"):
        terminal.note(f"caution: {caution['what']}; {caution['hint']}")


def put_deliveries(deliveries: Json) -> None:
    """Print what became of outputs that are written to folders by themselves, where there are any."""
    if deliveries is None:
        return
    terminal.put("")
    terminal.put(
        f"outputs written for {terminal.format_count(deliveries['written'], 'task')}, waiting: {deliveries['waiting']}"
    )
    if deliveries["problem"]:
        terminal.put_text(format_problem(deliveries["problem"]))


def format_states(states: Json) -> str:
    """Write counts by state in one line."""
    return ", ".join(f"{count} {state}" for state, count in states.items() if count)


def format_problem(error: Json) -> str:
    """Write an error of the HTTP API in the house form."""
    lines = [f"error[{error['code']}]: {error['what']}"]
    lines += [f"  at: {error['where']}"] if error.get("where") else []
    lines += [f"hint: {error['hint']}"] if error.get("hint") else []
    return "\n".join(lines)


def _shorten(value: Json) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:199]}…"


def format_ago(text: Json, *, now: datetime | None = None) -> str:
    """Say how far an instant of the HTTP API is from now; empty where there is none."""
    if not isinstance(text, str):
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(text)).total_seconds()
    return f"{format_duration(seconds)} ago" if seconds >= 0 else f"in {format_duration(-seconds)}"


def format_clock(text: Json, *, zone: str | None = None, now: datetime | None = None) -> str:
    """Print an instant of the HTTP API as clocks of a zone, or here, show it; with its day beyond one from now."""
    if not isinstance(text, str):
        return ""
    local = datetime.fromisoformat(text).astimezone(None if zone is None else ZoneInfo(zone))
    is_near = abs(local - (now or datetime.now(UTC))) < timedelta(days=1)
    return f"{local:%H:%M}" if is_near else f"{local:%a %d %b %H:%M}"


def format_span(start: Json, end: Json) -> str:
    """Say how long it took from one instant to another; empty where one is missing."""
    if not isinstance(start, str) or not isinstance(end, str):
        return ""
    return format_duration(max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()))


def put_fetched(folders: Sequence[Fetched], *, as_json: bool) -> None:
    """Print where outputs were written."""
    if as_json:
        items = [
            {"folder": str(fetched.folder), "files": fetched.files, "unfinished": fetched.unfinished}
            for fetched in folders
        ]
        terminal.put_json({"items": items})
        return
    for fetched in folders:
        terminal.put(f"{fetched.folder}/: {terminal.format_count(fetched.files, 'file')}")
        if fetched.unfinished:
            tasks = terminal.format_count(fetched.unfinished, "task")
            terminal.note(f"{tasks} not ended yet; the same command fetches the rest later")


def put_batch_file(batch: BatchFile, *, key: str | None = None, as_json: bool) -> None:
    """Print what would be submitted; in JSON, what the HTTP API would get, with paths where uploads would be."""
    if as_json:
        from corral.batchfile.drawing import draw, make_key

        request = batch.request({path: str(path) for path in batch.local_files})
        terminal.put_json(draw(request, batch.wildcards, key or make_key()))
        return
    rows = [
        (task.name, task.engine, task.model, ", ".join(_list_references(task.body.get("files", {}))))
        for task in batch.tasks
    ]
    terminal.put_table(("task", "engine", "model", "takes"), rows, empty="")
    terminal.note(f"{batch.name}: {terminal.format_count(len(batch.tasks), 'task')}; nothing was submitted")


def _list_references(files: dict[str, dict[str, str]]) -> list[str]:
    return [f"{ref['task']}/{ref['output']}" for ref in files.values() if "task" in ref]
