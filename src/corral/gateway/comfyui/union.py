"""One answer of what several instances have: the union of their nodes, models and devices; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from corral.gateway.comfyui.workshop import InstanceAnswer
from corral.narrowing import as_list, as_object
from corral.work import Json

Nodes = Mapping[str, bytes]
"""By class of nodes, its description as JSON."""


def unite_nodes(instances: Sequence[Nodes]) -> dict[str, bytes]:
    """Return every class of nodes that an instance has; where several have it, with the choices of all of them."""
    united: dict[str, bytes] = {}
    for nodes in instances:
        for name, description in nodes.items():
            known = united.setdefault(name, description)
            if known != description:
                united[name] = json.dumps(_unite(json.loads(known), json.loads(description))).encode()
    return united


def _unite(known: Json, other: Json) -> Json:
    """Return a description of nodes with the choices of another one."""
    groups = as_object(as_object(other).get("input"))
    inputs = {
        group: {name: _unite_choices(as_list(config), as_list(as_object(groups.get(group)).get(name)))
                for name, config in as_object(configs).items()}
        for group, configs in as_object(as_object(known).get("input")).items()
    }  # fmt: skip
    return {**as_object(known), "input": inputs}


def _unite_choices(known: list[Json], other: list[Json]) -> list[Json]:
    if not known or not other:
        return known
    if isinstance(known[0], list) and isinstance(other[0], list):
        return [_join(as_list(known[0]), as_list(other[0])), *known[1:]]
    settings, others = (as_object(config[1]) if len(config) > 1 else {} for config in (known, other))
    if isinstance(settings.get("options"), list) and isinstance(others.get("options"), list):
        return [known[0], {**settings, "options": _join(settings["options"], others["options"])}, *known[2:]]
    return known


def _join(first: Iterable[Json], second: Iterable[Json]) -> list[Json]:
    joined = list(first)
    return [*joined, *(item for item in second if item not in joined)]


def add_choices(description: bytes, names: Sequence[str]) -> bytes:
    """Return a description with names among the choices of each input that takes an uploaded file."""
    if not names or b'_upload"' not in description:
        return description
    node = as_object(json.loads(description))
    files: list[Json] = [*names]
    inputs = {
        group: {name: _unite_choices(as_list(config), [files, {"options": files}])
                if _takes_upload(as_list(config)) else config
                for name, config in as_object(configs).items()}
        for group, configs in as_object(node.get("input")).items()
    }  # fmt: skip
    return json.dumps({**node, "input": inputs}).encode()


def _takes_upload(config: Sequence[Json]) -> bool:
    settings = as_object(config[1]) if len(config) > 1 else {}
    return any(key.endswith("_upload") for key in settings)


def unite_lists(answers: Iterable[InstanceAnswer]) -> list[Json]:
    """Return what is in any of several lists."""
    united: list[Json] = []
    for answer in answers:
        united = _join(united, as_list(answer.value))
    return united


def unite_stats(answers: Sequence[InstanceAnswer], *, version: str) -> dict[str, Json]:
    """Return `/system_stats`: the system of the first instance that answered, and the devices of all."""
    known = [answer for answer in answers if isinstance(answer.value, dict)]
    devices = [
        {**as_object(device), "name": f"{as_object(device).get('name')} ({answer.name})"}
        for answer in known
        for device in as_list(as_object(answer.value).get("devices"))
    ]
    system = as_object(as_object(known[0].value).get("system")) if known else {}
    unknown = {
        "os": "unknown",
        "ram_total": 0,
        "ram_free": 0,
        "comfyui_version": "unknown",
        "python_version": "unknown",
    }
    unknown |= {"pytorch_version": "unknown", "embedded_python": False, "argv": []}
    return {
        "system": {**unknown, **system, "corral_version": version},
        "devices": [{**device, "index": index} for index, device in enumerate(devices)],
    }
