"""K3s itself: its configuration, the Helm charts that it deploys, and the container runtime that GPU pods get."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Corpus, Text
from corral.linting.nix import Binding
from corral.linting.registry import Violation, checks
from corral.linting.values import Severity

_TOKENS = ("services.k3s.token", "services.k3s.agentToken")
_TOKEN_FLAG = re.compile(r"--(?:agent-)?token[= ]\S")
_OLD_TEMPLATE = re.compile(r"version\s*=\s*2\b|io\.containerd\.grpc\.v1\.cri")
_ALL = "nvidia.com/gpu-all"
_TOOLKIT = "hardware.nvidia-container-toolkit"
_RUNTIME_PLACES = (
    "systemd.services.k3s.path",
    "systemd.services.k3s.serviceConfig",
    "services.k3s.containerdConfigTemplate",
)


def _list_bindings(corpus: Corpus) -> Iterator[tuple[Text, Binding]]:
    for text, module in corpus.modules:
        for binding in module.bindings:
            yield text, binding


def _find_bindings(corpus: Corpus, *paths: str) -> Iterator[tuple[Text, Binding]]:
    """Bindings of these paths, or of what is below them."""
    for text, binding in _list_bindings(corpus):
        if any(binding.path == path or binding.path.startswith(f"{path}.") for path in paths):
            yield text, binding


def _is_on(corpus: Corpus, path: str) -> bool:
    return any(binding.boolean for _, binding in _find_bindings(corpus, path))


@checks("F06", of_files=True)
def check_token_in_store(corpus: Corpus) -> Iterator[Violation]:
    """Look for tokens as values or flags."""
    for text, binding in _find_bindings(corpus, *_TOKENS):
        if binding.text == "":
            continue
        yield Violation(place=text.locate(binding.offset), what=f"{binding.path} lands in the world-readable store")
    for text, binding in _find_bindings(corpus, "services.k3s.extraFlags"):
        for word in binding.words:
            if _TOKEN_FLAG.search(word.text):
                yield Violation(place=text.locate(word.offset), what="a token among the flags lands in the store")


@checks("F07")
def check_runtime_path(corpus: Corpus) -> Iterator[Violation]:
    """Look for K3s and the container toolkit together without a way from one to the other."""
    if not _is_on(corpus, f"{_TOOLKIT}.enable") or any(True for _ in _find_bindings(corpus, *_RUNTIME_PLACES)):
        return
    with_toolkit = {text.file for text, binding in _find_bindings(corpus, f"{_TOOLKIT}.enable") if binding.boolean}
    for text, binding in _find_bindings(corpus, "services.k3s.enable") if not _uses_cdi(corpus) else ():
        if binding.boolean and text.file in with_toolkit:  # modules of other files can be for other machines
            yield Violation(
                place=text.locate(binding.offset), what="K3s does not find nvidia-container-runtime on its path"
            )


def _uses_cdi(corpus: Corpus) -> bool:
    """Return whether GPUs are handed out by CDI, which needs no runtime of its own."""
    return any(
        "dra-driver" in (container.image or "") or any("cdi-cri" in (value.raw or "") for _, value in container.env)
        for container in corpus.containers
    )


@checks("F08", of_files=True)
def check_template_version(corpus: Corpus) -> Iterator[Violation]:
    """Look for keys of the old format."""
    for text, binding in _find_bindings(corpus, "services.k3s.containerdConfigTemplate"):
        match = _OLD_TEMPLATE.search(binding.source)
        if match:
            place = text.locate(binding.value_offset + match.start())
            yield Violation(place=place, what=f"{match[0]!r} is of containerd's old configuration")


@checks("F09")
def check_all_gpus(corpus: Corpus) -> Iterator[Violation]:
    """Look for the resource in containers."""
    for container in corpus.containers:
        for part in ("limits", "requests"):
            asked = container.tree["resources"][part][_ALL]
            if asked:
                what = f"container {container.name!r} requests {_ALL}: every GPU of its node"
                alone = None if any(container.gpus for container in corpus.containers) else Severity.NOTE
                yield Violation(place=asked.key or asked.place, what=what, subject=container.pod.owner, severity=alone)


@checks("F10")
def check_device_names(corpus: Corpus) -> Iterator[Violation]:
    """Look for the device plugin in CDI mode together with a toolkit that names by index."""
    plugins = [
        {name: value.raw for name, value in container.env}
        for container in corpus.containers
        if "k8s-device-plugin" in (container.image or "")
    ]
    by_uuid = any(
        "cdi" in (env.get("DEVICE_LIST_STRATEGY") or "") and env.get("DEVICE_ID_STRATEGY", "uuid") == "uuid"
        for env in plugins
    )
    named = [binding.text for _, binding in _find_bindings(corpus, f"{_TOOLKIT}.device-name-strategy")]
    for text, binding in _find_bindings(corpus, f"{_TOOLKIT}.enable") if by_uuid and "uuid" not in named else ():
        yield Violation(
            place=text.locate(binding.offset), what="CDI names are indexes, and the device plugin asks by UUID"
        )


@checks("F11", of_files=True)
def check_removed_manifests(corpus: Corpus) -> Iterator[Violation]:
    """Look for manifests of a server."""
    if any(binding.text == "agent" for _, binding in _find_bindings(corpus, "services.k3s.role")):
        return
    for text, binding in _find_bindings(corpus, "services.k3s.manifests"):
        if binding.path.count(".") == 3:
            yield Violation(
                place=text.locate(binding.offset), what=f"{binding.path} stays in the cluster once it is taken out here"
            )


@checks("F12", of_files=True)
def check_manifests_on_agent(corpus: Corpus) -> Iterator[Violation]:
    """Look for manifests and charts together with `role = "agent"` in one text."""
    agents = {
        (text.file, text.line)
        for text, binding in _find_bindings(corpus, "services.k3s.role")
        if binding.text == "agent"
    }
    for text, binding in _find_bindings(
        corpus, "services.k3s.manifests", "services.k3s.autoDeployCharts", "services.k3s.charts"
    ):
        if (text.file, text.line) in agents and binding.path.count(".") in (2, 3):
            yield Violation(place=text.locate(binding.offset), what=f"{binding.path} is ignored on an agent")


@checks("F14", of_files=True)
def check_kubelet_configurations(corpus: Corpus) -> Iterator[Violation]:
    """Look for the flag together with the options that add it."""
    if not any(
        True for _ in _find_bindings(corpus, "services.k3s.extraKubeletConfig", "services.k3s.gracefulNodeShutdown")
    ):
        return
    for text, binding in _find_bindings(corpus, "services.k3s.extraFlags"):
        for word in binding.words:
            if "--kubelet-arg=config=" in word.text:
                yield Violation(place=text.locate(word.offset), what="the module passes a second configuration file")


_NO_TOOLKIT = re.compile(r"toolkit:\s*(?:\{[^}]*|\n(?:[ \t]+[^\n]*\n)*?[ \t]+)enabled:\s*false")
_TOLD = ("CONTAINERD_SOCKET", "nriPluginEnabled")


@checks("F13")
def check_operator_paths(corpus: Corpus) -> Iterator[Violation]:
    """Look for K3s' own chart objects; a file elsewhere that names the socket says that it is known."""
    charts = corpus.list_kind("HelmChart")
    if charts and any(word in text for text in corpus.sources.values() for word in _TOLD):
        return
    for helm_chart in charts:
        chart = helm_chart.tree["spec"]["chart"]
        values = helm_chart.tree["spec"]["valuesContent"].raw or ""
        off = helm_chart.tree["spec"]["set"]["toolkit.enabled"].raw == "false"
        if (chart.raw or "").rpartition("/")[2] == "gpu-operator" and not off and not _NO_TOOLKIT.search(values):
            yield Violation(place=chart.place, what="its toolkit has no path of K3s' containerd", subject=helm_chart)


_MADE_BY_K3S = frozenset(
    {"nvidia", "nvidia-cdi", "nvidia-experimental", "crun", "lunatic", "slight", "spin", "wasmedge", "wasmer",
     "wasmtime", "wws"}
)  # fmt: skip
"""RuntimeClass objects that K3s makes at its start (docs.k3s.io/advanced)."""
_MADE_BY_OTHERS = frozenset({"nvidia-legacy", "kata", "kata-qemu", "kata-qemu-nvidia-gpu", "gvisor", "runsc"})
"""Of the GPU operator, Kata Containers and gVisor, as their documentation installs them."""
_GPU_DAEMON = re.compile(r"nvidia/(?:k8s/)?(?:k8s-device-plugin|dcgm-exporter|gpu-feature-discovery)")
"""NVIDIA's, by their images; AMD's device plugin (`rocm/k8s-device-plugin`) has no runtime of its own."""


def is_k3s(corpus: Corpus) -> bool:
    """Return whether the files are for K3s: the cluster file says so, or they hold K3s' own settings."""
    said = corpus.cluster.kubernetes.distribution if corpus.cluster and corpus.cluster.kubernetes else None
    if said is not None:
        return said == "k3s"
    is_nix = any("services.k3s" in text.text for text in corpus.texts if text.language == "nix")
    return is_nix or any(manifest.group in ("helm.cattle.io", "k3s.cattle.io") for manifest in corpus.manifests)


@checks("A16")
def check_missing_runtime_class(corpus: Corpus) -> Iterator[Violation]:
    """Look for GPU pods without a runtime class, where the files are for K3s."""
    if not is_k3s(corpus) or any("default-runtime" in text for text in corpus.sources.values()):
        return
    for pod in corpus.pods:
        is_daemon = any(_GPU_DAEMON.search(container.image or "") for container in pod.containers)
        if (pod.gpus or is_daemon) and not pod.spec["runtimeClassName"]:
            place = (pod.spec["containers"].key or pod.spec.place) if pod.spec["containers"] else pod.spec.place
            yield Violation(place=place, what="uses a GPU and names no runtime class", subject=pod.owner)


@checks("A17")
def check_undefined_runtime_class(corpus: Corpus) -> Iterator[Violation]:
    """Look for names that neither the files nor K3s define."""
    defined = {runtime_class.name for runtime_class in corpus.list_kind("RuntimeClass")}
    known = _MADE_BY_K3S | _MADE_BY_OTHERS
    for pod in corpus.pods:
        name = pod.spec["runtimeClassName"]
        is_ours = bool(defined) or "nvidia" in (name.raw or "")
        if name.raw and name.raw not in defined and name.raw not in known and is_ours and corpus.is_whole:
            yield Violation(place=name.place, what=f"no file defines the RuntimeClass {name.raw!r}", subject=pod.owner)


@checks("A18")
def check_runtime_handler(corpus: Corpus) -> Iterator[Violation]:
    """Look for handlers that neither K3s knows nor a containerd template names, where the nodes are among the files."""
    if not any(_ON_NIX.search(text.text) for text in corpus.texts if text.language == "nix"):
        return
    for runtime_class in corpus.list_kind("RuntimeClass"):
        handler = runtime_class.tree["handler"]
        if (
            handler.raw
            and handler.raw not in _MADE_BY_K3S
            and handler.raw != "runc"
            and not _is_configured(corpus, handler.raw)
        ):
            what = f"no node has a runtime {handler.raw!r}"
            yield Violation(place=handler.place, what=what, subject=runtime_class)


_ON_NIX = re.compile(r"services\.k3s|\bk3s\s*=\s*\{")


def _is_configured(corpus: Corpus, handler: str) -> bool:
    """Return whether any file names the runtime as containerd's configuration does."""
    named = re.compile(rf"""runtimes\s*\.\s*['"]*{re.escape(handler)}\b""")
    return any(named.search(text) for text in corpus.sources.values())


@checks("A19")
def check_tolerations(corpus: Corpus) -> Iterator[Violation]:
    """Look for GPU pods without a toleration of a GPU taint that a Node of the files carries."""
    taints = {
        taint["key"].raw
        for node in corpus.list_kind("Node")
        for taint in node.tree["spec"]["taints"].entries
        if taint["effect"].raw in ("NoSchedule", "NoExecute") and "gpu" in (taint["key"].raw or "")
    }
    for pod in corpus.pods if taints else ():
        tolerated = {toleration["key"].raw for toleration in pod.spec["tolerations"].entries}
        tolerates_all = any(
            toleration["operator"].raw == "Exists" and not toleration["key"]
            for toleration in pod.spec["tolerations"].entries
        )
        missing = sorted(str(taint) for taint in taints - tolerated)
        if pod.gpus and missing and not tolerates_all:
            place = pod.spec["tolerations"].key or pod.spec["containers"].key or pod.spec.place
            yield Violation(place=place, what=f"does not tolerate {', '.join(missing)}", subject=pod.owner)
