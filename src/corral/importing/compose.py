"""Reads Compose projects: services, their volumes and GPUs, and the ports that they publish on the machine."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from corral.cluster.secrecy import is_secret
from corral.cluster.values import Exposure, SecretKey, StorageKind
from corral.importing.machines import read_quantity
from corral.importing.understanding import Account
from corral.importing.values import Imported, ImportedService, ImportedVolume, Origin
from corral.linting.compose.projects import Project
from corral.linting.compose.services import ComposeService, GpuAccess
from corral.linting.tree import Tree, parse_count
from corral.units import Bytes

_BYTES = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[bkmg]?)b?", re.IGNORECASE)
"""Docker's sizes: `16g` and `16gb` are both 16 GiB (docs.docker.com, Compose, specifying byte values)."""
_HEALTH = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\]):\d+(?P<path>/[^\s'\"|;&]*)?")
_PUBLISHED = "nodePort"
"""A port of the machine itself is what a port of a node is in Kubernetes."""
_LASTING_RESTARTS = frozenset({"always", "unless-stopped"})
_OF_THE_SYSTEM = ("/dev/", "/etc/", "/proc/", "/run/", "/sys/", "/var/run/")
"""Folders of the machine's system, where no service keeps its data."""
_LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+|::1|localhost")


def read_projects(projects: Iterable[Project], *, machine: str, folder: str) -> Imported:
    """Read every project as services of one machine; relative paths are below `folder`, which is absolute."""
    readers = [_Reader(project, machine, folder) for project in projects]
    parts = [reader.read() for reader in readers]
    return Imported(
        services=tuple(service for part in parts for service in part.services),
        volumes=tuple({volume.name: volume for part in parts for volume in part.volumes}.values()),
        gaps=tuple(sorted(gap for part in parts for gap in part.gaps)),
    )


class _Reader:
    def __init__(self, project: Project, machine: str, folder: str) -> None:
        self._account = Account()
        self._project = project
        self._machine = machine
        self._folder = folder
        self._volumes: dict[str, ImportedVolume] = {}

    def read(self) -> Imported:
        services = tuple(self._read_service(service) for service in self._project.services)
        for service in self._project.services:
            self._account.list_rest(service.tree, str(service))
        for tree in self._project.trees:
            for name, value in tree.items:
                if name not in ("services", "version", "name"):
                    self._account.list_rest(value, name)
        return Imported(
            services=services, volumes=tuple(self._volumes.values()), gaps=tuple(sorted(self._account.gaps))
        )

    def _read_service(self, service: ComposeService) -> ImportedService:
        account, tree = self._account, service.tree
        env, secrets = self._read_environment(service)
        port, exposed = self._read_ports(service)
        gpus = service.gpus
        if gpus is not None:
            account.take(tree["runtime"], *(entry for entry in tree["devices"].entries if entry.raw))
            account.take(*([] if tree["gpus"].entries else [tree["gpus"]]))
            for reservation in service.reservations:
                account.take_fields(reservation, "driver", "count", "device_ids", "capabilities")
        if tree["restart"].raw in _LASTING_RESTARTS or tree["restart"].raw == "no":
            account.take(tree["restart"])
        if tree["container_name"].raw == service.name:
            account.take(tree["container_name"])
        account.take(tree["deploy"]["replicas"], tree["scale"])
        limits, reserved = (
            tree.follow("deploy", "resources", "limits"),
            tree.follow("deploy", "resources", "reservations"),
        )
        limit = self._read_size(limits["memory"] or tree["mem_limit"])
        request = self._read_size(reserved["memory"] or tree["mem_reservation"])
        return ImportedService(
            name=service.name,
            origin=Origin.COMPOSE,
            place=tree.key or tree.place,
            is_job=tree["restart"].raw == "no",
            image=account.read(tree["image"]),
            command=self._read_command(service),
            port=port,
            replicas=service.replicas,
            gpus=0 if gpus is None else gpus.count or 1,
            gpu_ids=_list_gpus(gpus),
            every_gpu=gpus is not None and gpus.count is None,
            node=self._machine,
            env=env,
            secrets=secrets,
            mounts=self._read_mounts(service),
            memory_request=request,
            memory_limit=limit,
            exposed=exposed,
            health_path=self._read_health(service),
        )

    def _read_environment(self, service: ComposeService) -> tuple[dict[str, str], dict[str, SecretKey]]:
        """Read the variables; those that come from the shell, or are secrets, are named and not copied."""
        env: dict[str, str] = {}
        secrets: dict[str, SecretKey] = {}
        self._take_env_files(service.tree["env_file"])
        for name, value in service.env.items():
            text = value.script
            if text == f"${{{name}}}" or (text is not None and is_secret(name, text)):
                secrets[name] = SecretKey(secret=service.name, key=name)
                self._account.take(value)
                if text != f"${{{name}}}":
                    what = f"{service} {name}: a secret in the open; set it in .env or a Secret {service.name}"
                    self._account.remark(value.place, what)
            elif (read := self._account.read(value)) is not None:
                env[name] = read
        for tree in self._project.trees:
            for entry in tree["services"][service.name]["environment"].entries:
                name = entry.script or ""
                if name and "=" not in name:
                    secrets[name] = SecretKey(secret=service.name, key=name)
        return env, secrets

    def _take_env_files(self, files: Tree) -> None:
        """Take the files of variables that are in the input; the variables of others are unknown."""
        folder = posixpath.dirname(self._project.document.tree.file)
        for entry in files.entries or (files,):
            path = entry["path"] or entry
            if path.raw and posixpath.normpath(posixpath.join(folder, path.raw)) in self._project.sources:
                self._account.take(path)

    def _read_ports(self, service: ComposeService) -> tuple[int | None, Exposure | None]:
        """Read the first port; one that is published beyond the machine is exposed."""
        if not service.ports:
            expose = service.tree["expose"].entries
            port = parse_count(self._account.read(expose[0]) or "") if expose else None
            return port, None
        first = service.ports[0]
        port, published = parse_count(first.target or ""), parse_count(first.published or "")
        if port is None:
            return None, None
        is_local = first.address is not None and _LOOPBACK.fullmatch(first.address) is not None
        if is_local and published == port:
            self._account.take(first.place)
        if first.address is None and published is not None:
            self._account.take(first.place)
            return port, Exposure(kind=_PUBLISHED, port=published)
        return port, None

    def _read_command(self, service: ComposeService) -> tuple[str, ...]:
        """Read entrypoint and command; a command of the image's own entrypoint stays a gap."""
        words = [word.script for word in service.words]
        if not service.tree["entrypoint"] or not words or any(word is None or "${" in word for word in words):
            return ()
        self._account.take(*service.words)
        return tuple(word for word in words if word is not None)

    def _read_health(self, service: ComposeService) -> str | None:
        test = service.tree["healthcheck"]["test"]
        words = [entry.script or "" for entry in test.entries] or [test.script or ""]
        match = _HEALTH.search(" ".join(words))
        if match is None:
            return None
        self._account.take(test)
        return match["path"] or "/"

    def _read_size(self, tree: Tree) -> Bytes | None:
        match = _BYTES.fullmatch(tree.raw or "")
        if match is None:
            return None
        self._account.take(tree)
        unit = match["unit"].upper()
        return read_quantity(match["number"] if unit in ("", "B") else f"{match['number']}{unit}i")

    def _read_mounts(self, service: ComposeService) -> dict[str, str]:
        mounts: dict[str, str] = {}
        for mount in service.mounts:
            volume = self._read_volume(mount, service)
            target = mount["target"].script
            if volume is None or target is None:
                continue
            if volume.name in mounts:
                self._account.remark(mount.place, f"{service}: {volume.name} is mounted twice, and imported once")
                continue
            self._account.take(mount["type"], mount["source"], mount["target"])
            self._volumes.setdefault(volume.name, volume)
            mounts[volume.name] = target
        return mounts

    def _read_volume(self, mount: Tree, service: ComposeService) -> ImportedVolume | None:
        kind, source, target = mount["type"].raw, mount["source"].script, mount["target"].script or ""
        own_name = f"{service.name}-{_name_folder(target)}"
        if kind == "tmpfs" or (kind == "volume" and source is None):
            return ImportedVolume(name=own_name, kind=StorageKind.EPHEMERAL)
        if source is None or "${" in source:
            return None
        if kind == "volume":
            return self._read_named(source)
        path = self._find_path(source, mount)
        if path is None or posixpath.splitext(path)[1] or path.startswith(_OF_THE_SYSTEM):
            return None  # a file, or a part of the machine: not a folder of data
        shared = next((volume.name for volume in self._volumes.values() if volume.path == path), None)
        return ImportedVolume(name=shared or own_name, kind=StorageKind.LOCAL, node=self._machine, path=path)

    def _find_path(self, source: str, mount: Tree) -> str | None:
        """Find the folder of a bind mount; that of another user's home is unknown."""
        if source.startswith("~"):
            return None
        return posixpath.normpath(posixpath.join(self._folder, posixpath.dirname(mount.file), source))

    def _read_named(self, name: str) -> ImportedVolume:
        section = self._project.get_section("volumes").get(name)
        options = self._read_options(section)
        server = options.get("addr")
        if section is None or server is None:
            return ImportedVolume(name=name, kind=StorageKind.LOCAL, node=self._machine)
        self._account.take(section["driver"])
        self._account.take_fields(section["driver_opts"], "type", "o", "device")
        rest = tuple(
            f"{key}={value}" if value else key for key, value in options.items() if key not in ("addr", "device")
        )
        path = options["device"].removeprefix(":")
        return ImportedVolume(name=name, kind=StorageKind.NFS, server=server, path=path, mount_options=rest)

    def _read_options(self, section: Tree | None) -> Mapping[str, str]:
        """Read the mount options of an NFS volume with its `device`; empty for any other volume."""
        if section is None or section["driver_opts"]["type"].raw not in ("nfs", "nfs4"):
            return {}
        written, device = section["driver_opts"]["o"].script, section["driver_opts"]["device"].script
        if written is None or device is None or "${" in f"{written}{device}":
            return {}
        pairs = (option.partition("=") for option in written.split(","))
        return {**{key: value for key, _, value in pairs}, "device": device}


def _list_gpus(access: GpuAccess | None) -> tuple[str, ...]:
    """List the GPUs of a service; a number of them are the first ones, which Docker gives to every service."""
    if access is None or access.count is None:
        return ()
    return access.ids or tuple(str(index) for index in range(access.count))


def _name_folder(path: str) -> str:
    """Name a volume after the folder where it is mounted."""
    return re.sub(r"[^A-Za-z0-9]+", "-", posixpath.basename(path.rstrip("/"))).strip("-").lower() or "data"
