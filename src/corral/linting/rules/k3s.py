"""K3s itself: its configuration, and the Helm charts that it deploys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene, Text
from corral.linting.reading.nix import Binding
from corral.linting.registry import Found, checks
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


def _bound(scene: Scene) -> Iterator[tuple[Text, Binding]]:
    for text, module in scene.modules:
        for binding in module.bindings:
            yield text, binding


def _at(scene: Scene, *paths: str) -> Iterator[tuple[Text, Binding]]:
    """Bindings of these paths, or of what is below them."""
    for text, one in _bound(scene):
        if any(one.path == path or one.path.startswith(f"{path}.") for path in paths):
            yield text, one


def _is_on(scene: Scene, path: str) -> bool:
    return any(one.boolean for _, one in _at(scene, path))


@checks("F06")
def token_in_store(scene: Scene) -> Iterator[Found]:
    """Look for tokens as values or flags."""
    for text, one in _at(scene, *_TOKENS):
        if one.text == "":
            continue
        yield Found(place=text.place(one.offset), what=f"{one.path} lands in the world-readable store")
    for text, one in _at(scene, "services.k3s.extraFlags"):
        for word in one.words:
            if _TOKEN_FLAG.search(word.text):
                yield Found(place=text.place(word.offset), what="a token among the flags lands in the store")


@checks("F07")
def runtime_not_found(scene: Scene) -> Iterator[Found]:
    """Look for K3s and the container toolkit together without a way from one to the other."""
    if not _is_on(scene, f"{_TOOLKIT}.enable") or any(True for _ in _at(scene, *_RUNTIME_PLACES)):
        return
    with_toolkit = {text.file for text, one in _at(scene, f"{_TOOLKIT}.enable") if one.boolean}
    for text, one in _at(scene, "services.k3s.enable") if not _uses_cdi(scene) else ():
        if one.boolean and text.file in with_toolkit:  # modules of other files may be of other machines
            yield Found(place=text.place(one.offset), what="K3s does not find nvidia-container-runtime on its path")


def _uses_cdi(scene: Scene) -> bool:
    """Tell whether cards are handed out by CDI, which needs no runtime of its own."""
    return any(
        "dra-driver" in (one.image or "") or any("cdi-cri" in (value.raw or "") for _, value in one.env)
        for one in scene.containers
    )


@checks("F08")
def old_template(scene: Scene) -> Iterator[Found]:
    """Look for keys of the old format."""
    for text, one in _at(scene, "services.k3s.containerdConfigTemplate"):
        match = _OLD_TEMPLATE.search(one.source)
        if match:
            place = text.place(one.value_offset + match.start())
            yield Found(place=place, what=f"{match[0]!r} is of containerd's old configuration")


@checks("F09")
def all_gpus(scene: Scene) -> Iterator[Found]:
    """Look for the resource in containers."""
    for one in scene.containers:
        for part in ("limits", "requests"):
            asked = one.tree["resources"][part][_ALL]
            if asked:
                what = f"container {one.name!r} asks for {_ALL}: every card of its node"
                alone = None if any(each.gpus for each in scene.containers) else Severity.NOTE
                yield Found(place=asked.key or asked.place, what=what, subject=one.pod.owner, severity=alone)


@checks("F10")
def device_names(scene: Scene) -> Iterator[Found]:
    """Look for the device plugin in CDI mode beside a toolkit that names by index."""
    plugins = [
        {name: value.raw for name, value in one.env}
        for one in scene.containers
        if "k8s-device-plugin" in (one.image or "")
    ]
    by_uuid = any(
        "cdi" in (env.get("DEVICE_LIST_STRATEGY") or "") and env.get("DEVICE_ID_STRATEGY", "uuid") == "uuid"
        for env in plugins
    )
    named = [one.text for _, one in _at(scene, f"{_TOOLKIT}.device-name-strategy")]
    for text, one in _at(scene, f"{_TOOLKIT}.enable") if by_uuid and "uuid" not in named else ():
        yield Found(place=text.place(one.offset), what="CDI names are indexes, and the device plugin asks by UUID")


@checks("F11")
def manifests_stay(scene: Scene) -> Iterator[Found]:
    """Look for manifests of a server."""
    if any(one.text == "agent" for _, one in _at(scene, "services.k3s.role")):
        return
    for text, one in _at(scene, "services.k3s.manifests"):
        if one.path.count(".") == 3:
            yield Found(place=text.place(one.offset), what=f"{one.path} stays in the cluster once it is taken out here")


@checks("F12")
def manifests_on_agent(scene: Scene) -> Iterator[Found]:
    """Look for manifests and charts beside `role = "agent"` in one text."""
    agents = {(text.file, text.line) for text, one in _at(scene, "services.k3s.role") if one.text == "agent"}
    for text, one in _at(scene, "services.k3s.manifests", "services.k3s.autoDeployCharts", "services.k3s.charts"):
        if (text.file, text.line) in agents and one.path.count(".") in (2, 3):
            yield Found(place=text.place(one.offset), what=f"{one.path} is ignored on an agent")


@checks("F14")
def two_configurations(scene: Scene) -> Iterator[Found]:
    """Look for the flag beside the options that add it."""
    if not any(True for _ in _at(scene, "services.k3s.extraKubeletConfig", "services.k3s.gracefulNodeShutdown")):
        return
    for text, one in _at(scene, "services.k3s.extraFlags"):
        for word in one.words:
            if "--kubelet-arg=config=" in word.text:
                yield Found(place=text.place(word.offset), what="the module passes a second configuration file")


_NO_TOOLKIT = re.compile(r"toolkit:\s*(?:\{[^}]*|\n(?:[ \t]+[^\n]*\n)*?[ \t]+)enabled:\s*false")
_TOLD = ("CONTAINERD_SOCKET", "nriPluginEnabled")


@checks("F13")
def operator_without_paths(scene: Scene) -> Iterator[Found]:
    """Look for K3s' own chart objects; a file elsewhere that names the socket says that it is known."""
    if any(word in text for text in scene.sources.values() for word in _TOLD):
        return
    for one in scene.of_kind("HelmChart"):
        chart = one.tree["spec"]["chart"]
        values = one.tree["spec"]["valuesContent"].raw or ""
        off = one.tree["spec"]["set"]["toolkit.enabled"].raw == "false"
        if (chart.raw or "").rpartition("/")[2] == "gpu-operator" and not off and not _NO_TOOLKIT.search(values):
            yield Found(place=chart.place, what="its toolkit is not told where K3s' containerd is", subject=one)
