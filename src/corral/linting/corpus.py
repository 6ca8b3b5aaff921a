"""The input of the rules and the look-ups that they share: some mistakes show only when several files are compared."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from corral.cluster.values import Cluster, Gpu, Node
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.makers import NVIDIA, find_maker
from corral.linting.compose.projects import Project, list_projects
from corral.linting.compose.services import ComposeService
from corral.linting.documents import Document, is_page, read_blocks, read_documents, split_files
from corral.linting.embedding import read_embedded
from corral.linting.kustomizing import NAMES, Build, Kustomizations, normalize_path, split_image
from corral.linting.manifests import Container, Manifest, Pod, read_manifests
from corral.linting.nix import DECIDING_OPTIONS, NixText, read_nix
from corral.linting.programs import Program, read_container, read_service
from corral.linting.releases import add_released, list_others, list_unjudged
from corral.linting.selection import Selection, find_folder
from corral.linting.tree import Path, Tree
from corral.linting.values import STDIN, Gap, Position, Source, Unread

LARGEST_FILE = 16_000_000
"""Characters, some 10 seconds of work; larger files are reported and not read. CRD bundles have up to 5 million."""
_YAML_NAMES = (".yaml", ".yml")
_YAML_FENCES = frozenset({"yaml", "yml"})
_MAKES_MORE = frozenset(
    {"HelmChart", "HelmRelease", "Application", "ApplicationSet", "Kustomization", "NVIDIADriver", "ClusterPolicy"}
)
"""Kinds from which a controller makes other objects, which are not in the files."""
_SPLITTING = ("timeSlicing", "mps")
"""Keys of NVIDIA's device plugin, whose chart has its configuration as text below `config.map`."""
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
    """Whether it is a part of a page; the page is a text of its own."""

    def locate(self, offset: int) -> Position:
        """Return the place of a character of the text."""
        before = self.text.rfind("\n", 0, offset) + 1
        return Position(self.file, self.line + self.text.count("\n", 0, offset), offset - before + 1)


@dataclass(frozen=True, slots=True)
class Spot:
    """A value somewhere in a document."""

    document: Document
    path: Path
    tree: Tree
    subject: str
    """The manifest of the document; empty for a fragment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """The keys of all documents."""

    paths: dict[str, list[tuple[Document, Path]]]
    """Where each key is, in the order of the files."""
    with_duplicates: list[tuple[Document, Tree]]
    """Mappings in which a key occurs twice."""


class Corpus:
    """The input of all rules."""

    def __init__(self, sources: Iterable[Source], cluster: Cluster | None = None) -> None:
        self.cluster = cluster
        """The hardware; None when no cluster file was given."""
        self.sources: dict[str, str] = {}
        self.documents: list[Document] = []
        self.texts: list[Text] = []
        self.unread: list[Unread] = []
        for source in sources:
            self._read(source)

    def _read(self, source: Source) -> None:
        self.sources[source.name] = source.text
        if source.unread:
            self._note_unread(source.name, source.unread)
            return
        if len(source.text) > LARGEST_FILE:
            self._note_unread(source.name, f"{len(source.text):,} characters; up to {LARGEST_FILE:,} are read")
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
        for block in read_blocks(source.text):
            if block.language in _YAML_FENCES:
                for offset, line, text in split_files(block.text):
                    self._keep(read_documents(source.name, text, line=block.line + line, start=block.start + offset))
            else:
                self.texts.append(
                    Text(file=source.name, language=block.language, text=block.text, line=block.line, start=block.start)
                )

    def _keep(self, read: Iterable[Document | Unread]) -> None:
        for part in read:
            if isinstance(part, Document):
                self.documents.append(part)
            else:
                self.unread.append(part)

    def _note_unread(self, file: str, why: str) -> None:
        self.unread.append(Unread(place=Position(file), why=why))

    @cached_property
    def views(self) -> tuple[Corpus, ...]:
        """One corpus for each deployment: each kustomization that no other lists, with the files that no kustomization
        lists. Without kustomizations, this corpus."""
        builds = self._kustomizations.builds
        return tuple(self._view(build) for build in builds) if builds else (self,)

    def _view(self, build: Build) -> Corpus:
        view = Corpus((), self.cluster)
        view.sources, view.documents, view.texts, view.unread = self.sources, self.documents, self.texts, self.unread
        view.__dict__ |= {
            "manifests": add_released((*build.manifests, *self._unlisted)),
            "is_build": bool(build.manifests) and not self._unlisted,
            "is_whole": self._is_whole_build(build),
            "written_manifests": self.written_manifests,
            "kustomizations": self.kustomizations,
            "_kustomizations": self._kustomizations,
            "views": (view,),
            "modules": self.modules,
            "projects": self.projects,
            "other_documents": self.other_documents,
            "embedded": self.embedded,
            "_index": self._index,
            "_owners": self._owners,
            "_spots": self._spots,
        }
        return view

    def _is_whole_build(self, build: Build) -> bool:
        """Return whether a kustomization has all that it deploys; other files of the repository do not matter."""
        broken = {normalize_path(part.place.file) for part in self.unread if part.gap is Gap.UNREADABLE}
        charts = any(manifest.kind in _MAKES_MORE for manifest in (*build.manifests, *self._unlisted))
        return self._kustomizations.is_whole_below(build.folder, broken) and not charts

    @cached_property
    def _kustomizations(self) -> Kustomizations:
        return Kustomizations(self.documents)

    @cached_property
    def manifests(self) -> tuple[Manifest, ...]:
        """Manifests, as they are applied, and what known charts make of their values."""
        return add_released(self.written_manifests)

    @cached_property
    def unjudged(self) -> tuple[Unread, ...]:
        """Parts that no rule judges: charts, files of other commands, and what is not plain Nix."""
        charts, others = list_unjudged(self.written_manifests), list_others(self.documents)
        return (*charts, *others, *self._list_nix_gaps(), *self._list_unknown_kinds())

    def _list_unknown_kinds(self) -> Iterator[Unread]:
        """List the files of kinds that no rule is for."""
        for text in self.texts:
            if not text.language and not is_page(text.file):
                why = "a kind of file that no rule is for: YAML, Nix and pages are judged"
                yield Unread(place=Position(text.file), why=why, gap=Gap.UNJUDGED)

    def _list_nix_gaps(self) -> Iterator[Unread]:
        """List the files of Nix that are read in part, and the settings whose value is computed."""
        for text, module in self.modules:
            if module.error_offset is not None and not text.is_block:
                yield Unread(
                    place=text.locate(module.error_offset), why="not Nix from here on; settings can be missing"
                )
            for binding in module.bindings if self.cluster else ():
                if binding.path in DECIDING_OPTIONS and binding.is_computed:
                    why = f"`{binding.path}` is computed; `nixos-option` prints what it is"
                    yield Unread(place=text.locate(binding.offset), why=why, gap=Gap.UNJUDGED)

    @cached_property
    def written_manifests(self) -> tuple[Manifest, ...]:
        """Manifests and patches as written in the files, without the changes of kustomizations."""
        return tuple(manifest for document in self.documents for manifest in read_manifests(document.tree, None))

    @cached_property
    def _unlisted(self) -> tuple[Manifest, ...]:
        listed = self._kustomizations.files
        return tuple(manifest for manifest in self.written_manifests if normalize_path(manifest.file) not in listed)

    def split_lines(self, file: str) -> Sequence[str]:
        """Split a file into lines, once."""
        if file not in self._lines:
            self._lines[file] = self.sources.get(file, "").split("\n")
        return self._lines[file]

    @cached_property
    def _lines(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def modules(self) -> tuple[tuple[Text, NixText], ...]:
        """Texts in Nix: files and blocks of pages."""
        return tuple((text, read_nix(text.text)) for text in self.texts if text.language == "nix")

    @cached_property
    def is_build(self) -> bool:
        """Whether the manifests are those of one kustomization."""
        return False

    @cached_property
    def is_whole(self) -> bool:
        """Whether the files have all that is deployed: nothing is fetched, and no chart makes more objects."""
        charts = any(manifest.kind in _MAKES_MORE for manifest in self.manifests)
        return (
            self._kustomizations.is_whole and not charts and not any(part.gap is Gap.UNREADABLE for part in self.unread)
        )

    @cached_property
    def shares_gpus(self) -> bool:
        """Whether a setting in the files makes several GPUs of one, so that GPUs cannot be counted."""
        is_split = any(key in self._index.paths for key in _SPLITTING)
        in_values = any(
            f"{key}:" in (text.raw or "")
            for spot in self.find_under("map")
            for _, text in spot.tree.items
            for key in _SPLITTING
        )
        return is_split or in_values or any(container.has_gpu_share for container in self.containers)

    @cached_property
    def gpu_models(self) -> tuple[GpuModel, ...]:
        """The models of the cluster file's GPUs, as far as the catalogue has them."""
        nodes = self.cluster.nodes if self.cluster else ()
        return tuple(model for node in nodes for model in self.find_models(node))

    def count_nvidia_gpus(self, node: Node) -> int:
        """Count the GPUs of a node that `nvidia.com/gpu` gives out; those of unknown model are taken for NVIDIA's."""
        return len(self.list_nvidia_gpus(node))

    def list_nvidia_gpus(self, node: Node) -> list[Gpu]:
        """List those GPUs."""
        return [gpu for gpu in node.gpus or () if (find_maker(gpu) or NVIDIA) == NVIDIA]

    def find_models(self, node: Node) -> tuple[GpuModel, ...]:
        """Find the models of a node's GPUs, as far as the catalogue has them."""
        return tuple(
            model for gpu in node.gpus or () if (model := resolve_gpu(gpu.model, memory=gpu.memory)) is not None
        )

    @cached_property
    def embedded(self) -> tuple[tuple[Document, Document], ...]:
        """Documents in the texts of others, each after the one that has it."""
        return tuple((document, inner) for document in self.documents for _, inner in read_embedded(document))

    @cached_property
    def other_documents(self) -> tuple[Document, ...]:
        """YAML that is not a manifest: parts of manifests in a text, Compose, LiteLLM and other files."""
        return tuple(
            document
            for document in self.documents
            if not (document.tree["kind"].text and document.tree["apiVersion"].text)
        )

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(pod for manifest in self.manifests if (pod := manifest.pod) is not None)

    @cached_property
    def deployed_pods(self) -> tuple[Pod, ...]:
        """Pods of different manifests: of a manifest that is in two files, only one."""
        return tuple({pod.owner.identity: pod for pod in reversed(self.pods)}.values())[::-1]

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        return tuple(container for pod in self.pods for container in pod.containers)

    @cached_property
    def projects(self) -> tuple[Project, ...]:
        """The projects of Compose files."""
        return tuple(list_projects(self.other_documents, self.sources))

    @cached_property
    def services(self) -> tuple[ComposeService, ...]:
        """The services of all Compose projects."""
        return tuple(service for project in self.projects for service in project.services)

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """The programs in the containers of pods and of Compose services."""
        return (*map(read_container, self.containers), *map(read_service, self.services))

    @cached_property
    def _by_kind(self) -> dict[str, list[Manifest]]:
        kinds: dict[str, list[Manifest]] = defaultdict(list)
        for manifest in self.manifests:
            kinds[manifest.kind].append(manifest)
        return kinds

    def list_kind(self, *kinds: str) -> Sequence[Manifest]:
        """List the manifests of these kinds, in the order of the files."""
        return [manifest for kind in kinds for manifest in self._by_kind.get(kind, ())]

    @cached_property
    def _by_label(self) -> dict[tuple[str | None, str, str], list[Pod]]:
        """Pods by namespace (None for all of them) and label."""
        labels: dict[tuple[str | None, str, str], list[Pod]] = defaultdict(list)
        for pod in self.pods:
            for key, value in pod.labels.items():
                labels[None, key, value].append(pod)
                labels[pod.owner.namespace, key, value].append(pod)
        return labels

    def find_labelled(self, wanted: Mapping[str, str], namespace: str | None = None) -> list[Pod]:
        """Find the pods that have all these labels, in a namespace or in any; none for no labels."""
        if not wanted:
            return []
        fewest = min((self._by_label.get((namespace, *pair), []) for pair in wanted.items()), key=len)
        return [pod for pod in fewest if all(pod.labels.get(key) == value for key, value in wanted.items())]

    def find_named(self, kind: str, namespace: str, name: str | None) -> Manifest | None:
        """Find the manifest of this kind and name; None when it is not in the files."""
        return self._by_name.get((kind, namespace, name))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str | None], Manifest]:
        """Manifests by name, and by their former names where these are free."""
        names: dict[tuple[str, str, str | None], Manifest] = {}
        for manifest in self.manifests:
            names.setdefault((manifest.kind, manifest.namespace, manifest.name), manifest)
        for manifest in self.manifests:
            for before in manifest.former_names:
                names.setdefault((manifest.kind, manifest.namespace, before), manifest)
        return names

    def find_selection(self, service: Manifest) -> Selection:
        """Find the pods that a Service selects; Services that select the same from one place share the answer."""
        selector = frozenset((key, value.raw or "") for key, value in service.tree.follow("spec", "selector").items)
        place = (service.file, self._folders[service.identity].total()) if self._has_choices else None
        key = (selector, service.namespace, place)
        if key not in self._selections:
            self._selections[key] = Selection(self, service)
        return self._selections[key]

    @cached_property
    def _selections(self) -> dict[tuple[object, ...], Selection]:
        return {}

    @cached_property
    def _has_choices(self) -> bool:
        return any(folders.total() > 1 for folders in self._folders.values())

    def can_coexist(self, manifest: Manifest, other: Manifest) -> bool:
        """Return whether two manifests can be deployed together; a manifest in several files is a choice, and goes with
        the manifests of its file, or of its folder when no other file of the folder has it."""
        if manifest.file == other.file or not self._has_choices:
            return True
        folders = [self._folders[manifest.identity] for manifest in (manifest, other)]
        if all(counts.total() == 1 for counts in folders):
            return True
        folder = find_folder(manifest)
        return folder == find_folder(other) and all(counts[folder] == 1 for counts in folders)

    @cached_property
    def _folders(self) -> dict[tuple[str, str, str, str | None], Counter[str]]:
        """The number of files by folder, for each manifest."""
        folders: dict[tuple[str, str, str, str | None], Counter[str]] = defaultdict(Counter)
        for identity, _, folder in {
            (manifest.identity, manifest.file, find_folder(manifest)) for manifest in self.manifests
        }:
            folders[identity][folder] += 1
        return folders

    @cached_property
    def custom_manifests(self) -> tuple[Manifest, ...]:
        """Manifests of kinds that are not built into Kubernetes: what their controllers make is unknown."""
        return tuple(
            manifest for manifest in self.manifests if "." in manifest.group and not manifest.group.endswith(".k8s.io")
        )

    @cached_property
    def kustomizations(self) -> tuple[Document, ...]:
        """Kustomizations and components."""
        return self._kustomizations.documents

    def list_images(self, kustomization: Document) -> frozenset[str]:
        """List the images of what a kustomization deploys, without versions; empty when not all of it is there.

        A component is put into what others deploy: for it, all that the files have counts.
        """
        folder = posixpath.dirname(normalize_path(kustomization.tree.file)) or "."
        broken = {normalize_path(part.place.file) for part in self.unread if part.gap is Gap.UNREADABLE}
        is_component = kustomization.tree["kind"].raw == "Component"
        if not (self.is_whole if is_component else self._kustomizations.is_whole_below(folder, broken)):
            return frozenset()
        files = self._kustomizations.list_files_below(folder)
        spots = [spot for spot in self.find_under("image") if is_component or normalize_path(spot.tree.file) in files]
        kinds = {spot.document.tree["kind"].raw for spot in spots}
        changed = {entry["newName"].raw or "" for part in self.kustomizations for entry in part.tree["images"].entries}
        names = {split_image(spot.tree.raw)[0] for spot in spots if spot.tree.raw}
        return frozenset(names | changed) if names and kinds.isdisjoint(_MAKES_MORE) else frozenset()

    def find_under(self, *keys: str) -> Sequence[Spot]:
        """Find every value under one of these keys, in manifests and other documents, in the order of the files; the
        keys of a schema are names of fields, and left out."""
        spots = [spot for key in keys for spot in self._find_under(key)]
        return spots if len(keys) == 1 else sorted(spots, key=lambda spot: spot.tree.place)

    def _find_under(self, key: str) -> list[Spot]:
        if key not in self._spots:
            self._spots[key] = [
                Spot(
                    document=document,
                    path=path,
                    tree=document.tree.follow(*path),
                    subject=self._describe_owner(document),
                )
                for document, path in self._index.paths.get(key, ())
            ]
        return self._spots[key]

    @cached_property
    def _spots(self) -> dict[str, list[Spot]]:
        return {}

    @property
    def mappings_with_duplicates(self) -> list[tuple[Tree, str]]:
        """Mappings in which a key occurs twice, with the manifest that each is part of."""
        return [(tree, self._describe_owner(document)) for document, tree in self._index.with_duplicates]

    @cached_property
    def _index(self) -> _Index:
        index = _Index(paths=defaultdict(list), with_duplicates=[])
        for document in (*self.documents, *(inner for _, inner in self.embedded)):
            if document.tree["kind"].raw in _SCHEMAS:
                continue
            paths, mappings = document.tree.list_keys()
            for path in paths:
                index.paths[str(path[-1])].append((document, path))
            index.with_duplicates.extend((document, tree) for tree in mappings)
        return index

    def _describe_owner(self, document: Document) -> str:
        return str(self._owners.get(id(document.tree), ""))

    @cached_property
    def _owners(self) -> dict[int, Manifest]:
        built = (manifest for build in reversed(self._kustomizations.builds) for manifest in build.manifests)
        owners = {id(manifest.written): manifest for manifest in (*self.written_manifests, *built)}
        inner = {id(inner.tree): owners[id(outer.tree)] for outer, inner in self.embedded if id(outer.tree) in owners}
        return owners | inner
