"""What clients poll, made of what is known: models there are, models in memory, one model's description; pure.

A model without a digest gets one that is made of its name: clients show the first characters, and some fail without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from corral.engine_kinds import OLLAMA
from corral.gateway.catalogue import Offer
from corral.work import HostedModel, Json

InMemory = tuple[str, str]
"""A model in memory: its engine, and the engine's word for it."""
Listed = tuple[str, HostedModel | None]

_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
_UNKNOWN_FAMILY = "unknown"
_CAPABILITIES = ("completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio")
"""Ollama's words, in its order (`types/model/capability.go`)."""
_NO_END = datetime(9999, 12, 31, tzinfo=UTC)
"""When a model leaves memory whose server sets no time: the policy decides. Clients print it as `Forever`."""


def list_tags(offers: Iterable[tuple[str, Offer]]) -> dict[str, Json]:
    """Answer `/api/tags`; each offer with the name that lists show."""
    return {"models": [_describe(name, _find_facts(offer)) | _list_abilities(offer) for name, offer in offers]}


def list_loaded(models: Iterable[InMemory], known: Mapping[InMemory, Listed]) -> dict[str, Json]:
    """Answer `/api/ps`, each model once; `known` has what lists say of each."""
    listed: dict[str, dict[str, Json]] = {}
    for model in models:
        if model not in known:
            continue
        name, facts = known[model]
        loaded = None if facts is None else facts.loaded
        entry = _describe(name, facts)
        del entry["modified_at"]
        if loaded is not None:
            entry["size"] = loaded.size or entry["size"]
            entry["context_length"] = loaded.context or 0
        entry["size_vram"] = 0 if loaded is None else loaded.on_gpu or 0
        entry["expires_at"] = _write_time((None if loaded is None else loaded.until) or _NO_END)
        listed.setdefault(name, entry)
    return {"models": list(listed.values())}


def name_models(offers: Iterable[tuple[str, Offer]]) -> dict[InMemory, Listed]:
    """Return what lists say of each model: its name there, and what its server says of it."""
    named = ((name, model) for name, offer in offers for model in offer.models)
    known: dict[InMemory, Listed] = {}
    for name, model in named:
        known.setdefault((model.engine, model.name), (name, model.facts))
    return known


def describe_shown(name: str, offer: Offer) -> dict[str, Json]:
    """Answer `/api/show` for a model whose server does not speak Ollama's protocol."""
    facts = _find_facts(offer)
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _describe_details(facts),
        "model_info": _describe_info(name, facts),
        "capabilities": ["completion"],
        **_list_abilities(offer),
        "modified_at": _write_time(None if facts is None else facts.modified_at),
    }


def _find_facts(offer: Offer) -> HostedModel | None:
    return next((model.facts for model in offer.models if model.facts is not None), None)


def _describe(name: str, facts: HostedModel | None) -> dict[str, Json]:
    made = hashlib.sha256(f"corral {name}".encode()).hexdigest()
    return {
        "name": name,
        "model": name,
        "modified_at": _write_time(None if facts is None else facts.modified_at),
        "size": 0 if facts is None or facts.size is None else int(facts.size),
        "digest": made if facts is None or facts.digest is None else facts.digest,
        "details": _describe_details(facts),
    }


def _list_abilities(offer: Offer) -> dict[str, Json]:
    """List what a model can do; nothing of an Ollama that does not say, and writing of other servers'."""
    facts = _find_facts(offer)
    if facts is not None and facts.capabilities is not None:
        return {"capabilities": [word for word in _CAPABILITIES if word in facts.capabilities]}
    is_of_ollama = any(model.engine == OLLAMA.name for model in offer.models)
    return {} if is_of_ollama else {"capabilities": ["completion"]}


def _describe_info(name: str, facts: HostedModel | None) -> dict[str, Json]:
    """Describe a model's file; clients look for its context under the name of its architecture."""
    family = (None if facts is None else facts.family) or _UNKNOWN_FAMILY
    info: dict[str, Json] = {"general.basename": name, "general.architecture": family}
    if facts is not None and facts.context is not None:
        info[f"{family}.context_length"] = facts.context
    return info


def _describe_details(facts: HostedModel | None) -> dict[str, Json]:
    return {
        "parent_model": "",
        "format": "",
        "family": "" if facts is None else facts.family or "",
        "families": None if facts is None or facts.family is None else [facts.family],
        "parameter_size": "" if facts is None else facts.parameters or "",
        "quantization_level": "" if facts is None else facts.quantization or "",
    }


def _write_time(moment: datetime | None) -> str:
    return (moment or _UNKNOWN_TIME).isoformat().replace("+00:00", "Z")
