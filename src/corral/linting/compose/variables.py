"""Variables of Compose files: `${NAME}` and what `.env` and other files of variables say.

A variable of the shell wins over the file `.env`; what a shell has is unknown here, so a value stands for the usual
case, and one that neither a file nor a default gives is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from corral.linting.tree import Tree

_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)"
    r"(?:(?P<how>:?[-?+])(?P<other>(?:[^${}]|\$\{[^{}]*\})*))?\})"
)
_LINE = re.compile(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_][\w.]*)\s*=\s*(?P<value>.*?)\s*$", re.MULTILINE)
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>.*?)(?P=quote)""")
_COMMENT = re.compile(r"\s#.*$")


def read_variables(text: str) -> dict[str, str]:
    """Read a file such as `.env`: a `NAME=value` in each line."""
    return {match["name"]: _unquote(match["value"]) for match in _LINE.finditer(text)}


def _unquote(value: str) -> str:
    match = _QUOTED.match(value)
    return match["text"] if match else _COMMENT.sub("", value).rstrip()


def fill_in(text: str, variables: Mapping[str, str]) -> str:
    """Fill in the variables of a text; `${NAME}` stays where one is unknown."""
    return _REFERENCE.sub(lambda match: _fill_reference(match, variables), text)


def _fill_reference(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    name = match["plain"] or match["name"]
    value = variables.get(name)
    how, other = match["how"] or "", match["other"] or ""
    is_set = value is not None and (bool(value) or not how.startswith(":"))
    unknown = f"${{{name}}}"
    if how.endswith("+"):
        return fill_in(other, variables) if is_set else unknown
    if is_set:
        return value or ""
    return fill_in(other, variables) if how.endswith("-") else unknown


def fill_tree(tree: Tree, variables: Mapping[str, str], filled: dict[int, Tree] | None = None) -> Tree:
    """Fill in the variables of every value below; each value keeps its place, and an unknown one has no value.

    `filled` has the values that are done: aliases repeat them.
    """
    filled = {} if filled is None else filled
    done = filled.get(tree.identity)
    if done is not None:
        return done
    filled[tree.identity] = tree  # an alias to a value around it ends here
    if tree.is_mapping:
        result = tree.replace_fields({name: fill_tree(value, variables, filled) for name, value in tree.items})
    elif tree.is_list:
        result = tree.replace_entries(fill_tree(entry, variables, filled) for entry in tree.entries)
    else:
        result = _fill_scalar(tree, variables)
    filled[tree.identity] = result
    return result


def _fill_scalar(tree: Tree, variables: Mapping[str, str]) -> Tree:
    script = tree.script
    return tree.replace_raw(fill_in(script, variables)) if script is not None and "$" in script else tree
