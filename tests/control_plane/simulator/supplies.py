"""Gets what a pod needs from the API server, and writes the files that every container of it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from control_plane.network import GATEWAY
from control_plane.simulator.api import Api, ApiError
from control_plane.simulator.devices import RESOURCE
from control_plane.simulator.dns import write_resolver
from control_plane.simulator.environment import parse_quantity
from control_plane.simulator.group import Group
from control_plane.simulator.images import Image, normalize
from control_plane.simulator.objects import EMPTY, Json

Mounts = list[tuple[str, str, bool]]
"""Source on this machine, path in the container, read only."""
PLACES = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "ResourceClaim": "/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims",
}
FROM = (("ConfigMap", "configMapRef"), ("Secret", "secretRef"))
FROM_KEY = (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef"))


def make_fetch(api: Api, pod: Json) -> Callable[[str, str], Awaitable[Json]]:
    """Make what gets an object by kind and name, None when there is none."""

    async def fetch(kind: str, name: str) -> Json:
        place = PLACES[kind].format(namespace=pod["metadata"]["namespace"])
        try:
            return {"kind": kind, **await api.ask("GET", f"{place}/{name}")}
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    return fetch


def make_token_request(api: Api, pod: Json) -> Callable[[Json], Awaitable[str]]:
    """Make what gets a token of the pod's service account."""

    async def request(source: Json) -> str:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName", "default")
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [source["audience"]] if source.get("audience") else [],
                "expirationSeconds": source.get("expirationSeconds", 3600),
                "boundObjectRef": bound,
            },
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        return (await api.ask("POST", path, body))["status"]["token"]

    return request


def find_pull_problem(group: Group, name: str, image: Image | None) -> str | None:
    """Find why an image cannot be pulled, in the words of containerd."""
    for pattern, problem in group.pull_problems.items():
        if fnmatchcase(normalize(name), normalize(pattern)):
            return problem
    if image is not None:
        return None
    full = name if "." in name.partition("/")[0] else f"docker.io/{name if '/' in name else f'library/{name}'}"
    full = full if ":" in full.rpartition("/")[2] else f"{full}:latest"
    return (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{full}": '
        f"failed to resolve image: {full}: not found"
    )


def write_pod_files(folder: Path, pod: Json) -> Mounts:
    """Write /etc/resolv.conf, /etc/hosts and /etc/hostname of a pod."""
    folder = folder / "etc"
    folder.mkdir(parents=True, exist_ok=True)
    metadata, spec = pod["metadata"], pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    is_inside = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork"))
    resolver = write_resolver(metadata["namespace"], GATEWAY) if is_inside else ""
    hostname: str = spec.get("hostname") or metadata["name"][:63]
    names = [hostname]
    if spec.get("subdomain"):
        names.insert(0, f"{hostname}.{spec['subdomain']}.{metadata['namespace']}.svc.cluster.local")
    hosts = [f"127.0.0.1\tlocalhost\n{pod['status'].get('podIP', '')}\t{' '.join(names)}\n"]
    hosts += [f"{alias['ip']}\t{' '.join(alias['hostnames'])}\n" for alias in spec.get("hostAliases") or ()]
    texts = {"resolv.conf": resolver, "hosts": "".join(hosts), "hostname": f"{hostname}\n"}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [(str(folder / name), f"/etc/{name}", False) for name in texts]


def write_image_files(folder: Path, image: Image) -> Mounts:
    """Write the files of an image, once per node."""
    mounts: Mounts = []
    for path, text in image.files.items():
        place = folder / "images" / sha256(f"{path}\0{text}".encode()).hexdigest()
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
            place.chmod(0o755)
        mounts.append((str(place), path, True))
    return mounts


def list_references(container: Json) -> set[tuple[str, str]]:
    """List the ConfigMaps and Secrets that a container's variables come from."""
    references: set[tuple[str, str]] = set()
    for source in container.get("envFrom") or ():
        references |= {(kind, source[key]["name"]) for kind, key in FROM if key in source}
    for entry in container.get("env") or ():
        source = entry.get("valueFrom") or EMPTY
        references |= {(kind, source[key]["name"]) for kind, key in FROM_KEY if key in source}
    return references


def count_gpus(container: Json) -> int:
    """Count the GPUs that a container asks a device plugin for."""
    limits = (container.get("resources") or EMPTY).get("limits") or EMPTY
    return int(parse_quantity(str(limits.get(RESOURCE, "0"))))
