"""Where logs come from, and where they go: Alloy's components (Grafana's reference of Alloy, `loki.*`)."""

from __future__ import annotations

from collections.abc import Iterable

from corral.rendering.alloy.blocks import Block, Expression, from_environment, joined, listed, mapped, quoted
from corral.rendering.installation import Deployed, Installation

_LOKI_PORT = 3100
"""Loki's own default."""
_PUSH = "/loki/api/v1/push"
_DATA_DIR = "/var/lib/corral"
"""Where the rendered unit keeps it, unless the cluster file says otherwise."""
_UNITS = "(corral|k3s|k3s-agent|containerd|docker|gpu-power-limit|nvidia-persistenced|nvidia-container-toolkit.*)"
_WRITE = Expression("loki.write.loki.receiver")
_PROCESS = Expression("loki.process.pods.receiver")


def address_in_kubernetes(loki: Deployed) -> str:
    """Where pods reach Loki."""
    return f"http://{loki.name}.{loki.namespace}:{loki.port or _LOKI_PORT}"


def address_on_machines(installation: Installation, loki: Deployed) -> str | None:
    """Where machines reach Loki: at its node; None when its address is not known, or Kubernetes is between."""
    nodes = {node.name: node.address for node in installation.cluster.nodes}
    address = None if installation.cluster.kubernetes else nodes.get(loki.node or "")
    return None if address is None else f"http://{address}:{loki.port or _LOKI_PORT}"


def to_loki(installation: Installation, otherwise: str | None) -> Block:
    """Loki, where the environment says, else at an address of the cluster file; with the cluster's name on every line.

    Who asks the environment may have to show a password; Loki inside of the cluster is asked without one.
    """
    url = joined(from_environment("LOKI_URL", otherwise), quoted(_PUSH))
    access = Block(
        name="basic_auth",
        attributes={
            "username": from_environment("LOKI_USERNAME"),
            "password_file": from_environment("LOKI_PASSWORD_FILE"),
        },
    )
    endpoint = Block(name="endpoint", attributes={"url": url}, blocks=(access,) if otherwise is None else ())
    labels = mapped({"cluster": quoted(installation.cluster.name)})
    return Block(name="loki.write", label="loki", attributes={"external_labels": labels}, blocks=(endpoint,))


def journal() -> tuple[Block, ...]:
    """The units that AI work depends on, and the kernel, which tells of lost cards (XID); not people's sessions."""
    chosen = _rule(
        ("__journal__systemd_unit", "__journal__transport"), action="keep", regex=rf"{_UNITS}\.service;.*|.*;kernel"
    )
    rules = Block(
        name="loki.relabel",
        label="journal",
        attributes={"forward_to": listed([])},
        blocks=(
            chosen,
            _rule(("__journal__systemd_unit",), target="unit"),
            _rule(("__journal__transport",), target="transport"),
            _rule(("__journal_priority_keyword",), target="level"),
        ),
    )
    source = Block(
        name="loki.source.journal",
        label="journal",
        attributes={
            "relabel_rules": Expression("loki.relabel.journal.rules"),
            "labels": mapped({"source": quoted("journal"), "node": Expression("constants.hostname")}),
            "forward_to": listed([_WRITE]),
        },
    )
    return rules, source


def server_log(installation: Installation) -> Block:
    """Corral's own log, where its server writes one into its data directory."""
    said = installation.cluster.data_dir or ""
    folder = from_environment("CORRAL_DATA_DIR", said if said.startswith("/") else _DATA_DIR)
    target = mapped(
        {
            "__path__": joined(folder, quoted("/server.log")),
            "source": quoted("corral"),
            "node": Expression("constants.hostname"),
        }
    )
    return Block(
        name="loki.source.file",
        label="corral",
        attributes={"targets": listed([target]), "forward_to": listed([_WRITE])},
    )


def pods(namespaces: Iterable[str]) -> tuple[Block, ...]:
    """Logs of the pods in our namespaces, through Kubernetes itself: no folder of a node is mounted."""
    names = listed([quoted(name) for name in namespaces])
    found = Block(
        name="discovery.kubernetes",
        label="pods",
        attributes={"role": quoted("pod")},
        blocks=(Block(name="namespaces", attributes={"names": names}),),
    )
    labelled = Block(
        name="discovery.relabel",
        label="pods",
        attributes={"targets": Expression("discovery.kubernetes.pods.targets")},
        blocks=(
            _rule(("__meta_kubernetes_namespace",), target="namespace"),
            _rule(("__meta_kubernetes_pod_label_app_kubernetes_io_name",), target="app"),
            _rule(("__meta_kubernetes_pod_container_name",), target="container"),
            _rule(("__meta_kubernetes_pod_node_name",), target="node"),
            _rule(("__meta_kubernetes_pod_name",), target="pod"),
        ),
    )
    source = Block(
        name="loki.source.kubernetes",
        label="pods",
        attributes={
            "targets": Expression("discovery.relabel.pods.output"),
            "forward_to": listed([_PROCESS]),
        },
        blocks=(Block(name="clustering", attributes={"enabled": Expression("true")}),),
    )
    return found, labelled, source, _without_pod_label()


def _without_pod_label() -> Block:
    """The pod's name is kept beside the line: as a label, each restart would begin a stream."""
    kept = Block(name="stage.structured_metadata", attributes={"values": mapped({"pod": quoted("")})})
    dropped = Block(name="stage.label_drop", attributes={"values": listed([quoted("pod"), quoted("instance")])})
    return Block(name="loki.process", label="pods", attributes={"forward_to": listed([_WRITE])}, blocks=(kept, dropped))


def _rule(
    labels: tuple[str, ...], *, target: str | None = None, action: str | None = None, regex: str | None = None
) -> Block:
    written = {
        "action": action and quoted(action),
        "source_labels": listed([quoted(label) for label in labels]),
        "regex": regex and quoted(regex),
        "target_label": target and quoted(target),
    }
    return Block(name="rule", attributes={key: Expression(value) for key, value in written.items() if value})
