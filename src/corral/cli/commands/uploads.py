"""`corral uploads`: input files that a server keeps for an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, DryRun, Limit, Url, Yes, make_example, make_group
from corral.client.connection import call_server
from corral.errors import CorralError, Kind
from corral.units import format_bytes

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "uploads"
app = make_group("List and delete input files that a server keeps.", example_command="corral uploads list")

Owner = Annotated[
    str | None, typer.Option("--owner", metavar="NAME", help="Use the uploads of this owner, as an administrator.")
]
Checksum = Annotated[str, typer.Argument(metavar="SHA256", help="The upload's checksum, or its first digits.")]
_PATH = "/corral/v1/uploads"
_NOTHING_FREED = "no disk freed yet: the file is younger than an hour, or something else names it"
_SHOWN_DIGITS = 12
_DIGITS = 64
"""Of a SHA-256, in hexadecimal."""


class AmbiguousChecksumError(CorralError):
    """The first digits of a checksum are those of no upload, or of several."""

    code: ClassVar[str] = "cli.ambiguous_checksum"
    kind: ClassVar[Kind] = Kind.MISSING


@app.command("list", epilog=make_example("corral uploads list"))
def list_(
    owner: Owner = None, limit: Limit = 1000, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List uploads, newest first, and the part of the quota that is used."""
    answer = call_server(url, data_dir, lambda api: api.read_page(_PATH, _name_owner(owner), limit=limit))
    if as_json:
        terminal.put_json(answer)
        return
    rows = [
        (
            upload["sha256"][:_SHOWN_DIGITS],
            upload["name"],
            format_bytes(upload["size"]),
            format_ago(upload["created_at"]),
            "yes" if upload["in_use"] else "",
        )
        for upload in sorted(answer["items"], key=lambda upload: upload["created_at"], reverse=True)
    ]
    terminal.put_table(("sha256", "name", "size", "uploaded", "in use"), rows, empty="no uploads")
    terminal.note(f"{answer['owner']} has {format_bytes(answer['bytes'])} of {format_bytes(answer['quota'])}")


@app.command("rm", epilog=make_example("corral uploads rm 3fa4b1c2d5e6 --yes"))
def remove(
    checksum: Checksum,
    owner: Owner = None,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Delete an upload that no open task takes.

    Ended tasks that took it cannot be retried any more.
    """
    query = _name_owner(owner)

    async def find(api: Api) -> str:
        if len(checksum) == _DIGITS:
            return checksum
        uploads = await api.read_list(_PATH, query)
        return _choose(checksum, [upload["sha256"] for upload in uploads])

    sha256 = call_server(url, data_dir, find)
    if dry_run:
        terminal.note(f"would delete the upload {sha256}")
        return
    terminal.confirm(f"delete the upload {sha256}?", agreed=yes)
    answer: Json = call_server(url, data_dir, lambda api: api.delete(f"{_PATH}/{sha256}", query))
    if as_json:
        terminal.put_json(answer)
    else:
        freed = f"{format_bytes(answer['freed'])} of the disk freed" if answer["freed"] else _NOTHING_FREED
        terminal.put_text(f"{sha256}: deleted; {freed}")


def _name_owner(owner: str | None) -> list[tuple[str, str | int]]:
    return [] if owner is None else [("owner", owner)]


def _choose(digits: str, checksums: list[str]) -> str:
    matching = [checksum for checksum in checksums if checksum.startswith(digits)]
    if len(matching) != 1:
        count = len(matching) or "no"
        raise AmbiguousChecksumError(
            f"{count} uploads have a checksum that begins with {digits!r}",
            hint="`corral uploads list --json` has them in full",
        )
    return matching[0]
