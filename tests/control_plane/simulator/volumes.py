"""Turns a pod's volumes into folders of this machine, and a container's mounts into mounts of those.

A node's own disk is a folder: `hostPath: /data` of one node is not that of another. NFS exports are folders that the
test names. What is not there gives the kubelet's `FailedMount`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from control_plane.simulator.environment import ConfigurationError, expand, read_data, read_field, read_resource
from control_plane.simulator.objects import EMPTY, Json

Fetch = Callable[[str, str], Awaitable[Json]]
"""Gets an object by kind and name in the pod's namespace, or of the cluster; None when there is none."""
MACHINE = ("/dev/", "/proc", "/sys")
"""Paths that are those of this machine on every node."""


class VolumeError(Exception):
    """A volume cannot be mounted now; in the kubelet's words. Trying again can help."""


@dataclass(frozen=True, slots=True)
class Disks:
    """Where the test keeps what volumes point at."""

    node: Path
    """The node's own files."""
    exports: Mapping[str, str]
    """NFS exports as `server:path`, and their folders."""


class Volumes:
    """The folders of one pod."""

    def __init__(
        self, pod: Json, folder: Path, disks: Disks, fetch: Fetch, token: Callable[[Json], Awaitable[str]]
    ) -> None:
        self._pod = pod
        self._folder = folder
        self._disks = disks
        self._fetch = fetch
        self._token = token
        self._sources: dict[str, Path] = {}

    async def mount(self, node: Json) -> None:
        """Find or make the folder of each volume. Raises: VolumeError for the first that cannot be."""
        for volume in self._pod["spec"].get("volumes") or ():
            if volume["name"] in self._sources:
                continue
            try:
                self._sources[volume["name"]] = await self._make(volume, node)
            except VolumeError as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from None
            group = (self._pod["spec"].get("securityContext") or EMPTY).get("fsGroup")
            if group is not None and not {"hostPath", "nfs", "persistentVolumeClaim"} & volume.keys():
                _give_to_group(self._sources[volume["name"]], group)

    async def refresh(self) -> None:
        """Write ConfigMaps and Secrets anew, where they have changed."""
        for volume in self._pod["spec"].get("volumes") or ():
            if volume["name"] in self._sources and {"configMap", "secret"} & volume.keys():
                await self._write_object(volume, self._sources[volume["name"]])

    def list_mounts(self, container: Json, variables: Mapping[str, str]) -> list[tuple[str, str, bool]]:
        """List the mounts of a container. Raises: ConfigurationError."""
        mounts: list[tuple[str, str, bool]] = []
        for entry in container.get("volumeMounts") or ():
            source = self._sources[entry["name"]]
            part = entry.get("subPath") or expand(entry.get("subPathExpr") or "", variables)
            if part:
                if ".." in Path(part).parts or part.startswith("/"):
                    raise ConfigurationError(f'failed to prepare subPath for volumeMount "{entry["name"]}"')
                whole, source = source, source / part
                if not source.exists():
                    source.mkdir(parents=True)
                    source.chmod(whole.stat().st_mode & 0o777)  # as the kubelet (subpath_linux.go, SafeMakeDir)
            mounts.append((str(source), entry["mountPath"], bool(entry.get("readOnly"))))
        return mounts

    async def _make(self, volume: Json, node: Json) -> Path:
        folder = self._folder / "volumes" / volume["name"]
        match volume:
            case {"emptyDir": _}:
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o777)
                return folder
            case {"hostPath": source}:
                return self._find_on_host(source["path"], source.get("type") or "")
            case {"nfs": source}:
                return self._find_export(source)
            case {"persistentVolumeClaim": source}:
                return await self._find_claimed(source["claimName"])
            case {"ephemeral": _}:
                return await self._find_claimed(f"{self._pod['metadata']['name']}-{volume['name']}")
            case {"configMap": _} | {"secret": _}:
                await self._write_object(volume, folder)
                return folder
            case {"downwardAPI": source}:
                self._write_downward(source, folder, node)
                return folder
            case {"projected": source}:
                folder.mkdir(parents=True, exist_ok=True)
                for part in source.get("sources") or ():
                    await self._project(part, folder, node)
                return folder
            case _:
                kind = next((key for key in volume if key != "name"), "?")
                raise VolumeError(f"no volume plugin matched ({kind} is not simulated)")

    async def _find_claimed(self, name: str) -> Path:
        claim = await self._fetch("PersistentVolumeClaim", name)
        if claim is None:
            raise VolumeError(f'persistentvolumeclaim "{name}" not found')
        bound = claim["spec"].get("volumeName")
        volume = await self._fetch("PersistentVolume", bound) if bound else None
        if volume is None:
            raise VolumeError(f'PVC "{name}" is not bound')
        match volume["spec"]:
            case {"hostPath": source}:
                return self._find_on_host(source["path"], source.get("type") or "")
            case {"local": source}:
                return self._find_on_host(source["path"], "Directory")
            case {"nfs": source}:
                return self._find_export(source)
            case _:
                raise VolumeError(f'PersistentVolume "{bound}" is of a kind that is not simulated')

    def _find_on_host(self, path: str, kind: str) -> Path:
        place = Path(path) if path.startswith(MACHINE) else self._disks.node / path.lstrip("/")
        if kind == "Directory" and not place.is_dir():
            raise VolumeError(f"hostPath type check failed: {path} is not a directory")
        if kind == "File" and not place.is_file():
            raise VolumeError(f"hostPath type check failed: {path} is not a file")
        if kind == "FileOrCreate" and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        if kind in ("", "DirectoryOrCreate") and not place.exists():
            place.mkdir(parents=True)
        if not place.exists():
            raise VolumeError(f"hostPath type check failed: {path} is not a {kind}")
        return place

    def _find_export(self, source: Json) -> Path:
        server, path = source["server"], source["path"]
        for export, folder in self._disks.exports.items():
            host, _, top = export.partition(":")
            if host == server and f"{path}/".startswith(f"{top.rstrip('/')}/"):
                place = Path(folder) / path.removeprefix(top).lstrip("/")
                if place.is_dir():
                    return place
                reason = "mount.nfs: mounting {0}:{1} failed, reason given by server: No such file or directory"
                raise VolumeError(f"mount failed: exit status 32\n{reason.format(server, path)}")
        raise VolumeError(
            f"mount failed: exit status 32\nmount.nfs: Connection refused for {server}:{path} on mount point"
        )

    async def _write_object(self, volume: Json, folder: Path) -> None:
        kind, source = ("ConfigMap", volume["configMap"]) if "configMap" in volume else ("Secret", volume["secret"])
        name = source.get("name") or source.get("secretName")
        await self._write(kind, name, source, folder)

    async def _write(self, kind: str, name: str, source: Json, folder: Path) -> None:
        value = await self._fetch(kind, name)
        if value is None and not source.get("optional"):
            raise VolumeError(f'{kind.lower()} "{name}" not found')
        data = read_data(value)
        mode: int = source.get("defaultMode") or 0o644
        items: list[Json] | None = source.get("items")
        folder.mkdir(parents=True, exist_ok=True)
        if items is None:
            items = [{"key": key, "path": key} for key in data]
        for item in items:
            if item["key"] not in data:
                if source.get("optional"):
                    continue
                raise VolumeError(f"references non-existent {kind.lower()} key: {item['key']}")
            _write_file(folder / item["path"], data[item["key"]], item.get("mode") or mode)

    def _write_downward(self, source: Json, folder: Path, node: Json) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for item in source.get("items") or ():
            if "fieldRef" in item:
                text = read_field(self._pod, item["fieldRef"]["fieldPath"])
            else:
                reference = item["resourceFieldRef"]
                containers = self._pod["spec"]["containers"]
                named = (entry for entry in containers if entry["name"] == reference.get("containerName"))
                text = read_resource(next(named, containers[0]), reference, node)
            _write_file(folder / item["path"], text.encode(), item.get("mode") or source.get("defaultMode") or 0o644)

    async def _project(self, part: Json, folder: Path, node: Json) -> None:
        match part:
            case {"configMap": source}:
                await self._write("ConfigMap", source["name"], source, folder)
            case {"secret": source}:
                await self._write("Secret", source["name"], source, folder)
            case {"downwardAPI": source}:
                self._write_downward(source, folder, node)
            case {"serviceAccountToken": source}:
                _write_file(folder / source["path"], (await self._token(source)).encode(), 0o644)
            case _:
                raise VolumeError(f"projected source {json.dumps(part)} is not simulated")


def _give_to_group(folder: Path, group: int) -> None:
    """Let a group read and write, as the kubelet does with the volumes that it makes."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, -1, group)
        path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))


def _write_file(path: Path, data: bytes, mode: int) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # As the kubelet: readers see the old text or the new one.
    temporary = path.with_name(f".{path.name}.{time.monotonic_ns()}")
    temporary.write_bytes(data)
    os.chmod(temporary, mode)
    temporary.rename(path)
