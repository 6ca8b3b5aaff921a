"""All that can be written, by name, and the one call that writes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind
from corral.rendering import (
    alloy,
    compose,
    grafana,
    kubernetes,
    kueue,
    litellm,
    nginx,
    prometheus,
)
from corral.rendering.installation import Installation, installation_of
from corral.rendering.k3s.configuration import render_configurations
from corral.rendering.nixos.modules import render_modules
from corral.rendering.systemd.units import render_units

Files = Mapping[str, str]
"""Text by path, with `/` between folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind of configuration."""

    name: str
    summary: str
    per_layout: Callable[[Installation], Files] | None = None
    """Files of one layout."""
    for_all: Callable[[tuple[Installation, ...]], Files] | None = None
    """Files that the layouts share; it is given all layouts that are written."""
    notes: Callable[[Installation], list[str]] | None = None
    """What of a layout is left out or is up to people, a sentence each."""


TARGETS: tuple[Target, ...] = (
    Target(
        name="kubernetes",
        summary="manifests as a kustomize base and an overlay for each layout",
        per_layout=kubernetes.overlay,
        for_all=kubernetes.base,
        notes=kubernetes.notes_of,
    ),
    Target(name="kueue", summary="queues, quotas and priorities for Jobs", per_layout=kueue.files),
    Target(name="nixos", summary="a module for each node that runs NixOS", for_all=render_modules),
    Target(name="k3s", summary="K3s' configuration file for nodes of other systems", for_all=render_configurations),
    Target(name="systemd", summary="the server without Kubernetes, and power limits of GPUs", for_all=render_units),
    Target(name="prometheus", summary="what is scraped, recording rules, alerts", for_all=prometheus.files),
    Target(name="grafana", summary="dashboards, and the files that provision them", for_all=grafana.files),
    Target(name="alloy", summary="logs of pods and machines, shipped to Loki", for_all=alloy.files),
    Target(name="litellm", summary="routes of language models, for LiteLLM", per_layout=litellm.files),
    Target(name="nginx", summary="the page and what is behind it, for nginx", per_layout=nginx.files),
    Target(name="compose", summary="a Compose file for each machine, without Kubernetes", per_layout=compose.files),
)


class UnknownTargetError(CorralError):
    """Nothing of this name can be written."""

    code: ClassVar[str] = "render.unknown_target"
    kind: ClassVar[Kind] = Kind.MISSING


class UnknownLayoutError(CorralError):
    """The cluster file has no such layout."""

    code: ClassVar[str] = "render.unknown_layout"
    kind: ClassVar[Kind] = Kind.MISSING


def render(
    cluster: Cluster, *, source: str, text: str, layouts: Collection[str] = (), only: Collection[str] = ()
) -> dict[str, str]:
    """Write everything, or only some targets, for some layouts (all of the file unless named), in order of path.

    `source` and `text` are the cluster file's name and content; both stand in the headers.

    Raises: UnknownTargetError, UnknownLayoutError, ContradictionError.
    """
    installations = _installations(cluster, source=source, text=text, layouts=layouts)
    files: dict[str, str] = {}
    for target in _chosen(only):
        if target.for_all is not None:
            files.update(target.for_all(installations))
        if target.per_layout is not None:
            for installation in installations:
                files.update(target.per_layout(installation))
    return dict(sorted(files.items()))


def notes(
    cluster: Cluster, *, source: str, text: str, layouts: Collection[str] = (), only: Collection[str] = ()
) -> tuple[str, ...]:
    """Say what is left out or is up to people, once each; where layouts differ, with the layout's name before it.

    Raises: UnknownTargetError, UnknownLayoutError.
    """
    installations = _installations(cluster, source=source, text=text, layouts=layouts)
    tellers = [target.notes for target in _chosen(only) if target.notes is not None]
    found = {one.name: [note for tell in tellers for note in tell(one)] for one in installations}
    told: list[str] = []
    for name, of_layout in found.items():
        in_all = {note for note in of_layout if all(note in each for each in found.values())}
        told += [note if note in in_all else f"layout {name}: {note}" for note in of_layout]
    return tuple(dict.fromkeys(told))


def _installations(cluster: Cluster, *, source: str, text: str, layouts: Collection[str]) -> tuple[Installation, ...]:
    for name in layouts:
        if name not in cluster.layouts:
            known = ", ".join(cluster.layouts) or "none"
            raise UnknownLayoutError(f"there is no layout {name!r}", where=source, hint=f"choose one of: {known}")
    chosen = [layout for name, layout in cluster.layouts.items() if not layouts or name in layouts]
    return tuple(installation_of(cluster, layout, source=source, text=text) for layout in chosen or [None])


def _chosen(only: Iterable[str]) -> list[Target]:
    wanted = list(only)
    known = {target.name: target for target in TARGETS}
    for name in wanted:
        if name not in known:
            raise UnknownTargetError(f"nothing called {name!r} is written", hint=f"choose of: {', '.join(known)}")
    return [target for target in TARGETS if not wanted or target.name in wanted]
