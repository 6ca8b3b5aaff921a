"""Reads YAML into plain values, and remembers where each of them stands.

ruamel.yaml parses (YAML 1.2: `yes` and `on` are text); the values are built here from its node graph, because that is
where every key, also a duplicate one, still has its line and column. Depth, size and the growth of aliases are bounded
before anything recurses, so hostile text costs no more than a large honest file.
"""

# ruamel.yaml ships no types; what its nodes and marks hold is narrowed here, where it enters.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from corral.errors import Problem

Path = tuple[str | int, ...]
"""Keys and list indexes from the top of the file."""

LARGEST_TEXT = 1_000_000  # characters; the largest example has under 10,000
DEEPEST = 24  # levels; the schema needs 6
MOST_VALUES = 20_000  # after aliases are followed: a thousand nodes have about this many
_DIGITS = 18  # longer whole numbers do not fit 64 bits; no quantity in the file comes near
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "value"})
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the text; both count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """The values of a file, where they stand, and what is wrong with it as YAML."""

    filename: str
    value: Any = None  # plain YAML: dict, list, str, int, float, bool or None
    problems: list[tuple[Position, Problem]] = field(default_factory=list[tuple[Position, Problem]])
    keys: dict[Path, Position] = field(default_factory=dict[Path, Position])
    values: dict[Path, Position] = field(default_factory=dict[Path, Position])
    stand_ins: set[str] = field(default_factory=set[str])
    """Texts that took the place of misshapen values; no problem is about them."""

    def report(self, code: str, what: str, *, at: Path, hint: str | None = None) -> None:
        """Add a problem about the value at `at`."""
        self.report_at(code, what, position=self._position(self.values, at), at=at, hint=hint)

    def report_key(self, code: str, what: str, *, at: Path, hint: str | None = None) -> None:
        """Add a problem about the key that `at` ends with."""
        self.report_at(code, what, position=self._position(self.keys, at), at=at, hint=hint)

    def report_at(self, code: str, what: str, *, position: Position, at: Path = (), hint: str | None = None) -> None:
        """Add a problem at a position of the text."""
        where = f"{self.filename}:{position.line}:{position.column} {spell(at)}".rstrip()
        self.problems.append((position, Problem(code=code, what=what, where=where, hint=hint)))

    def sorted_problems(self) -> tuple[Problem, ...]:
        """List the problems in the order of the file, each once."""
        ordered = sorted(self.problems, key=lambda one: (one[0].line, one[0].column))
        return tuple(dict.fromkeys(problem for _, problem in ordered))

    def _position(self, positions: dict[Path, Position], at: Path) -> Position:
        """Find the position of a path; of its nearest known parent where the path itself is not in the file."""
        for length in range(len(at), -1, -1):
            position = positions.get(at[:length]) or self.values.get(at[:length])
            if position is not None:
                return position
        return Position(1, 1)


def spell(path: Path) -> str:
    """Write a path as people do: `nodes[0].labels["hydra.io/vram-total"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part[:60]}"]'
    return text


def read(text: str, *, filename: str) -> Document:
    """Read a file's text. What is wrong with it as YAML is in the document's `problems`; nothing is raised."""
    document = Document(filename)
    if len(text) > LARGEST_TEXT:
        document.report(
            "cluster.too_large", f"the file has {len(text)} characters, the most is {LARGEST_TEXT}", at=(), hint=_SPLIT
        )
        return document
    try:
        node = _compose(text, document)
    except ReaderError as error:
        before = text[: error.position if isinstance(error.position, int) else 0]
        position = Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        document.report_at(
            "cluster.yaml", "the file has a character that text cannot have", position=position, hint="remove it"
        )
        return document
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(1, 1) if mark is None else _clamp(text, mark.line + 1, mark.column + 1)
        document.report_at("cluster.yaml", f"not YAML: {_said(error)}", position=position, hint=_hint_for(error))
        return document
    except (YAMLError, ValueError, IndexError, TypeError, AttributeError) as error:
        # The parser lets such errors of its own out for a few malformed directives and escapes.
        document.report(
            "cluster.yaml", f"not YAML: {type(error).__name__} while reading", at=(), hint="mend the syntax"
        )
        return document
    if node is not None:
        _Builder(document).build(node)
    return document


_SPLIT = "describe one cluster per file"


def _compose(text: str, document: Document) -> Node | None:
    """Parse to a node graph; None when a bound is exceeded or the file is empty."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        name = type(event).__name__
        depth += {"MappingStartEvent": 1, "SequenceStartEvent": 1, "MappingEndEvent": -1, "SequenceEndEvent": -1}.get(
            name, 0
        )
        if depth > DEEPEST:
            position = Position(event.start_mark.line + 1, event.start_mark.column + 1)
            document.report_at(
                "cluster.too_large", f"nested more than {DEEPEST} levels deep", position=position, hint="flatten it"
            )
            return None
        if name == "DocumentStartEvent" and event.version not in (None, (1, 2)):
            document.report("cluster.yaml", "the file asks for an old version of YAML", at=(), hint="remove `%YAML`")
            return None
    node: Node | None = YAML(typ="safe", pure=True).compose(text)
    return node


def _said(error: MarkedYAMLError) -> str:
    said = " ".join(str(part) for part in (error.problem, error.context) if part)
    return re.sub(r"\s+", " ", said)[:200]


def _hint_for(error: MarkedYAMLError) -> str:
    said = str(error.problem or "")
    if "\\t" in said:
        return "indent with spaces: YAML does not take tabs"
    if "another document" in said:
        return "keep one document: remove the line `---` and what does not belong"
    if "mapping values" in said:
        return 'put the value into quotes if it contains ": "'
    if "alias" in said:
        return "define the anchor (`&name`) before it is used (`*name`)"
    return "mend the line; brackets, quotes and indentation must match"


def _clamp(text: str, line: int, column: int) -> Position:
    """Keep a position inside the text: the end of the stream stands one line after the last."""
    lines = text.count("\n") + 1
    return Position(line, column) if line <= lines else Position(lines, 1)


class _Builder:
    """Turns nodes into plain values; one instance per file."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0

    def build(self, node: Node) -> None:
        self._document.value = self._value(node, ())

    def _value(self, node: Node, at: Path) -> Any:  # plain YAML
        position = _position(node)
        self._document.values.setdefault(at, position)
        self._count += 1
        if self._count > MOST_VALUES or len(at) > DEEPEST:
            if self._count <= MOST_VALUES or self._count == MOST_VALUES + 1:
                self._report("cluster.too_large", "its aliases expand without end or beyond what a file may hold", at)
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, at)
        if isinstance(node, SequenceNode):
            return [self._value(item, (*at, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, at)

    def _mapping(self, node: MappingNode, at: Path) -> dict[str, Any]:  # plain YAML
        result: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged.append(value_node)
                continue
            key = self._key(key_node, at)
            if key is None:
                continue
            if key in result:
                first = self._document.keys[(*at, key)]
                self._document.report_at(
                    "cluster.duplicate_key",
                    f"`{key[:60]}` stands here twice, first on line {first.line}",
                    position=_position(key_node),
                    at=(*at, key),
                    hint="keep one of them",
                )
                continue
            self._document.keys[(*at, key)] = _position(key_node)
            result[key] = self._value(value_node, (*at, key))
        for other in merged:
            self._merge(other, result, at)
        return result

    def _merge(self, node: Node, result: dict[str, Any], at: Path, depth: int = 0) -> None:
        """Apply `<<: *other`: its entries, where the mapping does not have them itself."""
        for source in _merge_sources(node):
            self._count += 1
            if self._count > MOST_VALUES or depth > DEEPEST or not isinstance(source, MappingNode):
                self._report("cluster.yaml", "`<<` takes a mapping, or a list of mappings, that ends", at)
                return
            for key_node, value_node in source.value:
                if key_node.tag == _TAG + "merge":
                    self._merge(value_node, result, at, depth + 1)
                    continue
                key = self._key(key_node, at)
                if key is not None and key not in result:
                    self._document.keys[(*at, key)] = _position(key_node)
                    result[key] = self._value(value_node, (*at, key))

    def _key(self, node: Node, at: Path) -> str | None:
        if isinstance(node, ScalarNode) and node.tag in _TEXT_TAGS:
            return str(node.value)
        shown = f"`{str(node.value)[:60]}`" if isinstance(node, ScalarNode) else "a list or a mapping"
        self._document.report_at(
            "cluster.bad_value",
            f"a key must be text, not {shown}",
            position=_position(node),
            at=at,
            hint="put the key into quotes",
        )
        return None

    def _scalar(self, node: ScalarNode, at: Path) -> str | int | float | bool | None:
        text, tag = str(node.value), str(node.tag)
        if tag in _TEXT_TAGS:
            return text
        if tag == _TAG + "null":
            return None
        if tag == _TAG + "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if tag in (_TAG + "int", _TAG + "float"):
            return self._number(text, at, whole=tag == _TAG + "int")
        self._report("cluster.yaml", f"the tag `{tag.removeprefix(_TAG)[:60]}` has no meaning here", at, "remove it")
        return text

    def _number(self, text: str, at: Path, *, whole: bool) -> int | float | str:
        plain = text.replace("_", "")
        try:
            number = _whole(plain) if whole else float(plain.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            number = math.inf
        if math.isfinite(number):
            return number
        self._report("cluster.bad_value", f"not a number that can be used: {text[:40]}", at, "write a smaller number")
        return 0

    def _report(self, code: str, what: str, at: Path, hint: str = "write it out without `*` and `<<`") -> None:
        self._document.report(code, what, at=at, hint=hint)


def _whole(text: str) -> int:
    if len(text.lstrip("+-")) > _DIGITS:
        raise ValueError("too long")
    digits = text.lstrip("+-")
    if digits.lower().startswith(("0x", "0o", "0b")):
        return int(text, 0)
    return int(text)


def _merge_sources(node: Node) -> Iterator[Node]:
    if isinstance(node, SequenceNode):
        yield from node.value
    else:
        yield node


def _position(node: Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
