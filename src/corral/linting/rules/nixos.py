"""Modules of NixOS: options that exist, and NVIDIA's driver for the GPUs of the machine that a module is for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath

from corral.cluster.values import Node
from corral.hardware.catalogue import GpuModel
from corral.hardware.nvidia_drivers import ONLY_OPEN_SINCE, OPEN_SINCE, find_generation
from corral.linting.corpus import Corpus, Text
from corral.linting.nix import Binding, NixText
from corral.linting.nixos_options import CHANGES, KNOWN_OPTIONS, WHOLE_MODULES
from corral.linting.registry import Violation, checks
from corral.linting.values import Position, Severity

_NAMES = ("networking.hostName", "services.k3s.nodeName")
_NUMBERED = re.compile(r"\b(?:legacy_|dc_|nvidia_x11_legacy|nvidia_dc_)(?P<number>\d{3})\b")
_ALWAYS_NEWEST = re.compile(
    r"\bnvidiaPackages\.(?:latest|beta|vulkan_beta|new_feature)\b|\bnvidia_x11_(?:latest|beta)\b"
)
_OF_THE_RELEASE = re.compile(r"\bnvidiaPackages\.(?:stable|production)\b|\bnvidia_x11(?:_production)?\b")
_GENERAL_FILES = frozenset(
    {"configuration", "hardware-configuration", "default", "flake", "hardware", "gpu", "nvidia", "graphics", "ai"}
)
"""Files that are named after what is in them, and not after a machine."""
_NEWEST_BRANCHES = frozenset({"latest", "beta", "vulkan_beta", "new_feature"})
_NEWEST = 10_000
"""More than any branch has as its number."""
_NEAR = 0.85
"""Of difflib's ratio: `modesettings.enable` is near `modesetting.enable`, `enhance` is near nothing."""


@checks("A30", of_files=True)
def check_kernel_modules(corpus: Corpus) -> Iterator[Violation]:
    """Look for closed modules where a GPU is of Blackwell, and for open ones on a node whose GPUs are all too old."""
    for text, module in corpus.modules if corpus.cluster else ():
        for binding in module.bindings:
            if binding.path == "hardware.nvidia.open":
                needed = _find_needed_modules(
                    corpus, _find_node(corpus, text, module.bindings), is_open=binding.boolean
                )
                if needed:
                    yield Violation(place=text.locate(binding.offset), what=needed)


def _find_needed_modules(corpus: Corpus, node: Node | None, *, is_open: bool | None) -> str | None:
    """Describe the modules that the GPUs need instead; without a node, only if some GPU of the cluster needs them."""
    models = corpus.gpu_models if node is None else corpus.find_models(node)
    new = [model.name for model in models if _get_capability(model) >= ONLY_OPEN_SINCE]
    old = [model.name for model in models if _get_capability(model) < OPEN_SINCE]
    if is_open is False and new:
        return f"{_join_names(new)} needs the open kernel modules"
    if is_open is True and node is not None and old and not new:
        return f"{_join_names(old)} needs the closed kernel modules"
    return None


@checks("F17", of_files=True)
def check_driver_branch(corpus: Corpus) -> Iterator[Violation]:
    """Look for a driver that does not drive a GPU of the node, in modules that are for one node of the cluster file."""
    for text, module in corpus.modules if corpus.cluster else ():
        node = _find_node(corpus, text, module.bindings)
        if node is None:
            continue
        chosen = _find_driver(module)
        if chosen is None:
            continue
        binding, branch, is_sure = chosen
        models = dict.fromkeys(corpus.find_models(node))
        newest = max(map(_get_capability, models), default=OPEN_SINCE)
        for model in models:
            if newest >= ONLY_OPEN_SINCE and _get_capability(model) < OPEN_SINCE:
                continue  # no driver is for both, and the plan says so
            problem = _explain_misfit(model, branch)
            if problem:
                what = (
                    problem if is_sure else f"{problem}; releases from 26.05 on have a newer one as their stable driver"
                )
                severity = None if is_sure else Severity.WARNING
                yield Violation(place=text.locate(binding.offset), what=what, subject=node.name, severity=severity)


def _find_driver(module: NixText) -> tuple[Binding, int, bool] | None:
    """Find the driver that a module chooses: where, its branch, and whether it is so in every release.

    None where it chooses none, or one whose branch is unknown.
    """
    for path in ("hardware.nvidia.package", "hardware.nvidia.branch"):
        binding = module.find_last(path)
        if binding is None:
            continue
        numbered = _NUMBERED.search(binding.source)
        if numbered:
            return binding, int(numbered["number"]), True
        if _ALWAYS_NEWEST.search(binding.source) or binding.text in _NEWEST_BRANCHES:
            return binding, _NEWEST, True
        if _OF_THE_RELEASE.search(binding.source) or binding.text in ("stable", "production"):
            return binding, _NEWEST, False
        return None
    drivers = module.find_last("services.xserver.videoDrivers")
    if drivers is not None and any(word.text == "nvidia" for word in drivers.words):
        return drivers, _NEWEST, False
    return None


def _explain_misfit(model: GpuModel, branch: int) -> str | None:
    """Explain why a branch does not drive a GPU; None where it does, or where that is unknown."""
    generation = find_generation(model.cuda_capability) if model.cuda_capability else None
    if generation is None:
        return None
    if generation.last_branch is not None and branch > generation.last_branch:
        last = generation.last_branch
        return f"{model.name} is {generation.name}, which no driver after {last} drives: it needs `legacy_{last}`"
    if branch < generation.first_branch:
        first = generation.first_branch
        return f"{model.name} is {generation.name}, which driver {branch} does not drive: it needs {first} or newer"
    return None


@checks("F15", of_files=True)
def check_changed_options(corpus: Corpus) -> Iterator[Violation]:
    """Look for options that were renamed or removed."""
    for setting in _list_settings(corpus):
        change = CHANGES.get(setting.path)
        if change is not None:
            what = f"`{setting.path}` is gone since NixOS {change.release}: write {change.instead}"
            severity = Severity.WARNING if change.still_works else None
            yield Violation(place=setting.place, what=what, severity=severity)


@checks("F16", of_files=True)
def check_unknown_options(corpus: Corpus) -> Iterator[Violation]:
    """Look for options that no module has; where not all are known, for those that are close to one."""
    own = {
        binding.path.removeprefix("options.")
        for _, module in corpus.modules
        for binding in module.bindings
        if binding.path.startswith("options.")
    }
    for setting in _list_settings(corpus):
        for prefix, known in (*WHOLE_MODULES.items(), *KNOWN_OPTIONS.items()):
            name = setting.path.removeprefix(f"{prefix}.")
            is_judged = name != setting.path and setting.path not in CHANGES and not _is_part_of(name, known)
            if not is_judged or any(path.startswith(f"{prefix}.") for path in own):
                continue
            near = get_close_matches(name, known, n=1, cutoff=_NEAR)
            if near or prefix in WHOLE_MODULES:
                meant = f"; did you mean `{prefix}.{near[0]}`?" if near else ""
                yield Violation(place=setting.place, what=f"there is no option `{setting.path}`{meant}")


@dataclass(frozen=True, slots=True)
class _Setting:
    path: str
    place: Position


def _list_settings(corpus: Corpus) -> Iterator[_Setting]:
    """List the options that modules set; computed paths are left out."""
    for text, module in corpus.modules:
        for binding in module.bindings:
            if "${" not in binding.path:
                yield _Setting(binding.path.removeprefix("config."), text.locate(binding.offset))


def _is_part_of(name: str, known: frozenset[str]) -> bool:
    """Return whether a name is an option, a group of options, or below an option."""
    return any(name == option or name.startswith(f"{option}.") or option.startswith(f"{name}.") for option in known)


def _find_node(corpus: Corpus, text: Text, bindings: Sequence[Binding]) -> Node | None:
    """The node that a module is for: by the name that it sets, else by its file's; the only one where neither names a
    machine."""
    nodes = corpus.cluster.nodes if corpus.cluster else ()
    names = [binding.text for binding in bindings if binding.path in _NAMES and binding.text]
    wanted = names[0] if names else PurePosixPath(text.file).stem
    named = next((node for node in nodes if node.name == wanted), None)
    is_unnamed = not names and wanted in _GENERAL_FILES
    return nodes[0] if named is None and is_unnamed and len(nodes) == 1 else named


def _get_capability(model: GpuModel) -> tuple[int, int]:
    """Its CUDA capability; of a GPU that has none, one that asks for nothing."""
    return model.cuda_capability or OPEN_SINCE


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(sorted(set(names)))
