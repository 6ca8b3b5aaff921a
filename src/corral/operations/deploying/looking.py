"""Looks at a cluster for a layout: what is missing there, and how its services fare."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from corral.deploying.differences import join_snapshots
from corral.deploying.health import OBSERVED, ServiceHealth, judge_services
from corral.deploying.lacking import Lack, MissingKey, find_lacking, list_looked_at
from corral.deploying.order import NODE, SECRET
from corral.deploying.state import CORRAL, MANAGED_BY, PART_OF, name_state, read_state
from corral.deploying.steps import Step, Verb
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import Target, choose_layout, make_wanted
from corral.operations.deploying.stepping import Objects
from corral.rendering.installation import namespace_of
from corral.snapshot import ObjectKey

_GENERATED = ("MASTER_KEY", "PASSWORD")
"""Ends of keys that no provider gives out: any random one will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesOnCluster:
    """The services of the active layout."""

    layout: str
    services: tuple[ServiceHealth, ...]


async def look_for_lacking(cluster: Objects, target: Target) -> tuple[Lack, ...]:
    """Look for what a cluster lacks of a layout; what cannot be read is not reported."""
    wide = await cluster.observe(list_looked_at())
    secret = await cluster.observe((SECRET,), target.wanted.namespaces)
    return find_lacking(target.wanted, join_snapshots(join_snapshots(target.snapshot, wide), secret))


async def look_at_services(cluster: Objects, file: FileText, layout: str | None) -> ServicesOnCluster:
    """Look at the services of a layout, the active one unless named. Raises: as `observe_target`."""
    checked = check_cluster(file)
    key = name_state(namespace_of(checked.cluster))
    state = read_state(await cluster.get(key), checked.cluster.name, key.namespace)
    wanted = make_wanted(checked, choose_layout(checked, state, layout))
    snapshot = await cluster.observe((*OBSERVED, NODE), wanted.namespaces)
    return ServicesOnCluster(layout=wanted.layout, services=judge_services(wanted, snapshot))


def is_generated(key: MissingKey) -> bool:
    """Return whether any random value will do for a key."""
    return key.key.endswith(_GENERATED)


def generate_secret(key: MissingKey) -> str:
    """Generate a value for a key; LiteLLM wants its keys to begin with `sk-`."""
    value = secrets.token_hex(24)
    return f"sk-{value}" if key.key.endswith("MASTER_KEY") else value


def plan_secrets(target: Target, lacking: Iterable[Lack], ask: Callable[[MissingKey], str]) -> tuple[Step, ...]:
    """Plan the steps that write the missing keys of Secrets; `ask` gives their values, empty for none.

    Values are in steps alone, which are never printed. Keys that a Secret has stay as they are.
    """
    values: dict[ObjectKey, dict[str, str]] = {}
    for lack in lacking:
        if lack.key is not None and (value := ask(lack.key)):
            key = ObjectKey(SECRET, lack.key.namespace, lack.key.secret)
            values.setdefault(key, {})[lack.key.key] = value
    return tuple(Step(verb=Verb.ADD, key=key, value=_write_secret(key, data, target)) for key, data in values.items())


def _write_secret(key: ObjectKey, data: Mapping[str, str], target: Target) -> Mapping[str, object]:
    labels = {"app.kubernetes.io/name": key.name, PART_OF: target.wanted.cluster, MANAGED_BY: CORRAL}
    metadata = {"name": key.name, "namespace": key.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(data)}
