"""What administrators do with models: pull, delete, create and copy them, on the instances that they name, else on all.

An instance is named in the body (`"on": "big"`, or a list), which Ollama's clients can add, or in a header.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from pydantic_core import from_json, to_json

from corral.engine_kinds import OLLAMA
from corral.errors import CorralError, Kind
from corral.gateway.asgi import ClientGoneError, Exchange
from corral.gateway.catalogue import Catalogue, Offer, find_near_names
from corral.gateway.doors import NotAllowedError, Visitor
from corral.gateway.ollama.asked import LINES, WHOLE, read_fields, read_model
from corral.gateway.ollama.keeping import Host, ModelKeeper
from corral.gateway.ollama.replies import write_line
from corral.gateway.ollama.requests import OllamaRequestError
from corral.gateway.ollama.shape import OllamaShape
from corral.gateway.passing import UpstreamRefusedError
from corral.gateway.upstream import Outgoing, UpstreamError, Upstreams
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json, PullStep

ON_HEADER = "x-corral-on"
"""Names the instances of a change, with commas between them."""
LARGEST_ANSWER = 16 * 2**20
"""Bytes; `verbose` shows the words of a tokenizer."""
_SUCCESS: dict[str, Json] = {"status": "success"}
STEPS_KEPT = 1024
"""Steps that wait for a client that reads slowly; of those after them the newest replaces the last."""

Work = Callable[[Callable[[dict[str, Json]], None]], Awaitable[None]]


class NoHostError(CorralError):
    """No instance can do this with the model."""

    code: ClassVar[str] = "instance.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class Steps:
    """Steps of a change that wait to be written, `STEPS_KEPT` of them at most; one task reads them."""

    def __init__(self) -> None:
        self._waiting: deque[dict[str, Json]] = deque()
        self._arrived = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether no step waits."""
        return not self._waiting

    def put(self, step: dict[str, Json]) -> None:
        """Add a step; where too many wait, it replaces the last."""
        if len(self._waiting) == STEPS_KEPT:
            self._waiting.pop()
        self._waiting.append(step)
        self._arrived.set()

    async def get(self) -> dict[str, Json]:
        """Wait for the oldest step and take it."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


class Managing:
    """The routes of administrators, and the description of one model."""

    def __init__(self, keeper: ModelKeeper, upstreams: Upstreams, catalogue: Catalogue) -> None:
        self._keeper = keeper
        self._upstreams = upstreams
        self._catalogue = catalogue

    async def pull(self, exchange: Exchange, visitor: Visitor) -> None:
        """Let instances fetch a model, line by line unless `stream` is false."""
        fields = read_fields(await exchange.read_body())
        model = read_model(fields)
        self._require_admin(visitor, model)
        hosts = self._find_hosts(exchange, fields)

        async def work(put: Callable[[dict[str, Json]], None]) -> None:
            for host in hosts:
                await self._keeper.pull(visitor, model, host, lambda step: put(_describe_step(step)))

        await self._run(exchange, work, streams=fields.get("stream") is not False)

    async def delete(self, exchange: Exchange, visitor: Visitor) -> None:
        """Delete a model from the instances that have it."""
        fields = read_fields(await exchange.read_body())
        model = read_model(fields)
        self._require_admin(visitor, model)
        for host in await self._find_owners(exchange, fields, model):
            await self._keeper.delete(visitor, model, host)
        await self._catalogue.refresh()
        await exchange.answer(200, b"", "text/plain")

    async def create(self, exchange: Exchange, visitor: Visitor) -> None:
        """Make a model from another one."""
        fields = read_fields(await exchange.read_body())
        model, origin = read_model(fields), as_text(fields.get("from"))
        self._require_admin(visitor, model)
        if not origin:
            what = "`from` is missing: models are made from others here"
            raise OllamaRequestError(what, where="from", hint="upload files to an instance itself")
        hosts = await self._find_owners(exchange, fields, origin)
        body = to_json({name: value for name, value in fields.items() if name != "on"} | {"stream": False})

        async def work(put: Callable[[dict[str, Json]], None]) -> None:
            for host in hosts:
                put({"status": f"creating {model} on {host.name}"})
                await self._ask(host, "/api/create", body)
                await self._keeper.note_made(visitor, model, host)

        await self._run(exchange, work, streams=fields.get("stream") is not False)

    async def copy(self, exchange: Exchange, visitor: Visitor) -> None:
        """Give a model a second name, on each instance that has it."""
        fields = read_fields(await exchange.read_body())
        source, destination = as_text(fields.get("source")), as_text(fields.get("destination"))
        if not source or not destination:
            raise OllamaRequestError("`source` and `destination` are both needed", hint="name two models")
        self._require_admin(visitor, source)
        for host in await self._find_owners(exchange, fields, source):
            await self._ask(host, "/api/copy", to_json({"source": source, "destination": destination}))
            await self._keeper.note_made(visitor, destination, host)
        await self._catalogue.refresh()
        await exchange.answer(200, b"", "text/plain")

    async def show(self, offer: Offer, *, verbose: bool) -> dict[str, Json] | None:
        """Describe a model as an instance does that has it and runs; None where there is none."""
        for model in offer.models:
            if model.engine != OLLAMA.name or model.slots is None:
                continue
            for host in self._keeper.list_hosts(()):
                if host.slot not in model.slots:
                    continue
                try:
                    body = to_json({"model": model.name, "verbose": verbose})
                    return await self._ask(host, "/api/show", body, starts=False)
                except (UpstreamError, UpstreamRefusedError, NoHostError):
                    continue
        return None

    def _require_admin(self, visitor: Visitor, model: str) -> None:
        if visitor.is_admin:
            return
        near = find_near_names(model, self._catalogue.list_names())
        hint = f"use {', '.join(f'`{name}`' for name in near)}, or " if near else ""
        raise NotAllowedError(
            f"{visitor.owner!r} cannot change models", where="model", hint=f"{hint}ask an administrator"
        )

    def _find_hosts(self, exchange: Exchange, fields: dict[str, Json]) -> Sequence[Host]:
        """Find the instances of a change. Raises: NoHostError, and what the keeper raises for an unknown name."""
        hosts = self._keeper.list_hosts(_read_names(exchange, fields))
        if not hosts:
            raise NoHostError("no instance keeps models that can be changed", hint="add one under engines.ollama")
        return hosts

    async def _find_owners(self, exchange: Exchange, fields: dict[str, Json], model: str) -> Sequence[Host]:
        """Find the instances of a change that have a model. Raises: NoHostError."""
        hosts = self._find_hosts(exchange, fields)
        await self._catalogue.refresh()
        offer = self._catalogue.find_known(model)
        slots = {slot for known in (offer.models if offer else ()) for slot in known.slots or ()}
        owners = [host for host in hosts if host.slot in slots]
        if not owners:
            raise NoHostError(f"model '{model}' not found", where="model", hint="`GET /api/tags` lists what there is")
        return owners

    async def _ask(self, host: Host, path: str, body: bytes, *, starts: bool = True) -> dict[str, Json]:
        """Ask an instance. Raises: UpstreamError, UpstreamRefusedError, NoHostError, CorralError."""
        async with self._keeper.reach(host, starts=starts) as endpoint:
            if endpoint is None:
                raise NoHostError(f"{host.name} does not run now")
            headers = {**endpoint.headers, "content-type": "application/json"}
            answer = await self._upstreams.open(Outgoing(url=endpoint.url + path, headers=headers, body=body))
            try:
                content = await answer.read_all(LARGEST_ANSWER)
                if answer.status >= 400:
                    raise UpstreamRefusedError(host.name, answer.status, content)
            finally:
                answer.close()
        try:
            return as_object(from_json(content)) if content.strip() else {}
        except ValueError as error:
            raise UpstreamRefusedError(host.name, 502, b"the server's answer is not JSON") from error

    async def _run(self, exchange: Exchange, work: Work, *, streams: bool) -> None:
        """Do the work while the client stays; its steps are lines where they are wanted. Raises: CorralError."""
        steps = Steps()
        working = asyncio.ensure_future(work(steps.put if streams else lambda _: None))
        leaving = asyncio.create_task(exchange.until_gone())
        try:
            if streams:
                await exchange.start(200, [(b"content-type", LINES)])
                await _write_steps(exchange, steps, working, leaving)
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientGoneError
            end = write_line(_SUCCESS)
            try:
                await working
            except CorralError as error:
                if not streams:
                    raise
                end = OllamaShape().write_late_error(error)
            await self._catalogue.refresh()
            await (exchange.end(end) if streams else exchange.answer(200, end, WHOLE.decode()))
        finally:
            leaving.cancel()
            working.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)


async def _write_steps(
    exchange: Exchange,
    steps: Steps,
    working: asyncio.Future[None],
    leaving: asyncio.Future[None],
) -> None:
    """Write each step as it comes, until the work is done or the client leaves."""
    while not leaving.done() and not (working.done() and steps.is_empty):
        stepping = asyncio.create_task(steps.get())
        await asyncio.wait({stepping, working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if stepping.done():
            await exchange.write(write_line(stepping.result()))
        else:
            stepping.cancel()


def _describe_step(step: PullStep) -> dict[str, Json]:
    sizes = {"total": step.total, "completed": step.done}
    return {"status": step.words, **{name: int(size) for name, size in sizes.items() if size is not None}}


def _read_names(exchange: Exchange, fields: dict[str, Json]) -> list[str]:
    """Return the instances that a request names; none are all."""
    given = fields.get("on")
    names = [given] if isinstance(given, str) else [as_text(name) for name in as_list(given)]
    return [name.strip() for name in names or exchange.headers.get(ON_HEADER, "").split(",") if name.strip()]
