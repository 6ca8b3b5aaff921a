"""A service of a Compose project: what it runs, what it gets of the machine, and what it opens to others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from corral.linting.tree import Tree, parse_count

if TYPE_CHECKING:
    from corral.linting.compose.projects import Project

_GPU_DRIVERS = frozenset({"nvidia", "cdi"})
_GPU_WORDS = frozenset({"gpu", "nvidia", "compute", "utility"})
_CDI = re.compile(r"^(?P<maker>nvidia|amd)\.com/gpu=(?P<which>.+)$")
_DEVICE_FILE = re.compile(r"^/dev/nvidia(?P<index>\d+)$")
_AMD_FILES = ("/dev/kfd", "/dev/dri")
_EVERY = "all"
_HIDDEN = frozenset({"", "none", "void"})
_PORT = re.compile(
    r"^(?:(?P<address>\[[^\]]*\]|\d+(?:\.\d+){3}|\$\{\w+\}):)?(?:(?P<published>[\w-]*|\$\{\w+\}):)?(?P<target>[\w-]+|\$\{\w+\})(?:/\w+)?$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAccess:
    """The NVIDIA GPUs that a service sees."""

    place: Tree
    """Where the file says so."""
    count: int | None
    """How many; None for every one of the machine, or where the number is unknown."""
    ids: tuple[str, ...] = ()
    """Indexes and UUIDs, where they are named."""
    is_reserved: bool = False
    """Whether Docker hands them out, and so sets NVIDIA_VISIBLE_DEVICES itself."""
    is_every: bool = False
    """Whether it sees every GPU of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that is published on the machine."""

    place: Tree
    address: str | None
    """The address of the machine on which it is open; None for all of them."""
    published: str | None
    """None where Docker chooses it, or where it is unknown."""
    target: str | None


@dataclass(frozen=True)
class ComposeService:
    """A service as it is started, with everything that its files say of it."""

    name: str
    tree: Tree
    """With long forms, and with what other files and `extends` add."""
    project: Project

    def __str__(self) -> str:
        return f"service {self.name}"

    @property
    def image(self) -> str | None:
        return self.tree["image"].raw

    @cached_property
    def words(self) -> tuple[Tree, ...]:
        """The words of entrypoint and command."""
        return (*self.tree["entrypoint"].entries, *self.tree["command"].entries)

    @cached_property
    def env(self) -> dict[str, Tree]:
        """Variables, as far as its file and its files of variables have them; the former win."""
        entries = self.tree["env_file"].entries or (self.tree["env_file"],)
        of_files = {
            name: path.replace_raw(value)
            for path in (entry["path"] or entry for entry in entries)
            if path.raw
            for name, value in self.project.read_env_file(path.raw).items()
        }
        return of_files | dict(self.tree["environment"].items)

    @property
    def is_optional(self) -> bool:
        """Whether it starts only with a profile."""
        return bool(self.tree["profiles"].entries)

    @property
    def replicas(self) -> int:
        """The number of its containers; 1 when not given."""
        count = (self.tree["deploy"]["replicas"] or self.tree["scale"]).count
        return 1 if count is None else count

    @cached_property
    def reservations(self) -> tuple[Tree, ...]:
        """Devices of `deploy.resources.reservations` and of `gpus`."""
        reserved = self.tree.follow("deploy", "resources", "reservations", "devices")
        return (*reserved.entries, *self.tree["gpus"].entries)

    @cached_property
    def gpus(self) -> GpuAccess | None:
        """The NVIDIA GPUs that it sees; None for none."""
        accesses = [access for tree in self.reservations if (access := _read_reservation(tree)) is not None]
        if self.tree["gpus"].raw == _EVERY:
            accesses.append(GpuAccess(place=self.tree["gpus"], count=None, is_reserved=True, is_every=True))
        accesses += self._list_device_files()
        if not accesses:
            return self._read_runtime()
        if len(accesses) == 1:
            return accesses[0]
        counts = [access.count for access in accesses]
        return GpuAccess(
            place=accesses[0].place,
            count=None if None in counts else sum(count or 0 for count in counts),
            ids=tuple(id for access in accesses for id in access.ids),
            is_reserved=any(access.is_reserved for access in accesses),
            is_every=any(access.is_every for access in accesses),
        )

    def _list_device_files(self) -> list[GpuAccess]:
        """GPUs that `devices` names: by CDI, as Podman and newer Docker read it, or as files."""
        named: list[GpuAccess] = []
        for entry in self.tree["devices"].entries:
            path = (entry.raw or entry["source"].raw or "").partition(":")[0]
            match = _CDI.match(entry.raw or "")
            index = _DEVICE_FILE.match(path)
            if match and match["maker"] == "nvidia":
                named.append(_name_gpus(entry, (match["which"],)))
            elif index:
                named.append(_name_gpus(entry, (index["index"],)))
        return named

    def _read_runtime(self) -> GpuAccess | None:
        """What NVIDIA's runtime gives: the GPUs of NVIDIA_VISIBLE_DEVICES, which CUDA's images set to `all`."""
        if self.tree["runtime"].raw != "nvidia":
            return None
        visible = self.env.get("NVIDIA_VISIBLE_DEVICES")
        place = self.tree["runtime"]
        if visible is None or visible.raw is None:
            return GpuAccess(place=place, count=None)
        if visible.raw in _HIDDEN:
            return None
        return _name_gpus(place, tuple(part.strip() for part in visible.raw.split(",")))

    @cached_property
    def amd_files(self) -> tuple[Tree, ...]:
        """The device files of AMD's GPUs that it gets; `/dev/dri` alone is any maker's."""
        entries = [
            (entry, (entry.raw or entry["source"].raw or "").partition(":")[0].rstrip("/"))
            for entry in self.tree["devices"].entries
        ]
        if not any(path == _AMD_FILES[0] for _, path in entries):
            return ()
        return tuple(entry for entry, path in entries if path.startswith(_AMD_FILES))

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """The ports that it publishes; none for a container in the network of another, or of the machine."""
        return tuple(port for entry in self.tree["ports"].entries if (port := _read_port(entry)) is not None)

    @property
    def mounts(self) -> tuple[Tree, ...]:
        """Its volumes in the long form."""
        return self.tree["volumes"].entries


def _read_reservation(device: Tree) -> GpuAccess | None:
    """Read an entry of a reservation; None for a device of another kind."""
    words = {entry.raw for entry in device["capabilities"].entries}
    is_gpu = bool(words & _GPU_WORDS) or device["driver"].raw in _GPU_DRIVERS or "gpu" in (device["driver"].raw or "")
    if not is_gpu and device["driver"]:
        return None
    ids = tuple(id for entry in device["device_ids"].entries if (id := entry.raw) is not None)
    if device["device_ids"]:
        known = ids if len(ids) == len(device["device_ids"].entries) else ()
        access = _name_gpus(device["device_ids"], known)
        return GpuAccess(
            place=access.place, count=access.count, ids=access.ids, is_every=access.is_every, is_reserved=True
        )
    count = device["count"]
    if not count or count.raw in (_EVERY, "-1"):
        return GpuAccess(place=count or device, count=None, is_reserved=True, is_every=True)
    return GpuAccess(place=count, count=count.count, is_reserved=True)


def _name_gpus(place: Tree, ids: tuple[str, ...]) -> GpuAccess:
    names = tuple((match["which"] if (match := _CDI.match(id)) else id) for id in ids)
    if _EVERY in names:
        return GpuAccess(place=place, count=None, is_every=True)
    return GpuAccess(place=place, count=len(names) or None, ids=names)


def _read_port(entry: Tree) -> Port | None:
    if entry.is_mapping:
        return Port(
            place=entry,
            address=_read_address(entry["host_ip"].raw),
            published=entry["published"].raw,
            target=entry["target"].raw,
        )
    match = _PORT.match(entry.script or "")
    if match is None:
        return None
    published, target = match["published"], match["target"]
    return Port(
        place=entry,
        address=match["address"] if (match["address"] or "").startswith("$") else _read_address(match["address"]),
        published=published if published and published.isdecimal() else None,
        target=target if parse_count(target) is not None else None,
    )


def _read_address(text: str | None) -> str | None:
    address = (text or "").strip("[]")
    return None if address in ("", "0.0.0.0", "::") else address
