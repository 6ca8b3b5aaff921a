"""`corral pictures`: the pictures that tasks made, what is decided about them, and data sets of them."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, Limit, Url, make_example, make_group
from corral.client.connection import call_server

if TYPE_CHECKING:
    from corral.client.data_sets import WrittenDataSet

NAME = "pictures"
app = make_group(
    "List, keep, reject and export pictures.",
    example_command="corral pictures list --decision keep",
)
_PATH = "/corral/v1/pictures"
_LONGEST_PROMPT = 40


class DecisionWord(StrEnum):
    """Decisions as people type them."""

    FAVOURITE = "favourite"
    KEEP = "keep"
    REJECT = "reject"
    NONE = "none"


Search = Annotated[str | None, typer.Option("--search", metavar="WORDS", help="Only those whose inputs have this.")]
OfModel = Annotated[str | None, typer.Option("--model", "-m", metavar="MODEL", help="Only those of this model.")]
OfSeed = Annotated[str | None, typer.Option("--seed", metavar="SEED", help="Only those of this seed.")]
OfBatch = Annotated[int | None, typer.Option("--batch", "-b", metavar="BATCH", help="Only those of this batch.")]
WithLabels = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only those whose task has this label (repeatable)."),
]
Decided = Annotated[
    list[DecisionWord] | None,
    typer.Option("--decision", "-d", help="Only those with this decision (repeatable); `none`: undecided ones."),
]
Places = Annotated[list[str], typer.Argument(metavar="TASK/NAME...", help="Pictures, such as `12/dot.png`.")]
Word = Annotated[DecisionWord, typer.Argument(metavar="DECISION", help="favourite, keep, reject, or none.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="A note; without it, the one before stays.")]
OutOfPictures = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Write the data set here.")]
Trigger = Annotated[str | None, typer.Option("--trigger", metavar="WORD", help="Begin each caption with this word.")]


@app.command("list", epilog=make_example("corral pictures list --label set=heroes --decision none"))
def list_(
    search: Search = None,
    model: OfModel = None,
    seed: OfSeed = None,
    batch: OfBatch = None,
    label: WithLabels = None,
    decision: Decided = None,
    limit: Limit = 50,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List pictures, those of the newest tasks first."""
    query = _make_query(search, model, seed, batch, label, decision or [])
    page = call_server(url, data_dir, lambda api: api.read_page(_PATH, query, limit=limit))
    if as_json:
        terminal.put_json(page)
        return
    rows = [
        (
            f"{picture['task']}/{picture['name']}",
            picture["model"] or "",
            picture["seed"] or "",
            picture["decision"] or "",
            _shorten(picture["prompt"] or ""),
            format_ago(picture["made_at"]) if picture["made_at"] else "",
        )
        for picture in page["items"]
    ]
    terminal.put_table(("picture", "model", "seed", "decision", "prompt", "made"), rows, empty="no pictures")


@app.command("decide", epilog=make_example("corral pictures decide keep 12/dot.png 13/dot.png"))
def decide(
    decision: Word,
    pictures: Places,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Keep or reject pictures, or take the decision back."""
    word = None if decision is DecisionWord.NONE else decision.value
    body = {"of": pictures, "decision": word, **({} if note is None else {"note": note})}
    answer = call_server(url, data_dir, lambda api: api.post(f"{_PATH}/decisions", body))
    if as_json:
        terminal.put_json(answer)
        return
    for picture in answer["items"]:
        terminal.put_text(f"{picture['task']}/{picture['name']}: {picture['decision'] or 'no decision'}")


@app.command("export", epilog=make_example("corral pictures export --label character=elena --out elena"))
def export(
    out: OutOfPictures,
    search: Search = None,
    model: OfModel = None,
    seed: OfSeed = None,
    batch: OfBatch = None,
    label: WithLabels = None,
    decision: Decided = None,
    trigger: Trigger = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write pictures, captions and a manifest to a folder, for a LoRA.

    Without `--decision`, those that are kept, favourites too. Run again, it adds what is missing and removes what is
    not chosen any more.
    """
    from corral.client.data_sets import write_data_set

    kept = [DecisionWord.FAVOURITE, DecisionWord.KEEP]
    query = _make_query(search, model, seed, batch, label, decision or kept)
    query += [("trigger", trigger)] if trigger is not None else []
    written: WrittenDataSet = call_server(url, data_dir, lambda api: write_data_set(api, query, out))
    if as_json:
        terminal.put_json(asdict(written))
        return
    removed = f"; {written.removed} files of an earlier one removed" if written.removed else ""
    terminal.put_text(f"{written.folder}: {written.pictures} pictures, {written.captions} with captions{removed}")


def _make_query(
    search: str | None,
    model: str | None,
    seed: str | None,
    batch: int | None,
    labels: list[str] | None,
    decisions: list[DecisionWord],
) -> list[tuple[str, str | int]]:
    chosen = [("search", search), ("model", model), ("seed", seed), ("batch", batch)]
    query: list[tuple[str, str | int]] = [(name, value) for name, value in chosen if value is not None]
    query += [("label", text) for text in labels or ()]
    words = [decision for decision in decisions if decision is not DecisionWord.NONE]
    if len(words) == len(decisions):
        return query + [("decision", word.value) for word in words]
    if words:
        raise typer.BadParameter("`none` cannot be combined with another decision", param_hint="--decision")
    return [*query, ("decided", "false")]


def _shorten(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= _LONGEST_PROMPT else f"{line[: _LONGEST_PROMPT - 1]}…"
