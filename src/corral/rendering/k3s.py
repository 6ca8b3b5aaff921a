"""K3s on the nodes of a cluster: a node's part in it, and the configuration file of one that does not run NixOS.

A node's part (server or agent, the server it joins, its labels and flags) is the same on every system. So is what K3s
and Kubernetes expect and do not make themselves: directories of local volumes, and open ports.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from lightkube.resources.core_v1 import Service

from corral.cluster.values import Cluster, K3sRole, Kubernetes, Node, StorageKind
from corral.hardware.makers import NVIDIA, find_maker
from corral.rendering.documents import write_document
from corral.rendering.gpus import POWER_LIMIT_UNIT, list_limited_gpus, list_nvidia_gpus
from corral.rendering.installation import Installation
from corral.rendering.kubernetes import networking, workloads
from corral.rendering.makers import ACCESS, runs_nixos
from corral.rendering.nodes import find_unknown_server, make_node_labels

API_PORT = 6443
KUBELET_PORT = 10250
FLANNEL_PORT = 8472
"""UDP: VXLAN between nodes (docs.k3s.io/installation/requirements)."""
ETCD_PORTS = (2379, 2380)
"""Between servers, if there are several."""
_POD_ADDRESSES = 254
"""K3s gives each node a /24 of the pods' network."""
_DEFAULTS = Kubernetes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node of a K3s cluster."""

    node: Node
    role: K3sRole
    begins: bool
    """The first of several servers: it begins the cluster that the others join."""
    joins: str | None
    """The URL of the server that it joins; None for a server that begins, and if the cluster file names no server."""
    token_file: str
    labels: tuple[str, ...]
    """`key=value`, each key once, in order."""
    kubelet_arguments: tuple[str, ...]
    certificate_names: tuple[str, ...]
    """Names in addition to its own under which agents reach this server."""
    has_peers: bool
    """Whether there are several servers, which keep etcd between them."""
    notes: tuple[str, ...]

    @property
    def tcp_ports(self) -> Mapping[int, str]:
        """The ports that other nodes connect to, each with the program that answers there."""
        ports = {KUBELET_PORT: "kubelet"}
        if self.role is K3sRole.SERVER:
            ports[API_PORT] = "API server"
            ports |= dict.fromkeys(ETCD_PORTS if self.has_peers else (), "etcd")
        return ports


def resolve_member(installation: Installation, node: Node) -> Member | None:
    """Resolve a node's part in K3s; None for a node outside of it."""
    if node.k3s_role is None:
        return None
    kubernetes = installation.cluster.kubernetes or _DEFAULTS
    servers = [server for server in installation.cluster.nodes if server.k3s_role is K3sRole.SERVER]
    has_peers = len(servers) > 1
    is_first = bool(servers) and servers[0] is node
    is_server = node.k3s_role is K3sRole.SERVER
    labels = make_node_labels(installation.cluster, node)
    return Member(
        node=node,
        role=node.k3s_role,
        begins=is_first and has_peers,
        joins=None if is_first else kubernetes.server,
        token_file=kubernetes.token_file,
        labels=tuple(f"{key}={value}" for key, value in labels.items()),
        kubelet_arguments=() if kubernetes.max_pods is None else (f"max-pods={kubernetes.max_pods}",),
        certificate_names=_list_hosts(kubernetes.server) if is_server else (),
        has_peers=has_peers,
        notes=(
            *_list_notes(node, kubernetes, len(servers), is_first=is_first),
            *_list_server_notes(installation.cluster, node),
        ),
    )


def list_local_directories(installation: Installation, node: Node) -> list[str]:
    """The directories of local volumes on a node, which its system must make: Kubernetes makes none."""
    return [
        storage.path
        for storage in installation.cluster.storage.values()
        if storage.kind is StorageKind.LOCAL
        and storage.node == node.name
        and storage.path is not None
        and storage.path.isprintable()
    ]


def list_exposed_ports(installations: Iterable[Installation]) -> dict[int, tuple[str, ...]]:
    """The ports of load balancers, node ports and ingresses in any layout, with the names of their Services.

    A firewall must let them through on every node: K3s' own load balancer opens those of Services everywhere
    (pitfall D07).
    """
    names_by_port: dict[int, set[str]] = {}
    for installation in installations:
        for name, port in _iterate_exposed(installation):
            names_by_port.setdefault(port, set()).add(name)
    return {port: tuple(sorted(names)) for port, names in sorted(names_by_port.items())}


def _iterate_exposed(installation: Installation) -> Iterator[tuple[str, int]]:
    for members in workloads.group_by_pod(installation):
        for service in networking.build_services(installation, members):
            for port in _list_outside_ports(service):
                yield service.metadata.name if service.metadata and service.metadata.name else "", port
        for deployed in members:
            if deployed.service.exposed and deployed.service.exposed.kind == "ingress":
                for port in networking.TRAEFIK_PORTS:
                    yield deployed.name, port


def _list_outside_ports(service: Service) -> list[int]:
    spec = service.spec
    if spec is None or spec.type not in ("LoadBalancer", "NodePort"):
        return []
    if spec.type == "LoadBalancer":
        return [port.port for port in spec.ports or ()]
    return [port.nodePort for port in spec.ports or () if port.nodePort is not None]


def _list_hosts(server: str | None) -> tuple[str, ...]:
    host = urlsplit(server).hostname if server else None
    return (host,) if host else ()


def _list_notes(node: Node, kubernetes: Kubernetes, servers: int, *, is_first: bool) -> Iterable[str]:
    if not is_first and kubernetes.server is None:
        yield "The file does not name the server that it joins (`kubernetes.server`): K3s does not start without."
    if servers == 2 and node.k3s_role is K3sRole.SERVER:
        yield "With two servers, both stop as soon as one does: etcd needs a majority. Use one, or three."
    if kubernetes.max_pods is not None and kubernetes.max_pods > _POD_ADDRESSES:
        yield (
            f"A node has addresses for {_POD_ADDRESSES} pods; {kubernetes.max_pods} need a lower node-cidr-mask-size."
        )
    removed = [key for key in node.removed_labels if key not in node.labels]
    if removed:
        keys = " ".join(f"{key}-" for key in removed)
        yield f"K3s does not remove labels itself; once: kubectl label node {node.name} {keys}"


def _list_server_notes(cluster: Cluster, node: Node) -> Iterable[str]:
    server = find_unknown_server(cluster) if node.k3s_role is K3sRole.AGENT else None
    if server is not None:
        yield f"No node of the file has the address of {server}, which it joins: nothing here sets that server up."


CONFIGURATION = "/etc/rancher/k3s/config.yaml"
_NFS_STEP = "   NFS volumes need the programs that mount them: nfs-common on Debian and Ubuntu."


def render_configurations(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render a configuration file for each K3s node that does not run NixOS; texts by path."""
    installation = replace(installations[0], layout=None)
    members = [resolve_member(installation, node) for node in installation.cluster.nodes if not runs_nixos(node)]
    return {
        f"k3s/{member.node.name}/config.yaml": write_document(
            installation, _build_settings(member), *_list_steps(installation, member)
        )
        for member in members
        if member is not None
    }


def _build_settings(member: Member) -> dict[str, Any]:
    """K3s' flags in the form of its file (docs.k3s.io/installation/configuration); unset flags are left out."""
    settings: dict[str, Any] = {"node-name": member.node.name, "token-file": member.token_file}
    if member.begins:
        settings["cluster-init"] = True
    if member.joins is not None:
        settings["server"] = member.joins
    lists = {
        "tls-san": member.certificate_names,
        "node-label": member.labels,
        "kubelet-arg": member.kubelet_arguments,
    }
    return settings | {key: list(values) for key, values in lists.items() if values}


def _list_steps(installation: Installation, member: Member) -> list[str]:
    node = member.node
    token = shlex.quote(member.token_file)
    steps = [
        *member.notes,
        f"It goes to {CONFIGURATION} on {node.name}. Before K3s is installed there:",
        f"1. The same token on every node, readable by root only: sudo install -D -m 0400 token {token}",
        *_list_gpu_steps(node),
        *([_NFS_STEP] if _has_nfs(installation) else []),
        *_list_directory_steps(installation, node),
        f"3. curl -sfL https://get.k3s.io | INSTALL_K3S_EXEC={member.role.value} sh -",
        "A change here takes effect with the next start of K3s: it adds and changes labels, and removes none.",
    ]
    if list_limited_gpus(node):
        steps.append(f"Power limits: systemd/{node.name}/{POWER_LIMIT_UNIT}.service.")
    return steps


def _list_gpu_steps(node: Node) -> list[str]:
    if not list_nvidia_gpus(node):
        devices = [path for gpu in node.gpus or () for path in ACCESS[find_maker(gpu) or NVIDIA].devices]
        if devices:
            return [f"2. The kernel's own driver of its GPUs. Check: ls {' '.join(dict.fromkeys(devices))}"]
        return ["2. This node has no known GPU and needs no driver."]
    unit = "k3s" if node.k3s_role is K3sRole.SERVER else "k3s-agent"
    return [
        "2. NVIDIA's driver and the package nvidia-container-toolkit: K3s looks for nvidia-container-runtime",
        f"   on the PATH of its service when it starts, and only then. Installed later: sudo systemctl restart {unit}",
        "   Check: sudo grep nvidia /var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    ]


def _list_directory_steps(installation: Installation, node: Node) -> list[str]:
    directories = list_local_directories(installation, node)
    if not directories:
        return []
    paths = " ".join(shlex.quote(directory) for directory in directories)
    return [f"   Directories of volumes, which Kubernetes does not make: sudo mkdir -p {paths}"]


def _has_nfs(installation: Installation) -> bool:
    return any(storage.kind is StorageKind.NFS for storage in installation.cluster.storage.values())
