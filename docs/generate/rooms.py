"""The picture and the list of the rooms, from the import contracts and from the docstrings of the packages."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

from pieces import code, sentence, table

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src"


def draw_layers() -> str:
    """Draw the layers of the import contract, the outermost on top: an arrow is "may import, and all below it"."""
    lines = ["flowchart TD"]
    for number, layer in enumerate(layers()):
        rooms = [f'        {room.replace(".", "_")}["{room.removeprefix("corral.")}"]' for room in layer]
        lines += [f'    subgraph layer{number}[" "]', "        direction LR", *rooms, "    end"]
    lines += [f"    layer{number} --> layer{number + 1}" for number in range(len(layers()) - 1)]
    return "\n".join(["```mermaid", *lines, "```"])


def list_rooms() -> str:
    """List every room of the contract with what belongs there and what does not."""
    rows: list[tuple[str, str, str]] = []
    for layer in layers():
        for room in layer:
            text = _docstring(room)
            rows.append((code(room.removeprefix("corral.")), sentence(text.split("\n\n")[0]), _without(text)))
    return table(("room", "what it is", "does not belong there"), rows)


def layers() -> list[list[str]]:
    """Return the layers of the contract "Dependencies point inwards", the outermost first, as dotted names."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layered = next(contract for contract in contracts if contract["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in layered["layers"]]


def _docstring(room: str) -> str:
    path = SOURCE.joinpath(*room.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def _without(docstring: str) -> str:
    """Return what a package's docstring says does not belong there."""
    after = docstring.partition("Does not belong here: ")[2]
    return sentence(after.partition("May import: ")[0])
