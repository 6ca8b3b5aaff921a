"""Names, labels and the order of fields that all objects share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from corral.rendering.installation import Deployed, Installation
from corral.rendering.names import LONGEST_WORKLOAD, dns_name

MANAGER = "corral"
SERVING = "corral-serving"
BATCH = "corral-batch"
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "image", "command", "type")
_LAST = ("selector", "template", "initContainers", "containers", "volumes", "status")


def labels_of(installation: Installation, name: str) -> dict[str, str]:
    """The recommended labels of an object (Kubernetes documentation, recommended labels)."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": installation.cluster.name,
        "app.kubernetes.io/managed-by": MANAGER,
    }


def selector_of(installation: Installation, name: str) -> dict[str, str]:
    """The labels that only the pods of one workload have."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": installation.cluster.name}


def workload_name(one: Deployed) -> str:
    """The name of what is deployed: that of its pod, when it shares one."""
    return dns_name(one.pod or one.name, longest=LONGEST_WORKLOAD)


def plain(one: Any) -> Mapping[str, Any]:  # a typed object of lightkube
    """A typed object as plain values, in the order in which people write them."""
    return _ordered(one.to_dict())


def _ordered(value: Any) -> Any:  # plain values
    if isinstance(value, list):
        return [_ordered(one) for one in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    fields = cast(dict[str, Any], value)
    first = [key for key in _FIRST if key in fields]
    last = [key for key in _LAST if key in fields]
    between = [key for key in fields if key not in _FIRST and key not in _LAST]
    return {key: _ordered(fields[key]) for key in (*first, *between, *last)}
