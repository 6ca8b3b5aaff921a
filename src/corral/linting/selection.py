"""Pods that a Service selects, worked out once for all rules."""

from __future__ import annotations

import posixpath
from functools import cached_property
from typing import TYPE_CHECKING

from corral.linting.kustomizing import split_image
from corral.linting.manifests import Manifest, Pod

if TYPE_CHECKING:
    from corral.linting.corpus import Corpus


def find_folder(manifest: Manifest) -> str:
    return posixpath.dirname(manifest.file.replace("\\", "/"))


_SERVING = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"})
_MOST_NAMES = 4
"""In a finding."""


class Selection:
    """The pods of different manifests that a Service selects, worked out once for all rules and Services that ask."""

    def __init__(self, corpus: Corpus, service: Manifest) -> None:
        self._corpus = corpus
        self._service = service
        self.replicas_by_program: dict[str, int] = {}
        """Replicas by program, as rules counted them."""

    @cached_property
    def pods(self) -> list[Pod]:
        """In its own namespace."""
        return self._select(self._service.namespace)

    @cached_property
    def intended_pods(self) -> list[Pod]:
        """In its own namespace; if there are none, those with the labels in other namespaces."""
        return self.pods or self._select(None)

    def _select(self, namespace: str | None) -> list[Pod]:
        selector = {key: value.raw or "" for key, value in self._service.tree.follow("spec", "selector").items}
        pods = self._corpus.find_labelled(selector, namespace)
        together = [pod for pod in pods if self._corpus.can_coexist(self._service, pod.owner)]
        return list({pod.owner.identity: pod for pod in reversed(together)}.values())[::-1]

    @cached_property
    def programs(self) -> frozenset[tuple[str, ...]]:
        """The images of the serving pods, without versions: two versions of one program are a careful rollout."""
        return frozenset(
            tuple(split_image(container.image or "")[0] for container in pod.containers if not container.is_init)
            for pod in self.serving_pods
        )

    @cached_property
    def serving_names(self) -> str:
        """The names of the first few serving pods, and the number of the others."""
        names = sorted(str(pod.owner) for pod in self.serving_pods)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return f"{', '.join(names[:_MOST_NAMES])}{more}"

    @cached_property
    def serving_pods(self) -> list[Pod]:
        """In its own namespace, those that keep running."""
        return [pod for pod in self.pods if pod.owner.kind in _SERVING]
