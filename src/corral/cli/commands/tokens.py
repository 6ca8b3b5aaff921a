"""`corral tokens`: access to a server from other machines."""

from __future__ import annotations

from collections.abc import Mapping
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
app = make_group("Create, list and revoke tokens and invitations.", example_command="corral tokens list")

TokenName = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")]
RoleOption = Annotated[
    Literal["viewer", "submitter", "admin"],
    typer.Option(
        "--role", help="Give the token this role: viewer reads, submitter submits too, admin can do everything."
    ),
]


OwnerOption = Annotated[
    str | None, typer.Option("--owner", metavar="OWNER", help="Let this owner have what it submits. Default: NAME.")
]
ModelsOption = Annotated[
    str | None,
    typer.Option(
        "--models", metavar="MODELS", help="Allow these models alone, with commas between; * is any part of a name."
    ),
]
RpmOption = Annotated[int | None, typer.Option("--rpm", min=1, help="Allow so many requests a minute.")]
TpmOption = Annotated[int | None, typer.Option("--tpm", min=1, help="Allow so many tokens a minute.")]
TpdOption = Annotated[int | None, typer.Option("--tpd", min=1, help="Allow so many tokens a day (UTC).")]
ConcurrentOption = Annotated[
    int | None, typer.Option("--concurrent", min=1, help="Allow so many requests at the same time.")
]
ExpiresOption = Annotated[
    str | None,
    typer.Option("--expires", metavar="WHEN", help="Refuse it after this time, such as 90d, or from this instant on."),
]


@app.command("create", epilog=make_example("corral tokens create ada --models 'qwen*' --rpm 60 --expires 90d"))
def create(
    name: TokenName,
    role: RoleOption = "submitter",
    owner: OwnerOption = None,
    models: ModelsOption = None,
    rpm: RpmOption = None,
    tpm: TpmOption = None,
    tpd: TpdOption = None,
    concurrent: ConcurrentOption = None,
    expires: ExpiresOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the token alone.")] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make a token; it is shown once, and only its hash is kept."""
    limits = make_limits(owner, models, rpm=rpm, tpm=tpm, tpd=tpd, concurrent=concurrent, expires=expires)
    described = describe_token(name, role, limits)
    if dry_run:
        terminal.note(f"would make a token for {described}")
        return
    asked = {"name": name, "role": role, **limits}
    answer = call_server(url, data_dir, lambda api: api.post("/corral/v1/tokens", asked))
    if as_json:
        terminal.put_json(answer)
        return
    terminal.put(answer["token"])
    if not quiet:
        terminal.note(f"this is the token of {described}; it is not shown again. Its holder sets CORRAL_TOKEN to it")


@app.command("invite", epilog=make_example("corral tokens invite grace --tpd 200000 --lasts 2d"))
def invite(
    name: TokenName,
    role: RoleOption = "submitter",
    owner: OwnerOption = None,
    models: ModelsOption = None,
    rpm: RpmOption = None,
    tpm: TpmOption = None,
    tpd: TpdOption = None,
    concurrent: ConcurrentOption = None,
    expires: ExpiresOption = None,
    lasts: Annotated[
        str, typer.Option("--lasts", metavar="TIME", help="Let the link be good for this time, at most 90d.")
    ] = "7d",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the link alone.")] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Print a link that makes one such token and logs that browser in.

    It works once, for the first browser that opens it. A second invitation of the same name replaces the first.
    """
    limits = make_limits(owner, models, rpm=rpm, tpm=tpm, tpd=tpd, concurrent=concurrent, expires=expires)
    described = describe_token(name, role, limits)
    if dry_run:
        terminal.note(f"would invite {described}")
        return
    asked = {"name": name, "role": role, "lasts": read_seconds(lasts), **limits}
    answer = call_server(url, data_dir, lambda api: api.post("/corral/v1/invitations", asked))
    if as_json:
        terminal.put_json(answer)
        return
    terminal.put(answer["link"])
    if not quiet:
        terminal.note(f"this link invites {described}; it is good once, and not shown again. Send it as a password")


@app.command("list", epilog=make_example("corral tokens list"))
def list_(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List tokens: names and roles, never the tokens."""
    answer = call_server(url, data_dir, lambda api: api.get("/corral/v1/tokens"))
    if as_json:
        terminal.put_json(answer)
        return
    rows = [
        (
            token["name"],
            token["owner"],
            token["role"],
            describe_limits({**token, "owner": None}),
            *(format_ago(token.get(instant)) for instant in ("created_at", "last_used_at", "revoked_at")),
        )
        for token in answer["items"]
    ]
    columns = ("name", "owner", "role", "limits", "created", "used", "revoked")
    terminal.put_table(columns, rows, empty="no tokens", expendable=("created", "used"))


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


def make_limits(
    owner: str | None,
    models: str | None,
    *,
    rpm: int | None,
    tpm: int | None,
    tpd: int | None,
    concurrent: int | None,
    expires: str | None,
) -> dict[str, Json]:
    """Return the owner and the limits of a token, as the API takes them; those that are not set are left out."""
    limits: dict[str, Json] = {
        "owner": owner,
        "models": None if models is None else [model.strip() for model in models.split(",") if model.strip()],
        "requests_per_minute": rpm,
        "tokens_per_minute": tpm,
        "tokens_per_day": tpd,
        "concurrent": concurrent,
        "expires_at": None if expires is None else find_end(expires),
    }
    return {field: value for field, value in limits.items() if value is not None}


def describe_token(name: str, role: str, limits: Mapping[str, Json]) -> str:
    """Return a token that is asked for in a few words."""
    words = describe_limits(limits)
    return f"{name} with the role {role}{f': {words}' if words else ''}"


def describe_limits(token: Mapping[str, Json]) -> str:
    """Return the limits of a token in a few words; nothing where it has none."""
    words = [f"owner {token['owner']}"] if token.get("owner") else []
    if token.get("models"):
        words.append(f"models {', '.join(token['models'])}")
    words += [
        f"{token[field]} {unit}"
        for field, unit in (
            ("requests_per_minute", "requests/min"),
            ("tokens_per_minute", "tokens/min"),
            ("tokens_per_day", "tokens/day"),
            ("concurrent", "at a time"),
        )
        if token.get(field)
    ]
    if token.get("expires_at"):
        words.append(f"until {str(token['expires_at'])[:16].replace('T', ' ')} UTC")
    return "; ".join(words)


def read_seconds(written: str) -> Json:
    """Return the seconds of a duration such as `2d`; the server refuses other text."""
    from corral.units import UnitError, parse_duration

    try:
        return parse_duration(written).total_seconds()
    except UnitError:
        return written


def find_end(written: str) -> str:
    """Return the instant (UTC) of a duration from now, or of an instant; the server refuses other text."""
    from datetime import UTC, datetime

    from corral.units import UnitError, parse_duration

    try:
        return (datetime.now(UTC) + parse_duration(written)).isoformat(timespec="seconds")
    except UnitError:
        pass
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        return written
    return written if instant.tzinfo is None else instant.astimezone(UTC).isoformat(timespec="seconds")
