"""The VRAM that the models of a cluster's services need: the one answer that every command draws on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from corral.cluster.values import Cluster, Layout
from corral.hardware.fit.names import estimate_need
from corral.hardware.pools import Need

Needs = Mapping[tuple[str, str], Need]
"""What models need, by engine and model; one that is missing is unknown."""
_CONTEXT = "OLLAMA_CONTEXT_LENGTH"
_PARALLEL = "OLLAMA_NUM_PARALLEL"
"""Ollama's own settings (its FAQ), as a service's `env` can have them."""


def needs_of(cluster: Cluster, layout: Layout | None = None) -> Needs:
    """Return what the models of a cluster's services need in VRAM, as far as it is known.

    A context size or a number of parallel requests that a service sets multiplies its KV cache (B07). Where two
    services run a model differently, the larger need counts for both.
    """
    needs: dict[tuple[str, str], Need] = {}
    for service in cluster.services.values():
        env = {
            **service.env,
            **(layout.services[service.name].env if layout and service.name in layout.services else {}),
        }
        for engine, model in product(service.engines, service.models):
            need = estimate_need(
                engine, model, context=_read_context(cluster, engine, env), parallel=_read_number(env, _PARALLEL) or 1
            )
            known = needs.get((engine, model))
            if need is not None and (known is None or known.divide(1) < need.divide(1)):
                needs[engine, model] = need
    return needs


def _read_context(cluster: Cluster, engine: str, env: Mapping[str, str]) -> int | None:
    settings = cluster.engines.get(engine)
    option = settings.options.get("contextSize") if settings else None
    return _read_number(env, _CONTEXT) or (option if isinstance(option, int) else None)


def _read_number(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name, "")
    return int(text) if text.isdecimal() and int(text) > 0 else None
