"""`corral render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, DryRun, make_example

if TYPE_CHECKING:
    from collections.abc import Collection

    from corral.operations.rendering import Change, RenderAnswer
    from corral.work import Json

DIFFERENT = 1
"""The exit code of `--diff` when something differs."""

LayoutNames = Annotated[
    list[str] | None, typer.Option("--layout", "-l", metavar="NAME", help="Only this layout; may be given again.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Write the files below this folder.")]
Only = Annotated[
    str | None,
    typer.Option("--only", metavar="TARGET,...", help="Only these targets; `corral render --targets` lists them."),
]
Diff = Annotated[bool, typer.Option("--diff", help="Show how the files in --out would change, and write nothing.")]
Targets = Annotated[bool, typer.Option("--targets", help="List what can be written.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("render", epilog=make_example("corral render examples/hydra/cluster.yaml --only kubernetes"))(render)


def render(
    cluster: ClusterArgument = None,
    layout: LayoutNames = None,
    out: Out = None,
    only: Only = None,
    diff: Diff = False,
    targets: Targets = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write the configuration of a cluster: Kubernetes and what stands around it.

    Without --out, every file is printed. In the folder, only files that this command wrote are replaced or removed.
    With --diff the exit code is 1 when something differs.
    """
    if targets:
        _list_targets(as_json=as_json)
        return
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.rendering import RenderAsked, changes, difference, render_files, write

    chosen = tuple(name.strip() for name in (only or "").split(",") if name.strip())
    rendered = render_files(RenderAsked(cluster=read_cluster_file(cluster), layouts=tuple(layout or ()), only=chosen))
    files = rendered.files
    for note in rendered.notes:
        terminal.note(f"note: {note}")
    if out is None:
        _print(rendered, as_json=as_json)
        return
    changed = changes(files, out, is_whole=not chosen and not layout)
    if diff:
        if as_json:
            terminal.put_json(_json(rendered, changed))
        else:
            for line in difference(changed):
                terminal.put(line)
        raise typer.Exit(DIFFERENT if changed else 0)
    if not dry_run:
        write(changed, out)
    if as_json:
        terminal.put_json(_json(rendered, changed))
        return
    for change in changed:
        verb = "removed" if change.after is None else "changed" if change.before is not None else "written"
        terminal.put(f"{verb}{' (not really: --dry-run)' if dry_run else ''}: {change.path}")
    terminal.note(f"{len(files)} files in {out}, {len(changed)} of them changed")


def _print(rendered: RenderAnswer, *, as_json: bool) -> None:
    from corral.wire import to_json

    if as_json:
        terminal.put_json(to_json(rendered))
        return
    for path, text in rendered.files.items():
        terminal.put(f"# {path}\n{text}")


def _json(rendered: RenderAnswer, changed: Collection[Change]) -> Json:
    """Return the answer, and what it means for the folder."""
    from corral.wire import to_json

    rows = [{"path": file.path, "new": file.before is None, "removed": file.after is None} for file in changed]
    return {**to_json(rendered), "changed": rows}


def _list_targets(*, as_json: bool) -> None:
    from corral.operations.rendering import list_targets
    from corral.wire import to_json

    targets = list_targets()
    if as_json:
        terminal.put_json(to_json(targets))
        return
    terminal.put_table(("target", "what"), [(target.name, target.summary) for target in targets.items], empty="nothing")
