"""`corral lint`."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DryRun, Yes, make_example

if TYPE_CHECKING:
    from corral.cluster import Cluster
    from corral.linting.values import Report, Source

ERRORS_FOUND = 1
"""The exit code when anything found is an error."""
WARNINGS_FOUND = 8
"""The exit code when the worst that was found is a warning."""
JUDGED_IN_A_SECOND = 1_000_000
"""Characters: 1,000 manifests have some more, and take over a second (`python -m benchmarks.lint`)."""

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH...", help="Files, folders to look through, or - for YAML on the standard input."),
]
Hardware = Annotated[
    Path | None,
    typer.Option("--cluster", "-c", metavar="FILE", help="Judge against the machines of this cluster file."),
]
Explain = Annotated[
    str | None, typer.Option("--explain", metavar="RULE", help="Print all about one rule, such as A02.")
]
Rules = Annotated[bool, typer.Option("--rules", help="List the rules.")]
Fix = Annotated[bool, typer.Option("--fix", help="Show the safe changes as a diff, and make them once agreed.")]


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


As = Annotated[Format, typer.Option("--format", help="Print for people, programs, code scanning or GitHub Actions.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lint", epilog=make_example("corral lint examples/harvis"))(lint)


def lint(
    paths: Paths = None,
    cluster: Hardware = None,
    format: As = Format.TEXT,
    as_json: AsJson = False,
    fix: Fix = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    explain: Explain = None,
    rules: Rules = False,
) -> None:
    """Lint manifests, Nix, Compose and LiteLLM files, and such blocks in Markdown.

    Exit code: 1 when there are errors, 8 when there are only warnings, 0 otherwise. Files that cannot be read are
    named, and change nothing. A comment accepts a finding on its line or the next: `# corral: ignore A02 because the
    node has a spare card`.
    """
    chosen = Format.JSON if as_json else format
    if explain is not None:
        _explain(explain, chosen)
        return
    if rules:
        _list_rules(chosen)
        return
    from corral.linting.runner import lint as judge
    from corral.operations.linting import find_sources

    sources = find_sources(paths or [Path()])
    hardware = _read_cluster(cluster)
    with _show_status(sources):
        report = judge(sources, cluster=hardware)
    if fix:
        report = _fix(sources, report, chosen, yes=yes, dry_run=dry_run, cluster=hardware)
    _put(report, chosen)
    exit_by_severity(report)


def _read_cluster(path: Path | None) -> Cluster | None:
    if path is None:
        return None
    from corral.operations.cluster_file import open_cluster

    return open_cluster(path).cluster


@contextmanager
def _show_status(sources: Sequence[Source]) -> Generator[None]:
    """Say what is going on, on a terminal, when it takes over a second."""
    if sum(len(source.text) for source in sources) < JUDGED_IN_A_SECOND or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"judging {len(sources):,} files"):
        yield


def _put(report: Report, chosen: Format) -> None:
    from corral import __version__
    from corral.linting import formats
    from corral.operations.linting import answer_lint
    from corral.wire import to_json

    match chosen:
        case Format.TEXT:
            for line in formats.render_text(report):
                terminal.put(line)
        case Format.JSON:
            terminal.put_json(to_json(answer_lint(report)))
        case Format.SARIF:
            terminal.put_json(formats.render_sarif(report, __version__))
        case Format.GITHUB:
            for line in formats.render_annotations(report):
                terminal.put(line)
            terminal.note(formats.summarize(report))


def exit_by_severity(report: Report) -> None:
    from corral.linting.values import Severity

    if report.worst is Severity.ERROR:
        raise typer.Exit(ERRORS_FOUND)
    if report.worst is Severity.WARNING:
        raise typer.Exit(WARNINGS_FOUND)


def _fix(
    sources: tuple[Source, ...], report: Report, chosen: Format, *, yes: bool, dry_run: bool, cluster: Cluster | None
) -> Report:
    """Show what would change, make it once agreed, and judge again."""
    from corral.linting.runner import apply_fixes, render_diff
    from corral.linting.runner import lint as judge
    from corral.linting.values import STDIN
    from corral.operations.linting import find_sources, write_fixed

    before = {source.name: source.text for source in sources if source.name != STDIN}
    after = apply_fixes(before, [finding for finding in report.findings if finding.place.file in before])
    for line in render_diff(before, after):
        terminal.note(line)
    if not after or dry_run:
        terminal.note("nothing can be mended safely" if not after else "nothing was written (--dry-run)")
        return report
    terminal.confirm(f"change {len(after)} files?" if len(after) > 1 else "change this file?", agreed=yes)
    write_fixed(before, after)
    again = find_sources([Path(name) for name in before])
    with _show_status(again):
        return judge((*again, *(source for source in sources if source.name == STDIN)), cluster=cluster)


def _explain(text: str, chosen: Format) -> None:
    from corral.linting.formats import explain
    from corral.operations.linting import show_rule
    from corral.wire import to_json

    rule = show_rule(text)
    if chosen is Format.JSON:
        terminal.put_json(to_json(rule))
        return
    for line in explain(rule):
        terminal.put(line)


def _list_rules(chosen: Format) -> None:
    from corral.operations.linting import list_rules
    from corral.wire import to_json

    rules = list_rules()
    if chosen is Format.JSON:
        terminal.put_json(to_json(rules))
        return
    rows = [(rule.id, rule.name, rule.severity.value, rule.summary) for rule in rules.items]
    terminal.put_table(("id", "name", "severity", "what"), rows, empty="no rules")
