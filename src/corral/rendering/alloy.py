"""Grafana Alloy: logs to Loki, from pods and from the machines' journals.

Labels are few and bounded: Loki keeps a stream for each combination, so nothing that grows with the work (tasks, pods)
is one. Pods' names are sent as structured metadata, which is not a label.

Components are those of Grafana's reference of Alloy (`loki.*`). A file is blocks, written as `alloy fmt` does (Alloy
configuration syntax): tabs, and `=` aligned below each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NewType

from corral.cluster.values import ServiceKind
from corral.rendering.documents import write_header
from corral.rendering.gpus import POWER_LIMIT_UNIT
from corral.rendering.installation import Deployed, Installation
from corral.rendering.prometheus.targets import MONITORING

LOKI = "loki"
_COMMENT = "//"
_MACHINE_NOTES = (
    "For each machine, as a service: Alloy's user has to be in the groups adm and systemd-journal.",
    "Check: alloy fmt --test machine.alloy",
)
_KUBERNETES_NOTES = (
    "For one Alloy inside of Kubernetes that can read pods and pods/log, as its Helm chart sets it; several share",
    "the pods between them when they run with --cluster.enabled=true.",
    "Names of pods are structured metadata, which Loki takes from version 3 on.",
    "Check: alloy fmt --test kubernetes.alloy",
)
_PASSWORD_NOTE = "LOKI_USERNAME and the file that LOKI_PASSWORD_FILE names let it in, where Loki asks for them."


def render_alloy(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render one file for machines; in Kubernetes another one for pods."""
    shared = replace(installations[0], layout=None)
    services = [deployed for installation in installations for deployed in installation.deployed]
    loki = next((deployed for deployed in services if deployed.service.name == LOKI), None)
    outside = _find_address_on_machines(shared, loki) if loki else None
    runs_elsewhere = any(deployed.service.kind is ServiceKind.CORRAL for deployed in services)
    machine = [*_read_journal(), *([] if runs_elsewhere else [_read_server_log(shared)])]
    files = {"alloy/machine.alloy": _render_file(shared, machine, outside, *_MACHINE_NOTES)}
    if shared.cluster.kubernetes is not None:
        namespaces = sorted({deployed.namespace for deployed in services} | {shared.namespace})
        inside = _find_address_in_kubernetes(loki) if loki else None
        if (addon := shared.cluster.services.get(LOKI)) is not None and addon.kind is ServiceKind.ADDON:
            inside = f"http://{LOKI}.{MONITORING}:{_LOKI_PORT}"
        pods = _read_pods(namespaces)
        files["alloy/kubernetes.alloy"] = _render_file(shared, pods, inside, *_KUBERNETES_NOTES)
    return files


def _render_file(installation: Installation, blocks: Iterable[Block], loki: str | None, *notes: str) -> str:
    """Render a file; `loki` is its address in the cluster file, which that of the environment replaces."""
    place = "LOKI_URL in its environment says where Loki is" + (f"; without it, {loki}." if loki else ".")
    lines = ("Needs Alloy 1.5 or newer (sys.env).", place, *(() if loki else (_PASSWORD_NOTE,)), *notes)
    components = [*blocks, _write_to_loki(installation, loki)]
    return write_header(installation, *lines, comment=_COMMENT) + "".join(f"\n{block.write()}" for block in components)


Expression = NewType("Expression", str)
"""Text of an expression, as it is in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A component, or a part of one."""

    name: str
    label: str | None = None
    attributes: Mapping[str, Expression]
    blocks: tuple[Block, ...] = ()

    def write(self, depth: int = 0) -> str:
        """The block with everything inside."""
        indent = "\t" * depth
        head = f'{self.name} "{self.label}"' if self.label else self.name
        inside = [f"{indent}\t{line}\n" for line in _align(self.attributes)]
        parts = [*(["".join(inside)] if inside else []), *(block.write(depth + 1) for block in self.blocks)]
        return f"{indent}{head} {{\n" + "\n".join(parts) + f"{indent}}}\n"


def quote(text: str) -> Expression:
    """Write a string; JSON's escapes are those of the language."""
    return Expression(json.dumps(text, ensure_ascii=False))


def make_list(values: Sequence[Expression]) -> Expression:
    """Write a list."""
    return Expression(f"[{', '.join(values)}]")


def make_object(values: Mapping[str, Expression]) -> Expression:
    """Write an object."""
    return Expression("{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }")


def read_environment(name: str, otherwise: str | None = None) -> Expression:
    """Read an environment variable; `otherwise` is used where it is not set or empty."""
    read = f"sys.env({quote(name)})"
    return Expression(read if otherwise is None else f"coalesce({read}, {quote(otherwise)})")


def join(first: Expression, second: Expression) -> Expression:
    """Put two texts one after the other."""
    return Expression(f"{first} + {second}")


def _align(attributes: Mapping[str, Expression]) -> list[str]:
    longest = max(map(len, attributes), default=0)
    return [f"{name.ljust(longest)} = {value}" for name, value in attributes.items()]


_LOKI_PORT = 3100
"""Loki's own default."""
_PUSH = "/loki/api/v1/push"
_DATA_DIR = "/var/lib/corral"
"""That of the rendered unit, unless the cluster file has another."""
_UNITS = f"(corral|k3s|k3s-agent|containerd|docker|{POWER_LIMIT_UNIT}|nvidia-persistenced|nvidia-container-toolkit.*)"
_WRITE = Expression("loki.write.loki.receiver")
_PROCESS = Expression("loki.process.pods.receiver")


def _find_address_in_kubernetes(loki: Deployed) -> str:
    """Find the URL at which pods reach Loki."""
    return f"http://{loki.name}.{loki.namespace}:{loki.port or _LOKI_PORT}"


def _find_address_on_machines(installation: Installation, loki: Deployed) -> str | None:
    """Find the URL at which machines reach Loki, at its node; None when it is unknown, or Kubernetes is in between."""
    nodes = {node.name: node.address for node in installation.cluster.nodes}
    address = None if installation.cluster.kubernetes else nodes.get(loki.node or "")
    return None if address is None else f"http://{address}:{loki.port or _LOKI_PORT}"


def _write_to_loki(installation: Installation, otherwise: str | None) -> Block:
    """Send lines to Loki at the address of the environment, else of the cluster file, with the cluster's name on each.

    A Loki that the environment names can ask for a password; one inside of the cluster does not.
    """
    url = join(read_environment("LOKI_URL", otherwise), quote(_PUSH))
    access = Block(
        name="basic_auth",
        attributes={
            "username": read_environment("LOKI_USERNAME"),
            "password_file": read_environment("LOKI_PASSWORD_FILE"),
        },
    )
    endpoint = Block(name="endpoint", attributes={"url": url}, blocks=(access,) if otherwise is None else ())
    labels = make_object({"cluster": quote(installation.cluster.name)})
    return Block(name="loki.write", label="loki", attributes={"external_labels": labels}, blocks=(endpoint,))


def _read_journal() -> tuple[Block, ...]:
    """Read the units that AI work depends on, and the kernel, which reports lost GPUs (XID); not people's sessions."""
    units = _make_rule(
        ("__journal__systemd_unit", "__journal__transport"), action="keep", regex=rf"{_UNITS}\.service;.*|.*;kernel"
    )
    rules = Block(
        name="loki.relabel",
        label="journal",
        attributes={"forward_to": make_list([])},
        blocks=(
            units,
            _make_rule(("__journal__systemd_unit",), target="unit"),
            _make_rule(("__journal__transport",), target="transport"),
            _make_rule(("__journal_priority_keyword",), target="level"),
        ),
    )
    source = Block(
        name="loki.source.journal",
        label="journal",
        attributes={
            "relabel_rules": Expression("loki.relabel.journal.rules"),
            "labels": make_object({"source": quote("journal"), "node": Expression("constants.hostname")}),
            "forward_to": make_list([_WRITE]),
        },
    )
    return rules, source


def _read_server_log(installation: Installation) -> Block:
    """Read Corral's own log, where its server writes one into its data directory."""
    data_dir = installation.cluster.data_dir or ""
    folder = read_environment("CORRAL_DATA_DIR", data_dir if data_dir.startswith("/") else _DATA_DIR)
    target = make_object(
        {
            "__path__": join(folder, quote("/server.log")),
            "source": quote("corral"),
            "node": Expression("constants.hostname"),
        }
    )
    return Block(
        name="loki.source.file",
        label="corral",
        attributes={"targets": make_list([target]), "forward_to": make_list([_WRITE])},
    )


def _read_pods(namespaces: Iterable[str]) -> tuple[Block, ...]:
    """Read the logs of the pods in our namespaces, through Kubernetes itself: no folder of a node is mounted."""
    names = make_list([quote(name) for name in namespaces])
    discovery = Block(
        name="discovery.kubernetes",
        label="pods",
        attributes={"role": quote("pod")},
        blocks=(Block(name="namespaces", attributes={"names": names}),),
    )
    labelled = Block(
        name="discovery.relabel",
        label="pods",
        attributes={"targets": Expression("discovery.kubernetes.pods.targets")},
        blocks=(
            _make_rule(("__meta_kubernetes_namespace",), target="namespace"),
            _make_rule(("__meta_kubernetes_pod_label_app_kubernetes_io_name",), target="app"),
            _make_rule(("__meta_kubernetes_pod_container_name",), target="container"),
            _make_rule(("__meta_kubernetes_pod_node_name",), target="node"),
            _make_rule(("__meta_kubernetes_pod_name",), target="pod"),
        ),
    )
    source = Block(
        name="loki.source.kubernetes",
        label="pods",
        attributes={
            "targets": Expression("discovery.relabel.pods.output"),
            "forward_to": make_list([_PROCESS]),
        },
        blocks=(Block(name="clustering", attributes={"enabled": Expression("true")}),),
    )
    return discovery, labelled, source, _drop_pod_label()


def _drop_pod_label() -> Block:
    """Keep the pod's name as metadata of the line: as a label, each restart would begin a stream."""
    kept = Block(name="stage.structured_metadata", attributes={"values": make_object({"pod": quote("")})})
    dropped = Block(name="stage.label_drop", attributes={"values": make_list([quote("pod"), quote("instance")])})
    return Block(
        name="loki.process", label="pods", attributes={"forward_to": make_list([_WRITE])}, blocks=(kept, dropped)
    )


def _make_rule(
    labels: tuple[str, ...], *, target: str | None = None, action: str | None = None, regex: str | None = None
) -> Block:
    attributes = {
        "action": action and quote(action),
        "source_labels": make_list([quote(label) for label in labels]),
        "regex": regex and quote(regex),
        "target_label": target and quote(target),
    }
    return Block(name="rule", attributes={key: Expression(value) for key, value in attributes.items() if value})
