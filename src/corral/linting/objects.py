"""Kubernetes objects, and the pods that they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from corral.linting.tree import Tree

DEFAULT_NAMESPACE = "default"
GPU_RESOURCE = "nvidia.com/gpu"
_SHARES = ("nvidia.com/gpumem", "nvidia.com/gpucores")
CLUSTER_SCOPED = frozenset(
    {
        "ClusterQueue", "ClusterRole", "ClusterRoleBinding", "Cohort", "CustomResourceDefinition", "DeviceClass",
        "IngressClass", "MutatingWebhookConfiguration", "Namespace", "Node", "PersistentVolume", "PriorityClass",
        "ResourceFlavor", "RuntimeClass", "StorageClass", "Topology", "ValidatingWebhookConfiguration",
        "WorkloadPriorityClass",
    }
)  # fmt: skip
_POD_SPECS: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where each kind keeps the template of its pods."""


@dataclass(frozen=True)
class Object:
    """One Kubernetes object; `namespace` is the one it ends up in, as far as its files say."""

    tree: Tree
    """As it is applied: with what kustomizations change."""
    written: Tree
    """As it stands in its file."""
    kind: str
    api_version: str
    name: str | None
    namespace: str
    """`default` where nothing says otherwise; empty for what has no namespace."""
    was_called: frozenset[str] = frozenset()
    """Names before a kustomization put something in front or behind; others may still refer to it so."""

    @property
    def file(self) -> str:
        return self.tree.file

    @property
    def identity(self) -> tuple[str, str, str, str | None]:
        """What two objects of one cluster cannot share."""
        return self.group, self.kind, self.namespace, self.name

    @property
    def pod_path(self) -> tuple[str, ...]:
        """The keys that lead to the template of its pods."""
        return _POD_SPECS.get(self.kind, ())

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        name = self.name or "?"
        return f"{self.kind} {self.namespace}/{name}" if self.namespace else f"{self.kind} {name}"

    @cached_property
    def pod(self) -> Pod | None:
        """The pods it makes; None for kinds that make none."""
        path = _POD_SPECS.get(self.kind)
        if path is None or (self.group not in ("", "apps", "batch")):
            return None
        template = self.tree.at(*path)
        return Pod(owner=self, template=template) if template["spec"].is_mapping else None

    @property
    def replicas(self) -> int:
        """How many pods it keeps; 1 where it does not say."""
        number = self.tree["spec"]["replicas"].number
        return 1 if number is None else number


@dataclass(frozen=True)
class Container:
    """One container of a pod."""

    tree: Tree
    pod: Pod
    is_init: bool

    @property
    def name(self) -> str:
        return self.tree["name"].text or "?"

    @property
    def image(self) -> str | None:
        return self.tree["image"].text

    @property
    def gpus(self) -> int:
        """Whole NVIDIA GPUs that it asks for; 0 when none, or when the number is not one."""
        resources = self.tree["resources"]
        asked = resources["limits"][GPU_RESOURCE].count
        return asked if asked is not None else resources["requests"][GPU_RESOURCE].count or 0

    @property
    def has_a_share(self) -> bool:
        """Tell whether it asks for a part of a card by HAMi's resources; its GPUs are then no whole ones."""
        resources = self.tree["resources"]
        return any(name.startswith(_SHARES) for part in ("limits", "requests") for name in resources[part].keys)

    @property
    def env(self) -> Iterator[tuple[str, Tree]]:
        """Environment variables that are written out, with the place of each value."""
        for entry in self.tree["env"].entries:
            name = entry["name"].raw
            if name is not None:
                yield name, entry["value"]


@dataclass(frozen=True)
class Pod:
    """What an object's template says of its pods."""

    owner: Object
    template: Tree

    @property
    def spec(self) -> Tree:
        return self.template["spec"]

    @cached_property
    def labels(self) -> dict[str, str]:
        return {key: value.raw or "" for key, value in self.template["metadata"]["labels"].items}

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Init containers first."""
        return tuple(
            Container(one, self, is_init)
            for key, is_init in (("initContainers", True), ("containers", False))
            for one in self.spec[key].entries
        )

    @property
    def gpus(self) -> int:
        """GPUs that one pod holds: the larger of what its containers hold together and what an init container needs."""
        main = sum(one.gpus for one in self.containers if not one.is_init)
        return max([main, *(one.gpus for one in self.containers if one.is_init)])


def read_objects(tree: Tree, namespace: str | None) -> Iterator[Object]:
    """Yield the object of a document, or those of a `List`; nothing for what is no Kubernetes object."""
    kind, version = tree["kind"].text, tree["apiVersion"].text
    if kind is None or version is None:
        return
    if kind == "List" or (kind.endswith("List") and tree["items"].is_list):
        for item in tree["items"].entries:
            yield from read_objects(item, namespace)
        return
    metadata = tree["metadata"]
    own = metadata["namespace"].raw
    place = "" if kind in CLUSTER_SCOPED else namespace or own or DEFAULT_NAMESPACE
    name = metadata["name"].raw
    yield Object(tree=tree, written=tree, kind=kind, api_version=version, name=name, namespace=place)
