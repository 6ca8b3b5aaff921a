"""Passes a guest's request on: takes its turn, asks the server of its slot, and sends the answer as it comes.

Until the first byte of an answer, a failure is the slot's: it is noted, and the request goes to the next one at once.
After that it is the client's to know: the stream ends with an error in its protocol's form. A client that leaves ends
the request everywhere at once.

Nothing of an answer is parsed here; what a protocol has to see or change goes through its `PieceEditor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import ClassVar, NamedTuple, Protocol, cast

import structlog

from corral.errors import CorralError, Kind
from corral.gateway.asgi import Exchange
from corral.gateway.breakers import Breakers
from corral.gateway.catalogue import Catalogue, Offer
from corral.gateway.doors import Visitor
from corral.gateway.editing import PieceEditor, TokenReader
from corral.gateway.leaving import Leaving
from corral.gateway.thirds import ThirdCorralError, check_third
from corral.gateway.upstream import (
    STALL_S,
    Answer,
    Outgoing,
    UpstreamError,
    Upstreams,
)
from corral.gateway.usage import NoAccounts, Served, Tokens, UsageSink, count
from corral.gateway.wait_lines import WaitLines
from corral.slots.guests import Choice, GuestAsk, GuestDesk, GuestRefusedError, GuestTurn, GuestWait
from corral.work import Endpoint, EngineError, FailureScope, HasEndpoint, SlotId, Use

_log = structlog.get_logger()

LARGEST_REFUSAL = 2**20
"""Bytes of an upstream's refusal that are read."""
SLOT_HEADER = b"x-corral-slot"
"""Of each answer of a slot: which one."""
CLOUD_HEADER = b"x-corral-cloud"
"""Of each answer of a provider elsewhere: its name in the cluster file."""
_PASSED = frozenset({b"content-type", b"content-length", b"content-disposition"})
_NOT_EDITED = _PASSED - {b"content-length"}
_MISSING = frozenset({404, 405, 501})
_GATE = frozenset({401, 403, 407})


class SlotFailedError(CorralError):
    """A slot cannot serve guests as it is set up."""

    code: ClassVar[str] = "gateway.slot_failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class UpstreamRefusedError(CorralError):
    """A server refused the request, or failed it; its own words are kept for the door's shape."""

    code: ClassVar[str] = "gateway.refused"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE

    def __init__(self, where: str, status: int, body: bytes) -> None:
        super().__init__(f"{where} answered {status}")
        self.status = status
        self.body = body


class CallMissingError(CorralError):
    """The servers that have the model do not do what is asked."""

    code: ClassVar[str] = "gateway.call_missing"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as one server is asked it."""

    path: str
    body: bytes = field(repr=False)
    method: str = "POST"
    content_type: str = "application/json"
    editor: PieceEditor | None = None
    """None where the answer is passed on untouched."""
    status: int | None = None
    """The status to answer with, where the server's own is not the protocol's."""
    media_type: bytes | None = None
    """Likewise the content type."""
    otherwise: Prepared | None = None
    """What to ask where the server does not know the path; None where there is no other way."""


class Shape(Protocol):
    """How a protocol writes what is not an answer."""

    def write_error(self, error: CorralError) -> tuple[int, bytes]:
        """Return status and JSON of an error; an `UpstreamRefusedError` is repaired where the server deviates."""
        ...

    def write_late_error(self, error: CorralError) -> bytes:
        """Return an error as the end of a stream that has begun."""
        ...

    def write_wait(self, wait: GuestWait) -> bytes:
        """Return a line of a stream that says how a wait goes; nothing where the protocol has none."""
        ...

    def write_place(self, place: str) -> bytes:
        """Return a line, after those of waits, that says which slot or provider answers; likewise nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A request to be passed on."""

    visitor: Visitor
    offer: Offer
    asked: str = ""
    """The name by which the request asks for it; keys can be for an alias."""
    label: str
    """For people: `chat llama3.2`."""
    door: str
    """Where the request came in, for accounts."""
    shape: Shape
    prepare: Callable[[Endpoint, Choice], Prepared]
    """Makes it for one server. Raises: CallMissingError where that server cannot do it; any other error ends it."""
    use: Use = Use.WRITING
    streams: bool = False
    """Whether the answer comes piece by piece."""
    stream_type: bytes = b"text/event-stream"
    """The content type of such an answer."""
    prefix: str = ""
    """The beginning of its prompt."""
    wants_waits: bool = False
    """Whether the stream begins with lines about its wait."""
    within_s: float | None = None
    """How long it waits for its turn at most; None for the cluster file's bound."""


class Cloud(NamedTuple):
    """An answer from elsewhere; it must be closed."""

    answer: Answer
    prepared: Prepared
    name: str
    """The provider's name in the cluster file."""


class Fallback(Protocol):
    """What serves a request when no slot can."""

    async def open(self, errand: Errand, stall_s: float) -> Cloud | None:
        """Ask the providers of the model one after the other; None where it has none. Raises: CorralError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Passes requests on to the slots here, and to providers elsewhere where nothing here can serve."""

    desk: GuestDesk
    catalogue: Catalogue
    upstreams: Upstreams = field(default_factory=Upstreams)
    breakers: Breakers = field(default_factory=Breakers)
    sink: UsageSink = field(default_factory=NoAccounts)
    fallback: Fallback | None = None
    stall_s: Callable[[], float] = lambda: STALL_S
    """Seconds without a byte after which an answer is given up."""

    async def pass_on(self, exchange: Exchange, errand: Errand) -> None:
        """Serve a request whose body was read, to its end.

        Raises: CorralError; where the answer has begun by then, the rest of it is missing. ClientGoneError.
        """
        with count(self.sink, errand.visitor, errand.asked, errand.offer.name):
            await self.serve(exchange, errand)

    async def serve(self, exchange: Exchange, errand: Errand) -> None:
        """Serve a request that is counted already, as `pass_on` does. Raises: CorralError, ClientGoneError."""
        async with Leaving(exchange):
            await _Passage(self, exchange, errand).go()

    async def close(self) -> None:
        """Close kept connections, and end what runs in the background; answers that are being sent go on."""
        self.upstreams.close()
        await self.catalogue.close()


class _Passage:
    """One request on its way."""

    def __init__(self, passing: Passing, exchange: Exchange, errand: Errand) -> None:
        self._passing = passing
        self._exchange = exchange
        self._errand = errand
        self._failed: set[SlotId] = set()
        self._failure: CorralError | None = None
        """Why the last slot did not serve."""
        self._has_sent = False
        """Whether anything of an answer was sent: what failed after that is not tried again."""
        self._taken_at = 0.0
        """When its lane was taken, on the monotonic clock."""
        self._taken: set[SlotId] = set()
        """The slots on which it had a lane."""

    async def go(self) -> None:
        notes = self._open_lines() if self._errand.wants_waits else None
        try:
            if self._errand.offer.models and await self._try_slots(notes):
                return
            await self._fall_back(notes)
        except CorralError as error:
            if not self._exchange.started:
                raise
            await self._end_late(error, notes)
        finally:
            if notes is not None:
                await notes.stop()

    def _open_lines(self) -> WaitLines:
        return WaitLines(self._exchange, self._errand.shape.write_wait, self._errand.stream_type)

    async def _try_slots(self, notes: WaitLines | None) -> bool:
        """Try one slot after the other; return whether one has served. Raises: CorralError."""
        breakers, choices = self._passing.breakers, self._errand.offer.choices
        trial = breakers.begin_trial(choices)
        try:
            return await self._try_slots_but(trial.avoid, notes)
        finally:
            if self._taken.isdisjoint(trial.tries):
                breakers.leave_trial(trial, choices)

    async def _try_slots_but(self, broken: frozenset[SlotId], notes: WaitLines | None) -> bool:
        """Do it without those that failed others lately, as long as there are more. Raises: CorralError."""
        offer = self._errand.offer
        while True:
            ask = GuestAsk(
                owner=self._errand.visitor.owner,
                choices=offer.choices,
                label=self._errand.label,
                within_s=self._errand.within_s,
                avoid=frozenset(self._failed) | broken if self._failed else broken,
                prefix=self._errand.prefix,
            )
            try:
                async with self._passing.desk.take_turn(ask, notes.take if notes else _ignore) as turn:
                    self._taken_at = time.monotonic()
                    self._taken.add(turn.slot)
                    if await self._try(turn, notes):
                        return True
            except GuestRefusedError:
                if broken - self._failed:  # nothing else is left: what failed others lately is better than a refusal
                    broken = frozenset[SlotId]()
                    continue
                if offer.fallback:
                    return False
                if self._failure is None:
                    raise
                raise self._failure from None
            except CorralError as error:
                is_lack = error.kind in (Kind.NO_CAPACITY, Kind.UNAVAILABLE) and not _is_of_request(error)
                if self._has_sent or not offer.fallback or not is_lack:
                    raise
                return False

    async def _try(self, turn: GuestTurn, notes: WaitLines | None) -> bool:
        """Serve the request on a slot; return whether that has happened."""
        try:
            engine = cast("HasEndpoint", turn.engine)  # once its type has been looked at
            if not _is_reachable(type(turn.engine)):
                raise CallMissingError(f"the engine {turn.engine.name!r} cannot be asked by others")
            say, use = notes.say if notes else _ignore, self._errand.use
            async with engine.reach(turn.choice.model, say, use=use) as endpoint:
                check_third(self._exchange.headers, endpoint)
                refusal = await self._ask(turn, endpoint, notes)
            if refusal is not None:  # only now: to an engine an error in its block is work that was broken off
                raise refusal
        except ThirdCorralError as error:  # nothing is wrong with the slot
            self._failure = error
            self._failed.add(turn.slot)
            return False
        except (UpstreamError, UpstreamRefusedError, EngineError, SlotFailedError, CallMissingError) as error:
            if _is_of_request(error):
                raise
            is_lack = _lacks_call(error)  # a server that does not do this still does the rest
            if not is_lack:
                turn.fail(error.what, _find_scope(error))
            if self._has_sent:
                raise
            if not is_lack:
                self._passing.breakers.note_failure(turn.slot, turn.choice)
            if _denies_model(error):
                self._passing.catalogue.forget(turn.choice, turn.slot)
            self._failure = error
            self._failed.add(turn.slot)
            _log.info("guest_moves_on", slot=turn.slot, label=self._errand.label, because=error.what)
            return False
        self._passing.breakers.note_success(turn.slot, turn.choice)
        return True

    async def _ask(self, turn: GuestTurn, endpoint: Endpoint, notes: WaitLines | None) -> CorralError | None:
        """Ask a server and pass its answer on, or return its refusal. Raises: CorralError."""
        prepared = self._errand.prepare(endpoint, turn.choice)
        while True:
            answer = await self._passing.upstreams.open(
                Outgoing(
                    method=prepared.method,
                    url=endpoint.url + prepared.path,
                    headers={**endpoint.headers, "content-type": prepared.content_type},
                    body=prepared.body,
                    stall_s=self._passing.stall_s(),
                )
            )
            try:
                if answer.status < 400:
                    await self._relay(answer, prepared, notes, (SLOT_HEADER, turn.slot.encode()))
                    return None
                refusal = await _read_refusal(answer, turn.slot)
            finally:
                answer.close()
                if self._has_sent:
                    self._record(prepared, is_whole=answer.is_read, turn=turn)
            if prepared.otherwise is None or not _lacks_call(refusal):
                return refusal
            prepared = prepared.otherwise

    async def _fall_back(self, notes: WaitLines | None) -> None:
        """Let a provider elsewhere serve. Raises: CorralError."""
        fallback = self._passing.fallback
        served = None if fallback is None else await fallback.open(self._errand, self._passing.stall_s())
        if served is None:
            raise self._failure or CallMissingError(f"nothing here serves {self._errand.offer.name!r} now")
        answer, prepared, name = served
        try:
            if answer.status >= 400:
                raise await _read_refusal(answer, name)
            await self._relay(answer, prepared, notes, (CLOUD_HEADER, name.encode()))
        finally:
            answer.close()
            if self._has_sent:
                self._record(prepared, is_whole=answer.is_read, cloud=name)

    async def _relay(
        self, answer: Answer, prepared: Prepared, notes: WaitLines | None, mark: tuple[bytes, bytes]
    ) -> None:
        """Send an answer on, piece by piece. Raises: UpstreamError, before the first byte and after."""
        exchange, editor = self._exchange, prepared.editor
        piece = await answer.read_piece()
        if notes is not None:
            await notes.stop()
        if editor is None:
            await self._begin(answer, prepared, mark)
            while piece and not answer.is_read:
                await exchange.write(piece)
                piece = await answer.read_piece()
            await exchange.end(piece)
            return
        while piece and not answer.is_read:
            if edited := editor.edit(piece):
                await self._begin(answer, prepared, mark)
                await exchange.write(edited)
            piece = await answer.read_piece()
        last = (editor.edit(piece) if piece else b"") + editor.finish()
        await self._begin(answer, prepared, mark)
        await exchange.end(last)

    async def _begin(self, answer: Answer, prepared: Prepared, mark: tuple[bytes, bytes]) -> None:
        """Begin the answer to the client, once there is something to send."""
        if self._has_sent:
            return
        self._has_sent = True
        if self._exchange.started:  # by lines about its wait: the headers are gone
            if place := self._errand.shape.write_place(mark[1].decode()):
                await self._exchange.write(place)
            return
        passed = _PASSED if prepared.editor is None or isinstance(prepared.editor, TokenReader) else _NOT_EDITED
        headers = [pair for pair in answer.headers if pair[0] in passed]
        if prepared.media_type is not None:
            headers = [(b"content-type", prepared.media_type)]
        headers.append(mark)
        await self._exchange.start(prepared.status or answer.status, headers)

    async def _end_late(self, error: CorralError, notes: WaitLines | None) -> None:
        """End a stream that has begun with an error; an answer of a known length can only be cut off."""
        if notes is not None:
            await notes.stop()
        if not self._errand.streams:
            raise error
        await self._exchange.end(self._errand.shape.write_late_error(error))

    def _record(
        self, prepared: Prepared, *, is_whole: bool, turn: GuestTurn | None = None, cloud: str | None = None
    ) -> None:
        served = Served(
            visitor=self._errand.visitor,
            model=self._errand.offer.name,
            door=self._errand.door,
            slot=None if turn is None else turn.slot,
            engine=None if turn is None else turn.choice.engine,
            seconds=0.0 if turn is None else time.monotonic() - self._taken_at,
            cloud=cloud,
            tokens=Tokens() if prepared.editor is None else prepared.editor.tokens,
            is_whole=is_whole,
        )
        self._passing.sink.record(served)
        if turn is not None:
            turn.when_measured(partial(self._passing.sink.record_energy, served))


def _is_of_request(error: CorralError) -> bool:
    """Whether no other slot would do better."""
    match error:
        case UpstreamRefusedError():
            return error.status < 500 and error.status not in (*_MISSING, 408, 429)
        case EngineError():
            return error.scope is FailureScope.TASK
        case _:
            return False


async def _read_refusal(answer: Answer, where: str) -> CorralError:
    """Return the error of a refusal; one that is meant for Corral is not the client's to see. Raises: UpstreamError."""
    if answer.status in _GATE:
        hint = "correct what the cluster file says of its key"
        return SlotFailedError(f"{where} refuses Corral with {answer.status}", hint=hint)
    return UpstreamRefusedError(where, answer.status, await answer.read_all(LARGEST_REFUSAL))


def _lacks_call(error: CorralError) -> bool:
    """Whether a server does not know what it was asked, rather than the model."""
    if isinstance(error, CallMissingError):
        return True
    return isinstance(error, UpstreamRefusedError) and error.status in _MISSING and not _denies_model(error)


def _denies_model(error: CorralError) -> bool:
    return isinstance(error, UpstreamRefusedError) and error.status == 404 and b"model" in error.body.lower()


def _find_scope(error: CorralError) -> FailureScope:
    match error:
        case EngineError():
            return error.scope
        case UpstreamError() | SlotFailedError():
            return FailureScope.SLOT
        case UpstreamRefusedError():
            return FailureScope.HERE if error.status in _MISSING else FailureScope.ATTEMPT
        case _:
            return FailureScope.HERE


@cache
def _is_reachable(engine: type) -> bool:
    """Whether engines of a type have an endpoint; to look at the type once costs less than at each object."""
    return issubclass(engine, HasEndpoint)


def _ignore(_: object) -> None:
    pass
