"""`corral upgrade`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, Verbose, Yes, make_example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from corral.operations.upgrading import UpgradeAsked, Upgrading
    from corral.planning.upgrade.report import FrontPage

_Texts = list[str] | None
_MOST_FIGURES = 9
_MOST_LISTED = 4
_LONGEST = 150
"""Two lines of a narrow terminal; the whole report has the whole text."""

Replace = Annotated[
    _Texts, typer.Option("--replace", metavar="NODE/GPU=MODEL", help="Replace a GPU by another model (repeatable).")
]
Add = Annotated[_Texts, typer.Option("--add", metavar="NODE=MODEL", help="Add a GPU to a node (repeatable).")]
Remove = Annotated[
    _Texts, typer.Option("--remove", metavar="NODE/GPU", help="Remove a GPU from the cluster (repeatable).")
]
Move = Annotated[
    _Texts, typer.Option("--move", metavar="NODE/GPU=NODE", help="Move a GPU to another node (repeatable).")
]
AddNode = Annotated[
    _Texts, typer.Option("--add-node", metavar="NAME=MODEL,MODEL", help="Add a machine with its GPUs (repeatable).")
]
PowerLimit = Annotated[
    _Texts,
    typer.Option(
        "--limit", metavar="NODE[/GPU]=WATTS", help="Set a power limit for a GPU, or for all of a node (repeatable)."
    ),
]
Psu = Annotated[
    _Texts,
    typer.Option("--psu", metavar="NODE=WATTS", help="Fit a node with a power supply of so many watts (repeatable)."),
]
Memory = Annotated[
    _Texts,
    typer.Option(
        "--memory", metavar="NODE=SIZE", help="Fit a node with so much main memory, such as 64Gi (repeatable)."
    ),
]
Changes = Annotated[
    Path | None,
    typer.Option("--changes", metavar="FILE", help="Read the changes from this YAML list, in the same words."),
]
Other = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", help="Compare with another cluster file, and change nothing.")
]
Adapt = Annotated[
    bool, typer.Option("--adapt", help="Write the proposals (queues, replicas) into the new cluster file as well.")
]
Files = Annotated[bool, typer.Option("--files", help="Show how each file of `corral render` changes, too.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FOLDER", help="Write upgrade.md, upgrade.html, upgrade.json and cluster.yaml there."
    ),
]
Markdown = Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the report as Markdown.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as one HTML page.")]
WriteCluster = Annotated[
    Path | None, typer.Option("--write-cluster", metavar="FILE", help="Write the new cluster file.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("upgrade", epilog=make_example('corral upgrade cluster.yaml --add node="RTX 5070 Ti"'))(upgrade)


def upgrade(
    cluster: ClusterArgument = None,
    replace: Replace = None,
    add: Add = None,
    remove: Remove = None,
    move: Move = None,
    add_node: AddNode = None,
    limit: PowerLimit = None,
    psu: Psu = None,
    memory: Memory = None,
    changes: Changes = None,
    to: Other = None,
    adapt: Adapt = False,
    files: Files = False,
    out: Out = None,
    markdown: Markdown = None,
    html: Html = None,
    write_cluster: WriteCluster = None,
    yes: Yes = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Report gain, cost and steps of a change of hardware.

    Nothing is changed. The answer is one page; `-v` prints the whole report as Markdown, and `--out` writes it to
    files. A file that exists is only overwritten with `--yes`.
    """
    from corral.operations import upgrading
    from corral.planning.upgrade.report import make_front_page, to_markdown
    from corral.wire import to_json

    words = {
        "replace": replace,
        "add": add,
        "remove": remove,
        "move": move,
        "add-node": add_node,
        "limit": limit,
        "psu": psu,
        "memory": memory,
    }
    asked = read_upgrade(cluster, words, changes, to)
    done = upgrading.compare_upgrade(dataclasses.replace(asked, adapt=adapt, files=files))
    written = _choose_outputs(done, out, {"markdown": markdown, "html": html, "cluster": write_cluster})
    upgrading.write_outputs(written, overwriting=yes)
    for path in written:
        terminal.note(f"written: {path}")
    if as_json:
        terminal.put_json(to_json(upgrading.record_upgrade(done)))
    elif written:
        recommendation = done.upgrade.recommendation
        terminal.put(f"{recommendation.advice.value}: {recommendation.sentence}")
    elif verbose:
        terminal.put(to_markdown(done.upgrade).rstrip())
    else:
        _put_page(make_front_page(done.upgrade))


def _put_page(page: FrontPage) -> None:
    """Print the first page of the report, so short that it is seen at once."""
    terminal.put_text(page.title)
    terminal.put_text(f"{page.verdict}: {page.sentence}")
    # The title names the GPU where only one changes.
    if len(page.changes) != 1:
        _put_list("\nwhat changes", page.changes or ("no GPU",))
    terminal.put("")
    terminal.put_table(("", "before", "after", "change"), page.figures, empty="", most=_MOST_FIGURES)
    if page.costs:
        _put_list("\nwhat it costs, and what to settle", page.costs)
    _put_list("\nwhat to do first", page.first or ("nothing",), further=page.further)
    terminal.note_more("-v prints the whole report; --out FOLDER writes it; `corral checklist` walks you through it")


def _put_list(heading: str, texts: Sequence[str], *, further: int = 0) -> None:
    terminal.put(heading)
    for text in texts[:_MOST_LISTED]:
        terminal.put_text(_shorten(text), indent="  ")
    more = len(texts[_MOST_LISTED:]) + further
    if more:
        terminal.put(f"  ... and {more} more")


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3].rstrip()}..."


def read_upgrade(
    cluster: Path | None, words: Mapping[str, list[str] | None], changes: Path | None, to: Path | None
) -> UpgradeAsked:
    """Read the files that an upgrade is about, and put its options into a request."""
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.upgrading import ChangeAsked, UpgradeAsked, read_changes_file

    return UpgradeAsked(
        cluster=read_cluster_file(cluster),
        changes=tuple(ChangeAsked(word=word, value=text) for word, texts in words.items() for text in texts or ()),
        changes_file=None if changes is None else read_changes_file(changes),
        to=None if to is None else read_cluster_file(to),
    )


def _choose_outputs(done: Upgrading, folder: Path | None, files: dict[str, Path | None]) -> dict[Path, str]:
    """Write what is asked for as text, by the path that it goes to."""
    from corral.operations.upgrading import write_texts

    names = {"markdown": "upgrade.md", "html": "upgrade.html", "record": "upgrade.json", "cluster": "cluster.yaml"}
    paths = [(kind, folder / name) for kind, name in names.items()] if folder else []
    paths += [(kind, path) for kind, path in files.items() if path is not None]
    texts = write_texts(done, {kind for kind, _ in paths})
    return {path: texts[kind] for kind, path in paths}
