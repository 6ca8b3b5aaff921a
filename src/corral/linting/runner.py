"""Runs the rules over everything that was read, and puts what they found in order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.errors import CorralError, Kind
from corral.linting.corpus import Scene
from corral.linting.reading.markdown import is_page
from corral.linting.registry import Check
from corral.linting.rules import CHECKS
from corral.linting.suppressing import accepted
from corral.linting.values import Finding, Report, Rule, Source, Suppressed


class UnknownRuleError(CorralError):
    """No rule has this id or name."""

    code: ClassVar[str] = "lint.unknown_rule"
    kind: ClassVar[Kind] = Kind.MISSING


def lint(sources: Iterable[Source], *, cluster: Cluster | None = None, checks: Collection[Check] = CHECKS) -> Report:
    """Judge the files; `cluster` is what is known of the hardware that they are for."""
    scenes = _scenes(sources, cluster)
    found = sorted(_found(scenes, checks), key=_order)
    reasons = accepted({name: text for scene in scenes for name, text in scene.sources.items()})
    unread = [one for scene in scenes for one in scene.unread]
    kept: list[Finding] = []
    suppressed: list[Suppressed] = []
    for one in found:
        reason = reasons.of(one)
        if reason is None:
            kept.append(one)
        else:
            suppressed.append(Suppressed(finding=one, reason=reason))
    return Report(
        findings=tuple(kept),
        suppressed=tuple(suppressed),
        unread=tuple(sorted((*unread, *reasons.unread), key=lambda one: one.place)),
        files=sum(len(scene.sources) for scene in scenes),
        documents=sum(len(scene.documents) for scene in scenes),
    )


def _scenes(sources: Iterable[Source], cluster: Cluster | None) -> list[Scene]:
    """The files together, and each page for itself: it shows parts and choices of its own, which nobody deploys with
    the files."""
    files: list[Source] = []
    pages: list[Source] = []
    for source in sources:
        (pages if is_page(source.name) else files).append(source)
    return [Scene(files, cluster), *(Scene([page], cluster) for page in pages)]


def _found(scenes: Iterable[Scene], checks: Collection[Check]) -> Iterable[Finding]:
    """What the rules find in each thing that is deployed as a whole; the same mistake of a shared base once."""
    found: dict[tuple[object, ...], Finding] = {}
    for view in (view for scene in scenes for view in scene.views):
        for check in checks:
            for one in check.findings(view):
                found.setdefault(_order(one), one)
    return found.values()


def rule_called(text: str) -> Rule:
    """Find a rule by id or name. Raises: UnknownRuleError."""
    wanted = text.strip().lower()
    for check in CHECKS:
        if wanted in (check.rule.id.lower(), check.rule.name):
            return check.rule
    raise UnknownRuleError(f"no rule is called {text!r}", hint="`corral lint --rules` lists them")


def _order(finding: Finding) -> tuple[object, ...]:
    return finding.place, finding.rule.id, finding.what
