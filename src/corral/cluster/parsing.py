"""Reads YAML into plain values, and remembers the place of each.

ruamel.yaml parses (YAML 1.2: `yes` and `on` are text); the values are built here from its node graph, because that is
where every key, also a duplicate one, still has its line and column. Depth, size and the growth of aliases are bounded
before anything recurses, so hostile text costs no more than a large honest file.
"""

# ruamel.yaml ships no types; what its nodes and marks hold is narrowed here, where it enters.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from corral.cluster.document import Document, Position, YamlPath, locate, show_key

LARGEST_TEXT = 1_000_000  # characters; the largest example has under 10,000
DEEPEST = 24  # levels; the schema needs 6
MOST_VALUES = 100_000  # after aliases are followed: five thousand nodes have about this many
_LARGEST_KEPT_TEXT = 100_000
"""Characters; the events of a text take some hundred times its memory."""
_SPLIT = "split the file"
_DIGITS = 18  # longer whole numbers do not fit 64 bits; no quantity in the file comes near
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "value"})
_DEEPER = {"MappingStartEvent": 1, "SequenceStartEvent": 1, "MappingEndEvent": -1, "SequenceEndEvent": -1}
_HINTS = (
    ("\\t", "indent with spaces: YAML does not take tabs"),
    ("another document", "keep one document: remove the line `---` and what does not belong"),
    ("mapping values", 'put the value into quotes if it contains ": "'),
    ("alias", "define the anchor (`&name`) before it is used (`*name`)"),
    ("", "correct the line; brackets, quotes and indentation must match"),
)


def read(text: str, *, filename: str, most_values: int = MOST_VALUES) -> Document:
    """Read a file's text. What is wrong with it as YAML is in the document's `problems`; nothing is raised.

    `most_values` bounds the keys and values of the file, those that aliases repeat included.
    """
    document = Document(filename)
    if len(text) > LARGEST_TEXT:
        what = f"the file has {len(text)} characters, the most is {LARGEST_TEXT}"
        document.report("cluster.too_large", what, at=(), hint=_SPLIT)
        return document
    try:
        node = _compose(text, document, most_values)
    except ReaderError as error:
        position = locate(text, error.position if isinstance(error.position, int) else 0)
        what = "the file has a character that text cannot have"
        document.report_at("cluster.yaml", what, position=position, hint="remove it")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(1, 1) if mark is None else _clamp(text, mark.line + 1, mark.column + 1)
        document.report_at(
            "cluster.yaml", f"not YAML: {_describe_error(error)}", position=position, hint=_find_hint(error)
        )
    except (YAMLError, ValueError, IndexError, TypeError, AttributeError) as error:
        # The parser lets errors of its own out for a few malformed directives and escapes.
        what = f"not YAML: {type(error).__name__} while reading"
        document.report("cluster.yaml", what, at=(), hint="correct the syntax")
    else:
        if node is not None:
            _Builder(document, most_values).build(node)
    return document


def list_events(text: str, *, most_values: int = MOST_VALUES) -> Sequence[Any]:  # ruamel's events are untyped
    """Return the parser's events of a text, within the bounds of depth and size; the last two texts are remembered.

    One edit of a file reads the same text for its values, its places and its checks. The parser is written in Python
    and takes 14 ms for an example of 4,000 characters. Raises: TooLargeError, and the errors of ruamel.yaml.
    """
    if len(text) > _LARGEST_KEPT_TEXT:
        return _parse(text, most_values)
    return _parse_once(text, most_values)


class TooLargeError(Exception):
    """The text is deeper or has more values than is read."""

    def __init__(self, what: str, hint: str, position: Position) -> None:
        super().__init__(what)
        self.what, self.hint, self.position = what, hint, position


def _parse(text: str, most_values: int) -> Sequence[Any]:
    depth = 0
    events: list[Any] = []
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += _DEEPER.get(type(event).__name__, 0)
        if depth > DEEPEST:
            raise TooLargeError(f"nested more than {DEEPEST} levels deep", "flatten it", _get_position(event))
        events.append(event)
        if len(events) > 2 * most_values + 1:  # a mapping or list has an event at each end
            raise TooLargeError(f"the file holds more than {most_values} keys and values", _SPLIT, _get_position(event))
        if type(event).__name__ == "DocumentStartEvent" and event.version not in (None, (1, 2)):
            break  # an old version of YAML: what follows would be read by other rules
    return events


_parse_once = lru_cache(maxsize=2)(_parse)


def _compose(text: str, document: Document, most_values: int) -> Node | None:
    """Parse to a node graph; None when a bound is exceeded or the file is empty."""
    try:
        events = list_events(text, most_values=most_values)
    except TooLargeError as error:
        document.report_at("cluster.too_large", error.what, position=error.position, hint=error.hint)
        return None
    if type(events[-1]).__name__ == "DocumentStartEvent":
        document.report("cluster.yaml", "the file asks for an old version of YAML", at=(), hint="remove `%YAML`")
        return None
    yaml = YAML(typ="safe", pure=True)
    yaml.Parser = partial(_Replay, events)
    yaml.composer.warn_double_anchors = False  # YAML allows them; the warning would go to stderr
    node: Node | None = yaml.composer.get_single_node()
    return node


class _Replay:
    """Replaces the parser: gives the composer events that were parsed before."""

    def __init__(self, events: Sequence[Any], loader: object) -> None:
        """Take the events to give; ruamel.yaml also hands its parsers the loader that they belong to."""
        self._events = events
        self._next = 0

    def check_event(self, *kinds: type) -> bool:
        return not kinds or isinstance(self._events[self._next], kinds)

    def peek_event(self) -> Any:
        return self._events[self._next]

    def get_event(self) -> Any:
        self._next += 1
        return self._events[self._next - 1]


def _describe_error(error: MarkedYAMLError) -> str:
    words = " ".join(str(part) for part in (error.problem, error.context) if part)
    return re.sub(r"\s+", " ", words)[:200]


def _find_hint(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "")
    return next(hint for mark, hint in _HINTS if mark in problem)


def _clamp(text: str, line: int, column: int) -> Position:
    """Keep a position inside the text: the end of the stream is one line after the last."""
    lines = text.count("\n") + 1
    return Position(line, column) if line <= lines else Position(lines, 1)


class _Builder:
    """Turns nodes into plain values; one instance per file."""

    def __init__(self, document: Document, most_values: int) -> None:
        self._document = document
        self._most_values = most_values
        self._count = 0
        self._is_too_large = False

    def build(self, node: Node) -> None:
        self._document.value = self._build_value(node, ())

    def _build_value(self, node: Node, at: YamlPath) -> Any:  # plain YAML
        position = _get_position(node)
        self._document.values.setdefault(at, position)
        self._count += 1
        if self._is_too_large or self._count > self._most_values or len(at) > DEEPEST:
            self._stop(at)
            return None
        if isinstance(node, MappingNode):
            return self._build_mapping(node, at)
        if isinstance(node, SequenceNode):
            return [self._build_value(item, (*at, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._read_scalar(node, at)

    def _build_mapping(self, node: MappingNode, at: YamlPath) -> dict[str, Any]:  # plain YAML
        result: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged.append(value_node)
                continue
            key = self._read_key(key_node, at)
            if key is None:
                continue
            if key in result:
                first = self._document.keys[(*at, key)]
                self._document.report_at(
                    "cluster.duplicate_key",
                    f"`{show_key(key)}` is here twice, first on line {first.line}",
                    position=_get_position(key_node),
                    at=(*at, key),
                    hint="keep one of them",
                )
                continue
            self._document.keys[(*at, key)] = _get_position(key_node)
            result[key] = self._build_value(value_node, (*at, key))
        for other in merged:
            self._merge(other, result, at)
        return result

    def _merge(self, node: Node, result: dict[str, Any], at: YamlPath, depth: int = 0) -> None:
        """Apply `<<: *other`: its entries, where the mapping does not have them itself."""
        for source in _merge_sources(node):
            self._count += 1
            if self._count > self._most_values or depth > DEEPEST:
                self._stop(at)
                return
            if not isinstance(source, MappingNode):
                self._report("cluster.yaml", "`<<` takes a mapping or a list of mappings", at)
                return
            for key_node, value_node in source.value:
                if key_node.tag == _TAG + "merge":
                    self._merge(value_node, result, at, depth + 1)
                    continue
                key = self._read_key(key_node, at)
                if key is not None and key not in result:
                    self._document.keys[(*at, key)] = _get_position(key_node)
                    result[key] = self._build_value(value_node, (*at, key))

    def _stop(self, at: YamlPath) -> None:
        """Give up on a file whose aliases make it too large; reported once."""
        if not self._is_too_large:
            self._report("cluster.too_large", "its aliases expand without end or beyond what a file can hold", at)
        self._is_too_large = True

    def _read_key(self, node: Node, at: YamlPath) -> str | None:
        if isinstance(node, ScalarNode) and node.tag in _TEXT_TAGS:
            return str(node.value)
        shown = f"`{show_key(str(node.value))}`" if isinstance(node, ScalarNode) else "a list or a mapping"
        self._document.report_at(
            "cluster.bad_value",
            f"a key must be text, not {shown}",
            position=_get_position(node),
            at=at,
            hint="put the key into quotes",
        )
        return None

    def _read_scalar(self, node: ScalarNode, at: YamlPath) -> str | int | float | bool | None:
        text, tag = str(node.value), str(node.tag)
        if tag in _TEXT_TAGS:
            return text
        if tag == _TAG + "null":
            return None
        if tag == _TAG + "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if tag in (_TAG + "int", _TAG + "float"):
            return self._read_number(text, at, whole=tag == _TAG + "int")
        self._report(
            "cluster.yaml", f"the tag `{show_key(tag.removeprefix(_TAG))}` has no meaning here", at, "remove it"
        )
        return text

    def _read_number(self, text: str, at: YamlPath, *, whole: bool) -> int | float | str:
        plain = text.replace("_", "")
        try:
            number = _parse_whole(plain) if whole else _parse_float(plain)
        except ValueError:
            number = math.inf
        if math.isfinite(number):
            return number
        self._report(
            "cluster.bad_value", f"not a number that can be used: {show_key(text[:40])}", at, "write a usual number"
        )
        self._document.unusable.add(at)
        return 0

    def _report(self, code: str, what: str, at: YamlPath, hint: str = "write it out without `*` and `<<`") -> None:
        self._document.report(code, what, at=at, hint=hint)


def _parse_whole(text: str) -> int:
    if len(text.lstrip("+-")) > _DIGITS:
        raise ValueError("too long")
    digits = text.lstrip("+-")
    if digits.lower().startswith(("0x", "0o", "0b")):
        return int(text, 0)
    return int(text)


def _parse_float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _merge_sources(node: Node) -> Iterator[Node]:
    if isinstance(node, SequenceNode):
        yield from node.value
    else:
        yield node


def _get_position(node: Any) -> Position:  # a node or an event of ruamel.yaml
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
