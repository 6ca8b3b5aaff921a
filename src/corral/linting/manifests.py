"""Manifests of Kubernetes objects, the pods that they make, and the fields of built-in kinds.

The fields are those of the typed models of `lightkube`, which are made from the official OpenAPI. Only kinds and
mappings whose model is known are checked: where the models are open (labels, quantities, raw JSON), any key is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from corral.errors import closest
from corral.linting.tree import Tree

DEFAULT_NAMESPACE = "default"
GPU_RESOURCE = "nvidia.com/gpu"
PASSING_KINDS = frozenset({"Job", "CronJob"})
"""Kinds whose pods end by themselves."""
HIDES_GPUS = frozenset({"", "void", "none"})
"""Values of NVIDIA_VISIBLE_DEVICES with which a container gets no GPU (NVIDIA's container toolkit, "Environment
variables")."""
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
"""The path of the pod template, by kind."""


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object; `namespace` is the one of the applied object, as far as the files give it."""

    tree: Tree
    """As applied: with the changes of kustomizations."""
    written: Tree
    """As written in its file."""
    kind: str
    api_version: str
    name: str | None
    namespace: str
    """`default` when not given; empty for kinds without a namespace."""
    former_names: frozenset[str] = frozenset()
    """Names before a kustomization added a prefix or suffix; other manifests can still refer to them."""

    @property
    def file(self) -> str:
        return self.tree.file

    @property
    def has_namespace(self) -> bool:
        """Whether the files say its namespace; else it gets one when it is applied."""
        return self.namespace != DEFAULT_NAMESPACE or self.tree["metadata"]["namespace"].raw is not None

    @property
    def identity(self) -> tuple[str, str, str, str | None]:
        """Two objects of one cluster cannot have the same."""
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
        """Its pods; None for kinds without pods."""
        path = _POD_SPECS.get(self.kind)
        if path is None or (self.group not in ("", "apps", "batch")):
            return None
        template = self.tree.follow(*path)
        return Pod(owner=self, template=template) if template["spec"].is_mapping else None

    @property
    def replicas(self) -> int:
        """The number of pods; 1 when not given."""
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
        """Whole NVIDIA GPUs that it requests; 0 when none, or when the value is not a number."""
        resources = self.tree["resources"]
        asked = resources["limits"][GPU_RESOURCE].count
        return asked if asked is not None else resources["requests"][GPU_RESOURCE].count or 0

    @property
    def has_gpu_share(self) -> bool:
        """Whether it requests a part of a GPU by HAMi's resources; its GPUs are then shares."""
        resources = self.tree["resources"]
        return any(name.startswith(_SHARES) for part in ("limits", "requests") for name in resources[part].keys)

    @property
    def env(self) -> Iterator[tuple[str, Tree]]:
        """Environment variables with a literal value, and the place of the value."""
        for entry in self.tree["env"].entries:
            name = entry["name"].raw
            if name is not None:
                yield name, entry["value"]


@dataclass(frozen=True)
class Pod:
    """The pods of a manifest, as its template describes them."""

    owner: Manifest
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
            Container(container, self, is_init)
            for key, is_init in (("initContainers", True), ("containers", False))
            for container in self.spec[key].entries
        )

    @property
    def gpus(self) -> int:
        """GPUs of one pod: those of its containers together, or of the largest init container if more."""
        main = sum(container.gpus for container in self.containers if not container.is_init)
        return max([main, *(container.gpus for container in self.containers if container.is_init)])


def read_manifests(tree: Tree, namespace: str | None) -> Iterator[Manifest]:
    """Yield the manifest of a document, or those of a `List`; nothing for a document that is not a manifest."""
    kind, version = tree["kind"].text, tree["apiVersion"].text
    if kind is None or version is None:
        return
    if kind == "List" or (kind.endswith("List") and tree["items"].is_list):
        for item in tree["items"].entries:
            yield from read_manifests(item, namespace)
        return
    metadata = tree["metadata"]
    own = metadata["namespace"].raw
    place = "" if kind in CLUSTER_SCOPED else namespace or own or DEFAULT_NAMESPACE
    name = metadata["name"].raw
    yield Manifest(tree=tree, written=tree, kind=kind, api_version=version, name=name, namespace=place)


_ANYWHERE = frozenset({"apiVersion", "kind", "sops"})
"""Keys that are allowed next to the fields, as are directives of a patch (`$patch`); `sops` is of encrypted files."""
_CLOSE = 0.75
"""The similarity of two names at which one is suggested for the other: fields of Kubernetes are similar by nature."""
_RENAMED = {"continue_": "continue", "except_": "except", "not_": "not", "from_": "from", "enum_": "enum"}
_SCHEMALESS = frozenset({"CustomResourceDefinition"})
"""Kinds that contain a schema of their own."""

UnknownField = tuple[Tree, str, str, str | None]


def find_unknown_fields(manifest: Manifest) -> Iterator[UnknownField]:
    """Yield each unknown key: the value, the key, the path of its mapping, and a known key that is similar."""
    model = _find_model(manifest.api_version, manifest.kind)
    if model is not None:
        yield from _find_unknown(manifest.tree, model, manifest.kind)


def has_known_fields(api_version: str, kind: str) -> bool:
    """Return whether a kind is a built-in one whose fields are known."""
    return _find_model(api_version, kind) is not None


def _find_unknown(tree: Tree, model: Any, where: str) -> Iterator[UnknownField]:
    known = _list_fields(model)
    for name, value in tree.items:
        if name not in known:
            if name not in _ANYWHERE and not name.startswith("$"):
                yield value, name, where, closest(name, known, cutoff=_CLOSE)
            continue
        inner, is_list = known[name]
        if inner is None:
            continue
        for child in value.entries if is_list else (value,):
            if child.is_mapping:
                yield from _find_unknown(child, inner, f"{where}.{name}")


@lru_cache(maxsize=512)
def _find_model(api_version: str, kind: str) -> Any:
    """Find the model of a kind; None when it is not built in."""
    group, _, version = api_version.rpartition("/")
    if not version.isalnum() or kind in _SCHEMALESS:
        return None
    package = (group.removesuffix(".k8s.io").replace(".", "_") or "core").replace("-", "_")
    if group and "." in group and not group.endswith(".k8s.io"):
        return None
    for name in (f"{package}_{version}", f"{package.split('_')[0]}_{version}"):
        try:
            model = getattr(import_module(f"lightkube.resources.{name}"), kind, None)
        except (ImportError, ValueError):
            continue
        if model is not None:
            return model
    return None


@lru_cache(maxsize=4096)
def _list_fields(model: Any) -> dict[str, tuple[Any, bool]]:
    """List the fields of a model: for each its own model (None for any value), and whether it is a list of them."""
    hints = {name: hint for name, hint in get_type_hints(model).items() if name in model.__struct_fields__}
    names: dict[str, str] = dict(zip(model.__struct_fields__, model.__struct_encode_fields__, strict=True))
    return {_RENAMED.get(names[name], names[name]): _find_inner_model(hint) for name, hint in hints.items()}


def _find_inner_model(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, UnionType):
        hint = next((argument for argument in get_args(hint) if argument is not NoneType), hint)
    if get_origin(hint) is list:
        inner, _ = _find_inner_model(get_args(hint)[0])
        return inner, True
    return (hint, False) if hasattr(hint, "__struct_fields__") else (None, False)
