"""The seams between engines whose jobs run on a cluster and the server that they belong to.

Belongs here: the protocols of both sides.
Does not belong here: which replicas a job gets and how they are emptied, where files of jobs are kept.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable
from uuid import UUID


class Lender(Protocol):
    """Empties replicas on a cluster: pods that are instances of this server's engines."""

    def is_busy(self, pod: str) -> bool:
        """Whether something of the queue, or a guest, runs on a pod now."""
        ...

    async def empty(self, pods: Collection[str]) -> None:
        """Give nothing new to pods, and return once nothing runs on them."""
        ...

    async def reopen(self, pods: Collection[str]) -> None:
        """Use pods again, those that are still there."""
        ...


class FileShelf(Protocol):
    """Hands files to jobs and takes theirs, over HTTP, by a token that is good for one attempt."""

    def open(self, attempt: UUID) -> str:
        """Make a place for the files of an attempt, and return its token; the token of an earlier call ends."""
        ...

    def find(self, attempt: UUID) -> Path:
        """Find the folder of an attempt, whether it exists or not: its files are in `inputs` and `outputs`."""
        ...

    def close(self, attempt: UUID) -> None:
        """Remove the files of an attempt; its token ends."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeams:
    """The server's side."""

    lender: Lender
    shelf: FileShelf


@runtime_checkable
class JoinsServer(Protocol):
    """An engine that uses it."""

    def join(self, seams: ClusterSeams) -> None:
        """Use the server's side."""
        ...
