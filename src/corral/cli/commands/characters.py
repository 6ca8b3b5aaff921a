"""`corral characters`: their words, reference images, LoRA and voice, with their history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, DryRun, Limit, Url, Yes, make_example, make_group
from corral.client.connection import call_server

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "characters"
CharacterName = Annotated[str, typer.Argument(metavar="NAME", help="The character's name.")]
Owner = Annotated[
    str | None, typer.Option("--owner", metavar="NAME", help="Read the characters of this owner, as an administrator.")
]
app = make_group("Import, list, show and export characters.", example_command="corral characters list")


@app.command("list", epilog=make_example("corral characters list"))
def list_(
    owner: Owner = None, limit: Limit = 1000, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List characters in the order of their names."""
    from corral.client.characters import PATH

    answer = call_server(url, data_dir, lambda api: api.read_page(PATH, _name_owner(owner), limit=limit))
    if as_json:
        terminal.put_json(answer)
        return
    columns = ("character", "look", "lora", "voice", "images", "revision", "changed")
    rows = [
        (
            *(character["name"], character["look"] or "", character["lora"] or "", character["voice"] or ""),
            *(str(len(character["images"])), str(character["revision"]), format_ago(character["changed_at"])),
        )
        for character in answer["items"]
    ]
    terminal.put_table(columns, rows, empty="there are no characters", expendable=("changed", "voice", "lora", "look"))


@app.command("show", epilog=make_example("corral characters show mira"))
def show(
    name: CharacterName, owner: Owner = None, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Show a character as it is now."""
    from corral.client.characters import make_path

    shown = call_server(url, data_dir, lambda api: api.get(make_path(name), _name_owner(owner)))
    if as_json:
        terminal.put_json(shown)
        return
    texts = ("name", "description", "look", "style", "lora", "voice")
    fields = [(field, shown[field]) for field in texts if shown[field] is not None]
    images = zip(shown["image_names"], shown["images"], strict=True)
    fields += [("image", f"{file} ({sha256[:12]})") for file, sha256 in images]
    changed = f"{format_ago(shown['changed_at'])} by {shown['changed_by']}"
    terminal.put_fields([*fields, *shown["fields"].items(), ("revision", shown["revision"]), ("changed", changed)])


@app.command("import", epilog=make_example("corral characters import examples/studio/characters.yaml"))
def import_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A characters file, or a folder with characters.")],
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Save characters of a file or a folder; again, it changes nothing."""
    from corral.client.characters import import_characters
    from corral.studio.characters.reading import open_characters

    characters = open_characters(path)
    if dry_run:
        terminal.note(f"{terminal.format_count(len(characters), 'character')} would be saved")
        return
    answer = call_server(url, data_dir, lambda api: import_characters(api, characters))
    if as_json:
        terminal.put_json(answer)
        return
    changed = [saved for saved in answer["items"] if saved["changed"]]
    for saved in changed:
        terminal.put(f"{saved['name']}: revision {saved['revision']}")
    count = terminal.format_count(len(changed), "character")
    terminal.put(f"{count} saved, {len(answer['items']) - len(changed)} as before")


@app.command("remove", epilog=make_example("corral characters remove mira --yes"))
def remove(
    name: CharacterName, yes: Yes = False, url: Url = None, data_dir: DataDir = None, dry_run: DryRun = False
) -> None:
    """Remove a character; its history stays."""
    from corral.client.characters import make_path

    async def use(api: Api) -> Json:
        shown = await api.get(make_path(name))
        if dry_run:
            terminal.note(f"would remove the character {name}")
            return False
        terminal.confirm(f"remove the character {name}?", agreed=yes)
        await api.delete(make_path(name), {"revision": shown["revision"]})
        return True

    if call_server(url, data_dir, use):
        terminal.put(f"{name}: removed; `corral characters history {name}` has its revisions")


@app.command("history", epilog=make_example("corral characters history mira"))
def history(
    name: CharacterName, owner: Owner = None, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the revisions of a character, the newest first."""
    from corral.client.characters import make_path

    answer = call_server(url, data_dir, lambda api: api.get(make_path(name, "history"), _name_owner(owner)))
    if as_json:
        terminal.put_json(answer)
        return
    revisions = answer["items"]
    rows = [
        (str(row["revision"]), format_ago(row["changed_at"]), row["changed_by"], _describe_change(row, before))
        for row, before in zip(revisions, [*revisions[1:], {"character": None}], strict=True)
    ]
    terminal.put_table(("revision", "changed", "by", "what"), rows, empty="no revisions")


@app.command("export", epilog=make_example("corral characters export --out cast"))
def export(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Write a folder for each character here.")],
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write characters and their images, as `import` reads them."""
    from corral.client.characters import export_characters

    characters = call_server(url, data_dir, lambda api: export_characters(api, out))
    if as_json:
        terminal.put_json({"items": characters})
    else:
        terminal.put(f"{terminal.format_count(len(characters), 'character')} written to {out}")


def _name_owner(owner: str | None) -> list[tuple[str, str | int]]:
    return [] if owner is None else [("owner", owner)]


def _describe_change(row: Json, before: Json) -> str:
    """Name what a revision changed."""
    now, then = row["character"], before["character"]
    if now is None:
        return "removed"
    if then is None:
        return "added"
    return ", ".join(field for field in now if now[field] != then[field])
