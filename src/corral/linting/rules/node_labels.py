"""Labels and taints of nodes, as the flags of K3s set them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from corral.linting.corpus import Corpus
from corral.linting.nix import Binding
from corral.linting.registry import Violation, checks
from corral.linting.values import Position

_FLAG = re.compile(r"--node-label[= ][\"']?(?P<key>[^\s\"'=]{1,320})=(?P<value>[^\s\"',]{0,320})")
_PAIR = re.compile(r"(?<!\S)(?P<key>[^\s=]{1,320})=(?P<value>\S{0,320})")
"""Bounded, as labels are (a key has up to 317 characters): a long line costs no more than its length."""
_REMOVED = re.compile(
    r"(?:removed|gone|deleted|was)\b[^\n]{0,200}?--node-label|--node-label[^\n]{0,200}?\b(?:removed|deleted)\b", re.I
)
_COMMENTED = re.compile(r"^\s*(?:#|//)\s*[\"']?--node-label=")
_BY_HAND = re.compile(r"kubectl label nodes? +\S{1,253} +(?P<pairs>[^\n|&;]{1,2000})")
_OPEN_DOMAINS = ("node.kubernetes.io", "topology.kubernetes.io", "kubelet.kubernetes.io")
_OPEN_KEYS = frozenset({"kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch"})
_CHOICE = re.compile(r"\boptionals?\b|\bif\b|\bmkIf\b")
_SHELLS = frozenset({"bash", "sh", "shell", "console", "zsh", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label that a flag gives to a node."""

    unit: str
    """The list of flags of one node that it is in."""
    key: str
    value: str
    place: Position


def list_labels(corpus: Corpus) -> Iterator[Label]:
    """Every label of Nix modules, K3s configuration files and commands, in the order of the files."""
    yield from _list_module_labels(corpus)
    yield from _list_command_labels(corpus)
    for spot in corpus.find_under("node-label"):
        for entry in spot.tree.entries:
            match = _PAIR.fullmatch(entry.raw or "")
            if match:
                yield Label(unit=str(spot.tree.place), key=match["key"], value=match["value"], place=entry.place)


def _list_module_labels(corpus: Corpus) -> Iterator[Label]:
    for text, module in corpus.modules:
        for binding in module.bindings:
            pattern = _choose_pattern(binding)
            if pattern is None or _CHOICE.search(binding.source):
                continue  # of a choice, not all of the list holds at once
            unit = f"{text.file}:{text.line + binding.offset}"
            for word in binding.words:
                for match in pattern.finditer(word.text):
                    yield Label(unit=unit, key=match["key"], value=match["value"], place=text.locate(word.offset))


def _choose_pattern(binding: Binding) -> re.Pattern[str] | None:
    """How labels are written in a binding; None where none are."""
    if binding.path.endswith(".nodeLabel"):
        return _PAIR
    return _FLAG if binding.path.endswith("extraFlags") else None


def _list_command_labels(corpus: Corpus) -> Iterator[Label]:
    """A command that goes on in the next line is one; its joint keeps its length, so that offsets stay."""
    for text in corpus.texts:
        if text.language not in _SHELLS or "--node-label" not in text.text:
            continue
        start = 0
        for line in text.text.replace("\\\n", "  ").split("\n"):
            for match in _FLAG.finditer(line):
                place = text.locate(start + match.start())
                yield Label(
                    unit=f"{text.file}:{text.line}:{start}", key=match["key"], value=match["value"], place=place
                )
            start += len(line) + 1


@checks("F01", of_files=True)
def check_duplicate_labels(corpus: Corpus) -> Iterator[Violation]:
    """Look for keys that one list of flags gives twice with different values."""
    seen: dict[tuple[str, str], str] = {}
    for label in list_labels(corpus):
        before = seen.get((label.unit, label.key))
        if before is not None and before != label.value:
            yield Violation(
                place=label.place, what=f"{label.key} is {before!r} and then {label.value!r}; only the last one stays"
            )
        seen[label.unit, label.key] = label.value


@checks("F02", of_files=True)
def check_removed_label_flags(corpus: Corpus) -> Iterator[Violation]:
    """Look for comments that say that a flag was removed, and for flags that were commented out."""
    for text, module in corpus.modules:
        for comment in module.comments:
            match = _FLAG.search(comment.text)
            if (
                match
                and "kubectl label" not in comment.text
                and (_REMOVED.search(comment.text) or _COMMENTED.match(comment.text))
            ):
                what = f"the flag of {match['key']} is gone, the label stays on the node"
                yield Violation(place=text.locate(comment.offset), what=what)


@checks("F03", of_files=True)
def check_labels_by_hand(corpus: Corpus) -> Iterator[Violation]:
    """Look for `kubectl label` with a key that a flag gives another value."""
    flags = {label.key: label.value for label in list_labels(corpus)}
    for text in corpus.texts if flags else ():
        for match in _BY_HAND.finditer(text.text) if text.language in _SHELLS else ():
            for pair in _PAIR.finditer(match["pairs"]):
                if flags.get(pair["key"], pair["value"]) != pair["value"]:
                    what = f"{pair['key']}={pair['value']} by hand, {flags[pair['key']]!r} by the flag"
                    yield Violation(place=text.locate(match.start()), what=what)


@checks("F04", of_files=True)
def check_restricted_labels(corpus: Corpus) -> Iterator[Violation]:
    """Look for keys in Kubernetes' own domains."""
    for label in list_labels(corpus):
        domain = label.key.rpartition("/")[0]
        is_kubernetes = domain.endswith(("kubernetes.io", "k8s.io"))
        is_open = domain.endswith(_OPEN_DOMAINS) or label.key in _OPEN_KEYS
        if is_kubernetes and not is_open:
            yield Violation(place=label.place, what=f"a kubelet cannot set {label.key}")


_TAINT_FLAG = re.compile(r"--node-taint[= ][\"']?(?P<taint>[^\s\"']{1,400})")
_GONE = re.compile(r"\b(?:removed|gone|deleted|was|changed)\b", re.IGNORECASE)
_COMMENTED_OUT = re.compile(r"^\s*(?:#|//)\s*[\"']?--node-taint[= ]")


@checks("F05", of_files=True)
def check_removed_taint_flags(corpus: Corpus) -> Iterator[Violation]:
    """Look for comments that say that a flag was removed or changed, and for flags that were commented out."""
    for text, module in corpus.modules:
        for comment in module.comments:
            match = _TAINT_FLAG.search(comment.text)
            is_gone = _GONE.search(comment.text) or _COMMENTED_OUT.match(comment.text)
            if match and is_gone and "kubectl taint" not in comment.text:
                what = f"the flag of {match['taint']} is gone, the taint stays on the node"
                yield Violation(place=text.locate(comment.offset), what=what)
