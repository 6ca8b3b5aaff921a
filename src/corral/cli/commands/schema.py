"""`corral schema`: the schemas with which editors check cluster files, batch files and set files."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema", epilog=make_example("corral schema --batch > batch.schema.json"))(schema)


def schema(
    batch: Annotated[bool, typer.Option("--batch", help="Print the schema of batch files instead.")] = False,
    pictures: Annotated[bool, typer.Option("--set", help="Print the schema of set files instead.")] = False,
) -> None:
    """Print the JSON Schema of the cluster file, for editors."""
    if pictures:
        from corral.studio.sets.shape import json_schema as make_schema
    elif batch:
        from corral.batchfile.shape import json_schema as make_schema
    else:
        from corral.cluster.schema import make_json_schema as make_schema
    terminal.put_json(make_schema())
