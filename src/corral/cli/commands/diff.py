"""`corral diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, LayoutName, run_on_cluster
from corral.cli.options import AsJson, ClusterHere, Verbose, make_example

if TYPE_CHECKING:
    from corral.kubernetes.api import Api
    from corral.operations.deploying.comparing import LayoutDifference, ObjectDifference

DIFFERENT = 1
"""The exit code when applying would change something."""
_MOST_FIELDS = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff", epilog=make_example("corral diff --layout edge"))(diff)


def diff(
    cluster: ClusterHere = None,
    layout: LayoutName = None,
    context: Context = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Show what `corral apply` would change, and others have changed.

    The API server works it out in a dry run. The exit code is 1 when something differs. `corral render --diff` compares
    a folder.
    """
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.deploying.applying import observe_target
    from corral.operations.deploying.comparing import compare_layout
    from corral.wire import to_json

    file = read_cluster_file(cluster)

    async def work(api: Api) -> LayoutDifference:
        return await compare_layout(api, await observe_target(api, file, layout))

    answer = run_on_cluster(context, work)
    if as_json:
        terminal.put_json(to_json(answer))
    else:
        _put_answer(answer, most=None if verbose else _MOST_FIELDS)
    raise typer.Exit(0 if answer.is_empty else DIFFERENT)


def _put_answer(answer: LayoutDifference, *, most: int | None) -> None:
    active = "" if answer.active in (None, answer.layout) else f" ({answer.active} is active)"
    count = terminal.format_count(len(answer.objects), "object")
    terminal.put(f"layout {answer.layout}{active}: {count} would change")
    for difference in answer.objects:
        _put_object(difference, most=most)
    for conflict in answer.conflicts:
        terminal.put_text(f"conflict {conflict.object}: {conflict.manager} has set {conflict.field} to another value")
    for fields in answer.foreign:
        shown = fields.fields[:most]
        more = f" and {len(fields.fields) - len(shown)} more" if len(fields.fields) > len(shown) else ""
        terminal.put_text(f"others   {fields.object}: {fields.manager} has set {', '.join(shown)}{more}")
    for problem in answer.refused:
        terminal.put_text(f"refused  {problem.what}")
    for name in answer.kept:
        terminal.put_text(f"stays    {name}, no longer rendered")


def _put_object(difference: ObjectDifference, *, most: int | None) -> None:
    terminal.put(f"{difference.change:8} {difference.object}")
    for field in difference.fields[:most]:
        before, after = ("not set" if text is None else text for text in (field.before, field.after))
        terminal.put_text(f"{field.field}: {before} -> {after}", indent="         ")
    if most is not None and len(difference.fields) > most:
        terminal.put(f"         ... and {len(difference.fields) - most} more: -v")
