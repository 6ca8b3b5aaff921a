"""Reads lists of models of LiteLLM: providers elsewhere become routes, Ollama servers services with their models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from corral.cluster.values import Route, ServiceKind
from corral.engine_kinds import OLLAMA
from corral.importing.understanding import Account
from corral.importing.values import Imported, ImportedService, Origin
from corral.linting.documents import Document
from corral.linting.tree import Tree

_OLLAMA = re.compile(r"ollama(?:_chat)?/(?P<model>.+)")
_VARIABLE = re.compile(r"os\.environ/(?P<name>\w+)")
_NAME = "litellm"


def is_model_list(document: Document) -> bool:
    """Whether a document is a configuration of LiteLLM."""
    return document.tree["model_list"].is_list


def read_model_lists(documents: Iterable[Document]) -> Imported:
    """Read every list of models as a service of kind litellm, and the Ollama servers that it calls."""
    account = Account()
    services: dict[str, ImportedService] = {}
    for document in documents:
        if not is_model_list(document):
            continue
        router = ImportedService(name=_NAME, origin=Origin.LITELLM, kind=ServiceKind.LITELLM, place=document.tree.place)
        for entry in document.tree["model_list"].entries:
            router = _read_entry(entry, router, services, account)
        services[router.name] = router
        account.list_rest(document.tree, "LiteLLM")
    return Imported(services=tuple(services.values()), gaps=tuple(sorted(account.gaps)))


def _read_entry(
    entry: Tree, router: ImportedService, services: dict[str, ImportedService], account: Account
) -> ImportedService:
    parameters = entry["litellm_params"]
    name, model = account.read(entry["model_name"]), account.read(parameters["model"])
    if name is None or model is None:
        return router
    router = replace(router, served={**router.served, name: model})
    match = _OLLAMA.fullmatch(model)
    address = urlsplit(parameters["api_base"].script or "")
    if match is None:
        key = _VARIABLE.fullmatch(parameters["api_key"].script or "")
        account.take(*([parameters["api_key"]] if key else []))
        route = Route(name=name, model=model, key_from=key["name"] if key else None)
        return replace(router, routes=(*router.routes, route))
    if address.hostname is None:
        account.remark(entry.place, f"LiteLLM {name}: the address of its Ollama is not in the input")
        return router
    account.take(parameters["api_base"])
    host = address.hostname.split(".")[0]
    server = services.get(host) or ImportedService(
        name=host,
        origin=Origin.LITELLM,
        place=entry.place,
        engines=(OLLAMA.name,),
        port=address.port,
    )
    services[host] = replace(server, models=tuple(dict.fromkeys([*server.models, match["model"]])))
    return replace(router, calls=tuple(dict.fromkeys([*router.calls, host])))
