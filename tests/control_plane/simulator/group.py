"""What the nodes of one test share: images, NFS exports, folders, and the way to addresses and Services."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from control_plane.network import Network
from control_plane.simulator.api import Api, Mirror
from control_plane.simulator.images import Image


class Addresses:
    """The addresses of pods of one cluster."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._next = 1
        self._free: list[int] = []

    def lend(self) -> tuple[str, int]:
        """Lend an address that has not been used for as long as possible."""
        # 32,767 pods of one run of tests are not reached; then the oldest are used again.
        number = self._next if self._next < 32_767 else self._free.pop(0)
        self._next = max(self._next, number + 1)
        return self._network.find_pod(number), number

    def give_back(self, number: int) -> None:
        """Take an address back."""
        self._free.append(number)


@dataclass
class Group:
    """The nodes of one test."""

    name: str
    api: Api
    network: Network
    addresses: Addresses
    services: Mirror
    folder: Path
    """Where its nodes keep their files."""
    images: list[Image] = field(default_factory=list[Image])
    exports: dict[str, str] = field(default_factory=dict[str, str])
    pull_problems: dict[str, str] = field(default_factory=dict[str, str])
    """Pattern of an image to why it cannot be pulled."""
    namespaces: set[str] = field(default_factory=set[str])
