"""Splits a YAML text into its documents, composes each on its own, and finds the fenced blocks of Markdown.

A broken document does not hide the others: it is reported with the reason, and the rest is still read.
Composed by libyaml: 1,000 manifests take under a second. Anchors are kept as they are (a file of aliases cannot grow),
and merge keys up to `MOST_MERGED`; a document is read up to `LARGEST_DOCUMENT` and `DEEPEST` levels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from corral.linting.tree import MERGE, Tree
from corral.linting.values import Position, Unread

LARGEST_DOCUMENT = 4_000_000
"""Characters; the largest CRD bundles have documents of under a million."""
DEEPEST = 200
"""Levels; libyaml composes recursively, and the deepest schemas of CRDs have some 60."""
MOST_MERGED = 10_000
"""Mappings that the merge keys of one mapping bring in, those of the mappings themselves included; twenty-five lines
of merge keys are 33 million."""
_SEPARATOR = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r]|$)", re.MULTILINE)
_IN_A_LINE = re.compile(rf"(?:[-?:][ \t]+){{{DEEPEST // 4}}}")
"""Entries and keys that begin in one line; with those of the lines above they are a few thousand levels at most."""
_TEMPLATE = re.compile(r"\{\{|\{%")
_BYTE_ORDER_MARK = "\ufeff"
_BLANK = re.compile(r"(?:\s|[#%][^\n]*(?:\n|$))*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML document."""

    tree: Tree
    text: str
    first_line: int
    """The line of its file on which `text` starts, from 1."""
    start: int | None
    """The offset in its file at which `text` starts; None where the file has it in another form (as a scalar)."""


def read_documents(file: str, text: str, *, line: int = 1, start: int | None = 0) -> Iterator[Document | Unread]:
    """Yield the documents of a YAML text; `line` and `start` are the place of the text in its file."""
    first_line, counted = line, 0
    for offset, part in _split_documents(text):
        first_line, counted = first_line + text.count("\n", counted, offset), offset
        if part.startswith(_BYTE_ORDER_MARK):  # libyaml drops it, and would count every offset one too low
            part, offset = part[1:], offset + 1
        if _BLANK.fullmatch(part):
            continue
        yield _compose(file, part, first_line, None if start is None else start + offset)


def _split_documents(text: str) -> Iterator[tuple[int, str]]:
    begin = 0
    for match in _SEPARATOR.finditer(text):
        yield begin, text[begin : match.start()]
        begin = match.end()
    yield begin, text[begin:]


def _compose(file: str, text: str, first_line: int, start: int | None) -> Document | Unread:
    here = Position(file, first_line)
    if len(text) > LARGEST_DOCUMENT:
        return Unread(place=here, why=f"a document of {len(text):,} characters; up to {LARGEST_DOCUMENT:,} are read")
    if _bound_nesting(text) > DEEPEST:
        return Unread(place=here, why=f"nested deeper than {DEEPEST} levels")
    try:
        # A SafeLoader's composer: it builds nodes with places, and never an object of Python.
        node = cast(Any, yaml.compose(text, Loader=yaml.CSafeLoader))  # PyYAML is untyped
    except yaml.YAMLError as error:
        return _report_error(file, text, first_line, error)
    except (ValueError, RecursionError) as error:
        return Unread(place=here, why=f"not YAML: {error}")
    if "<<" in text and _merges_too_much(node):
        return Unread(place=here, why=f"its merge keys bring in more than {MOST_MERGED:,} mappings, or without end")
    return Document(tree=Tree(node, file, first_line - 1, start), text=text, first_line=first_line, start=start)


def _merges_too_much(root: Any) -> bool:  # a node of PyYAML, which is untyped
    """Whether a mapping merges more than `MOST_MERGED` others, or itself through others; looks at each node once."""
    counts: dict[int, int] = {}
    open_nodes: set[int] = set()
    for mapping in _list_mappings(root):
        waiting = [mapping]
        while waiting:
            node = waiting[-1]
            merged = _list_merged(node)
            if id(node) in counts:
                waiting.pop()
            elif id(node) in open_nodes:
                waiting.pop()
                open_nodes.discard(id(node))
                counts[id(node)] = 1 + sum(counts[id(child)] for child in merged)
                if counts[id(node)] > MOST_MERGED:
                    return True
            else:
                open_nodes.add(id(node))
                if any(id(child) in open_nodes for child in merged):
                    return True
                waiting += (child for child in merged if id(child) not in counts)
    return False


def _list_mappings(root: Any) -> list[Any]:  # as above
    mappings: list[Any] = []
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            mappings.append(node)
            waiting += (child for pair in node.value for child in pair)
        else:
            waiting += node.value
    return mappings


def _list_merged(mapping: Any) -> list[Any]:  # as above
    """List the mappings that a mapping merges; one that merges itself is read as if it did not."""
    if not isinstance(mapping, yaml.MappingNode):
        return []
    values = (value for key, value in cast(Any, mapping).value if key.tag == MERGE)
    nodes = (node for value in values for node in (value.value if isinstance(value, yaml.SequenceNode) else [value]))
    return [node for node in nodes if node is not mapping]


def _report_error(file: str, text: str, first_line: int, error: yaml.YAMLError) -> Unread:
    mark = getattr(error, "problem_mark", None)
    number = mark.line if mark else 0
    place = Position(file, first_line + number, mark.column + 1 if mark else 1)
    if _TEMPLATE.search(text):
        return Unread(place=place, why="a template; render it first (`helm template`, `kustomize build`) and lint that")
    context = getattr(error, "context_mark", None)
    cause = _find_cause(text.split("\n"), context.line if context else number, number)
    if cause is not None:
        line, column, why = cause
        return Unread(place=Position(file, first_line + line, column), why=f"not YAML: {why}")
    return Unread(place=place, why=f"not YAML: {getattr(error, 'problem', None) or error}")


_NO_SPACE = re.compile(r"^[ \t]*(?:-[ \t]+)?[\w.-]+(?P<colon>:)(?P<value>[\"'\[{\w])")
_TAB = re.compile(r"^ *(?P<tab>\t)")


def _find_cause(lines: Sequence[str], first: int, last: int) -> tuple[int, int, str] | None:
    """Find the mistake behind an error of libyaml, which names the line where it could not go on; with the number of
    the line from 0 and the column from 1. None when it is not one of the usual ones."""
    for number in range(max(0, first - 1), min(last + 1, len(lines))):
        line = lines[number]
        if tab := _TAB.match(line):
            return number, tab.start("tab") + 1, "a tab before a key: YAML indents with spaces"
        missing = _NO_SPACE.match(line)
        if missing and "//" not in line:
            return number, missing.start("colon") + 2, f"no space after the colon of {line.strip()!r}"
    return None


def _bound_nesting(text: str) -> int:
    """Return an upper bound of the nesting of a text: by brackets, by dashes and marks in a line, by indentation."""
    is_run = _IN_A_LINE.search(text) is not None
    if text.count("[") + text.count("{") <= DEEPEST and not is_run:
        return 0 if len(text) < DEEPEST * DEEPEST // 2 else _measure_indent(text)
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return max(deepest, DEEPEST + 1 if is_run else 0)


def _measure_indent(text: str) -> int:
    """Return the longest run of growing indentation, which bounds the nesting of blocks."""
    levels: list[int] = []
    deepest = 0
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        while levels and levels[-1] >= indent:
            levels.pop()
        levels.append(indent)
        deepest = max(deepest, len(levels))
    return deepest


_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)[^\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block."""

    language: str
    """Lower case; empty when not given."""
    text: str
    line: int
    """The line of the file on which `text` starts, from 1."""
    start: int
    """The offset in the file at which `text` starts."""


_NAMED_FILE = re.compile(r"^#[ \t]*(?:file:?[ \t]*|---[ \t]*)?[`\"']?[\w./{}<>-]*[\w}>]\.ya?ml\b", re.IGNORECASE)
_SECOND_OBJECT = re.compile(r"^apiVersion:[ \t]")


def split_files(text: str) -> Iterator[tuple[int, int, str]]:
    """Split a block of a page that shows several files without `---`: at a comment with the name of a file, and where a
    second object begins. Yield the offset, the line from 0, and the text of each."""
    start = first_line = offset = 0
    has_content = has_object = False
    for number, line in enumerate(text.splitlines(keepends=True)):
        is_object = _SECOND_OBJECT.match(line) is not None
        if has_content and (_NAMED_FILE.match(line) or (is_object and has_object)):
            yield start, first_line, text[start:offset]
            start, first_line, has_content, has_object = offset, number, False, False
        has_content = has_content or bool(line.strip() and not line.startswith("#"))
        has_object = (has_object or is_object) and not line.startswith("---")
        offset += len(line)
    yield start, first_line, text[start:]


def is_page(name: str) -> bool:
    """Return whether a file is a page, by its name."""
    return name.lower().endswith((".md", ".markdown"))


def read_blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks; one that is never closed reaches to the end (CommonMark 0.31, fenced code blocks)."""
    position, line, counted = 0, 1, 0
    while match := _FENCE.search(text, position):
        start = min(match.end() + 1, len(text))
        closing = re.compile(
            rf"^ {{0,3}}{re.escape(match['fence'][0])}{{{len(match['fence'])},}}[ \t]*\r?$", re.MULTILINE
        )
        end = closing.search(text, start)
        until = end.start() if end else len(text)
        line, counted = line + text.count("\n", counted, start), start
        yield Block(language=match["language"].lower(), text=text[start:until], line=line, start=start)
        position = end.end() if end else len(text)
