"""The routes of Ollama's API, as bare ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from corral import __version__
from corral.engine_kinds import LLAMA, OLLAMA, OPENAI
from corral.errors import CorralError, Kind
from corral.gateway.answering import answer_exchange
from corral.gateway.asgi import Exchange, Scope
from corral.gateway.catalogue import ModelUnknownError, Offer
from corral.gateway.doors import Doorman, Visitor, require_model, require_submitter
from corral.gateway.ollama.asked import CALLS, LINES, Asked, Call, read_fields, read_model
from corral.gateway.ollama.keeping import ModelKeeper
from corral.gateway.ollama.listing import describe_shown, list_loaded, list_tags, name_models
from corral.gateway.ollama.managing import Managing
from corral.gateway.ollama.shape import OllamaShape
from corral.gateway.passing import CallMissingError, Errand, Passing
from corral.gateway.routes import Routes
from corral.work import Use

WRITERS = frozenset({LLAMA.name, OLLAMA.name, OPENAI.name})
"""The engines whose models this protocol is for."""
SPOKEN_VERSION = "0.17.4"
"""The version of Ollama whose protocol this is: clients compare it before they use what is newer."""
_LABELS = {Call.CHAT: "chat", Call.GENERATE: "text", Call.EMBED: "embeddings", Call.EMBEDDINGS: "embeddings"}


class ModelNotFoundError(CorralError):
    """No instance has a model of that name; clients know it by these words, and offer to pull it."""

    code: ClassVar[str] = "model.unknown"
    kind: ClassVar[Kind] = Kind.MISSING


Serve = Callable[[Exchange, Visitor], Awaitable[None]]


class OllamaDoor:
    """One Ollama over all instances."""

    paths = ("/api/",)

    def __init__(self, passing: Passing, doorman: Doorman, keeper: ModelKeeper) -> None:
        """`passing` is shared with other doors; its owner closes it."""
        self._passing = passing
        self._doorman = doorman
        self._keeper = keeper
        self._managing = managing = Managing(keeper, passing.upstreams, passing.catalogue)
        routes: dict[tuple[str, str], Serve] = {
            **{("POST", path): partial(self._compute, call) for path, call in CALLS.items()},
            ("GET", "/api/version"): self._answer_version,
            ("GET", "/api/tags"): self._list_tags,
            ("GET", "/api/ps"): self._list_loaded,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/pull"): managing.pull,
            ("DELETE", "/api/delete"): managing.delete,
            ("POST", "/api/create"): managing.create,
            ("POST", "/api/copy"): managing.copy,
        }
        self._routes = Routes(routes, docs="docs/doors/ollama.md")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        await answer_exchange(self._serve, OllamaShape(), scope, receive, send)

    async def close(self) -> None:
        """Return: everything it has open is shared."""

    async def _serve(self, exchange: Exchange) -> None:
        route = self._routes.find(exchange)
        await route.serve(exchange, await self._doorman.admit(exchange.scope))

    # --- what computes -----------------------------------------------------------------------------------------------

    async def _compute(self, call: Call, exchange: Exchange, visitor: Visitor) -> None:
        require_submitter(visitor)
        asked = Asked(call, await exchange.read_body())
        offer = await self._find_offer(asked.model, visitor)
        if asked.unloads:
            await exchange.answer_json(200, asked.write_end("unload"))
            return
        errand = Errand(
            visitor=visitor,
            offer=offer,
            asked=asked.model,
            label=f"{_LABELS[call]} {offer.name}",
            door="ollama",
            shape=OllamaShape(),
            prepare=partial(asked.prepare, counts_tokens=self._passing.sink.counts_tokens),
            use=Use.WRITING if call in (Call.CHAT, Call.GENERATE) else Use.EMBEDDING,
            streams=asked.streams,
            stream_type=LINES,
            prefix=asked.prefix,
            within_s=offer.within_s,
        )
        await self._passing.pass_on(exchange, errand)

    async def _find_offer(self, name: str, visitor: Visitor) -> Offer:
        """Find a model that writes. Raises: ModelNotFoundError, CallMissingError, NotAllowedError."""
        try:
            known = await self._passing.catalogue.find(name)
        except ModelUnknownError as error:
            raise ModelNotFoundError(f"model '{name}' not found", where="model", hint=error.hint) from error
        require_model(visitor, name, known.name)
        offer = known.keep(WRITERS)
        if offer.models or offer.fallback:
            return offer
        engines = ", ".join(sorted({model.engine for model in known.models})) or "a workflow"
        raise CallMissingError(f"{name!r} is a model of {engines}, which does not do this", where="model")

    # --- what clients poll -------------------------------------------------------------------------------------------

    async def _answer_version(self, exchange: Exchange, visitor: Visitor) -> None:
        del visitor
        await exchange.answer_json(200, {"version": SPOKEN_VERSION, "corral_version": __version__})

    async def _list_tags(self, exchange: Exchange, visitor: Visitor) -> None:
        await self._passing.catalogue.ready()
        await exchange.answer_json(200, list_tags(self._list_offers(visitor)))

    async def _list_loaded(self, exchange: Exchange, visitor: Visitor) -> None:
        await self._passing.catalogue.ready()
        known = name_models(self._list_offers(visitor))
        await exchange.answer_json(200, list_loaded(self._keeper.list_in_memory(), known))

    async def _show(self, exchange: Exchange, visitor: Visitor) -> None:
        fields = read_fields(await exchange.read_body())
        name = read_model(fields)
        offer = await self._find_offer(name, visitor)
        shown = await self._managing.show(offer, verbose=fields.get("verbose") is True)
        await exchange.answer_json(200, describe_shown(offer.name, offer) if shown is None else shown)

    def _list_offers(self, visitor: Visitor) -> list[tuple[str, Offer]]:
        return list(self._iterate_offers(visitor))

    def _iterate_offers(self, visitor: Visitor) -> Iterator[tuple[str, Offer]]:
        catalogue = self._passing.catalogue
        for name in catalogue.list_names():
            offer = catalogue.find_known(name)
            kept = None if offer is None else offer.keep(WRITERS)
            if (
                kept is not None
                and (kept.models or kept.fallback)
                and (visitor.can_use(name) or visitor.can_use(kept.name))
            ):
                yield name, kept
