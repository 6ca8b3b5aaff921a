"""What the tool `submit` sends to the server for a caller of another machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from corral.client.requests import ANSWER_S, Content, Query, ServerApi
from corral.mcp.answers import ToolContext
from corral.mcp.arguments import SubmitArguments
from corral.mcp.submitting import submit
from corral.work import Json

ACCEPTED = {"batch": {"id": 7, "states": {"queued": 2}}, "tasks": [{"id": 1, "name": "a"}], "replayed": False}


@dataclass(slots=True)
class AskedApi(ServerApi):
    """Stands for the API as the tool calls it: accepts whatever is submitted, and keeps each request."""

    asked: list[tuple[str, Json, Mapping[str, str]]] = field(default_factory=list)

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),  # pyright: ignore[reportArgumentType]  nothing, of either kind
        body: Json = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        within_s: float = ANSWER_S,
    ) -> Json:
        self.asked.append((f"{method} {path}", body, headers or {}))
        return {"task_count": 2} if path.endswith("/forecast") else ACCEPTED

    async def read(self, path: str) -> AsyncIterator[bytes]:
        raise NotImplementedError
        yield b""


async def test_a_file_of_another_machine_goes_to_the_server_as_it_is_written() -> None:
    api = AskedApi()
    context = ToolContext(api=api, make_link=str, folder=None)
    tasks = [{"engine": "no-such-engine", "count": 10_000, "files": {"a": "./a.wav"}}]  # which the server refuses
    asked = {"tasks": tasks, "name": "words", "by": "07:00"}

    forecast = await submit(context, SubmitArguments.model_validate({**asked, "dry_run": True}))
    first = await submit(context, SubmitArguments.model_validate(asked))
    await submit(context, SubmitArguments.model_validate(asked))
    await submit(context, SubmitArguments.model_validate({**asked, "by": "08:00"}))
    await submit(context, SubmitArguments.model_validate({**asked, "idempotency_key": "mine"}))

    file = {
        "apiVersion": "corral/v1",
        "kind": "Batch",
        "name": "words",
        "tasks": [{**tasks[0], "name": "no-such-engine"}],
        "by": "07:00",
    }
    route = "POST /corral/v1/batches/file"
    assert [path for path, _, _ in api.asked] == [f"{route}/forecast", *[route] * 4]
    assert [body for _, body, _ in api.asked[:3]] == [{"file": file}] * 3
    assert forecast.value == {"dry_run": True, "task_count": 2}
    assert (first.value["batch"], first.value["tasks"]) == (7, [{"id": 1, "name": "a"}])
    keys = [headers["Idempotency-Key"] for _, _, headers in api.asked[1:]]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == "mine"
