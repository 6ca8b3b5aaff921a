"""All targets by name, and the one call that renders them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind
from corral.rendering.addons import render_addons
from corral.rendering.alloy import render_alloy
from corral.rendering.compose.instances import render_instance_projects
from corral.rendering.compose.projects import list_left_out, render_projects
from corral.rendering.grafana import render_grafana
from corral.rendering.installation import Installation, resolve_installations
from corral.rendering.instance_units import list_unit_notes, render_instance_units
from corral.rendering.k3s import render_configurations
from corral.rendering.kubernetes.manifests import render_base, render_overlay
from corral.rendering.kubernetes.notes import list_notes
from corral.rendering.kueue import render_queues
from corral.rendering.litellm import render_litellm
from corral.rendering.nginx import render_nginx
from corral.rendering.nixos.flake import list_flake_notes, render_flake
from corral.rendering.nixos.modules import render_modules
from corral.rendering.places import FindPlaces
from corral.rendering.prometheus import render_prometheus
from corral.rendering.systemd import render_units

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
    """The parts of a layout that are left out or done by hand, a sentence each."""
    needs_kubernetes: bool = False
    """Whether it is only written for a file that has `kubernetes:`, unless it is named."""


TARGETS: tuple[Target, ...] = (
    Target(
        name="kubernetes",
        summary="manifests as a kustomize base and an overlay for each layout",
        per_layout=render_overlay,
        for_all=render_base,
        notes=list_notes,
        needs_kubernetes=True,
    ),
    Target(
        name="kueue",
        summary="queues, quotas and priorities for Jobs",
        per_layout=render_queues,
        needs_kubernetes=True,
    ),
    Target(
        name="addons",
        summary="charts that K3s installs: Kueue, GPUs, metrics, logs",
        for_all=render_addons,
        needs_kubernetes=True,
    ),
    Target(
        name="nixos",
        summary="a module for each node that runs NixOS, and a flake that deploys them",
        for_all=lambda installations: {**render_modules(installations), **render_flake(installations)},
        notes=list_flake_notes,
    ),
    Target(
        name="k3s",
        summary="K3s' configuration file for nodes of other systems",
        for_all=render_configurations,
        needs_kubernetes=True,
    ),
    Target(
        name="systemd",
        summary="the server without Kubernetes, servers of instances, and power limits of GPUs",
        for_all=lambda installations: {**render_units(installations), **render_instance_units(installations)},
        notes=list_unit_notes,
    ),
    Target(name="prometheus", summary="scrape jobs, recording rules, alerts", for_all=render_prometheus),
    Target(name="grafana", summary="dashboards, and the files that provision them", for_all=render_grafana),
    Target(name="alloy", summary="logs of pods and machines, shipped to Loki", for_all=render_alloy),
    Target(name="litellm", summary="routes of language models, for LiteLLM", per_layout=render_litellm),
    Target(name="nginx", summary="the page and the services behind it, for nginx", per_layout=render_nginx),
    Target(
        name="compose",
        summary="a Compose file for each machine, without Kubernetes, and one for servers of instances",
        per_layout=render_projects,
        for_all=render_instance_projects,
        notes=list_left_out,
    ),
)


class UnknownTargetError(CorralError):
    """There is no target of this name."""

    code: ClassVar[str] = "render.unknown_target"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """The configuration of a cluster."""

    files: Mapping[str, str]
    """Text by path, with `/` between folders, in order of path."""
    notes: tuple[str, ...]
    """The parts that are left out or done by hand, once each; where layouts differ, after the layout's name."""


def render_cluster(
    cluster: Cluster,
    *,
    source: str,
    text: str,
    layouts: Collection[str] = (),
    only: Collection[str] = (),
    find_places: FindPlaces | None = None,
) -> Rendering:
    """Render what the file describes, or only some targets, for some layouts (all of the file unless named).

    `source` and `text` are the cluster file's name and content; both are in the headers of files. `find_places` plans
    a layout: with it, services are where the plan has them.

    Raises: UnknownTargetError, UnknownLayoutError, ContradictionError.
    """
    usual = [target for target in TARGETS if cluster.kubernetes is not None or not target.needs_kubernetes]
    targets = _choose_targets(only) if only else usual
    installations = resolve_installations(cluster, source=source, text=text, layouts=layouts, find_places=find_places)
    files: dict[str, str] = {}
    for target in targets:
        if target.for_all is not None:
            files.update(target.for_all(installations))
        if target.per_layout is not None:
            for installation in installations:
                files.update(target.per_layout(installation))
    return Rendering(files=dict(sorted(files.items())), notes=_list_notes(installations, [*usual, *targets]))


def _list_notes(installations: Iterable[Installation], targets: Iterable[Target]) -> tuple[str, ...]:
    listers = [target.notes for target in targets if target.notes is not None]
    by_layout = {
        installation.name: [note for lister in listers for note in lister(installation)]
        for installation in installations
    }
    lines: list[str] = []
    for name, notes in by_layout.items():
        shared = {note for note in notes if all(note in others for others in by_layout.values())}
        lines += [note if note in shared else f"layout {name}: {note}" for note in notes]
    return tuple(dict.fromkeys(lines))


def _choose_targets(only: Collection[str]) -> list[Target]:
    known = {target.name: target for target in TARGETS}
    for name in only:
        if name not in known:
            raise UnknownTargetError(f"there is no target {name!r}", hint=f"choose of: {', '.join(known)}")
    return [target for target in TARGETS if target.name in only]
