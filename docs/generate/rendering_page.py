"""The reference of what is rendered from which field: each field of a sample is changed, and files that change named.

So the page cannot say what the code does not do. Names of the sample's layouts, nodes and services stand as `<layout>`,
`<node>` and `<workload>`, those of instances as `<engine>-<instance>`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pieces import code, page, table
from ruamel.yaml import YAML

from corral.cluster import load
from corral.errors import CorralError
from corral.hardware.catalogue import find_gpu
from corral.rendering.targets import TARGETS, render_cluster

SAMPLE = Path(__file__).parent / "rendering_sample.yaml"
_FREE_MAPS = frozenset({"labels", "env", "mounts", "secrets", "services", "layouts", "durations"})
"""Mappings whose keys the user chooses; `services` is one below a layout."""
_OTHER_VALUES: Mapping[str, tuple[Any, ...]] = {
    "kind": ("server", "nfs", "nodePort", "edge"),
    "k3sRole": ("agent", "server"),
    "os": ("ubuntu", "nixos"),
    "model": ("RTX 5090", "openai/gpt-5"),
    "node": ("front", "compute", "other"),
    "order": ("priority",),
    "gpuMode": ("dra",),
    "medium": ("hdd",),
    "uuid": ("GPU-33333333-3333-4333-8333-333333333333",),
    "size": ("77Gi",),
    "memory": ("77Gi",),
    "gpuMemory": ("11Gi",),
    "request": ("7Gi",),
    "limit": ("17Gi",),
    "server": ("https://10.9.9.9:6443", "other.example.org"),
    "address": ("10.9.9.9",),
    "path": ("/srv/changed",),
    "keyFrom": ("CHANGED_KEY",),
}
_CHANGED = "changed"


def render_page() -> str:
    """The page."""
    sections: list[str] = []
    files_by_field = _files_by_field()
    for target in TARGETS:
        rows = [
            (code(field), ", ".join(code(file) for file in changed))
            for field, files in files_by_field.items()
            if (changed := sorted(file for file in files if file.startswith(f"{target.name}/")))
        ]
        sections += [
            f"## {target.name}",
            f"{target.summary[:1].upper()}{target.summary[1:]}.",
            table(("field", "files"), rows),
        ]
    return page(
        "The fields that each file is rendered from",
        "Each line says which files of `corral render` change when a field of the cluster file does. The digest in the "
        "header of a file, which changes with everything, is left out.",
        *sections,
    )


@lru_cache(maxsize=1)
def _files_by_field() -> dict[str, set[str]]:
    sample: Any = YAML(typ="safe").load(SAMPLE.read_text(encoding="utf-8"))
    before = _rendered(sample)
    assert before is not None, "the sample is not a cluster file"
    names = _names(sample)
    files_by_field: dict[str, set[str]] = {}
    for path in _leaves(sample, ()):
        files = {_general(file, names) for file in _changed_files(sample, path, before)}
        files_by_field.setdefault(_field(path), set()).update(files)
    return files_by_field


def _changed_files(sample: Any, path: tuple[Any, ...], before: dict[str, str]) -> set[str]:
    """The files that differ once a value is changed; where the file accepts no other value, once it is taken out."""
    for changed in _variants(sample, path):
        after = _rendered(changed)
        if after is None:
            continue
        differing = {file for file in after.keys() | before.keys() if after.get(file) != before.get(file)}
        if differing:
            return differing
    return set()


def _variants(sample: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    for value in (*_others(path, _at(sample, path)), None):
        changed = copy.deepcopy(sample)
        holder = _at(changed, path[:-1])
        if value is None:
            del holder[path[-1]]
        else:
            holder[path[-1]] = value
        yield changed


def _others(path: tuple[Any, ...], value: Any) -> Iterator[Any]:
    key = next(part for part in reversed(path) if isinstance(part, str))
    yield from (other for other in _OTHER_VALUES.get(key, ()) if other != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, str):
        yield f"{value}{_CHANGED}" if re.fullmatch(r"[\w./:-]+", value) else _CHANGED


def _rendered(sample: Any) -> dict[str, str] | None:
    """Files by path, all with the same digest; None for what is no cluster file."""
    try:
        cluster = load(json.dumps(sample), filename="sample", find_gpu=find_gpu)  # JSON is YAML
        return render_cluster(cluster, source="sample", text="").files
    except CorralError:
        return None


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path


def _field(path: tuple[Any, ...]) -> str:
    """The path of a field with what the user chooses as `*`: `nodes[].gpus[].model`."""
    text = ""
    for index, part in enumerate(path):
        if isinstance(part, int):
            text += "[]"
        elif _is_chosen(path, index):
            text += ".*"
        else:
            text += f".{part}"
    return text.removeprefix(".")


def _is_chosen(path: tuple[Any, ...], index: int) -> bool:
    """Return whether a key is the user's: below a mapping of names, such as `labels`, or `services` of a layout."""
    return index > 0 and path[index - 1] in _FREE_MAPS


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


def _names(sample: Any) -> dict[str, str]:
    names = {node["name"]: "<node>" for node in sample["nodes"]}
    for layout, content in sample["layouts"].items():
        for placement in content["services"].values():
            names |= {placement[key]: "<workload>" for key in ("pod", "name") if key in placement}
        names[layout] = "<layout>"
    for engine, settings in sample["engines"].items():
        names |= {f"{engine}-{instance['name']}": "<engine>-<instance>" for instance in settings["instances"]}
    return names | {service["name"]: "<workload>" for service in sample["services"]}


def _renamed(stem: str, path: str, names: Mapping[str, str]) -> str:
    """The name of the sample's field that was changed itself."""
    if not stem.endswith(_CHANGED):
        return stem
    return names.get(stem.removesuffix(_CHANGED), "<node>" if "node" in path else "<workload>")


def _general(path: str, names: Mapping[str, str]) -> str:
    """A path with the names of the sample as what they are."""
    parts = []
    for part in path.split("/"):
        stem, dot, rest = part.partition(".")
        general = names.get(stem) or _renamed(stem, path, names)
        parts.append(f"{general}{dot}{rest}")
    return "/".join(parts)
