"""What a Service selects, worked out once for all Services that select the same, and for all rules that ask."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from corral.linting.kustomizing import split_image
from corral.linting.objects import Object, Pod

if TYPE_CHECKING:
    from corral.linting.corpus import Scene

_SERVING = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"})
_MOST_NAMES = 4
"""Of those that a finding names."""


class Behind:
    """The pods of different objects that a Service selects."""

    def __init__(self, scene: Scene, service: Object) -> None:
        self._scene = scene
        self._service = service
        self.numbers: dict[str, int] = {}
        """Replicas of a program, by its name, as rules have counted them."""

    @cached_property
    def pods(self) -> list[Pod]:
        """In its own namespace."""
        return self._selected(self._service.namespace)

    @cached_property
    def meant(self) -> list[Pod]:
        """In its own namespace; where there are none, those that have the labels in others."""
        return self.pods or self._selected(None)

    def _selected(self, namespace: str | None) -> list[Pod]:
        selector = {key: value.raw or "" for key, value in self._service.tree.at("spec", "selector").items}
        found = self._scene.labelled(selector, namespace)
        together = [pod for pod in found if self._scene.may_meet(self._service, pod.owner)]
        return list({pod.owner.identity: pod for pod in reversed(together)}.values())[::-1]

    @cached_property
    def programs(self) -> frozenset[tuple[str, ...]]:
        """The images of those that serve, without their versions: two versions of one program are a careful rollout."""
        return frozenset(
            tuple(split_image(one.image or "")[0] for one in pod.containers if not one.is_init) for pod in self.serving
        )

    @cached_property
    def named(self) -> str:
        """The first few that serve by name, and how many more there are."""
        names = sorted(str(pod.owner) for pod in self.serving)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return f"{', '.join(names[:_MOST_NAMES])}{more}"

    @cached_property
    def serving(self) -> list[Pod]:
        """Those in its own namespace that go on running."""
        return [pod for pod in self.pods if pod.owner.kind in _SERVING]
