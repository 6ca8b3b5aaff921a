"""Rules and the functions that look for them: a function finds, the decorator says what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corral.linting.corpus import Scene
from corral.linting.rule_pages import all_rules
from corral.linting.values import Edit, Finding, Place, Rule, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a function saw; the rule makes a finding of it."""

    place: Place
    what: str
    subject: object = ""
    edits: tuple[Edit, ...] = ()
    severity: Severity | None = None


Look = Callable[[Scene], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Check:
    """A rule with the function that looks for it."""

    rule: Rule
    look: Look

    def findings(self, scene: Scene) -> Iterator[Finding]:
        """Look, and say what was found."""
        for found in self.look(scene):
            yield Finding(
                rule=self.rule,
                place=found.place,
                what=found.what,
                subject=str(found.subject),
                edits=found.edits,
                severity=found.severity,
            )


def checks(rule: str) -> Callable[[Look], Check]:
    """Make a check of a function, for the rule with this id."""
    return lambda look: Check(all_rules()[rule], look)
