"""What one GPU's loss does: service by service, before and after.

The rule: a service survives when enough cards that hold a replica are left on one of its nodes. It starts again there,
with what it had in memory lost; whoever holds that card waits. What is not looked at here, because no number of cards
in one machine helps: the node itself, its power supply, the network, and the disk or server that its data are on.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, StorageKind
from corral.planning.upgrade.choices import Choice, ServiceChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """Whether a service can go on after the loss of any one GPU."""

    service: str
    before: bool | None
    """None when it could not run in the first place, or was not there."""
    after: bool | None
    cards_before: int
    cards_after: int
    one_node: str | None
    """The only node that has cards for it after the upgrade, if it is one: its loss ends the service."""


def compare_redundancy(choices: tuple[ServiceChoice, ...]) -> tuple[Survival, ...]:
    """Say for every service with GPUs whether it survives one card's loss."""
    return tuple(
        Survival(
            service=choice.service,
            before=_survives(choice.before, choice.gpus),
            after=_survives(choice.after, choice.gpus),
            cards_before=len(choice.before.fits) if choice.before else 0,
            cards_after=len(choice.after.fits) if choice.after else 0,
            one_node=_only_node(choice.after),
        )
        for choice in choices
    )


def shared_dependencies(after: Cluster) -> tuple[str, ...]:
    """List what all services with shared data lean on besides their GPUs: network volumes and who exports them."""
    return tuple(
        f"{volume.name} (exported by {volume.node or volume.server or 'a server that the file leaves open'})"
        for volume in after.storage.values()
        if volume.kind is StorageKind.NFS
    )


def _survives(choice: Choice | None, gpus: int) -> bool | None:
    if choice is None or not choice.fits:
        return None
    left = _by_node(choice)
    if len(left) > 1:
        return True
    return max(left.values()) - 1 >= gpus


def _by_node(choice: Choice) -> dict[str, int]:
    counts: dict[str, int] = {}
    for card in choice.fits:
        node = card.rpartition("/")[0]
        counts[node] = counts.get(node, 0) + 1
    return counts


def _only_node(choice: Choice | None) -> str | None:
    nodes = _by_node(choice) if choice else {}
    return next(iter(nodes)) if len(nodes) == 1 else None
