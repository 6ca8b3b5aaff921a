"""Prints the findings on a Kubernetes cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from corral.cli import terminal

if TYPE_CHECKING:
    from corral.operations.cluster_doctor import ClusterDoctorAnswer, ClusterFinding

UNHEALTHY = 1
"""The exit code when something does not work, as for a machine."""
_SHOWN = 3
"""Objects of each pitfall on a page that is not verbose."""


def report_cluster(context: str | None, cluster: Path | None, *, verbose: bool, as_json: bool) -> None:
    """Examine a cluster and print what was found. Raises: typer.Exit when something does not work."""
    from corral.operations.cluster_doctor import examine_cluster
    from corral.operations.cluster_file import USUAL_NAME, read_cluster_file
    from corral.wire import to_json

    chosen = cluster or (Path(USUAL_NAME) if Path(USUAL_NAME).is_file() else None)
    file = None if chosen is None else read_cluster_file(chosen)
    if terminal.is_attended() and not as_json:
        terminal.note("reading the cluster ...")
    answer = asyncio.run(examine_cluster(context, None, file))
    if as_json:
        terminal.put_json(to_json(answer))
    else:
        _put_answer(answer, compared=None if chosen is None else str(chosen), verbose=verbose)
    if any(finding.severity == "error" for finding in answer.items):
        raise typer.Exit(UNHEALTHY)


def _put_answer(answer: ClusterDoctorAnswer, *, compared: str | None, verbose: bool) -> None:
    against = f", compared with {compared}" if compared else ", without a cluster file (-c FILE)"
    count = terminal.format_count(len(answer.items), "finding") if answer.items else "no findings"
    terminal.put_text(
        f"{count} in {terminal.format_count(answer.objects, 'object')} of context {answer.context}"
        f" (Kubernetes {answer.version.removeprefix('v')}){against}"
    )
    for group in _group(answer.items):
        terminal.put("")
        _put_group(group, verbose=verbose)
    _put_gaps(answer)
    if answer.items and not verbose:
        terminal.note_more("-v adds the evidence; `corral lint --explain RULE` explains A to H")


def _group(findings: Sequence[ClusterFinding]) -> list[list[ClusterFinding]]:
    """Group findings of one pitfall, in their order."""
    groups: dict[str, list[ClusterFinding]] = {}
    for finding in findings:
        groups.setdefault(finding.id, []).append(finding)
    return list(groups.values())


def _put_group(group: Sequence[ClusterFinding], *, verbose: bool) -> None:
    """Print the findings of one pitfall: all with their evidence, or some and the first fix."""
    first = group[0]
    number = f": {terminal.format_count(len(group), 'object')}" if len(group) > 1 else ""
    terminal.put_text(f"{first.severity} {first.id} {first.name}{number}")
    for finding in group if verbose else group[:_SHOWN]:
        terminal.put_text(f"{finding.object}: {finding.cause}", indent="  ")
        for entry in finding.evidence if verbose else ():
            terminal.put_text(f"seen: {entry.object} {entry.place}: {entry.value}", indent="    ")
        if verbose:
            terminal.put_text(f"fix: {finding.fix}", indent="    ")
    if not verbose:
        if len(group) > _SHOWN:
            terminal.put_text(f"... and {len(group) - _SHOWN} more", indent="  ")
        terminal.put_text(f"fix: {first.fix}", indent="  ")


def _put_gaps(answer: ClusterDoctorAnswer) -> None:
    """Print what could not be looked at."""
    if answer.unread or answer.unanswered:
        terminal.put("")
    for kind, why in answer.unread.items():
        terminal.put_text(f"not read: {kind}: {why}")
    if answer.unjudged:
        terminal.put_text(f"not looked for: {', '.join(entry.id for entry in answer.unjudged)}")
    for container in answer.unanswered:
        terminal.put_text(f"no answer: {container}")
