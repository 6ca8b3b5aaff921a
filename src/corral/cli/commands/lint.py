"""`corral lint`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DryRun, Verbose, Yes, make_example
from corral.cli.tables import wrap_sentence

if TYPE_CHECKING:
    from corral.linting.values import Finding, Report, Source
    from corral.operations.cluster_file import FileText

ERRORS_FOUND = 1
"""The exit code when anything found is an error."""
WARNINGS_FOUND = 8
"""The exit code when the worst that was found is a warning."""
LINTED_IN_A_SECOND = 1_000_000
"""Characters, as in 2,000 manifests (`python -m benchmarks.lint`)."""
_PAGE_LINES = 34
"""For the groups of a report: with the command, the verdict and the hints it is one screen of 40 lines."""
_PAGE_COLUMNS = 80

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH...", help="Files, folders to look through, or - for YAML on the standard input."),
]
Hardware = Annotated[
    Path | None,
    typer.Option("--cluster", "-c", metavar="FILE", help="Check against the machines of this cluster file."),
]
Explain = Annotated[str | None, typer.Option("--explain", metavar="RULE", help="Explain one rule, such as A02.")]
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
    app.command("lint", epilog=make_example("corral lint examples/faulty/compose.yaml"))(lint)


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
    verbose: Verbose = False,
) -> None:
    """Lint manifests, Compose, Nix and LiteLLM files.

    Such blocks in Markdown pages are linted too. Exit code: 1 when there are errors or a file that was named cannot
    be read, 8 when there are only warnings, 0 otherwise. What is not judged is listed. A comment accepts a finding on
    its line or the next: `# corral: ignore A02 because the node has a spare GPU`.
    """
    chosen = Format.JSON if as_json else format
    if explain is not None:
        _explain(explain, chosen)
        return
    if rules:
        _list_rules(chosen, verbose=verbose)
        return
    from corral.operations.lint_sources import find_sources

    sources = find_sources(paths or [Path()])
    hardware = _read_cluster(cluster)
    report = _lint_sources(sources, hardware)
    if fix:
        report = _fix(sources, report, hardware, yes=yes, dry_run=dry_run)
    _put(report, chosen, verbose=verbose)
    if lacks_named(report, {str(path) for path in paths or []}):
        raise typer.Exit(ERRORS_FOUND)
    exit_by_severity(report)


def _read_cluster(path: Path | None) -> FileText | None:
    from corral.operations.cluster_file import read_cluster_file

    return None if path is None else read_cluster_file(path)


def _lint_sources(sources: Sequence[Source], cluster: FileText | None) -> Report:
    from corral.operations.linting import lint_sources

    with _show_status(sources):
        return lint_sources(sources, cluster)


@contextmanager
def _show_status(sources: Sequence[Source]) -> Generator[None]:
    """Report the number of files on a terminal when linting takes over a second."""
    if sum(len(source.text) for source in sources) < LINTED_IN_A_SECOND or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"linting {len(sources):,} files"):
        yield


def _put(report: Report, chosen: Format, *, verbose: bool) -> None:
    from corral import __version__
    from corral.linting import formats
    from corral.operations.linting import answer_lint
    from corral.wire import to_json

    match chosen:
        case Format.TEXT if verbose:
            for line in formats.render_text(report):
                terminal.put(line)
        case Format.TEXT:
            _put_page(report)
        case Format.JSON:
            terminal.put_json(to_json(answer_lint(report)))
        case Format.SARIF:
            terminal.put_json(formats.render_sarif(report, __version__))
        case Format.GITHUB:
            for line in formats.render_annotations(report):
                terminal.put(line)
            terminal.note(formats.summarize(report))


def _put_page(report: Report) -> None:
    """Print the verdict and the findings by rule, with as many places as a screen has room for."""
    from corral.linting.formats import group_findings, render_unread, summarize

    terminal.put_text(summarize(report))
    unread = list(render_unread(report))
    room = _PAGE_LINES - _measure([("", line) for line in unread[:_MOST_UNREAD]])
    groups = group_findings(report)
    pages = ([line for group in groups for line in _render_group(group, *detail)] for detail in _DETAILS)
    page = next((page for page in pages if _measure(page) <= room), None)
    if page is None:
        rows = [_render_row(group) for group in groups]
        page = rows if len(rows) <= room else [*rows[: room - 1], ("", f"... and {len(rows) - room + 1} more rules")]
    for indent, text in page:
        terminal.put_text(text, indent=indent)
    for line in unread[:_MOST_UNREAD]:
        terminal.put_text(line)
    if len(unread) > _MOST_UNREAD:
        terminal.put(f"... and {len(unread) - _MOST_UNREAD} more that are not judged")
    if report.findings or len(unread) > _MOST_UNREAD:
        terminal.note_more("-v prints every finding and why; --explain RULE explains a rule")


_DETAILS = ((5, True), (2, True), (1, True), (1, False))
"""Places of each rule, and whether its fix is printed, from the most detailed page to the shortest."""
_MOST_UNREAD = 5
Lines = list[tuple[str, str]]
"""Each with its indent."""


def _render_group(group: Sequence[Finding], places: int, has_fix: bool) -> Lines:
    from corral.linting.formats import render_place

    lines = [("", _render_title(group)), *(("  ", render_place(finding)) for finding in group[:places])]
    if len(group) > places:
        lines.append(("  ", f"... and {len(group) - places} more"))
    if has_fix:
        lines.append(("  ", f"fix: {group[0].rule.fix}"))
    return lines


def _render_row(group: Sequence[Finding]) -> tuple[str, str]:
    """Render a group in one line; of a long path its end is left."""
    title, place = f"{_render_title(group)}, first at ", str(group[0].place)
    room = _PAGE_COLUMNS - len(title)
    return "", title + (place if len(place) <= room else f"…{place[1 - room :]}")


def _render_title(group: Sequence[Finding]) -> str:
    rule = group[0].rule
    number = terminal.format_count(len(group), "place") if len(group) > 1 else ""
    fixable = "`--fix` changes it" if any(finding.edits for finding in group) else ""
    facts = ", ".join(filter(None, (number, fixable)))
    return f"{group[0].weight.value} {rule.id} {rule.name}" + (f": {facts}" if facts else "")


def _measure(lines: Lines) -> int:
    """Count the lines of a screen."""
    return sum(len(list(wrap_sentence(indent, text, f"{indent}  ", width=_PAGE_COLUMNS))) for indent, text in lines)


def lacks_named(report: Report, named: Collection[str]) -> bool:
    """Return whether a file that was named cannot be read, in part or as a whole; a page shows parts of files."""
    from corral.linting.documents import is_page
    from corral.linting.values import STDIN, Gap

    names = {STDIN if name == "-" else name for name in named}
    return any(
        part.gap is Gap.UNREADABLE and part.place.file in names and not is_page(part.place.file)
        for part in report.unread
    )


def exit_by_severity(report: Report) -> None:
    """Exit with a code for errors or warnings. Raises: typer.Exit."""
    from corral.linting.values import Severity

    if report.worst is Severity.ERROR:
        raise typer.Exit(ERRORS_FOUND)
    if report.worst is Severity.WARNING:
        raise typer.Exit(WARNINGS_FOUND)


def _fix(sources: tuple[Source, ...], report: Report, cluster: FileText | None, *, yes: bool, dry_run: bool) -> Report:
    """Show the changes, make them once agreed, and lint again."""
    from corral.linting.values import STDIN
    from corral.operations.lint_sources import find_sources, write_fixed
    from corral.operations.linting import diff_fixes, fix_sources

    fixes = fix_sources(sources, report)
    for line in diff_fixes(fixes):
        terminal.note(line)
    number = len(fixes.after)
    if not number or dry_run:
        terminal.note("nothing was written (--dry-run)" if number else "nothing can be fixed safely")
        return report
    terminal.confirm(f"change {number} files?" if number > 1 else "change this file?", agreed=yes)
    write_fixed(fixes.before, fixes.after)
    again = find_sources([Path(name) for name in fixes.before])
    return _lint_sources((*again, *(source for source in sources if source.name == STDIN)), cluster)


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


def _list_rules(chosen: Format, *, verbose: bool) -> None:
    from corral.linting.rules import FAMILIES
    from corral.linting.values import Severity
    from corral.operations.linting import list_rules
    from corral.wire import to_json

    rules = list_rules()
    if chosen is Format.JSON:
        terminal.put_json(to_json(rules))
        return
    if verbose:
        details = [(rule.id, rule.name, rule.severity.value, rule.summary) for rule in rules.items]
        terminal.put_table(("id", "name", "severity", "what"), details, empty="no rules")
        return
    terminal.put(f"{len(rules.items)} rules; -v lists each, --explain RULE explains one")
    rows: list[tuple[object, ...]] = []
    for letter, title in FAMILIES.items():
        family = [rule for rule in rules.items if rule.id.startswith(letter)]
        counts = [sum(rule.severity is severity for rule in family) for severity in Severity]
        rows.append((f"{family[0].id}-{family[-1].id}", *counts, title))
    terminal.put_table(("rules", "errors", "warnings", "notes", "about"), rows, empty="no rules")
