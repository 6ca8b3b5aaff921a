"""Programs of containers, whether a pod or a Compose service starts them: what most mistakes are about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from corral.linting.compose.services import ComposeService
from corral.linting.manifests import PASSING_KINDS, Container
from corral.linting.tree import Tree
from corral.linting.values import Position


@dataclass(frozen=True, kw_only=True)
class Program:
    """One container, with the facts that both formats have."""

    title: str
    """`container 'ollama'` or `service 'ollama'`."""
    subject: object
    """The workload that has it."""
    tree: Tree
    image: str | None
    words: tuple[Tree, ...]
    """Of its command and arguments."""
    env: tuple[tuple[str, Tree], ...]
    """Variables with a literal value."""
    gpus: int | None
    """The NVIDIA GPUs that it gets: 0 for none; None for some, of an unknown number."""
    gpu_place: Tree
    """Where its GPUs are asked for; empty when they are not."""
    is_init: bool = False
    """Whether it ends before the others start."""
    is_passing: bool = False
    """Whether it ends by itself."""

    @property
    def has_gpu(self) -> bool:
        return self.gpus != 0

    @property
    def place(self) -> Position:
        """Where its image is, or where it begins."""
        return (self.tree["image"] or self.tree).place

    @cached_property
    def settings(self) -> dict[str, Tree]:
        """Its variables by name; the last one where a name occurs twice."""
        return dict(self.env)

    @cached_property
    def script(self) -> str:
        """All its words in a line."""
        return " ".join(word.script or "" for word in self.words)


def read_container(container: Container) -> Program:
    """Return the program of a container of a pod."""
    resources = container.tree["resources"]
    return Program(
        title=f"container {container.name!r}",
        subject=container.pod.owner,
        tree=container.tree,
        image=container.image,
        words=(*container.tree["command"].entries, *container.tree["args"].entries),
        env=tuple(container.env),
        gpus=container.gpus,
        gpu_place=resources["limits"] or resources["requests"],
        is_init=container.is_init,
        is_passing=container.pod.owner.kind in PASSING_KINDS,
    )


def read_service(service: ComposeService) -> Program:
    """Return the program of a Compose service."""
    access = service.gpus
    return Program(
        title=f"service {service.name!r}",
        subject=service,
        tree=service.tree,
        image=service.image,
        words=service.words,
        env=tuple(service.env.items()),
        gpus=0 if access is None else access.count,
        gpu_place=service.tree["gpus"] if access is None else access.place,
        is_passing=service.tree["restart"].raw == "no",
    )
