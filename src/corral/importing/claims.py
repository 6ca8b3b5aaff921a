"""Volumes of pods: claims with the volumes behind them, folders of nodes, NFS, and scratch space."""

from __future__ import annotations

from collections.abc import Mapping

from corral.cluster.values import StorageKind
from corral.importing.machines import read_quantity
from corral.importing.understanding import Account
from corral.importing.values import ImportedVolume
from corral.linting.manifests import Container, Manifest
from corral.linting.tree import Tree
from corral.units import Bytes

_HOSTNAME = "kubernetes.io/hostname"
Objects = Mapping[tuple[str, str, str | None], Manifest]
"""By kind, namespace (empty for none) and name."""


class Claims:
    """The claims and volumes among the objects of a cluster."""

    def __init__(self, objects: Objects, account: Account, machine: str | None) -> None:
        self._objects = objects
        self._account = account
        self._machine = machine
        """The machine of volumes whose place is not in the input; None where there are several to choose from."""
        self._used: set[int] = set()

    def is_used(self, manifest: Manifest) -> bool:
        """Whether a pod mounts a claim or volume."""
        return id(manifest) in self._used

    def read_mounts(
        self, container: Container, owner: Manifest, node: str | None, volumes: dict[str, ImportedVolume]
    ) -> dict[str, str]:
        """Read the mounts of a container, paths by volume; its volumes are added to `volumes`."""
        by_name = {entry["name"].raw: entry for entry in container.pod.spec["volumes"].entries}
        templates = {
            entry["metadata"]["name"].raw: entry for entry in owner.tree["spec"]["volumeClaimTemplates"].entries
        }
        mounts: dict[str, str] = {}
        for mount in container.tree["volumeMounts"].entries:
            name = mount["name"].raw
            volume = None
            if name in by_name:
                volume = self._read_volume(by_name[name], owner, node)
            elif name in templates:
                volume = self._read_template(templates[name], owner, node)
            path = mount["mountPath"].script
            if volume is None or path is None:
                continue
            if volume.name in mounts:
                self._account.remark(mount.place, f"{owner}: {volume.name} is mounted twice, and imported once")
                continue
            self._account.take(mount["name"], mount["mountPath"])
            volumes.setdefault(volume.name, volume)
            mounts[volume.name] = path
        return mounts

    def _read_template(self, template: Tree, owner: Manifest, node: str | None) -> ImportedVolume | None:
        """Read the volume that a StatefulSet makes for its only replica, by the name that its claim has."""
        name = f"{template['metadata']['name'].raw}-{owner.name}-0"
        if owner.replicas > 1:
            self._account.remark(template.place, f"{owner}: a volume for each of several replicas is not imported")
            return None
        spec = template["spec"]
        self._account.take(template["metadata"]["name"], spec["resources"]["requests"]["storage"])
        self._account.take_fields(spec, "accessModes", "volumeMode")
        self._account.take_fields(template, "apiVersion", "kind")
        size = read_quantity(spec["resources"]["requests"]["storage"].raw)
        if ("PersistentVolumeClaim", owner.namespace, name) in self._objects:
            return self._read_claim(name, owner, node, template)
        return self._place(name, size, owner, node, template)

    def _place(
        self, name: str, size: Bytes | None, owner: Manifest, node: str | None, place: Tree
    ) -> ImportedVolume | None:
        """Put a volume on the disk of its pod's node, else of the only machine; nowhere where there are several."""
        if node is None:
            taken = f", taken for {self._machine}" if self._machine else ""
            self._account.remark(place.place, f"{owner}: the place of the claim {name} is not in the input{taken}")
        where = node or self._machine
        return None if where is None else ImportedVolume(name=name, kind=StorageKind.LOCAL, node=where, size=size)

    def _read_volume(self, source: Tree, owner: Manifest, node: str | None) -> ImportedVolume | None:
        name = source["name"].raw or "?"
        claim = source["persistentVolumeClaim"]["claimName"].raw
        if claim is not None:
            self._account.take(source["name"], source["persistentVolumeClaim"]["claimName"])
            return self._read_claim(claim, owner, node, source)
        if source["emptyDir"].is_mapping and source["emptyDir"]["medium"].raw is None:
            self._account.take(source["name"], source["emptyDir"]["sizeLimit"])
            size = read_quantity(source["emptyDir"]["sizeLimit"].raw)
            return ImportedVolume(name=name, kind=StorageKind.EPHEMERAL, size=size)
        if source["nfs"]["path"].raw:
            self._account.take(source["name"], source["nfs"]["server"], source["nfs"]["path"])
            server, path = source["nfs"]["server"].raw, source["nfs"]["path"].raw
            return ImportedVolume(name=name, kind=StorageKind.NFS, server=server, path=path)
        if source["hostPath"]["path"].raw and node is not None:
            self._account.take(source["name"], source["hostPath"]["path"])
            return ImportedVolume(name=name, kind=StorageKind.LOCAL, node=node, path=source["hostPath"]["path"].raw)
        return None

    def _read_claim(self, name: str, owner: Manifest, node: str | None, place: Tree) -> ImportedVolume | None:
        """Read a claim with the volume that it is bound to; where none is there, it is on the pod's node."""
        claim = self._objects.get(("PersistentVolumeClaim", owner.namespace, name))
        volume = self._find_volume(claim, name, owner.namespace)
        size = None
        if claim is not None:
            self._used.add(id(claim))
            spec = claim.tree["spec"]
            size = read_quantity(self._account.read(spec["resources"]["requests"]["storage"]))
            self._account.take(spec["volumeName"], spec["accessModes"], spec["volumeMode"])
        if volume is not None:
            return self._read_bound(name, volume, claim, size, node)
        storage_class = "" if claim is None else claim.tree["spec"]["storageClassName"].raw or ""
        if "nfs" in f"{storage_class} {name}".lower():
            self._account.remark(
                place.place, f"{owner}: the server and path of the NFS claim {name} are not in the input"
            )
            return ImportedVolume(name=name, kind=StorageKind.NFS, size=size)
        return self._place(name, size, owner, node, place)

    def _find_volume(self, claim: Manifest | None, name: str, namespace: str) -> Manifest | None:
        named = None if claim is None else claim.tree["spec"]["volumeName"].raw
        for (kind, _, _), manifest in self._objects.items():
            reference = manifest.tree["spec"]["claimRef"]
            is_claimed = reference["name"].raw == name and reference["namespace"].raw in (namespace, None)
            if kind == "PersistentVolume" and (is_claimed or (named is not None and manifest.name == named)):
                return manifest
        return None

    def _read_bound(
        self, name: str, volume: Manifest, claim: Manifest | None, size: Bytes | None, node: str | None
    ) -> ImportedVolume | None:
        self._used.add(id(volume))
        spec = volume.tree["spec"]
        own_size = read_quantity(self._account.read(spec["capacity"]["storage"]))
        self._account.take_fields(spec, "accessModes", "volumeMode")
        self._account.take_fields(spec["claimRef"], "apiVersion", "kind", "name", "namespace", "uid", "resourceVersion")
        if spec["persistentVolumeReclaimPolicy"].raw == "Retain":
            self._account.take(spec["persistentVolumeReclaimPolicy"])
        classes = [item.tree["spec"]["storageClassName"] for item in (volume, claim) if item is not None]
        self._account.take(*classes)  # a claim of a named volume needs none
        size = own_size if own_size is not None else size
        if spec["nfs"]["path"].raw:
            self._account.take(spec["nfs"]["server"], spec["nfs"]["path"], spec["mountOptions"])
            options = tuple(option.raw or "" for option in spec["mountOptions"].entries)
            server, path = spec["nfs"]["server"].raw, spec["nfs"]["path"].raw
            kind = StorageKind.NFS
            return ImportedVolume(name=name, kind=kind, server=server, path=path, size=size, mount_options=options)
        for source in ("local", "hostPath"):
            path = spec[source]["path"].raw
            if path is not None:
                self._account.take(spec[source]["path"])
                place = self._read_affinity(spec) or node
                if place is None:
                    self._account.remark(spec[source].place, f"{volume}: the node of its folder is not in the input")
                    return None
                return ImportedVolume(name=name, kind=StorageKind.LOCAL, node=place, path=path, size=size)
        self._account.remark(spec.place, f"{volume}: a volume of this kind is not imported")
        return None

    def _read_affinity(self, spec: Tree) -> str | None:
        for term in spec.follow("nodeAffinity", "required", "nodeSelectorTerms").entries:
            for entry in term["matchExpressions"].entries:
                if entry["key"].raw == _HOSTNAME and len(entry["values"].entries) == 1:
                    self._account.take_fields(entry, "key", "operator", "values")
                    return entry["values"][0].raw
        return None
