"""What instances lack: asked for with a workflow, and found when tasks are submitted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from corral.cluster.values import Cluster, EngineSettings, Instance, Node, QueueSettings
from corral.engines.surveying import Surveyor
from corral.operations.reloading import ReloadAnswer, ReloadAsked
from corral.server.api.strict_json import MAX_PROBLEMS
from corral.server.services import Services
from doubles.comfyui import ComfyDouble
from doubles.comfyui_editor import plain_text_to_image
from doubles.comfyui_workflows import text_to_image
from doubles.serving import Serving, serving

PORTRAIT = Path(__file__).parents[3] / "examples" / "portraits" / "portrait.json"
MODEL = "sd_xl_base_1.0.safetensors"


class Fixed:
    """Stands for the cluster file in effect: one that never changes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        raise NotImplementedError


class Clock:
    """The surveyor's clock; a test moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def instances() -> AsyncIterator[list[ComfyDouble]]:
    async with ComfyDouble() as first, ComfyDouble() as second:
        yield [first, second]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def api(services: Services, instances: list[ComfyDouble], clock: Clock) -> AsyncIterator[Serving]:
    """The API of a server with two instances of ComfyUI."""
    names = ("left", "right")
    comfyui = EngineSettings(
        name="comfyui",
        instances=tuple(Instance(name=name, url=at.url) for name, at in zip(names, instances, strict=True)),
    )
    cluster = Cluster(
        name="test",
        nodes=(Node(name="node"),),
        engines={"comfyui": comfyui},
        queues={"default": QueueSettings(name="default")},
    )
    async with serving(replace(services, in_effect=Fixed(cluster), surveyor=Surveyor(clock))) as api:
        yield api


def a_batch(count: int = 1) -> dict[str, Any]:
    return {
        "name": "b",
        "defaults": {"engine": "comfyui", "inputs": {"workflow": text_to_image()}},
        "tasks": [{"name": f"t-{number}"} for number in range(count)],
    }


async def test_check_says_what_each_instance_lacks(api: Serving, instances: list[ComfyDouble]) -> None:
    instances[0].faults.lacks = frozenset({"KSampler", MODEL})
    await instances[1].die()

    answer = await api.post("/corral/v1/engines/comfyui/check", {"inputs": {"workflow": text_to_image()}})

    assert answer.status == 200, answer.json
    left, right = answer.json["items"]
    assert [problem["what"] for problem in left["missing"]] == ["the node type 'KSampler'", f"the model {MODEL!r}"]
    assert (left["instance"], left["away"]) == ("left", None)
    assert (right["missing"], right["away"]["code"]) == ([], "comfyui.unreachable")


async def test_what_no_instance_has_is_refused_at_submission_once_for_all_tasks(
    api: Serving, instances: list[ComfyDouble]
) -> None:
    for instance in instances:
        instance.faults.lacks = frozenset({MODEL})

    answer = await api.post("/corral/v1/batches", a_batch(3))

    assert answer.status == 422
    (problem,) = answer.json["error"]["problems"]
    assert problem["code"] == "comfyui.missing_model"
    assert problem["where"] == "tasks[0] (t-0).inputs"
    assert problem["what"] == (
        f"no comfyui instance has the model {MODEL!r} of node 4 (CheckpointLoaderSimple) input 'ckpt_name'"
        " (3 tasks need it)"
    )


async def test_tasks_are_accepted_when_one_instance_has_everything_or_is_away(
    api: Serving, instances: list[ComfyDouble], clock: Clock
) -> None:
    instances[0].faults.lacks = frozenset({MODEL})
    assert (await api.post("/corral/v1/batches", a_batch())).status == 201

    await instances[1].die()
    clock.now += 60
    assert (await api.post("/corral/v1/batches", a_batch())).status == 201


async def test_instances_that_lack_different_things_are_all_named(api: Serving, instances: list[ComfyDouble]) -> None:
    instances[0].faults.lacks = frozenset({MODEL})
    instances[1].faults.lacks = frozenset({"KSampler"})

    (problem,) = (await api.post("/corral/v1/batches", a_batch())).json["error"]["problems"]

    assert problem["what"] == (
        "no comfyui instance has all that a task needs: "
        f"left lacks the model {MODEL!r}; right lacks the node type 'KSampler'"
    )


async def test_an_answer_does_not_grow_with_what_instances_lack(api: Serving, instances: list[ComfyDouble]) -> None:
    own = {f"Own{number}": {"class_type": f"Own{number}", "inputs": {}} for number in range(MAX_PROBLEMS + 50)}
    workflow = text_to_image() | own
    instances[1].faults.lacks = frozenset({"KSampler"})

    left, right = (await api.post("/corral/v1/engines/comfyui/check", {"inputs": {"workflow": workflow}})).json["items"]

    assert (len(left["missing"]), left["left_out"]) == (MAX_PROBLEMS, 50)
    assert (len(right["missing"]), right["left_out"]) == (MAX_PROBLEMS, 51)


async def test_a_problem_names_the_first_lacks_of_the_first_instances(
    api: Serving, instances: list[ComfyDouble]
) -> None:
    instances[0].faults.lacks = frozenset({"KSampler", "VAEDecode", "SaveImage", "EmptyLatentImage"})
    instances[1].faults.lacks = frozenset({MODEL})

    (problem,) = (await api.post("/corral/v1/batches", a_batch())).json["error"]["problems"]

    assert " and 1 more; right lacks" in problem["what"]


async def test_a_batch_of_tasks_that_all_lack_something_else_gets_a_bounded_answer(api: Serving) -> None:
    batch = a_batch(2 * MAX_PROBLEMS)
    for number, task in enumerate(batch["tasks"]):
        task["inputs"] = {"set": {"4.ckpt_name": f"none-{number}.safetensors"}}

    answer = await api.post("/corral/v1/batches", batch)

    assert answer.status == 422
    problems = answer.json["error"]["problems"]
    assert len(problems) == MAX_PROBLEMS
    assert problems[-1]["where"] == f"tasks[{MAX_PROBLEMS - 1}] (t-{MAX_PROBLEMS - 1}).inputs"


async def test_a_model_that_was_just_installed_is_not_refused_from_memory(
    api: Serving, instances: list[ComfyDouble], clock: Clock
) -> None:
    for instance in instances:
        instance.faults.lacks = frozenset({MODEL})
    assert (await api.post("/corral/v1/batches", a_batch())).status == 422
    for instance in instances:
        instance.faults.lacks = frozenset()
    clock.now += 3

    assert (await api.post("/corral/v1/batches", a_batch())).status == 201


async def test_a_key_that_was_accepted_is_answered_again_when_the_model_is_gone(
    api: Serving, instances: list[ComfyDouble], clock: Clock
) -> None:
    key = {"Idempotency-Key": "night"}
    first = await api.post("/corral/v1/batches", a_batch(), headers=key)
    for instance in instances:
        instance.faults.lacks = frozenset({MODEL})
    clock.now += 60
    again = await api.post("/corral/v1/batches", a_batch(), headers=key)

    assert (first.status, again.status) == (201, 200)
    assert again.json["tasks"] == first.json["tasks"]
    assert (await api.post("/corral/v1/batches", a_batch(), headers={"Idempotency-Key": "new"})).status == 422


async def test_an_instance_is_not_asked_for_each_submission(api: Serving, instances: list[ComfyDouble]) -> None:
    for _ in range(5):
        assert (await api.post("/corral/v1/batches", a_batch())).status == 201

    assert [instance.requests.count(("GET", "/object_info")) for instance in instances] == [1, 1]


async def test_a_check_of_what_is_no_workflow_or_no_engine_is_refused(api: Serving) -> None:
    assert (await api.post("/corral/v1/engines/comfyui/check", {"inputs": {}})).status == 422
    assert (await api.post("/corral/v1/engines/comfy/check", {"inputs": {}})).status == 404


async def check_by_command(api: Serving, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit code and the text of `corral engines check`."""
    code = await asyncio.to_thread(run_command, ["engines", "check", str(PORTRAIT), "--url", api.url])
    return code, capsys.readouterr().out


async def test_the_command_names_the_instance_and_its_lacks_and_succeeds_when_one_is_complete(
    api: Serving, instances: list[ComfyDouble], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    instances[0].faults.lacks = frozenset({MODEL})

    code, text = await check_by_command(api, capsys)

    assert code == 0
    assert "left: lacks 1\n" in text
    assert f"the model {MODEL!r}, node 4 (CheckpointLoaderSimple) input 'ckpt_name'" in " ".join(text.split())
    assert "right: has everything\n" in text

    await instances[1].die()
    clock.now += 60
    code, text = await check_by_command(api, capsys)

    assert code == 1
    assert "right: away: " in text


# --- workflows of the editor ----------------------------------------------------------------------------------------


async def test_a_workflow_of_the_editor_is_converted_with_the_first_instance_that_can(
    api: Serving, instances: list[ComfyDouble]
) -> None:
    instances[0].faults.lacks = frozenset({"KSampler"})

    answer = await api.post("/corral/v1/engines/comfyui/convert", {"workflow": plain_text_to_image()})

    assert answer.status == 200, answer.json
    assert answer.json["instance"] == "right"
    nodes = answer.json["workflow"]
    assert {node: content["inputs"] for node, content in nodes.items()} == {
        node: content["inputs"] for node, content in text_to_image().items()
    } | {"9": {"images": ["8", 0], "filename_prefix": "fox"}}


async def test_what_keeps_a_workflow_from_being_converted_is_named_for_the_nearest_instance(
    api: Serving, instances: list[ComfyDouble]
) -> None:
    path = "/corral/v1/engines/comfyui/convert"
    instances[0].faults.lacks = frozenset({"KSampler"})
    await instances[1].die()

    def codes(answer: Any) -> list[tuple[str, str]]:
        return [(problem["code"], problem["where"]) for problem in answer.json["error"]["problems"]]

    nearest = await api.post(path, {"workflow": plain_text_to_image()})
    assert (nearest.status, codes(nearest)) == (422, [("comfyui.missing_node_type", "node 3 (KSampler)")])

    named = await api.post(path, {"workflow": plain_text_to_image(), "instance": "right"})
    assert (named.status, codes(named)) == (422, [("comfyui.unreachable", instances[1].url)])

    unknown = await api.post(path, {"workflow": plain_text_to_image(), "instance": "rigt"})
    assert (unknown.status, unknown.json["error"]["hint"]) == (404, "did you mean `right`?")

    converted = await api.post(path, {"workflow": text_to_image()})
    assert codes(converted) == [("comfyui.workflow_format", "workflow")]

    other = await api.post("/corral/v1/engines/ollama/convert", {"workflow": plain_text_to_image()})
    assert other.status == 404


async def test_the_command_writes_the_converted_workflow(
    api: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, out = tmp_path / "drawn.json", tmp_path / "portrait.json"
    workflow = plain_text_to_image()
    workflow["nodes"][1]["widgets_values"] = ["a {red|grey} fox"]
    drawn.write_text(json.dumps(workflow))

    arguments = ["engines", "convert", str(drawn), "--out", str(out), "--url", api.url]
    code = await asyncio.to_thread(run_command, arguments)

    printed = capsys.readouterr()
    assert (code, printed.out) == (0, f"wrote {out}: 7 nodes, as left has them\n")
    assert "note: node 6 (CLIPTextEncode) input 'text': '{red|grey}' is left as it is" in printed.err
    assert json.loads(out.read_text())["6"]["inputs"] == {"text": "a {red|grey} fox", "clip": ["4", 1]}

    await asyncio.to_thread(run_command, ["engines", "convert", str(drawn), "--json", "--url", api.url])
    answer = await api.post("/corral/v1/engines/comfyui/convert", {"workflow": workflow})
    assert json.loads(capsys.readouterr().out) == answer.json


async def test_a_batch_file_can_name_a_workflow_of_the_editor(
    api: Serving, instances: list[ComfyDouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drawn.json").write_text(json.dumps(plain_text_to_image()))
    batch = tmp_path / "batch.yaml"
    batch.write_text(
        "apiVersion: corral/v1\nkind: Batch\nname: drawn\n"
        "tasks:\n  - {name: fox, engine: comfyui, inputs: {workflow: ./drawn.json, prompt: a hen, seed: 3}}\n"
        "  - {name: hen, engine: comfyui, inputs: {workflow: ./drawn.json}}\n"
    )
    arguments = ["submit", str(batch), "--json", "--url", api.url]

    assert await asyncio.to_thread(run_command, arguments) == 0
    accepted = json.loads(capsys.readouterr().out)
    task = (await api.get(f"/corral/v1/tasks/{accepted['tasks'][0]['id']}")).json
    assert task["inputs"]["workflow"]["3"]["inputs"]["sampler_name"] == "euler"
    assert task["inputs"]["prompt"] == "a hen"

    for instance in instances:
        instance.faults.lacks = frozenset({"KSampler"})
    assert await asyncio.to_thread(run_command, arguments) == 2
    problem = json.loads(capsys.readouterr().err)["error"]["problems"]
    assert [(entry["code"], entry["where"]) for entry in problem] == [
        ("comfyui.missing_node_type", f"{batch}:5:53 tasks[0].inputs.workflow")
    ]


# --- files that are placed -------------------------------------------------------------------------------------------


async def test_files_that_instances_lack_are_placed_from_the_store_by_command_and_by_route(
    services: Services, instances: list[ComfyDouble], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, workflow = tmp_path / "left", tmp_path / "drawn.json"
    (folder / "checkpoints").mkdir(parents=True)
    (tmp_path / MODEL).write_bytes(b"weights")
    await services.weights.pull(str(tmp_path / MODEL))
    workflow.write_text(json.dumps(plain_text_to_image()))
    for instance in instances:
        instance.faults.lacks = frozenset({MODEL})
    left = Instance(name="left", url=instances[0].url, models_folder=str(folder))
    right = Instance(name="right", url=instances[1].url)
    engines = {"comfyui": EngineSettings(name="comfyui", instances=(left, right))}
    cluster = Cluster(name="test", nodes=(Node(name="node"),), engines=engines)

    async with serving(replace(services, in_effect=Fixed(cluster))) as api:
        answered = await api.post("/corral/v1/engines/comfyui/place", {"inputs": {"workflow": text_to_image()}})
        arguments = ["engines", "place", str(workflow), "--json", "--url", api.url]
        code = await asyncio.to_thread(run_command, arguments)
        printed = json.loads(capsys.readouterr().out)

    assert (folder / "checkpoints" / MODEL).read_bytes() == b"weights"
    assert [(item["instance"], item["written"]) for item in answered.json["items"]] == [("left", True)]
    assert answered.json["unplaced"] == [
        {
            "instance": "right",
            "file": MODEL,
            "problem": "the instance 'right' has no models folder",
            "hint": "add `modelsFolder` to it in the cluster file",
        }
    ]
    first = answered.json["items"][0]
    assert (code, printed) == (1, {**answered.json, "items": [{**first, "written": False}]})


async def test_a_file_that_the_store_lacks_is_named_with_what_to_do(
    services: Services, instances: list[ComfyDouble], tmp_path: Path
) -> None:
    (tmp_path / "loras").mkdir()
    instances[0].faults.lacks = frozenset({MODEL})
    left = Instance(name="left", url=instances[0].url, models_folder=str(tmp_path))
    engines = {"comfyui": EngineSettings(name="comfyui", instances=(left,))}
    cluster = Cluster(name="test", nodes=(Node(name="node"),), engines=engines)

    async with serving(replace(services, in_effect=Fixed(cluster))) as api:
        path, body = "/corral/v1/engines/comfyui/place", {"inputs": {"workflow": text_to_image()}}
        no_folder = await api.post(path, body)
        (tmp_path / "checkpoints").mkdir()
        not_stored = await api.post(path, body)

    assert [entry["problem"] for entry in no_folder.json["unplaced"]] == [
        "the models folder has no folder 'checkpoints'"
    ]
    assert not_stored.json["unplaced"][0]["problem"] == f"the store has no file {MODEL!r}"
    assert not_stored.json["unplaced"][0]["hint"] == f"run `corral models place SOURCE --as checkpoints/{MODEL}`"
