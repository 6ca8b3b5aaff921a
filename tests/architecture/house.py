"""Counts the house: files, lines, header lines, pronouns as names, and functions that start with a verb.

`make house` prints a table by package, beside the aims; `test_language.py` holds those that every change must keep. The
aims are measured ones: kopf, distributed, dstack, starlette and pydantic-ai have 0.4 to 1.3 % pronouns among their
bindings and 66 to 86 % verbs.

usage: python tests/architecture/house.py [package]    the table, or what a package has against its aims
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SOURCES = REPOSITORY / "src" / "corral"
CODE = (SOURCES, *(REPOSITORY / folder for folder in ("docs/generate", "tests", "benchmarks")))
"""Folders whose names must say what they mean."""
VERBS = frozenset(Path(__file__).with_name("verbs.txt").read_text(encoding="utf-8").split())
PRONOUNS = frozenset(
    {"one", "each", "it", "this", "that", "these", "those", "them", "such", "found", "told", "mine", "theirs"}
)

TOP = "(top)"
# Conversions and conditions are named so in Python's own library: `as_posix`, `to_bytes`, `from_iterable`.
CONVERSIONS = frozenset({"as", "from", "to"})

# Every change must keep these.
LINES_OF_A_FILE = 500
PRONOUN_AIM = 0
VERB_SHARE = 0.75
# Printed for orientation: the header share of the house before its modules were joined was 14.8 %.
HEADER_SHARE = 0.11
VERB_AIM = 0.80

# Decorators of functions whose name is not a call: attributes, and names that a library gives a meaning.
NAMED_AS_VALUES = ("property", "overload", "validator", "serializer", "setter")


@dataclass
class Module:
    """A Python file, read and parsed once."""

    path: Path
    text: str = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def place(self) -> str:
        """The path inside the repository."""
        return self.path.relative_to(REPOSITORY).as_posix()

    @property
    def package(self) -> str:
        """The package; the modules at the top of the house count as one."""
        parts = self.path.relative_to(SOURCES).parts
        return parts[0] if len(parts) > 1 else TOP

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def header_lines(self) -> int:
        """How many lines are the module's docstring and its imports."""
        head = [node for node in self.tree.body if _is_header(node, self.tree)]
        return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in head)


def _is_header(node: ast.stmt, tree: ast.Module) -> bool:
    if isinstance(node, ast.Expr):
        return node is tree.body[0]
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.Import | ast.ImportFrom)


@cache
def read_modules(folder: Path = SOURCES) -> tuple[Module, ...]:
    """Read every Python file of a folder, in the order of their paths."""
    return tuple(Module(path, path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py")))


def find_pronouns(module: Module) -> Iterator[tuple[int, str]]:
    """Find variables, parameters, attributes and functions that are pronouns: their line and their name."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.strip("_") in PRONOUNS:
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in PRONOUNS:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg) and node.arg in PRONOUNS:
            yield node.lineno, node.arg
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name in PRONOUNS:
            yield node.lineno, node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in PRONOUNS:
            yield node.lineno, node.attr


def find_functions(module: Module) -> Iterator[tuple[int, str]]:
    """Find functions and methods that are named as calls: their line and their name."""
    for node in module.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("__"):
            continue
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if not any(word in decorator for decorator in decorators for word in NAMED_AS_VALUES):
            yield node.lineno, node.name


def starts_with_verb(name: str) -> bool:
    return name.strip("_").split("_")[0] in VERBS | CONVERSIONS


@dataclass(slots=True)
class Count:
    """What a package has."""

    files: int = 0
    lines: int = 0
    header_lines: int = 0
    longest: int = 0
    pronouns: int = 0
    functions: int = 0
    verbs: int = 0

    def add(self, module: Module) -> None:
        names = [name for _, name in find_functions(module)]
        self.files += 1
        self.lines += module.lines
        self.header_lines += module.header_lines
        self.longest = max(self.longest, module.lines)
        self.pronouns += sum(1 for _ in find_pronouns(module))
        self.functions += len(names)
        self.verbs += sum(map(starts_with_verb, names))

    @property
    def header_share(self) -> float:
        return self.header_lines / max(1, self.lines)

    @property
    def verb_share(self) -> float:
        """Of the functions, those that start with a verb; 1 without functions."""
        return self.verbs / self.functions if self.functions else 1.0


def count_packages(modules: Iterable[Module]) -> dict[str, Count]:
    """Count by package, in the order of the modules; `all` is the last."""
    counts: dict[str, Count] = {}
    total = Count()
    for module in modules:
        counts.setdefault(module.package, Count()).add(module)
        total.add(module)
    return counts | {"all": total}


COLUMNS = "{:<12} {:>6} {:>7} {:>8} {:>8} {:>9} {:>10} {:>7}"


def format_table(counts: dict[str, Count]) -> str:
    """Write the table of `make house`, with the aims in its last row."""
    rows = [COLUMNS.format("package", "files", "lines", "header", "longest", "pronouns", "functions", "verbs")]
    rows += [
        COLUMNS.format(
            package,
            count.files,
            count.lines,
            f"{count.header_share:.1%}",
            count.longest,
            count.pronouns,
            count.functions,
            f"{count.verb_share:.0%}",
        )
        for package, count in counts.items()
    ]
    aims = COLUMNS.format("aim", "", "", f"{HEADER_SHARE:.0%}", LINES_OF_A_FILE, PRONOUN_AIM, "", f"{VERB_AIM:.0%}")
    return "\n".join([*rows, aims])


def list_exceptions(modules: Iterable[Module]) -> list[str]:
    """List what modules have against the aims, a line each."""
    lines: list[str] = []
    for module in modules:
        lines += [f"{module.place}:{line}: pronoun {name}" for line, name in find_pronouns(module)]
        nouns = [(line, name) for line, name in find_functions(module) if not starts_with_verb(name)]
        lines += [f"{module.place}:{line}: no verb {name}" for line, name in nouns]
    return lines


def main(arguments: list[str]) -> None:
    modules = read_modules()
    if arguments:
        modules = tuple(module for module in modules if module.package in arguments)
        sys.stdout.write("".join(f"{line}\n" for line in list_exceptions(modules)))
    sys.stdout.write(format_table(count_packages(modules)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
