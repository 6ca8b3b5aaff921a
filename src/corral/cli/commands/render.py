"""`corral render`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, DryRun, Verbose, make_example

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from corral.operations.rendering import FileChange, RenderAnswer
    from corral.work import Json

_MOST_FILES = 20
_NEWLINE = "\n"
DIFFERENT = 1
"""The exit code of `--diff` when something differs."""

LayoutNames = Annotated[
    list[str] | None, typer.Option("--layout", "-l", metavar="NAME", help="Render only this layout (repeatable).")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Write the files below this folder.")]
Only = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="TARGET,...", help="Render only these targets; `corral render --targets` lists them."
    ),
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
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Write the configuration: Kubernetes and the programs around it.

    Without --out, a terminal gets a list of folders, and a program every file. In the folder, only files that this
    command wrote are replaced or removed. With --diff the exit code is 1 when something differs.
    """
    if targets:
        _list_targets(as_json=as_json)
        return
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.rendering import RenderAsked, compare_folder, render_files, write, write_diff

    chosen = tuple(name.strip() for name in (only or "").split(",") if name.strip())
    rendered = render_files(RenderAsked(cluster=read_cluster_file(cluster), layouts=tuple(layout or ()), only=chosen))
    files = rendered.files
    for note in rendered.notes:
        terminal.note(f"note: {note}")
    if out is None:
        _print(rendered, verbose=verbose, as_json=as_json)
        return
    changed = compare_folder(files, out, is_whole=not chosen and not layout)
    if diff:
        if as_json:
            terminal.put_json(_json(rendered, changed))
        else:
            for line in write_diff(changed):
                terminal.put(line)
        raise typer.Exit(DIFFERENT if changed else 0)
    if not dry_run:
        write(changed, out)
    if as_json:
        terminal.put_json(_json(rendered, changed))
        return
    would = " (not really: --dry-run)" if dry_run else ""
    terminal.put(f"{terminal.format_count(len(files), 'file')} in {out}, {len(changed)} of them changed{would}")
    rows = [(_describe_change(change), str(change.path)) for change in changed]
    if rows:
        terminal.put("")
        terminal.put_table(("change", "file"), rows, empty="", most=None if verbose else _MOST_FILES)


def _describe_change(change: FileChange) -> str:
    return "removed" if change.after is None else "changed" if change.before is not None else "written"


def _print(rendered: RenderAnswer, *, verbose: bool, as_json: bool) -> None:
    """Print the files to a program; to a person at a terminal what there is, and the files with `verbose`."""
    from corral.wire import to_json

    if as_json:
        terminal.put_json(to_json(rendered))
        return
    if terminal.count_columns() is not None and not verbose:
        _put_folders(rendered.files)
        return
    for path, text in rendered.files.items():
        terminal.put(f"# {path}\n{text}")


def _put_folders(files: Mapping[str, str]) -> None:
    folders: dict[str, list[str]] = {}
    for path, text in files.items():
        folders.setdefault(str(PurePosixPath(path).parent), []).append(text)
    lines = sum(text.count("\n") for text in files.values())
    terminal.put(f"{len(files)} files of {lines:,} lines; --out FOLDER writes them, -v prints them")
    terminal.put("")
    rows = [
        (f"{folder}/", len(texts), f"{sum(text.count(_NEWLINE) for text in texts):,}")
        for folder, texts in folders.items()
    ]
    terminal.put_table(("folder", "files", "lines"), rows, empty="", most=_MOST_FILES)


def _json(rendered: RenderAnswer, changed: Collection[FileChange]) -> Json:
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
