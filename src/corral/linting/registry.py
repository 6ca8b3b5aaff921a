"""Rules, read from their pages, and checks: a rule with the function that looks for its violations.

The text of a rule is on its page, `docs/rules/<ID>.md`, which a wheel has next to this module. It has name, severity
and summary as front matter, and the sections "In practice", "Why" and "Fix"; its examples are for readers alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from corral.linting.corpus import Corpus
from corral.linting.values import Edit, Finding, Position, Rule, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A place that breaks a rule; the rule makes a finding of it."""

    place: Position
    what: str
    subject: object = ""
    edits: tuple[Edit, ...] = ()
    severity: Severity | None = None


CheckFunction = Callable[[Corpus], Iterator[Violation]]


@dataclass(frozen=True, slots=True)
class Check:
    """A rule with the function that looks for its violations."""

    rule: Rule
    function: CheckFunction
    of_files: bool = False
    """Whether it looks at files as they are written: it runs once, not for each deployment that is built of them."""

    def run(self, corpus: Corpus) -> Iterator[Finding]:
        """Run the function and yield its violations as findings of the rule."""
        for violation in self.function(corpus):
            yield Finding(
                rule=self.rule,
                place=violation.place,
                what=violation.what,
                subject=str(violation.subject),
                edits=violation.edits,
                severity=violation.severity,
            )


def checks(rule: str, *, of_files: bool = False) -> Callable[[CheckFunction], Check]:
    """Make a check of a function, for the rule with this id."""
    return lambda function: Check(read_rules()[rule], function, of_files)


_IN_A_WHEEL = Path(__file__).parent / "pages"
_IN_A_CHECKOUT = Path(__file__).parents[3] / "docs" / "rules"
_NAMES = "[A-Z][0-9][0-9].md"
_PAGE = re.compile(r"---\n(?P<head>.*?)\n---\n(?P<body>.*)", re.DOTALL)
_SECTION = re.compile(r"^## (?P<title>.+)\n(?P<text>(?:(?!^## |^<!-- ).*(?:\n|\Z))*)", re.MULTILINE)


@cache
def read_rules() -> Mapping[str, Rule]:
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
    head = {key: _unquote(value) for key, _, value in (line.partition(": ") for line in parts["head"].splitlines())}
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


def _unquote(value: str) -> str:
    """Read a scalar of the front matter: plain, or in double quotes where YAML asks for them."""
    return str(json.loads(value)) if value.startswith('"') else value
