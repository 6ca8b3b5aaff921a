"""`corral engines`: the programs that do the work, their environments here, and what their instances have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import exits, terminal
from corral.cli.options import AsJson, DataDir, DryRun, Url, make_example, make_group

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.work import Json

NAME = "engines"
app = make_group(
    "Install engines, and compare workflows with instances.",
    example_command="corral engines install whisper",
)

Workflow = Annotated[
    Path, typer.Argument(metavar="WORKFLOW", help="A ComfyUI workflow, as its Export (API) or its editor saves it.")
]
_COPYING_S = 3600.0
"""Bound on placing files: some hundred GB from one disk to another."""


@app.command("install", epilog=make_example("corral engines install whisper --variant cuda"))
def install(
    engine: Annotated[
        str,
        typer.Argument(
            metavar="ENGINE", help="An engine that runs here: llama, whisper, piper, kokoro, chatterbox, onnx, trainer."
        ),
    ],
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant", metavar="NAME", help="Install this variant. Default: the engine's first, `cpu` for most."
        ),
    ] = None,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
) -> None:
    """Install an engine on this machine, in an environment of its own.

    Its packages are built with uv from a locked file, apart from Corral's. A command that was interrupted goes on when
    it is run again; until it is done, the engine runs as before. A running server starts the engine's next process
    from the new environment.
    """
    import asyncio

    from corral.data_dir import choose_data_dir
    from corral.operations.engine_environments import install_environment, plan_environment

    folder = choose_data_dir(data_dir)
    plan = plan_environment(folder, engine, variant)
    named = f"{plan.kind.name} ({plan.environment.variant})"
    if plan.caution is not None:
        terminal.note(f"{named}: {plan.caution.what}; {plan.caution.fix}")
    if plan.is_current:
        terminal.put(f"{named} is installed: {plan.in_use.folder if plan.in_use else folder}")
        return
    if dry_run:
        terminal.put(f"would install {named}: {terminal.format_count(plan.packages, 'package')} at most")
        return
    installed = asyncio.run(install_environment(folder, plan, terminal.note))
    count = terminal.format_count(installed.packages, "package")
    terminal.put(f"installed {named}: {count}, in {installed.folder}")


@app.command("check", epilog=make_example("corral engines check portrait.json"))
def check(workflow: Workflow, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List what a workflow needs that an instance lacks.

    Node types and model files are looked up on each instance.

    The exit code is 0 if an instance has everything, and 1 if none has.
    """
    answer = _ask_about(workflow, "check", url, data_dir)
    if as_json:
        terminal.put_json(answer)
    else:
        _put_reports(answer["items"])
    complete = any(not report["missing"] and report["away"] is None for report in answer["items"])
    raise typer.Exit(0 if complete else exits.TASKS_FAILED)


@app.command("place", epilog=make_example("corral engines place portrait.json"))
def place(workflow: Workflow, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Place the model files of a workflow where instances lack them.

    They come from the store of the server: models there with a file of the same name. Each is verified, and goes into
    the folder that the cluster file names for the instance (`modelsFolder`). The exit code is 1 if one is still
    missing.
    """
    from corral.units import format_bytes

    answer = _ask_about(workflow, "place", url, data_dir)
    if as_json:
        terminal.put_json(answer)
    else:
        for item in answer["items"]:
            terminal.put(f"{item['instance']}: {item['path']}, {format_bytes(item['size'])}, placed")
        for file in answer["unplaced"]:
            terminal.put_text(f"{file['instance']}: {file['file']}: {file['problem']}\n  {file['hint'] or ''}")
        if not answer["items"] and not answer["unplaced"]:
            terminal.note("no instance that answers lacks a model file of this workflow")
    raise typer.Exit(exits.TASKS_FAILED if answer["unplaced"] else 0)


def _ask_about(workflow: Path, verb: str, url: str | None, data_dir: Path | None) -> Json:
    """Have the server look at a workflow, converted where its editor saved it."""
    from corral.batchfile.objects import read_object
    from corral.client.connection import call_server
    from corral.client.converting import request_conversion
    from corral.engine_kinds import COMFYUI
    from corral.engines.converting import is_of_editor

    content = read_object(workflow)

    async def ask(api: Api) -> Json:
        nodes = content
        if is_of_editor(COMFYUI, content):
            nodes = (await request_conversion(api, COMFYUI.name, content))["workflow"]
        path = f"/corral/v1/engines/{COMFYUI.name}/{verb}"
        return await api.post(path, {"inputs": {"workflow": nodes}}, within_s=_COPYING_S)

    return call_server(url, data_dir, ask)


def _put_reports(reports: list[Json]) -> None:
    if not reports:
        terminal.note("the cluster file has no instance of ComfyUI; add one under `engines.comfyui.instances`")
    for report in reports:
        if report["away"] is not None:
            terminal.put(f"{report['instance']}: away: {report['away']['what']}")
        elif not report["missing"]:
            terminal.put(f"{report['instance']}: has everything")
        else:
            terminal.put(f"{report['instance']}: lacks {len(report['missing']) + report['left_out']}")
        for problem in report["missing"]:
            terminal.put_text(f"  {problem['what']}, {problem['where']}\n    {problem['hint']}")
        if report["left_out"]:
            terminal.put(f"  ... and {report['left_out']} more")


@app.command("convert", epilog=make_example("corral engines convert drawn.json --out portrait.json"))
def convert(
    workflow: Annotated[Path, typer.Argument(metavar="WORKFLOW", help="A workflow as ComfyUI's editor saves it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the workflow to this file.")
    ] = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="NAME", help="Ask this instance what its nodes take.")
    ] = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Convert a workflow of ComfyUI's editor for tasks.

    Tasks take its API format. The node types are those of an instance of the cluster file. Batch files that name such
    a workflow have it converted when they are submitted.
    """
    import json

    from corral.batchfile.objects import read_object
    from corral.client.connection import call_server
    from corral.client.converting import format_note, request_conversion
    from corral.engine_kinds import COMFYUI
    from corral.files import write_whole

    drawn = read_object(workflow)
    answer = call_server(url, data_dir, lambda api: request_conversion(api, COMFYUI.name, drawn, instance=instance))
    if out is not None:
        write_whole(out, json.dumps(answer["workflow"], indent=2, ensure_ascii=False) + "\n")
    if as_json or out is None:
        terminal.put_json(answer if as_json else answer["workflow"])
    else:
        count = terminal.format_count(len(answer["workflow"]), "node")
        terminal.put(f"wrote {out}: {count}, as {answer['instance']} has them")
    for note in answer["notes"]:
        terminal.note(format_note(note))
