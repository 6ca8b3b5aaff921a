"""`corral tokens`: access to a server from other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

import typer

from corral.cli import terminal
from corral.cli.listing import format_ago
from corral.cli.options import AsJson, DataDir, DryRun, Url, Yes, make_example, make_group
from corral.client.connection import call_server

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "tokens"
app = make_group("Create, list and revoke tokens for other machines.", example_command="corral tokens list")

TokenName = Annotated[str, typer.Argument(metavar="NAME", help="The token's name, which owns its tasks.")]
RoleOption = Annotated[
    Literal["viewer", "submitter", "admin"],
    typer.Option(
        "--role", help="Give the token this role: viewer reads, submitter submits too, admin can do everything."
    ),
]


@app.command("create", epilog=make_example("corral tokens create ada --role submitter"))
def create(
    name: TokenName,
    role: RoleOption = "submitter",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make a token; it is shown once, and only its hash is kept."""
    if dry_run:
        terminal.note(f"would make a token for {name} with the role {role}")
        return
    answer = call_server(url, data_dir, lambda api: api.post("/corral/v1/tokens", {"name": name, "role": role}))
    if as_json:
        terminal.put_json(answer)
        return
    terminal.put(answer["token"])
    terminal.note(f"this is the token of {name} ({role}); it is not shown again. Its holder sets CORRAL_TOKEN to it")


@app.command("list", epilog=make_example("corral tokens list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List tokens: names and roles, never the tokens."""
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/tokens"))
    if as_json:
        terminal.put_json(answer)
        return
    rows = [
        (token["name"], token["role"], format_ago(token.get("created_at")), format_ago(token.get("revoked_at")))
        for token in answer["items"]
    ]
    terminal.put_table(("name", "role", "created", "revoked"), rows, empty="no tokens")


@app.command("revoke", epilog=make_example("corral tokens revoke ada --yes"))
def revoke(
    name: TokenName,
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make a token useless from now on."""
    if dry_run:
        terminal.note(f"would revoke the token of {name}")
        return
    terminal.confirm(f"revoke the token of {name}?", agreed=yes)

    async def use(api: Api) -> Json:
        return await api.delete(f"/corral/v1/tokens/{quote(name, safe='')}")

    answer = call_server(url, data_dir, use)
    if as_json:
        terminal.put_json(answer)
    else:
        terminal.put(f"{name}: revoked")
