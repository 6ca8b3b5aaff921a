"""Alloy's configuration language, as far as ours needs it: blocks, written as `alloy fmt` does.

The grammar is that of Grafana's documentation (Alloy configuration syntax); tabs, and `=` aligned below each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NewType

Expression = NewType("Expression", str)
"""Text of an expression, as it stands in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A component, or a part of one."""

    name: str
    label: str | None = None
    attributes: Mapping[str, Expression]
    blocks: tuple[Block, ...] = ()

    def text(self, depth: int = 0) -> str:
        """The block with everything inside."""
        indent = "\t" * depth
        head = f'{self.name} "{self.label}"' if self.label else self.name
        inside = [f"{indent}\t{line}\n" for line in _aligned(self.attributes)]
        parts = [*(["".join(inside)] if inside else []), *(block.text(depth + 1) for block in self.blocks)]
        return f"{indent}{head} {{\n" + "\n".join(parts) + f"{indent}}}\n"


def quoted(text: str) -> Expression:
    """A string; JSON's escapes are those of the language."""
    return Expression(json.dumps(text, ensure_ascii=False))


def listed(values: Sequence[Expression]) -> Expression:
    """A list."""
    return Expression(f"[{', '.join(values)}]")


def mapped(values: Mapping[str, Expression]) -> Expression:
    """An object."""
    return Expression("{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }")


def from_environment(name: str, otherwise: str | None = None) -> Expression:
    """An environment variable; `otherwise` counts where it is not set or empty."""
    read = f"sys.env({quoted(name)})"
    return Expression(read if otherwise is None else f"coalesce({read}, {quoted(otherwise)})")


def joined(first: Expression, second: Expression) -> Expression:
    """Two texts, one after the other."""
    return Expression(f"{first} + {second}")


def _aligned(attributes: Mapping[str, Expression]) -> list[str]:
    longest = max(map(len, attributes), default=0)
    return [f"{name.ljust(longest)} = {value}" for name, value in attributes.items()]
