"""Everything that was read, and the questions that rules ask of it: a rule may need several files to see a mistake."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from corral.cluster.values import Cluster, Node
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.linting.kustomizing import NAMES, Kustomizing, normal
from corral.linting.objects import Container, Object, Pod, read_objects
from corral.linting.reading.documents import Document, read_documents
from corral.linting.reading.markdown import blocks, is_page
from corral.linting.reading.nix import NixText, read_nix
from corral.linting.selecting import Behind
from corral.linting.tree import Tree
from corral.linting.values import STDIN, Place, Source, Unread

LARGEST_FILE = 16_000_000
"""Characters, some 10 seconds of work; larger files are named and not read. CRD bundles have up to 5 million."""
_YAML_NAMES = (".yaml", ".yml")
_YAML_FENCES = frozenset({"yaml", "yml"})
_MAKES_MORE = frozenset(
    {"HelmChart", "HelmRelease", "Application", "ApplicationSet", "Kustomization", "NVIDIADriver", "ClusterPolicy"}
)
"""Objects from which something in the cluster makes others that no file shows."""
_SCHEMAS = frozenset({"CustomResourceDefinition"})
_LANGUAGES = {".nix": "nix", ".py": "python", ".sh": "sh", ".json": "json", ".txt": "text", ".toml": "toml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text that is not YAML: a whole file, or a fenced block of a Markdown file."""

    file: str
    language: str
    """`nix`, `python`, `sh`, `json`, `markdown` for a page as a whole, or what its fence says; empty when unknown."""
    text: str
    line: int = 1
    start: int = 0
    """Offset in the file at which it starts."""
    is_block: bool = False
    """It is a part of a page, which is a text of its own."""

    def place(self, offset: int) -> Place:
        """Where a character of the text stands."""
        before = self.text.rfind("\n", 0, offset) + 1
        return Place(self.file, self.line + self.text.count("\n", 0, offset), offset - before + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A value somewhere in a document."""

    document: Document
    path: tuple[str | int, ...]
    tree: Tree
    subject: str
    """The object that the document is; empty for a fragment."""


class Scene:
    """The input of all rules."""

    def __init__(self, sources: Iterable[Source], cluster: Cluster | None = None) -> None:
        self.cluster = cluster
        """What the user says of the hardware; None when no cluster file was given."""
        self.sources: dict[str, str] = {}
        self.documents: list[Document] = []
        self.texts: list[Text] = []
        self.unread: list[Unread] = []
        self._doubled: list[tuple[Tree, str]] = []
        for source in sources:
            self._read(source)

    def _read(self, source: Source) -> None:
        self.sources[source.name] = source.text
        if source.unread:
            self._cannot_read(source.name, source.unread)
            return
        if len(source.text) > LARGEST_FILE:
            self._cannot_read(source.name, f"{len(source.text):,} characters; up to {LARGEST_FILE:,} are read")
            return
        path = PurePosixPath(source.name.replace("\\", "/"))
        suffix = path.suffix.lower()
        if suffix in _YAML_NAMES or path.name in NAMES or source.name == STDIN:
            self._keep(read_documents(source.name, source.text))
        elif is_page(source.name):
            self._read_markdown(source)
        else:
            self.texts.append(Text(file=source.name, language=_LANGUAGES.get(suffix, ""), text=source.text))
            if suffix == ".json":
                self._keep(read_documents(source.name, source.text))

    def _read_markdown(self, source: Source) -> None:
        self.texts.append(Text(file=source.name, language="markdown", text=source.text))
        for block in blocks(source.text):
            if block.language in _YAML_FENCES:
                self._keep(read_documents(source.name, block.text, line=block.line, start=block.start))
            else:
                self.texts.append(
                    Text(file=source.name, language=block.language, text=block.text, line=block.line, start=block.start)
                )

    def _keep(self, read: Iterable[Document | Unread]) -> None:
        for one in read:
            if isinstance(one, Document):
                self.documents.append(one)
            else:
                self.unread.append(one)

    def _cannot_read(self, file: str, why: str) -> None:
        self.unread.append(Unread(place=Place(file), why=why))

    @cached_property
    def views(self) -> tuple[Scene, ...]:
        """One scene for each thing that is deployed as a whole: each kustomization that no other lists, with what no
        kustomization lists. Without any, this scene."""
        builds = self._kustomizing.builds
        return tuple(self._view(build.objects) for build in builds) if builds else (self,)

    def _view(self, built: Iterable[Object]) -> Scene:
        view = Scene((), self.cluster)
        view.sources, view.documents, view.texts, view.unread = self.sources, self.documents, self.texts, self.unread
        view.__dict__ |= {
            "objects": (*built, *self._unlisted),
            "written_objects": self.written_objects,
            "kustomizations": self.kustomizations,
            "_kustomizing": self._kustomizing,
            "views": (view,),
            "modules": self.modules,
            "_by_key": self._by_key,
            "_doubled": self._doubled,
        }
        return view

    @cached_property
    def _kustomizing(self) -> Kustomizing:
        return Kustomizing(self.documents)

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """Kubernetes objects, as they are applied."""
        return self.written_objects

    @cached_property
    def written_objects(self) -> tuple[Object, ...]:
        """Objects and patches as they stand in the files, whatever kustomizations make of them."""
        return tuple(one for document in self.documents for one in read_objects(document.tree, None))

    @cached_property
    def _unlisted(self) -> tuple[Object, ...]:
        listed = self._kustomizing.files
        return tuple(one for one in self.written_objects if normal(one.file) not in listed)

    def lines_of(self, file: str) -> Sequence[str]:
        """The lines of a file; split once."""
        if file not in self._lines:
            self._lines[file] = self.sources.get(file, "").split("\n")
        return self._lines[file]

    @cached_property
    def _lines(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def modules(self) -> tuple[tuple[Text, NixText], ...]:
        """What is written in Nix, files and blocks of pages."""
        return tuple((text, read_nix(text.text)) for text in self.texts if text.language == "nix")

    @cached_property
    def is_whole(self) -> bool:
        """Tell whether the files hold all that is deployed: nothing is fetched, and no chart makes more objects."""
        charts = any(one.kind in _MAKES_MORE for one in self.objects)
        return self._kustomizing.is_whole and not charts and not self.unread

    @cached_property
    def shares_gpus(self) -> bool:
        """Tell whether something in the files makes several of one GPU, so that cards cannot be counted."""
        is_split = any(self._by_key.get(key) for key in ("timeSlicing", "mps"))
        return is_split or any(one.has_a_share for one in self.containers)

    @cached_property
    def gpu_models(self) -> tuple[GpuModel, ...]:
        """The models of the cluster file's cards, as far as the catalogue knows them."""
        nodes = self.cluster.nodes if self.cluster else ()
        return tuple(model for node in nodes for model in self.models_of(node))

    def models_of(self, node: Node) -> tuple[GpuModel, ...]:
        """The models of a node's cards, as far as the catalogue knows them."""
        return tuple(
            model for gpu in node.gpus or () if (model := resolve_gpu(gpu.model, memory=gpu.memory)) is not None
        )

    @cached_property
    def fragments(self) -> tuple[Document, ...]:
        """YAML that is no Kubernetes object: parts of manifests in a text, Compose, LiteLLM and other files."""
        return tuple(one for one in self.documents if not (one.tree["kind"].text and one.tree["apiVersion"].text))

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(pod for one in self.objects if (pod := one.pod) is not None)

    @cached_property
    def deployed(self) -> tuple[Pod, ...]:
        """Pods of different objects: an object that stands in two files is one of them only."""
        return tuple({pod.owner.identity: pod for pod in reversed(self.pods)}.values())[::-1]

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        return tuple(one for pod in self.pods for one in pod.containers)

    @cached_property
    def _by_kind(self) -> dict[str, list[Object]]:
        kinds: dict[str, list[Object]] = defaultdict(list)
        for one in self.objects:
            kinds[one.kind].append(one)
        return kinds

    def of_kind(self, *kinds: str) -> Sequence[Object]:
        """Objects of these kinds, in the order of the files."""
        return [one for kind in kinds for one in self._by_kind.get(kind, ())]

    @cached_property
    def _by_label(self) -> dict[tuple[str | None, str, str], list[Pod]]:
        """Pods by namespace (None for all of them) and label."""
        labels: dict[tuple[str | None, str, str], list[Pod]] = defaultdict(list)
        for pod in self.pods:
            for key, value in pod.labels.items():
                labels[None, key, value].append(pod)
                labels[pod.owner.namespace, key, value].append(pod)
        return labels

    def labelled(self, wanted: Mapping[str, str], namespace: str | None = None) -> list[Pod]:
        """Pods that have all these labels, in a namespace or in any; none for no labels."""
        if not wanted:
            return []
        fewest = min((self._by_label.get((namespace, *pair), []) for pair in wanted.items()), key=len)
        return [pod for pod in fewest if all(pod.labels.get(key) == value for key, value in wanted.items())]

    def named(self, kind: str, namespace: str, name: str | None) -> Object | None:
        """The object of this kind and name; None when the files have none."""
        return self._by_name.get((kind, namespace, name))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str | None], Object]:
        """Objects by what they are called now, and where nothing else is, by what they were called."""
        names: dict[tuple[str, str, str | None], Object] = {}
        for one in self.objects:
            names.setdefault((one.kind, one.namespace, one.name), one)
        for one in self.objects:
            for before in one.was_called:
                names.setdefault((one.kind, one.namespace, before), one)
        return names

    def behind(self, service: Object) -> Behind:
        """What a Service selects; Services that select the same from one place share the answer."""
        selector = frozenset((key, value.raw or "") for key, value in service.tree.at("spec", "selector").items)
        place = (service.file, self._folders[service.identity].total()) if self._has_choices else None
        key = (selector, service.namespace, place)
        if key not in self._behind:
            self._behind[key] = Behind(self, service)
        return self._behind[key]

    @cached_property
    def _behind(self) -> dict[tuple[object, ...], Behind]:
        return {}

    @cached_property
    def _has_choices(self) -> bool:
        return any(folders.total() > 1 for folders in self._folders.values())

    def may_meet(self, one: Object, other: Object) -> bool:
        """Tell whether two objects may be deployed together; what stands in several files is a choice, and goes with
        what its own file, or its folder as the only one, has."""
        if one.file == other.file or not self._has_choices:
            return True
        folders = [self._folders[each.identity] for each in (one, other)]
        if all(each.total() == 1 for each in folders):
            return True
        folder = _folder(one)
        return folder == _folder(other) and all(each[folder] == 1 for each in folders)

    @cached_property
    def _folders(self) -> dict[tuple[str, str, str, str | None], Counter[str]]:
        """In how many files of which folder each object stands."""
        folders: dict[tuple[str, str, str, str | None], Counter[str]] = defaultdict(Counter)
        for identity, _, folder in {(one.identity, one.file, _folder(one)) for one in self.objects}:
            folders[identity][folder] += 1
        return folders

    @cached_property
    def custom_objects(self) -> tuple[Object, ...]:
        """Objects of kinds that Kubernetes does not bring: what their controllers make is not known."""
        return tuple(one for one in self.objects if "." in one.group and not one.group.endswith(".k8s.io"))

    @cached_property
    def kustomizations(self) -> tuple[Document, ...]:
        """Kustomizations and components."""
        return self._kustomizing.documents

    def under(self, *keys: str) -> Iterator[Spot]:
        """Every value under one of these keys, in objects and fragments alike, in the order of the files; a schema's
        are names of fields."""
        found = [one for key in keys for one in self._by_key.get(key, ())]
        return iter(found if len(keys) == 1 else sorted(found, key=lambda one: one.tree.place))

    @property
    def doubled(self) -> list[tuple[Tree, str]]:
        """Mappings in which a key stands twice, with the object that each is part of."""
        return self._doubled if self._by_key else []

    @cached_property
    def _by_key(self) -> dict[str, list[Spot]]:
        keys: dict[str, list[Spot]] = defaultdict(list)
        for document in self.documents:
            if document.tree["kind"].raw in _SCHEMAS:
                continue
            subject = str(self._owners.get(id(document.tree), ""))
            for path, tree in document.tree.walk():
                if tree.duplicates:
                    self._doubled.append((tree, subject))
                if path and isinstance(path[-1], str):
                    keys[path[-1]].append(Spot(document=document, path=path, tree=tree, subject=subject))
        return keys

    @cached_property
    def _owners(self) -> dict[int, Object]:
        built = (one for build in reversed(self._kustomizing.builds) for one in build.objects)
        return {id(one.written): one for one in (*self.written_objects, *built)}


def _folder(one: Object) -> str:
    return posixpath.dirname(one.file.replace("\\", "/"))
