"""LiteLLM's configuration: every language model that a layout can run, and the providers that replace them.

There is a group for each model, with every Ollama that can run it, then providers and fallbacks. The same name several
times is one group, over which requests are spread. A model that no GPU of the layout holds is not routed to an Ollama
(pitfall B08): it would answer from the processor, ten times slower. Replicas of an Ollama are reached one by one, since
an address of all of them pins a connection to one (pitfall D03).

A request that fails is tried again at an address of the group drawn by chance, which can be the same: LiteLLM lets no
address rest whose failure it calls an APIConnectionError, as it does with all of Ollama's (`_is_cooldown_required` in
1.85). So every address of a group has an id, which can be asked for like a model but is not offered as one, and the
group falls back to each of its addresses in turn, before any provider.

A model that is meant to run here never goes to a provider without a word: a route replaces one that fails (LiteLLM
says so in `x-litellm-attempted-fallbacks`), and not under the name of one that cannot run. Names that clients ask for,
such as `deepseek-r1` for `deepseek-r1:32b`, are those of `gateway.models`.

Without a service of kind litellm the file is rendered all the same where a layout runs Ollama: a LiteLLM that is
started by hand needs the same routes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from corral.cluster.values import Route, ServiceKind
from corral.engine_kinds import OLLAMA
from corral.rendering.documents import Json, write_document
from corral.rendering.doors import KEY_VARIABLE, Door, find_door
from corral.rendering.installation import Deployed, Installation, list_reached, write_door_address
from corral.rendering.model_pull import explain_misfit
from corral.rendering.programs import MASTER_KEY

FILE = "config.yaml"
_BY_HAND = (
    "The cluster file has no service of kind litellm; this is for one that is started by hand:",
    "LITELLM_MASTER_KEY=... litellm --config config.yaml --port 4000",
)
Reach = Callable[[Deployed], tuple[str, ...]]
"""The addresses of a service, as LiteLLM reaches it."""

_EMBEDDING = re.compile(r"embed|^(?:all-minilm|bge-|paraphrase-multilingual)")
"""Ollama's library has these for embeddings; LiteLLM has another route for them than for conversations."""
_CONTEXT = "OLLAMA_CONTEXT_LENGTH"
_TIMEOUT_S = 600
"""A model can first have to load, and a long answer of a large one takes minutes."""
_RETRIES = 2
_FAILURES = 0
"""After its first failure an address of a group rests. LiteLLM takes its own default, 3, for "not set"."""
_COOLDOWN_S = 30
"""How long it rests: as long as a restart of Ollama takes."""


def render_litellm(installation: Installation) -> Mapping[str, str]:
    """Render the configuration of each LiteLLM of a layout; the first is `config.yaml`, others `config-NAME.yaml`."""
    folder = f"litellm/{installation.name}"
    routers = [deployed for deployed in installation.deployed if deployed.service.kind is ServiceKind.LITELLM]
    if not routers:
        text = render_router(installation, None)
        return {} if text is None else {f"{folder}/{FILE}": text}
    names = [FILE, *(f"config-{router.service.name}.yaml" for router in routers[1:])]
    texts = ((name, render_router(installation, router)) for name, router in zip(names, routers, strict=True))
    return {f"{folder}/{name}": text for name, text in texts if text is not None}


def render_router(installation: Installation, router: Deployed | None, reach: Reach | None = None) -> str | None:
    """Render the configuration of one LiteLLM; None when there is nothing that it could route.

    `reach` gives the addresses at which LiteLLM reaches a service; those of the cluster unless it is given.
    """
    config = make_config(
        installation, router, reach or (lambda target: list_reached(installation, target, caller=router))
    )
    if not config.value["model_list"]:
        return None
    return write_document(installation, config.value, *(() if router else _BY_HAND), *config.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration, and what is left out of it."""

    value: dict[str, Json]
    notes: tuple[str, ...]


def make_config(installation: Installation, router: Deployed | None, reach: Reach) -> Config:
    """Make the configuration of a LiteLLM; without one (`router` None), as one that is started by hand needs it."""
    notes: list[str] = []
    local = [
        entry
        for ollama in _list_ollamas(installation, router)
        for entry in _list_entries(installation, router, ollama, reach, notes)
    ]
    local = list({entry["model_info"]["id"]: entry for entry in local}.values())  # several can be behind one door
    routes = _list_routes(installation, router, notes)
    groups = Counter(entry["model_name"] for entry in local)
    for entry in local:
        if groups[entry["model_name"]] == 1:
            entry["litellm_params"]["cooldown_time"] = 0  # nothing could answer while it rests
    value: dict[str, Json] = {
        "model_list": [*local, *(_make_route(route) for route in routes)],
        "litellm_settings": {"drop_params": True, "num_retries": _RETRIES, "request_timeout": _TIMEOUT_S},
        "router_settings": {
            "routing_strategy": "simple-shuffle",
            "allowed_fails": _FAILURES,
            "cooldown_time": _COOLDOWN_S,
        },
        "general_settings": {"master_key": f"os.environ/{MASTER_KEY}"},
    }
    fallbacks = _list_addresses(local)
    for model, names in _list_replacements(routes, lambda model: model in groups).items():
        fallbacks.setdefault(model, []).extend(names)
    if fallbacks:
        value["litellm_settings"]["fallbacks"] = [{model: names} for model, names in fallbacks.items()]
    aliases = {alias: name for name in groups for alias in _list_aliases(installation, name) if alias not in groups}
    if aliases:
        value["router_settings"]["model_group_alias"] = aliases
    for model, names in _list_replacements(routes, lambda model: model not in groups).items():
        notes.append(f"{model} cannot run here, and is not offered: ask for {names[0]} by its own name.")
    return Config(value=value, notes=tuple(notes))


def _list_aliases(installation: Installation, model: str) -> tuple[str, ...]:
    """List the other names of a model here, as the doors of Corral know them."""
    named = installation.cluster.gateway.models.get(model)
    return () if named is None else named.aliases


def _list_ollamas(installation: Installation, router: Deployed | None) -> list[Deployed]:
    """List every Ollama of the layout, or those that the router calls when its service names any."""
    deployed_or_native = (*installation.deployed, *installation.native)
    ollamas = [deployed for deployed in deployed_or_native if OLLAMA.name in deployed.service.engines]
    called = [ollama for ollama in ollamas if router and ollama.service.name in router.service.calls]
    return called or ollamas


def _find_door(
    installation: Installation, ollama: Deployed, router: Deployed | None, addresses: tuple[str, ...]
) -> Door | None:
    """Find the door that these addresses lead to; None where they are the Ollama's own."""
    door = find_door(installation.cluster, installation.deployed, ollama)
    return door if door is not None and addresses == (write_door_address(door, caller=router),) else None


def _list_entries(
    installation: Installation, router: Deployed | None, ollama: Deployed, reach: Reach, notes: list[str]
) -> list[dict[str, Json]]:
    models = ollama.service.models
    addresses = reach(ollama)
    door = _find_door(installation, ollama, router, addresses)
    if ollama.on_demand and models and door is None:
        notes.append(f"Not routed to {ollama.name}: it takes its turn on a GPU, and is not always there.")
        return []
    if not addresses and models:
        notes.append(f"Not routed to {ollama.name}: its address is not known.")
    entries: list[dict[str, Json]] = []
    for model in models:
        reason = explain_misfit(installation, ollama, model)
        if reason is not None:
            notes.append(f"Not routed to {ollama.name}: {reason}.")
            continue
        entries += [_make_entry(model, address, ollama.env.get(_CONTEXT)) for address in addresses]
    if door is not None and not door.is_keyless:
        for entry in entries:
            entry["litellm_params"]["api_key"] = f"os.environ/{KEY_VARIABLE}"
    return entries


def _make_entry(model: str, address: str, context: str | None) -> dict[str, Json]:
    embeds = _EMBEDDING.search(model) is not None
    parameters: dict[str, Json] = {
        "model": f"{'ollama' if embeds else 'ollama_chat'}/{model}",
        "api_base": address,
    }
    if context is not None and context.isdecimal() and not embeds:
        parameters["num_ctx"] = int(context)  # another context than the one that is loaded makes Ollama load it anew
    return {
        "model_name": model,
        "litellm_params": parameters,
        "model_info": {"id": f"{model}@{address.partition('://')[2]}", "mode": "embedding" if embeds else "chat"},
    }


def _list_routes(installation: Installation, router: Deployed | None, notes: list[str]) -> tuple[Route, ...]:
    """List the routes to providers, without those that have the name of a model that is meant to run here."""
    models = {model for ollama in _list_ollamas(installation, router) for model in ollama.service.models}
    names = {name for model in models for name in (model, *_list_aliases(installation, model))}
    routes = router.service.routes if router else ()
    notes += [
        f"Not routed to {route.model}: {route.name} is a model that is meant to run here; give the route another name."
        for route in routes
        if route.name in names
    ]
    return tuple(route for route in routes if route.name not in names)


def _list_addresses(local: Iterable[dict[str, Json]]) -> dict[str, list[str]]:
    """List the addresses of each group that has more than one, by their ids."""
    groups: dict[str, list[str]] = {}
    for entry in local:
        groups.setdefault(entry["model_name"], []).append(entry["model_info"]["id"])
    return {model: ids for model, ids in groups.items() if len(ids) > 1}


def _make_route(route: Route) -> dict[str, Json]:
    parameters = {"model": route.model}
    if route.key_from is not None:
        parameters["api_key"] = f"os.environ/{route.key_from}"
    return {"model_name": route.name, "litellm_params": parameters}


def _list_replacements(routes: Iterable[Route], is_wanted: Callable[[str], bool]) -> dict[str, list[str]]:
    """List the routes that replace each wanted model, in the order of the file."""
    replacements: dict[str, list[str]] = {}
    for route in routes:
        for model in route.instead_of:
            if is_wanted(model):
                replacements.setdefault(model, []).append(route.name)
    return replacements
