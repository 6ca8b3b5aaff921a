"""How Kubernetes matches labels and taints and reads quantities: the scheduler's own rules, on plain JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from corral.diagnosis.objects import get_labels, get_list, get_map
from corral.work import Json

HOSTNAME = "kubernetes.io/hostname"
_QUANTITY = re.compile(r"(?P<number>[+-]?[0-9.]+(?:[eE][+-]?\d+)?)(?P<suffix>[a-zA-Z]*)")
_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip


def parse_quantity(text: object) -> float:
    """Parse a quantity (`500m`, `48Gi`); 0 for what is absent or not a quantity."""
    match = _QUANTITY.fullmatch(str(text if text is not None else ""))
    if match is None or match["suffix"] not in _SUFFIXES:
        return 0.0
    try:
        return float(match["number"]) * _SUFFIXES[match["suffix"]]
    except ValueError:
        return 0.0


def matches_labels(selector: Json, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector (`matchLabels`, `matchExpressions`) selects labels; an empty one selects all."""
    plain: Mapping[str, str] = get_map(selector, "matchLabels")
    expressions: Iterable[Json] = get_list(selector, "matchExpressions")
    return all(labels.get(key) == value for key, value in plain.items()) and all(
        _matches_expression(expression, labels) for expression in expressions
    )


def matches_node(spec: Json, node: Json) -> bool:
    """Return whether a pod's `nodeName`, `nodeSelector` and required node affinity allow a node."""
    labels: Mapping[str, str] = get_labels(node)
    selector: Mapping[str, str] = get_map(spec, "nodeSelector")
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = get_map(spec, "affinity", "nodeAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    return affinity is None or matches_terms(affinity["nodeSelectorTerms"], node)


def matches_terms(terms: Iterable[Json], node: Json) -> bool:
    """Return whether one of the terms of a node selector allows a node."""
    labels: Mapping[str, str] = get_labels(node)
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(_matches_expression(expression, labels) for expression in get_list(term, "matchExpressions"))
        and all(_matches_expression(expression, fields) for expression in get_list(term, "matchFields"))
        for term in terms
    )


def list_untolerated(spec: Json, node: Json) -> list[Json]:
    """List the taints of a node that keep a pod away."""
    tolerations: list[Json] = get_list(spec, "tolerations")
    taints: list[Json] = get_list(node["spec"], "taints")
    return [
        taint
        for taint in taints
        if taint["effect"] in ("NoSchedule", "NoExecute")
        and not any(tolerates(toleration, taint) for toleration in tolerations)
    ]


def tolerates(toleration: Json, taint: Json) -> bool:
    """Return whether a toleration is for a taint."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or "")


def _matches_expression(expression: Json, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values: list[str] = get_list(expression, "values")
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and value.isdigit() and int(value) > int(values[0])
        case "Lt":
            return value is not None and value.isdigit() and int(value) < int(values[0])
        case _:
            return True
