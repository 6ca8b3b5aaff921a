"""Values of Helm releases, read as the workloads that a chart makes of them: of Flux, Argo CD and K3s.

Two charts are known: `app-template` of bjw-s, whose values name everything, and `ollama` of otwld, alone or inside
`open-webui`. The values of other charts are not judged, and reported as such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from corral.linting.documents import Document, read_documents
from corral.linting.manifests import GPU_RESOURCE, Manifest
from corral.linting.tree import Tree
from corral.linting.values import Gap, Position, Unread

_POD_KINDS = {
    "deployment": ("Deployment", "apps/v1"),
    "statefulset": ("StatefulSet", "apps/v1"),
    "daemonset": ("DaemonSet", "apps/v1"),
    "job": ("Job", "batch/v1"),
}
_OF_ARGO = frozenset({"Application", "ApplicationSet"})
_CONTROLLER = "app.kubernetes.io/controller"
_NAME = "app.kubernetes.io/name"
_OLLAMA_FOLDER = "/root/.ollama"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The values of one chart."""

    manifest: Manifest
    chart: str
    """Its name; empty when unknown."""
    values: Tree

    @property
    def name(self) -> str:
        return self.manifest.name or "?"

    @property
    def namespace(self) -> str:
        """Where the chart's objects are made."""
        spec = self.manifest.tree["spec"]
        where = spec["targetNamespace"] or spec["destination"]["namespace"]
        return where.raw or self.manifest.namespace


def read_releases(manifest: Manifest) -> Iterator[Release]:
    """Yield the releases of a manifest that have values."""
    spec = manifest.tree["spec"]
    if manifest.kind == "HelmRelease":
        reference = spec["chart"]["spec"]["chart"].raw or spec["chartRef"]["name"].raw or ""
        yield from _make_release(manifest, reference, spec["values"])
    elif manifest.kind == "HelmChart" and manifest.group == "helm.cattle.io":
        yield from _make_release(manifest, spec["chart"].raw or "", spec["valuesContent"])
    elif manifest.kind in _OF_ARGO and manifest.group == "argoproj.io":
        spec = spec["template"]["spec"] or spec
        for source in (spec["source"], *spec["sources"].entries):
            values = source["helm"]["valuesObject"] or source["helm"]["values"]
            yield from _make_release(manifest, source["chart"].raw or "", values)


def _make_release(manifest: Manifest, chart: str, values: Tree) -> Iterator[Release]:
    tree = values if values.is_mapping else _read_text(values)
    if tree is not None and tree.keys:
        yield Release(manifest=manifest, chart=chart.rpartition("/")[2], values=tree)


def _read_text(values: Tree) -> Tree | None:
    if not values.raw:
        return None
    place = values.place
    read = next(iter(read_documents(place.file, values.raw, line=place.line + 1, start=None)), None)
    return read.tree if isinstance(read, Document) and read.tree.is_mapping else None


def add_released(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """Add what known charts make of the values of releases."""
    written = tuple(manifests)
    released = (made for manifest in written for release in read_releases(manifest) for made in list_workloads(release))
    return (*written, *released)


def list_unjudged(manifests: Iterable[Manifest]) -> Iterator[Unread]:
    """List the values that no rule is for: one entry for each chart, at its first release."""
    charts: dict[str, list[Release]] = defaultdict(list)
    for release in (release for manifest in manifests for release in read_releases(manifest)):
        if not is_known(release):
            charts[release.chart or release.name].append(release)
    for chart, (first, *others) in charts.items():
        more = f" (and in {len(others)} more releases)" if others else ""
        why = f"the values of the chart {chart!r}{more}; `helm template` writes what it makes of them"
        yield Unread(place=first.values.place, why=why, gap=Gap.UNJUDGED)


def list_others(documents: Iterable[Document]) -> Iterator[Unread]:
    """List documents of formats that another command judges."""
    for document in documents:
        if is_cluster_file(document):
            why = (
                "a cluster file of Corral: the rules look at its listeners alone, `corral plan` judges the rest, and "
                "`--cluster` gives its machines to the rules"
            )
            yield Unread(place=Position(document.tree.file, document.first_line), why=why, gap=Gap.UNJUDGED)


def is_cluster_file(document: Document) -> bool:
    """Return whether a document is a cluster file of Corral."""
    return (document.tree["apiVersion"].raw or "").startswith("corral/") and bool(document.tree["nodes"])


def is_known(release: Release) -> bool:
    """Return whether the workloads of a release are known."""
    return any(True for _ in list_workloads(release))


def list_workloads(release: Release) -> Iterator[Manifest]:
    """Yield the objects that a chart makes of its values, as far as rules look; none for a chart that is unknown."""
    values = release.values
    if values["controllers"].is_mapping:
        yield from _list_app_template(release)
    elif release.chart == "ollama" and (values["ollama"].is_mapping or values["replicaCount"]):
        yield from _list_ollama(release, values)
    elif release.chart == "open-webui" and values["ollama"]["enabled"].boolean is not False and values["ollama"].keys:
        yield from _list_ollama(release, values["ollama"])


def _list_app_template(release: Release) -> Iterator[Manifest]:
    values = release.values
    for name, controller in values["controllers"].items:
        kind = _POD_KINDS.get(controller["type"].raw or "deployment")
        if kind is None or not controller.is_mapping or controller["enabled"].boolean is False:
            continue
        labels = controller.replace_fields({_CONTROLLER: controller.replace_raw(name)})
        volumes = _list_volumes(release, name)
        pod = _make_pod(controller, values["defaultPodOptions"], name, volumes)
        template = controller.replace_fields({"metadata": _wrap(controller, labels=labels), "spec": pod})
        spec = {"template": template, "strategy": _make_strategy(controller)}
        if controller["replicas"]:
            spec["replicas"] = controller["replicas"]
        yield _make_object(release, f"{release.name}-{name}", kind, controller, controller.replace_fields(spec))
    for _, service in values["service"].items:
        if service["type"] and service["enabled"].boolean is not False:
            target = service["controller"].raw or next(iter(values["controllers"].keys))
            selector = service.replace_fields({_CONTROLLER: service.replace_raw(target)})
            spec = {"type": service["type"], "selector": selector}
            yield _make_object(release, release.name, ("Service", "v1"), service, service.replace_fields(spec))


def _make_strategy(controller: Tree) -> Tree:
    """The rollout of a controller: app-template's own is `Recreate`."""
    kind = controller["strategy"].raw or "Recreate"
    fields = {"type": (controller["strategy"] or controller).replace_raw(kind)}
    rolling = controller["rollingUpdate"]
    limits = {"maxSurge": rolling["surge"], "maxUnavailable": rolling["unavailable"]}
    if kind == "RollingUpdate" and rolling:
        fields["rollingUpdate"] = rolling.replace_fields({key: tree for key, tree in limits.items() if tree})
    return (controller["strategy"] or controller).replace_fields(fields)


def _make_pod(
    controller: Tree, defaults: Tree, name: str, volumes: Mapping[str, tuple[Tree, dict[str, list[Tree]]]]
) -> Tree:
    fields = {**dict(defaults.items), **dict(controller["pod"].items)}
    for key in ("initContainers", "containers"):
        section = controller[key]
        containers = [
            _make_container(container_name, container, volumes)
            for container_name, container in section.items
            if container.is_mapping
        ]
        if containers:
            fields[key] = section.replace_entries(containers)
    if volumes:
        fields["volumes"] = controller.replace_entries(volume for volume, _ in volumes.values())
    return controller.replace_fields(fields)


def _make_container(name: str, container: Tree, volumes: Mapping[str, tuple[Tree, dict[str, list[Tree]]]]) -> Tree:
    fields = {"name": container.replace_raw(name)}
    image = _join_image(container["image"], "")
    if image is not None:
        fields["image"] = image
    for key in ("resources", "securityContext", "lifecycle"):
        if container[key]:
            fields[key] = container[key]
    for key in ("command", "args"):
        if container[key]:
            fields[key] = container[key] if container[key].is_list else container[key].replace_entries([container[key]])
    if container["env"]:
        fields["env"] = _list_env(container["env"])
    for key, probe in container["probes"].items:
        if probe["custom"].boolean and probe["enabled"].boolean is not False and probe["spec"]:
            fields[f"{key}Probe"] = probe["spec"]
    mounts = [mount for _, paths in volumes.values() for key in (name, "") for mount in paths.get(key, ())]
    if mounts:
        fields["volumeMounts"] = container.replace_entries(mounts)
    return container.replace_fields(fields)


def _list_env(env: Tree) -> Tree:
    """Return the variables of a mapping or a list as entries of name and value."""
    if env.is_list:
        return env
    entries: list[Tree] = []
    for name, value in env.items:
        named = {"name": value.replace_raw(name)}
        if not value.is_mapping:
            named["value"] = value
        elif value["value"]:
            named["value"] = value["value"]
        entries.append(value.replace_fields(named))
    return env.replace_entries(entries)


def _join_image(image: Tree, usual: str) -> Tree | None:
    """Join repository and tag; None when either is unknown."""
    repository = image["repository"].raw or usual
    tag = image["tag"].raw
    if not repository:
        return None
    place = image["tag"] or image["repository"]
    return place.replace_raw(f"{repository}:{tag}") if tag and place else None


def _list_volumes(release: Release, controller: str) -> dict[str, tuple[Tree, dict[str, list[Tree]]]]:
    """List the volumes of a controller by name, each with its mounts by container; those of all have no name."""
    volumes: dict[str, tuple[Tree, dict[str, list[Tree]]]] = {}
    for name, entry in release.values["persistence"].items:
        if not entry.is_mapping or entry["enabled"].boolean is False:
            continue
        mounts: dict[str, list[Tree]] = {}
        advanced = entry["advancedMounts"]
        for container, paths in advanced[controller].items:
            mounts[container] = [_make_mount(name, path) for path in paths.entries]
        if not advanced:
            usual = entry.replace_fields({"path": entry.replace_raw(f"/{name}")})
            mounts[""] = [_make_mount(name, path) for path in entry["globalMounts"].entries or (usual,)]
        if mounts:
            volumes[name] = (_make_volume(release, name, entry), mounts)
    return volumes


def _make_mount(volume: str, mount: Tree) -> Tree:
    return mount.replace_fields({"name": mount.replace_raw(volume), "mountPath": mount["path"]})


def _make_volume(release: Release, name: str, entry: Tree) -> Tree:
    kind = entry["type"].raw or "persistentVolumeClaim"
    fields = {"name": entry.replace_raw(name)}
    if kind == "persistentVolumeClaim":
        claim = entry["existingClaim"] or entry.replace_raw(f"{release.name}-{name}")
        fields[kind] = entry.replace_fields({"claimName": claim})
    elif kind == "hostPath":
        known = {"path": entry["hostPath"], "type": entry["hostPathType"]}
        fields[kind] = entry.replace_fields({key: tree for key, tree in known.items() if tree})
    else:
        fields[kind] = entry.replace_fields({})
    return entry.replace_fields(fields)


def _list_ollama(release: Release, values: Tree) -> Iterator[Manifest]:
    """Yield what the chart `ollama` of otwld makes: one container, its claim and its Service."""
    labels = values.replace_fields({_NAME: values.replace_raw(release.name)})
    container = _make_ollama_container(values)
    volume = values["persistentVolume"]
    has_claim = volume["enabled"].boolean is True
    claim = volume["existingClaim"] or volume.replace_raw(release.name) if volume else volume
    fields = {"containers": values.replace_entries([container])}
    if has_claim:
        mounted = _wrap(volume, name=volume.replace_raw("models"), persistentVolumeClaim=_wrap(volume, claimName=claim))
        fields["volumes"] = volume.replace_entries([mounted])
    for key in ("nodeSelector", "affinity", "tolerations", "runtimeClassName"):
        if values[key]:
            fields[key] = values[key]
    template = _wrap(values, metadata=_wrap(values, labels=labels), spec=values.replace_fields(fields))
    spec = {
        "template": template,
        "strategy": values["updateStrategy"] or _wrap(values, type=values.replace_raw("Recreate")),
    }
    if values["replicaCount"]:
        spec["replicas"] = values["replicaCount"]
    yield _make_object(release, release.name, ("Deployment", "apps/v1"), values, values.replace_fields(spec))
    if has_claim and not volume["existingClaim"]:
        modes = volume["accessModes"] or volume.replace_entries([volume.replace_raw("ReadWriteOnce")])
        size = volume["size"] or volume.replace_raw("30Gi")
        asked = _wrap(volume, accessModes=modes, resources=_wrap(volume, requests=_wrap(volume, storage=size)))
        yield _make_object(release, release.name, ("PersistentVolumeClaim", "v1"), volume, asked)
    if values["service"]["type"]:
        service = _wrap(values["service"], type=values["service"]["type"], selector=labels)
        yield _make_object(release, release.name, ("Service", "v1"), values["service"], service)


def _make_ollama_container(values: Tree) -> Tree:
    fields = {"name": values.replace_raw("ollama")}
    image = _join_image(values["image"], "ollama/ollama")
    fields["image"] = image if image is not None else values.replace_raw("ollama/ollama:of-the-chart")
    gpu = values["ollama"]["gpu"]
    resources = dict(values["resources"].items)
    if gpu["enabled"].boolean and gpu["type"].raw in (None, "nvidia"):
        limits = values["resources"]["limits"] or gpu
        number = gpu["number"] or gpu.replace_raw("1")
        resources["limits"] = limits.replace_fields(
            {**(dict(limits.items) if limits is not gpu else {}), GPU_RESOURCE: number}
        )
    if resources:
        fields["resources"] = (values["resources"] or values).replace_fields(resources)
    if values["extraEnv"]:
        fields["env"] = values["extraEnv"]
    pulled = [*values["ollama"]["models"]["pull"].entries, *values["ollama"]["models"]["run"].entries]
    if pulled:
        command = values.replace_entries(model.replace_raw(f"ollama pull {model.raw}") for model in pulled if model.raw)
        fields["lifecycle"] = _wrap(values, postStart=_wrap(values, exec=_wrap(values, command=command)))
    if values["persistentVolume"]["enabled"].boolean:
        path = values["mountPath"] or values.replace_raw(_OLLAMA_FOLDER)
        mount = _wrap(values, name=values.replace_raw("models"), mountPath=path)
        fields["volumeMounts"] = values.replace_entries([mount])
    return values.replace_fields(fields)


def _wrap(place: Tree, **fields: Tree) -> Tree:
    return place.replace_fields(fields)


def _make_object(release: Release, name: str, kind: tuple[str, str], place: Tree, spec: Tree) -> Manifest:
    tree = place.replace_fields(
        {
            "apiVersion": place.replace_raw(kind[1]),
            "kind": place.replace_raw(kind[0]),
            "metadata": _wrap(place, name=place.replace_raw(name)),
            "spec": spec,
        }
    )
    return Manifest(tree=tree, written=tree, kind=kind[0], api_version=kind[1], name=name, namespace=release.namespace)
