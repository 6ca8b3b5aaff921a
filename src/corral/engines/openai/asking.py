"""One request to a server that speaks OpenAI's API, and forms with files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from corral.engines.http.client import Body, MakeForm, ServerClient
from corral.engines.http.reading import LARGEST_ANSWER
from corral.engines.openai.errors import translate_event
from corral.work import Json


async def ask(
    client: ServerClient, path: str, body: Body, note: Callable[[str], None], *, bound: int = LARGEST_ANSWER
) -> dict[str, Json]:
    """Post and get one whole answer; some servers answer 200 to a request that they refuse. Raises: EngineError."""
    answer = await client.ask(path, body, note=note, bound=bound)
    if answer.get("error"):
        raise translate_event(answer, where=client.url)
    return answer


def make_form(fields: list[tuple[str, str]], files: list[tuple[str, str, Path]]) -> MakeForm:
    """Return what makes a form of fields and files (field, name, path), anew for each time that it is sent."""

    def make(opened: ExitStack) -> aiohttp.FormData:
        form = aiohttp.FormData()
        for name, value in fields:
            form.add_field(name, value)
        for field, name, path in files:
            form.add_field(field, opened.enter_context(path.open("rb")), filename=name)
        return form

    return make
