"""What only the text of the code says: which codes problems carry, which modules define errors.

Importing everything would load engine libraries that a machine does not always have, so the text is read instead.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import corral

PACKAGE = Path(corral.__file__).parent

_CODE = re.compile(r"[a-z]+\.[a-z_]+")
_CODE_BEGINNING = re.compile(r"[a-z]+\.[a-z_]*")
_TELLING = ("Problem", "report", "report_key", "report_at", "_report")
"""The calls whose code is that of one problem."""


def modules_with_errors() -> list[str]:
    """Name the modules that define error classes."""
    pattern = re.compile(r"^class \w+Error\(", re.MULTILINE)
    return [_module(path) for path in _files() if pattern.search(path.read_text(encoding="utf-8"))]


def problem_codes() -> set[str]:
    """Find the codes of single problems; `<...>` replaces what the program decides on."""
    return {code for path in _files() for code in _codes_in(ast.parse(path.read_text(encoding="utf-8")))}


def _files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _codes_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in _TELLING:
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            yield from (code for value in (*given, *node.args[:1]) for code in _texts(value))
        elif isinstance(node, ast.keyword) and node.arg == "code":
            yield from _texts(node.value)
        elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["code"]:
            yield from (() if isinstance(node.value, ast.Constant) else _texts(node.value))


def _texts(value: ast.expr) -> Iterator[str]:
    """Yield the codes that an expression can be."""
    if isinstance(value, ast.IfExp):
        yield from (*_texts(value.body), *_texts(value.orelse))
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and _CODE.fullmatch(value.value):
        yield value.value
    elif isinstance(value, ast.JoinedStr) and isinstance(value.values[0], ast.Constant):
        beginning = str(value.values[0].value)
        if _CODE_BEGINNING.fullmatch(beginning):
            yield f"{beginning}<...>"


def _called(node: ast.Call) -> str:
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""
