"""The texts of the rules, read from their pages: `docs/rules/<ID>.md`, in a wheel next to this module.

A page has name, severity and summary as front matter, and the sections "In practice", "Why" and "Fix". What follows
(examples) is for readers of the page alone. The text exists once, on the page; the code holds the check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from corral.linting.values import Rule, Severity

_IN_A_WHEEL = Path(__file__).parent / "pages"
_IN_A_CHECKOUT = Path(__file__).parents[3] / "docs" / "rules"
_NAMES = "[A-Z][0-9][0-9].md"
_PAGE = re.compile(r"---\n(?P<head>.*?)\n---\n(?P<body>.*)", re.DOTALL)
_SECTION = re.compile(r"^## (?P<title>.+)\n(?P<text>(?:(?!^## |^<!-- ).*(?:\n|\Z))*)", re.MULTILINE)


@cache
def all_rules() -> Mapping[str, Rule]:
    """Read every rule, by id. Raises: LookupError, ValueError for a page that is not in the form above."""
    folder = _IN_A_WHEEL if _IN_A_WHEEL.is_dir() else _IN_A_CHECKOUT
    pages = sorted(folder.glob(_NAMES))
    if not pages:
        raise LookupError(f"no pages of rules in {folder}")
    return {page.stem: parse_rule(page.stem, page.read_text(encoding="utf-8")) for page in pages}


def parse_rule(id: str, page: str) -> Rule:
    """Read the rule of a page. Raises: LookupError for a part that is missing, ValueError for an unknown severity."""
    parts = _PAGE.fullmatch(page)
    if parts is None:
        raise LookupError(f"the page of rule {id} has no front matter")
    head = {key: _unquoted(value) for key, _, value in (line.partition(": ") for line in parts["head"].splitlines())}
    sections = {match["title"]: " ".join(match["text"].split()) for match in _SECTION.finditer(parts["body"])}
    try:
        return Rule(
            id=id,
            name=head["name"],
            severity=Severity(head["severity"]),
            summary=head["summary"],
            practice=sections["In practice"],
            source=sections["Why"],
            fix=sections["Fix"],
        )
    except KeyError as error:
        raise LookupError(f"the page of rule {id} has no {error.args[0]!r}") from error


def _unquoted(value: str) -> str:
    """Read a scalar of the front matter: plain, or in double quotes where YAML asks for them."""
    return str(json.loads(value)) if value.startswith('"') else value
