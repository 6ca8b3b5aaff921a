"""Models on Ollama servers: asked of the server that has them in its cluster file, and shown as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.pulling import show_steps
from corral.client.connection import call_server
from corral.units import format_bytes
from corral.work import Json

if TYPE_CHECKING:
    from pathlib import Path

    from corral.client.api import Api

ROUTE = "/corral/v1/models/hosted"


def list_models(on: str | None, *, url: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the models of one instance, or of all. Raises: NoServerError, RemoteError."""
    query = {} if on is None else {"on": on}
    answer = call_server(url, data_dir, lambda api: api.get(ROUTE, query))
    if as_json:
        terminal.put_json(answer)
        return
    rows = [_make_row(instance, model) for instance in answer["items"] for model in instance["models"]]
    columns = ("instance", "model", "size", "quantization", "in memory", "on GPU", "until")
    terminal.put_table(columns, rows, empty="no models", expendable=("until", "quantization", "on GPU"))
    for instance in answer["items"]:
        if instance["problem"]:
            terminal.note(f"{instance['instance']}: {instance['problem']}")


def pull_model(model: str, on: str, *, url: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Let an instance pull a model, and show how it goes. Raises: NoServerError, RemoteError."""
    asked = {"model": model, "on": on}
    _put_model(call_server(url, data_dir, lambda api: _follow(api, "pull", asked)), as_json=as_json)


def place_model(asked: Json, *, url: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Have a model file placed, and show how it goes. Raises: NoServerError, RemoteError."""
    answer = call_server(url, data_dir, lambda api: _follow(api, "place", asked))
    if as_json:
        terminal.put_json(answer)
        return
    for item in answer["items"]:
        state = "placed" if item["written"] else "was there already"
        terminal.put(f"{item['instance']}: {item['path']}, {format_bytes(item['size'])}, {state}")


def change_model(verb: str, asked: Json, *, url: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Load or unload a model, and print how it is now. Raises: NoServerError, RemoteError."""
    _put_model(call_server(url, data_dir, lambda api: api.post(f"{ROUTE}/{verb}", asked)), as_json=as_json)


def delete_model(model: str, on: str, *, url: str | None, data_dir: Path | None) -> Json:
    """Delete a model from an instance, and return the answer. Raises: NoServerError, RemoteError."""
    return call_server(url, data_dir, lambda api: api.post(f"{ROUTE}/delete", {"model": model, "on": on}))


async def _follow(api: Api, verb: str, asked: Json) -> Json:
    from corral.client.remote_errors import make_remote_error, make_unreachable_error

    path = f"{ROUTE}/{verb}"
    with show_steps(asked["model"]) as show:
        async with api.open_steps(path, asked) as events:
            async for event in events:
                match event.kind:
                    case "done":
                        return event.data
                    case "failed":
                        raise make_remote_error(503, event.data, url=api.url + path)
                    case _:
                        show(event.data["words"], event.data["done"], event.data["total"])
    raise make_unreachable_error(api.url, f"the events of the {verb} broke off")


def _put_model(answer: Json, *, as_json: bool) -> None:
    if as_json:
        terminal.put_json(answer)
        return
    model = answer["model"]
    loaded = model["loaded"]
    state = f"in memory{_format_until(loaded)}" if loaded else "not in memory"
    size = f", {format_bytes(model['size'])}" if model["size"] else ""
    terminal.put(f"{answer['instance']}: {model['name']}{size}, {state}")


def _make_row(instance: Json, model: Json) -> tuple[object, ...]:
    loaded: Json = model["loaded"] or {}
    return (
        instance["instance"],
        model["name"],
        format_bytes(model["size"]) if model["size"] else "",
        model["quantization"],
        format_bytes(loaded["size"]) if loaded.get("size") else "yes" if loaded else "",
        format_bytes(loaded["on_gpu"]) if loaded.get("on_gpu") is not None else "",
        format_ago(loaded.get("until")),
    )


def _format_until(loaded: Json) -> str:
    return f", until {format_ago(loaded['until'])}" if loaded["until"] else ""
