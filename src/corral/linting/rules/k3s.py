"""K3s on NixOS: the token, the runtime, containerd's template, manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.reading.nix import Binding
from corral.linting.registry import Found, checks
from corral.linting.scene import Scene, Text
from corral.linting.values import Rule, Severity

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


@checks(
    Rule(
        id="F06",
        name="token-in-nix-store",
        severity=Severity.ERROR,
        summary="the cluster's token in the Nix store",
        practice="Everybody on the machine can read it there, and in the list of processes; with it any machine can "
        "join.",
        source="the module's own warning on services.k3s.token; the unit passes it on the command line",
        fix="Use `tokenFile` with a file outside the store (mode 0400), written by sops-nix or agenix.",
    )
)
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


@checks(
    Rule(
        id="F07",
        name="nixos-runtime-not-on-path",
        severity=Severity.ERROR,
        summary="an NVIDIA runtime that K3s cannot find",
        practice="K3s looks for the runtime on the path of its service, which on NixOS does not hold it: no `nvidia` "
        "runtime, "
        'and pods fail with `no runtime for "nvidia" is configured`.',
        source="docs.k3s.io/advanced; nixpkgs#288037, #367769",
        fix="Add `systemd.services.k3s.path = [ pkgs.nvidia-container-toolkit.tools ]`, or name the runtime in "
        "`services.k3s.containerdConfigTemplate`.",
    )
)
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


@checks(
    Rule(
        id="F08",
        name="containerd-template-v2",
        severity=Severity.WARNING,
        summary="a containerd template of the old format",
        practice="K3s 1.31.6, 1.32.2 and newer have containerd 2 and prefer config-v3.toml.tmpl; keys of the old "
        "format are "
        "migrated or ignored.",
        source="docs.k3s.io/advanced, containerd 2; the NixOS module writes config.toml.tmpl",
        fix='Begin with `{{ template "base" . }}` and use the keys of version 3 (`io.containerd.cri.v1.runtime`).',
    )
)
def old_template(scene: Scene) -> Iterator[Found]:
    """Look for keys of the old format."""
    for text, one in _at(scene, "services.k3s.containerdConfigTemplate"):
        match = _OLD_TEMPLATE.search(one.source)
        if match:
            place = text.place(one.value_offset + match.start())
            yield Found(place=place, what=f"{match[0]!r} is of containerd's old configuration")


@checks(
    Rule(
        id="F09",
        name="resource-name-gpu-all",
        severity=Severity.ERROR,
        summary="`nvidia.com/gpu-all` beside `nvidia.com/gpu`",
        practice="The generic CDI plugin offers one resource for all cards: pods that ask for nvidia.com/gpu stay "
        "Pending, and "
        "one claim of gpu-all takes every card of the node.",
        source="the NVIDIA chapter of the nixpkgs manual uses generic-cdi-plugin",
        fix="Use NVIDIA's device plugin, or DRA.",
    )
)
def all_gpus(scene: Scene) -> Iterator[Found]:
    """Look for the resource in containers."""
    for one in scene.containers:
        for part in ("limits", "requests"):
            asked = one.tree["resources"][part][_ALL]
            if asked:
                what = f"container {one.name!r} asks for {_ALL}: every card of its node"
                alone = None if any(each.gpus for each in scene.containers) else Severity.NOTE
                yield Found(place=asked.key or asked.place, what=what, subject=one.pod.owner, severity=alone)


@checks(
    Rule(
        id="F10",
        name="cdi-name-strategy",
        severity=Severity.WARNING,
        summary="CDI names by index, a device plugin that names by UUID",
        practice="The container does not start: `unresolvable CDI devices nvidia.com/gpu=GPU-...`.",
        source="the option device-name-strategy is `index` by default; the plugin's DEVICE_ID_STRATEGY is `uuid`",
        fix='Set `hardware.nvidia-container-toolkit.device-name-strategy = "uuid"`.',
    )
)
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


@checks(
    Rule(
        id="F11",
        name="manifests-not-pruned",
        severity=Severity.NOTE,
        summary="objects deployed through services.k3s.manifests",
        practice="Taking an entry out of the configuration leaves its objects in the cluster.",
        source="documentation of the NixOS module",
        fix="Keep there only what never changes; deploy what a layout switches in another way.",
    )
)
def manifests_stay(scene: Scene) -> Iterator[Found]:
    """Look for manifests of a server."""
    if any(one.text == "agent" for _, one in _at(scene, "services.k3s.role")):
        return
    for text, one in _at(scene, "services.k3s.manifests"):
        if one.path.count(".") == 3:
            yield Found(place=text.place(one.offset), what=f"{one.path} stays in the cluster once it is taken out here")


@checks(
    Rule(
        id="F12",
        name="agent-with-manifests",
        severity=Severity.WARNING,
        summary="manifests on an agent",
        practice="Only servers deploy them; on an agent they are ignored, with no more than a warning of the module.",
        source="the NixOS module's own warning",
        fix="Move them to the server.",
    )
)
def manifests_on_agent(scene: Scene) -> Iterator[Found]:
    """Look for manifests and charts beside `role = "agent"` in one text."""
    agents = {(text.file, text.line) for text, one in _at(scene, "services.k3s.role") if one.text == "agent"}
    for text, one in _at(scene, "services.k3s.manifests", "services.k3s.autoDeployCharts", "services.k3s.charts"):
        if (text.file, text.line) in agents and one.path.count(".") in (2, 3):
            yield Found(place=text.place(one.offset), what=f"{one.path} is ignored on an agent")


@checks(
    Rule(
        id="F14",
        name="double-kubelet-config",
        severity=Severity.NOTE,
        summary="two configuration files for one kubelet",
        practice="The module passes a file of its own; the kubelet takes only one, and the other's settings are lost.",
        source="the NixOS module adds --kubelet-arg=config= for extraKubeletConfig and gracefulNodeShutdown",
        fix="Put everything into `extraKubeletConfig`.",
    )
)
def two_configurations(scene: Scene) -> Iterator[Found]:
    """Look for the flag beside the options that add it."""
    if not any(True for _ in _at(scene, "services.k3s.extraKubeletConfig", "services.k3s.gracefulNodeShutdown")):
        return
    for text, one in _at(scene, "services.k3s.extraFlags"):
        for word in one.words:
            if "--kubelet-arg=config=" in word.text:
                yield Found(place=text.place(word.offset), what="the module passes a second configuration file")
