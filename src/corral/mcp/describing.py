"""Tools about the server as a whole: its hardware and engines, its queue, and whether a model fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from corral.client.remote_errors import RemoteInvalidError
from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.mcp.answers import ToolAnswer, ToolContext, ask_all, choose
from corral.mcp.arguments import MOST_TASKS, DescribeArguments, FitArguments, NoArguments
from corral.units import Bytes, format_bytes
from corral.work import Json

_MOST_MODELS = 60


class EngineNameError(CorralError):
    """There is no such engine."""

    code = "mcp.no_engine"
    kind = Kind.MISSING


async def describe_cluster(context: ToolContext, asked: DescribeArguments) -> ToolAnswer:
    """Describe devices, slots, engines and models, and whom the call speaks for. Raises: EngineNameError."""
    api = context.api
    status, slots, engines, models = await ask_all(
        api.get("/corral/v1/status"),
        api.get("/corral/v1/slots"),
        api.get("/corral/v1/engines"),
        api.get("/corral/v1/models"),
    )
    schemas = {engine["name"]: engine["inputs"] for engine in engines["items"]}
    if asked.engine is not None and asked.engine not in schemas:
        hint = did_you_mean(asked.engine, schemas)
        raise EngineNameError(f"no engine is called {asked.engine[:60]!r}", where="engine", hint=hint)
    return ToolAnswer(
        value={
            **choose(status, "name", "version"),
            "you": choose(status, "owner", "role"),
            "devices": [_describe_device(device, slots["items"]) for device in slots["devices"]],
            "engines": [_describe_engine(engine) for engine in engines["items"] if engine["slots"]],
            "engines_without_slots": [engine["name"] for engine in engines["items"] if not engine["slots"]],
            "models": [_describe_model(model) for model in models["items"] if model["path"]][:_MOST_MODELS],
            "can_be_fetched": [model["name"] for model in models["items"] if not model["path"]][:_MOST_MODELS],
            "inputs_of": {asked.engine: schemas[asked.engine]} if asked.engine is not None else None,
        }
    )


def _describe_device(device: Mapping[str, Json], slots: Sequence[Json]) -> Json:
    return {
        **choose(device, "id", "node", "model", "busy", "watts", "temperature", "yields"),
        "memory": _format(device["memory"]),
        "memory_for_tasks": _format(device["capacity"]),
        "used_by_other_programs": _format(device["foreign"]),
        "slots": [_describe_slot(slot) for slot in slots if slot["device"] == device["id"]],
    }


def _describe_slot(slot: Mapping[str, Json]) -> Json:
    return {
        **choose(slot, "id", "engine", "instance", "problem", "caution", "opens_at"),
        "gate": None if slot["gate"] == "open" else f"{slot['gate']} {slot['gate_reason']}".strip(),
        "resident": [model["model"] for model in slot["resident"]],
        "lanes": slot["lanes"] if slot["lanes"] > 1 else None,
    }


def _describe_engine(engine: Mapping[str, Json]) -> Json:
    schema: Json = engine["inputs"]
    required = schema.get("required", ())
    return {
        **choose(engine, "name", "summary", "problems"),
        "inputs": [f"{name}*" if name in required else name for name in schema.get("properties", {})],
    }


def _describe_model(model: Mapping[str, Json]) -> Json:
    return {**choose(model, "name", "engines"), "size": _format(model["size"])}


async def summarize_queue(context: ToolContext, asked: NoArguments) -> ToolAnswer:
    """Summarize queues, slots, deadlines, and what needs a person."""
    del asked
    status = await context.api.get("/corral/v1/status")
    return ToolAnswer(
        value={
            **choose(status, "waiting", "running", "oldest_at", "expected_end", "queues", "deadlines", "alarms"),
            "slots": [_describe_work(slot) for slot in status["slots"][:MOST_TASKS]],
        }
    )


def _describe_work(slot: Mapping[str, Json]) -> Json:
    gate = None if slot["gate"] == "open" else slot["gate"]
    return {**choose(slot, "id", "engine", "problem", "opens_at", "task"), "gate": gate}


async def fit(context: ToolContext, asked: FitArguments) -> ToolAnswer:
    """Judge whether a model fits on GPUs: those that are named, else those of the server."""
    gpus = asked.gpus
    if gpus is None:
        slots = await context.api.get("/corral/v1/slots")
        gpus = [device["model"] for device in slots["devices"] if not device["id"].rpartition("/")[2].startswith("cpu")]
    body = {"model": asked.model, "gpus": gpus, "context": asked.context, "parallel": asked.parallel}
    try:
        answer: Json = await context.api.post("/corral/v1/fit", body)
    except RemoteInvalidError as error:
        raise ProblemsError([_name_argument(problem) for problem in error.problems]) from error
    if not gpus:
        note = "this cluster has no GPU, so this is what the model needs; name others with `gpus`"
        return ToolAnswer(value={**_summarize_fit(answer), "fits": None, "note": note})
    return ToolAnswer(value=_summarize_fit(answer))


def _name_argument(problem: Problem) -> Problem:
    """Return a problem about GPUs with the name of the argument instead of the command's option."""
    return replace(problem, where="gpus") if problem.where == "--gpu" else problem


def _summarize_fit(answer: Mapping[str, Json]) -> dict[str, Json]:
    """Return the answer with each figure as text, and of quantizations what fits where."""
    quantizations: list[Json] = answer.get("quantizations", [])
    others = {name: value for name, value in answer.items() if name not in ("quantizations", "running", "bus")}
    if "on_one_gpu" in others:
        others["on_one_gpu"] = _format(others["on_one_gpu"])
    sizes = {
        entry["name"]: {"needs": _format(round(entry["size"]["value"])), "fits": entry["fits"]}
        for entry in quantizations
    }
    return {**_write_figures(others), "quantizations": sizes}


def _write_figures(value: Any) -> Json:  # JSON, narrowed here
    """Write each figure, a value with its unit and origin, as text."""
    if isinstance(value, list):
        return [_write_figures(part) for part in cast("list[Json]", value)]
    if not isinstance(value, Mapping):
        return value
    members = cast("Mapping[str, Json]", value)
    if not {"value", "unit", "origin", "source"} <= members.keys():
        return {name: _write_figures(part) for name, part in members.items()}
    number, unit = members["value"], members["unit"]
    text = _format(round(number)) if unit == "B" else f"{number:.4g} {unit}"
    return f"{text} ({members['origin']}: {members['source']})"


def _format(size: int | None) -> str | None:
    return None if size is None else format_bytes(Bytes(size))
