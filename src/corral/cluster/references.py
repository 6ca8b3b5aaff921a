"""What the parts of a file are called, and the questions that every check across the file asks."""

from __future__ import annotations

from collections.abc import Iterable

from corral.cluster.document import Document, Path
from corral.cluster.salvage import names_in
from corral.cluster.shape import ClusterShape, GpuShape, NodeShape, ServiceShape, StorageShape
from corral.errors import did_you_mean

_SECTIONS = {"node": "nodes", "storage": "storage", "service": "services"}


class References:
    """The named parts of one file. What a check finds is added to the document's problems."""

    def __init__(self, shape: ClusterShape, document: Document) -> None:
        self.shape = shape
        self.document = document
        # Of entries with the same name, references mean the first.
        self.nodes: dict[str, NodeShape] = {node.name: node for node in reversed(shape.nodes)}
        self.storage: dict[str, StorageShape] = {volume.name: volume for volume in reversed(shape.storage)}
        self.services: dict[str, ServiceShape] = {service.name: service for service in reversed(shape.services)}
        self._names = {thing: names_in(document, section) for thing, section in _SECTIONS.items()}

    def unique(self, entries: Iterable[tuple[Path, str | None]], thing: str, *, what: str = "name") -> None:
        """Check that no two entries have the same text; None is not compared."""
        seen: set[str] = set()
        for path, name in entries:
            if name is not None and name in seen:
                self.document.report(
                    "cluster.duplicate_name",
                    f"{thing} with the {what} {name!r} stands earlier in the file",
                    at=path,
                    hint=f"give each its own {what}",
                )
            seen.add(name or "")

    def known(self, name: str | None, known: Iterable[str], thing: str, at: Path) -> None:
        """Check that a value names something that exists."""
        if hint := self._unknown(name, known, thing):
            self.document.report("cluster.unknown_reference", f"there is no {thing} {name!r}", at=at, hint=hint)

    def known_key(self, name: str, known: Iterable[str], thing: str, at: Path) -> None:
        """Check that a key names something that exists."""
        if hint := self._unknown(name, known, thing):
            self.document.report_key("cluster.unknown_reference", f"there is no {thing} {name!r}", at=at, hint=hint)

    def _unknown(self, name: str | None, known: Iterable[str], thing: str) -> str | None:
        """Return the hint for a name that points at nothing; None when it is fine or its entry is misshapen itself."""
        stand_ins = self.document.stand_ins
        names = [one for one in known if one not in stand_ins]
        if name is None or name in names or name in stand_ins:
            return None
        misshapen = self._names.get(thing, set())
        if misshapen is None or name in misshapen:
            return None
        return did_you_mean(name, names)

    def is_written(self, at: Path) -> bool:
        """Tell whether the file has this key, even with a value that was left out for being wrong."""
        return at in self.document.keys

    def conflict(self, what: str, at: Path, hint: str) -> None:
        """Report things that cannot be true together."""
        self.document.report("cluster.conflict", what, at=at, hint=hint)

    def gpu_of(self, node: str | None, index: int, at: Path) -> None:
        """Check that a node has a GPU of this index, where the file lists its GPUs."""
        gpus = self.nodes[node].gpus if node in self.nodes else None
        indexes = sorted({index_of(gpu, place) for place, gpu in enumerate(gpus or ())})
        if gpus is None or index in indexes:
            return
        listed = ", ".join(str(one) for one in indexes) or "none"
        self.document.report(
            "cluster.unknown_reference",
            f"node {node!r} has no GPU {index}",
            at=at,
            hint=f"use one of its GPUs ({listed}), or describe this GPU under `nodes`",
        )


def index_of(gpu: GpuShape, place: int) -> int:
    """Return the index of a GPU: what the file says, else its place in the list."""
    return place if gpu.index is None else gpu.index
