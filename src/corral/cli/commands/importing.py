"""`corral import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, Verbose, Yes, make_example
from corral.errors import CorralError, Kind

if TYPE_CHECKING:
    from corral.importing.making import ImportAnswer

REFUSED = 1
"""The exit code when the file that was made needs an edit before it can be used."""
_MOST_GAPS = 15

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH...", help="Compose files, manifests, Helm's output, pages; or folders of them."),
]
FromCluster = Annotated[
    bool, typer.Option("--from-cluster", help="Ask the cluster of kubectl's current context, in place of files.")
]
Gpus = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu", metavar="NODE=MODEL,...", help="Name the GPUs of a node, in the order of their index (repeatable)."
    ),
]
MachineName = Annotated[
    str | None, typer.Option("--node", metavar="NAME", help="Name the machine that Compose files run on.")
]
ClusterName = Annotated[str, typer.Option("--name", metavar="NAME", help="Name the cluster.")]
OutFile = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the cluster file there. Default: print it.")
]


class UnclearImportError(CorralError):
    """Neither files nor a cluster were named, or both."""

    code: ClassVar[str] = "import.unclear"
    kind: ClassVar[Kind] = Kind.INVALID


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import", epilog=make_example("corral import examples/faulty/compose.yaml --node desk"))(import_)


def import_(
    paths: Paths = None,
    from_cluster: FromCluster = False,
    gpu: Gpus = None,
    node: MachineName = None,
    name: ClusterName = "imported",
    out: OutFile = None,
    yes: Yes = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Make a cluster file of what already runs.

    What the file cannot say is listed with its place. The file is rendered again and compared with the input: fields
    that come out otherwise are named. GPU models come from labels, names of nodes and --gpu; an unknown one stays open.
    The exit code is 1 when the file needs an edit before it can be used.
    """
    from corral.operations import importing
    from corral.wire import to_json

    request = importing.ImportRequest(paths=tuple(paths or ()), gpus=tuple(gpu or ()), node=node, name=name)
    if from_cluster == bool(paths):
        what = "both files and --from-cluster" if paths else "neither files nor --from-cluster"
        raise UnclearImportError(f"{what} were given", hint="name files or folders, or ask a cluster")
    if from_cluster:
        from corral.kubernetes import Kubectl
        from corral.operations.checklist.machines import LocalShell

        terminal.note("asking the cluster of kubectl's current context ...")
        answer = importing.import_cluster(request, Kubectl(LocalShell()))
    else:
        answer = importing.import_files(request)
    if out is not None:
        importing.write_imported(answer, out, overwriting=yes)
    if as_json:
        terminal.put_json(to_json(answer))
    elif out is None:
        terminal.put(answer.text.rstrip("\n"))
    _note_findings(answer, out, verbose=verbose)
    if answer.problems:
        raise typer.Exit(REFUSED)


def _note_findings(answer: ImportAnswer, out: Path | None, *, verbose: bool) -> None:
    """Report on stderr, so that the file alone is on stdout: what is in it, what is not, and what differs."""
    counts = (
        terminal.format_count(answer.services, "service"),
        terminal.format_count(answer.volumes, "volume"),
        terminal.format_count(answer.nodes, "node"),
    )
    terminal.note(f"{f'wrote {out}: ' if out else ''}{', '.join(counts)}")
    for problem in answer.problems:
        terminal.note(f"needs an edit: {problem.what}" + (f" ({problem.hint})" if problem.hint else ""))
    shown = answer.gaps if verbose else answer.gaps[:_MOST_GAPS]
    for gap in shown:
        terminal.note(f"not imported: {gap.place}: {gap.what}")
    if len(answer.gaps) > len(shown):
        terminal.note(f"... and {len(answer.gaps) - len(shown)} more; -v lists all")
    for difference in answer.differences:
        terminal.note(
            f"rendered otherwise: {difference.subject} {difference.field}: {difference.before} becomes "
            f"{difference.after}"
        )
    if not answer.problems and not answer.differences:
        terminal.note("rendered again, every field that was imported is the same")
