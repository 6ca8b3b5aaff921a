"""What a node is to K3s: whether it serves or joins, what it joins, its labels and flags; the same on every system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from corral.cluster.values import K3sRole, Kubernetes, Node
from corral.rendering.installation import Installation
from corral.rendering.kubernetes.nodes import node_labels

API_PORT = 6443
KUBELET_PORT = 10250
FLANNEL_PORT = 8472
"""UDP: VXLAN between nodes (docs.k3s.io/installation/requirements)."""
ETCD_PORTS = (2379, 2380)
"""Between servers, where there are several."""
_POD_ADDRESSES = 254
"""K3s gives each node a /24 of the pods' network."""
_DEFAULTS = Kubernetes()
_KUBELET_DOMAINS = ("node.kubernetes.io", "kubelet.kubernetes.io")
_KUBELET_KEYS = frozenset(
    {
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node of a K3s cluster."""

    node: Node
    role: K3sRole
    begins: bool
    """The first of several servers: it begins the cluster that the others join."""
    joins: str | None
    """The URL of the server that it joins; None for a server that begins, and where the file does not say it."""
    token_file: str
    labels: tuple[str, ...]
    """`key=value`, each key once, in order."""
    refused_labels: tuple[str, ...]
    """Labels that a kubelet may not give to its own node (pitfall F04); the patches of nodes set them."""
    kubelet_arguments: tuple[str, ...]
    certificate_names: tuple[str, ...]
    """Names besides its own under which agents reach this server."""
    has_peers: bool
    """Whether there are several servers, which keep etcd between them."""
    notes: tuple[str, ...]

    @property
    def tcp_ports(self) -> Mapping[int, str]:
        """What other nodes connect to, and what answers there."""
        ports = {KUBELET_PORT: "kubelet"}
        if self.role is K3sRole.SERVER:
            ports[API_PORT] = "API server"
            ports |= dict.fromkeys(ETCD_PORTS if self.has_peers else (), "etcd")
        return ports


def member_of(installation: Installation, node: Node) -> Member | None:
    """Resolve what a node is to K3s; None when it is not part of it."""
    if node.k3s_role is None:
        return None
    kubernetes = installation.cluster.kubernetes or _DEFAULTS
    servers = [one for one in installation.cluster.nodes if one.k3s_role is K3sRole.SERVER]
    has_peers = len(servers) > 1
    is_first = bool(servers) and servers[0] is node
    is_server = node.k3s_role is K3sRole.SERVER
    labels = node_labels(installation, node)
    refused = tuple(key for key in labels if not _may_set(key))
    return Member(
        node=node,
        role=node.k3s_role,
        begins=is_first and has_peers,
        joins=None if is_first else kubernetes.server,
        token_file=kubernetes.token_file,
        labels=tuple(f"{key}={value}" for key, value in labels.items() if key not in refused),
        refused_labels=refused,
        kubelet_arguments=() if kubernetes.max_pods is None else (f"max-pods={kubernetes.max_pods}",),
        certificate_names=_host(kubernetes.server) if is_server else (),
        has_peers=has_peers,
        notes=tuple(_notes(node, kubernetes, len(servers), refused, is_first=is_first)),
    )


def _may_set(key: str) -> bool:
    """Tell whether a kubelet may set a label on its own node (the NodeRestriction admission of Kubernetes 1.36)."""
    domain = key.rpartition("/")[0]
    if not (domain == "k8s.io" or domain == "kubernetes.io" or domain.endswith((".k8s.io", ".kubernetes.io"))):
        return True
    return key in _KUBELET_KEYS or any(domain == open_ or domain.endswith(f".{open_}") for open_ in _KUBELET_DOMAINS)


def _host(server: str | None) -> tuple[str, ...]:
    host = urlsplit(server).hostname if server else None
    return (host,) if host else ()


def _notes(
    node: Node, kubernetes: Kubernetes, servers: int, refused: tuple[str, ...], *, is_first: bool
) -> Iterable[str]:
    if not is_first and kubernetes.server is None:
        yield "The file does not say which server it joins (`kubernetes.server`): K3s does not start without."
    if servers == 2 and node.k3s_role is K3sRole.SERVER:
        yield "Two servers stop as soon as one of them does: etcd needs a majority. Use one, or three."
    if kubernetes.max_pods is not None and kubernetes.max_pods > _POD_ADDRESSES:
        most = kubernetes.max_pods
        yield f"A node has addresses for {_POD_ADDRESSES} pods; {most} ask for a lower node-cidr-mask-size."
    if refused:
        yield f"A kubelet may not set {', '.join(refused)}; kubernetes/nodes/{node.name}.yaml does."
    gone = [key for key in node.removed_labels if key not in node.labels]
    if gone:
        keys = " ".join(f"{key}-" for key in gone)
        yield f"K3s removes no label by itself; once: kubectl label node {node.name} {keys}"
