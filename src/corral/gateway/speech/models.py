"""The models that speak and those that hear, also under the names that clients send by themselves."""

from __future__ import annotations

from corral.engine_kinds import CHATTERBOX, ENGINES, KOKORO, OPENAI, PIPER, WHISPER
from corral.gateway.catalogue import Catalogue, ModelUnknownError, Offer
from corral.gateway.doors import Visitor, require_model
from corral.gateway.passing import CallMissingError

LOCAL_SPEAKERS = frozenset(kind.name for kind in ENGINES.values() if kind.speech is not None)
LOCAL_HEARERS = frozenset({WHISPER.name})
SPEAKERS = LOCAL_SPEAKERS | {OPENAI.name}
HEARERS = LOCAL_HEARERS | {OPENAI.name}
USUAL_MODELS = frozenset(
    {"tts-1", "tts-1-hd", "gpt-4o-mini-tts", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"}
)
"""OpenAI's models: whatever speaks or hears here answers to them, unless a server or the cluster file has the name."""
_ORDER = (KOKORO.name, PIPER.name, WHISPER.name, CHATTERBOX.name)
"""Of engines where a client has chosen no model: those first that sound better, on this machine before others."""


async def find_offer(catalogue: Catalogue, name: str, engines: frozenset[str], visitor: Visitor) -> Offer:
    """Return what can do it under a name. Raises: ModelUnknownError, CallMissingError, NotAllowedError."""
    offer = await _find(catalogue, name, engines)
    require_model(visitor, name, offer.name)
    return offer


async def _find(catalogue: Catalogue, name: str, engines: frozenset[str]) -> Offer:
    try:
        offer = await catalogue.find(name)
    except ModelUnknownError:
        usual = choose_usual(catalogue.list_offers(), engines) if name in USUAL_MODELS else None
        if usual is None:
            raise
        return usual
    kept = offer.keep(engines)
    if kept.models:
        return kept
    others = ", ".join(sorted({model.engine for model in offer.models})) or "a workflow"
    raise CallMissingError(f"{name!r} is a model of {others}, which does not do this", where="model")


def choose_usual(offers: tuple[Offer, ...], engines: frozenset[str]) -> Offer | None:
    """Return the model for a client that has chosen none: of the first engine that has some, its largest one."""
    kept = [offer.keep(engines) for offer in offers]
    return min((offer for offer in kept if offer.models), key=_rank, default=None)


def _rank(offer: Offer) -> tuple[int, int, str]:
    model = offer.models[0]
    place = _ORDER.index(model.engine) if model.engine in _ORDER else len(_ORDER)
    size = model.facts.size if model.facts is not None and model.facts.size is not None else 0
    return place, -size, offer.name


def describe_abilities(offer: Offer) -> dict[str, bool | None]:
    """Say whether a model `speaks`, and whether it `hears`; None where a server elsewhere does not say what it can."""
    elsewhere = offer.keep(frozenset({OPENAI.name})).models
    is_silent = any(model.facts is None or model.facts.capabilities is None for model in elsewhere)
    unsaid = None if is_silent else False
    return {
        "speaks": True if offer.keep(LOCAL_SPEAKERS).models else unsaid,
        "hears": True if offer.keep(LOCAL_HEARERS).models else unsaid,
    }
