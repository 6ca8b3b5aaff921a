"""Diagnoses: a pitfall, the function that looks for it in a case, and what that function looks at.

A pitfall that `corral lint` has a rule for has the rule's id, name, severity and summary, which are read from its page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corral.diagnosis.case import Case
from corral.diagnosis.values import Finding, Pitfall, Symptom
from corral.linting.registry import read_rules
from corral.linting.values import Severity

DiagnosisFunction = Callable[[Case], Iterator[Symptom]]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A pitfall, with the function that looks for it."""

    pitfall: Pitfall
    function: DiagnosisFunction
    evidence: str
    """The objects, fields, events and logs that it looks at, for readers."""
    reads: tuple[str, ...]
    """Kinds without which it would be wrong: it is not made where one of them is forbidden."""
    source: str = ""
    """The report that a message of a kubelet, a runtime or a program is quoted from."""
    is_recalled: bool = False
    """Whether the words of that message are from memory: the source is about it, and was not seen to have them."""

    def run(self, case: Case) -> Iterator[Finding]:
        """Run the function, and yield what it finds as findings of the pitfall."""
        for symptom in self.function(case):
            yield Finding(
                pitfall=self.pitfall,
                subject=symptom.subject,
                cause=symptom.cause,
                evidence=symptom.evidence,
                fix=symptom.fix,
            )


def diagnoses(
    pitfall: str | Pitfall,
    *,
    evidence: str,
    reads: tuple[str, ...] = ("Pod",),
    source: str = "",
    is_recalled: bool = False,
) -> Callable[[DiagnosisFunction], Diagnosis]:
    """Make a diagnosis of a function: for the rule with an id, or for a pitfall that no rule has."""
    known = find_pitfall(pitfall) if isinstance(pitfall, str) else pitfall
    return lambda function: Diagnosis(known, function, evidence, reads, source, is_recalled)


def find_pitfall(rule: str) -> Pitfall:
    """Find the pitfall of a rule, by its id."""
    page = read_rules()[rule]
    return Pitfall(id=page.id, name=page.name, summary=page.summary, severity=page.severity, has_page=True)


def make_pitfall(id: str, name: str, summary: str, severity: Severity = Severity.ERROR) -> Pitfall:
    """Make a pitfall that only a running cluster shows."""
    return Pitfall(id=id, name=name, summary=summary, severity=severity, has_page=False)
