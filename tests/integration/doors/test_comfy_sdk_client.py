"""The official client of Comfy's API, unchanged, in more than 40 calls against one server over two instances.

The client is synchronous, so its script runs in a thread; server, dispatcher and instances are in this process.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from comfy_sdk import Comfy
from comfy_sdk.events import OutputReady, Progress, StatusChange
from comfy_sdk.exceptions import ComfyError, JobFailed
from comfy_sdk.jobs import Job
from comfy_sdk.workflows import Workflow

from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import text_to_image
from doubles.serving import Serving
from doubles.yard import Yard
from integration.doors.conftest import Open
from integration.doors.test_comfyui_door import make_cluster

Json = Any
QUICK = Timings(poll_s=0.1, retry_s=0.02)
"""Other bounds stay: on a slow machine, half a second takes an instance out of use that works."""
ABSENT = "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"
PORTRAIT = picture(seed=1, prompt="a portrait")


@pytest.fixture
async def instances(yard: Yard) -> AsyncIterator[tuple[ComfyDouble, ComfyDouble]]:
    """Two instances that take no time."""
    async with ComfyDouble() as left, ComfyDouble(jobs=True) as right:
        yard.start(ComfyUi(left.url, timings=QUICK), ComfyUi(right.url, timings=QUICK))
        yield left, right


@pytest.fixture
async def api(open_house: Open, instances: tuple[ComfyDouble, ComfyDouble]) -> AsyncIterator[Serving]:
    """The door over the two."""
    async with open_house(make_cluster(*(instance.url for instance in instances))) as api:
        yield api


def refused(work: Callable[..., object], *arguments: Any, **options: Any) -> ComfyError:
    """Return the error that the client raises."""
    with pytest.raises(ComfyError) as raised:
        work(*arguments, **options)
    return raised.value


def make_workflow(comfy: Comfy, seed: int = 5) -> Workflow:
    return comfy.workflows.from_json(text_to_image(seed=seed))


def make_image_workflow(comfy: Comfy, image: object) -> Workflow:
    """A workflow that begins with a picture of the client."""
    workflow = make_workflow(comfy)
    workflow.json["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    workflow.json["10"] = {"class_type": "LoadImage", "inputs": {}}
    workflow.set_input("10", "image", image)
    return workflow


async def test_forty_calls_of_the_official_client(
    api: Serving, instances: tuple[ComfyDouble, ComfyDouble], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMFY_BASE_URL", f"{api.url}/comfy")  # the client knows the address from there alone
    with Comfy(timeout=60.0) as comfy:
        await asyncio.to_thread(draw, comfy, tmp_path)
        await asyncio.to_thread(upload, comfy, tmp_path)
        await asyncio.to_thread(be_refused, comfy)
        for instance in instances:
            instance.faults.node_error = ("KSampler", "RuntimeError", "out of paint")
        await asyncio.to_thread(fail, comfy)
        for instance in instances:
            instance.faults.node_error = None
            instance.hold()
        await asyncio.to_thread(list_and_cancel, comfy)
    assert all(instance.submissions for instance in instances)
    assert len(set(instances[0].submissions + instances[1].submissions)) == len(
        instances[0].submissions + instances[1].submissions
    )


def draw(comfy: Comfy, folder: Path) -> None:
    """Submit, follow, download."""
    job = comfy.submit(make_workflow(comfy, 4), metadata={"client": "acme"})  # 1
    events = list(job.events())  # 2
    job.result()  # 3
    (output,) = job.outputs
    content = picture(seed=4, prompt="a fox", width=32, height=32)
    assert output.to_bytes() == content  # 4
    assert output.to_bytes(range=(1, 3)) == b"PNG"  # 5
    assert output.to_file(folder / "fox.png").read_bytes() == content  # 6
    assert output.to_stream(io.BytesIO()) == len(content)  # 7
    assert output.get_download_url().url.endswith(f"/comfy/api/v2/assets/{output.id}/content")  # 8
    assert (job.status, job.metadata) == ("succeeded", {"client": "acme"})
    statuses = [event.status for event in events if isinstance(event, StatusChange)]
    assert statuses[-1] == "succeeded"
    assert any(isinstance(event, Progress) and event.nodes_total == 7 for event in events)
    assert [event.output.name for event in events if isinstance(event, OutputReady)] == [output.name]
    assert comfy.jobs.get(job.id).get_outputs("9")[0].id == output.id  # 9
    assert job.get_workflow().graph == text_to_image(seed=4)  # 10
    assert job.refresh().status == job.cancel().status == "succeeded"  # 11-12: an end stays as it is
    assert comfy.assets.get(output.id).job_id == job.id  # 13
    assert refused(comfy.assets.delete, output.id).http_status == 422  # 14: it goes with its job
    assert comfy.run(make_workflow(comfy, 6)).status == "succeeded"  # 15
    with_secret = comfy.submit(make_workflow(comfy, 7), api_key="secret-of-a-node")  # 16
    assert with_secret.wait(timeout=60).status == "succeeded"  # 17


def upload(comfy: Comfy, folder: Path) -> None:
    """Upload contents once, and use them under each of their ids."""
    (folder / "portrait.png").write_bytes(PORTRAIT)
    first = comfy.assets.from_file(folder / "portrait.png")
    first.commit()  # 18
    second = comfy.assets.from_bytes(PORTRAIT, filename="again.png")
    job = comfy.run(make_image_workflow(comfy, second))  # 19-20: the client commits the asset by itself
    third = comfy.assets.from_stream(io.BytesIO(PORTRAIT), filename="third.png")
    third.commit()  # 21
    assert (first.created_new, second.created_new, third.created_new) == (True, False, False)
    assert first.hash == second.hash == f"blake3:{blake3(PORTRAIT).hexdigest()}"
    assert len({first.id, second.id, third.id}) == 3
    assert job.status == "succeeded"
    assert first.get_download_url().url.endswith(f"/assets/{first.id}/content")  # 22
    first.delete()  # 23
    assert comfy.assets.get(str(second.id)).hash == second.hash  # 24
    for asset in (second, third):
        asset.delete()  # 25-26
    assert refused(comfy.assets.get, ABSENT).http_status == 404  # 27


def be_refused(comfy: Comfy) -> None:
    """Each refusal has the code that the client makes its class of."""
    absent = make_workflow(comfy)
    absent.json["4"]["inputs"]["ckpt_name"] = "absent.safetensors"
    reference = {"__type": "core/ASSET", "info": {"id": ABSENT}}
    assert [
        refused(comfy.submit, absent).code,  # 28
        refused(comfy.submit, make_image_workflow(comfy, reference)).code,  # 29
        refused(comfy.submit, make_workflow(comfy), metadata={"long": "x" * 2000}).code,  # 30
        refused(comfy.jobs.get, ABSENT).code,  # 31
    ] == ["invalid_workflow", "missing_asset", "metadata_invalid", "not_found"]
    comfy.submit(make_workflow(comfy), idempotency_key="once").wait(timeout=60)  # 32-33
    error = refused(comfy.submit, make_workflow(comfy), idempotency_key="once")  # 34
    assert (error.code, error.http_status) == ("idempotency_key_reuse", 422)


def fail(comfy: Comfy) -> None:
    """A job that fails says at which node, and why."""
    with pytest.raises(JobFailed, match="failed") as raised:
        comfy.run(make_workflow(comfy, 8))  # 35
    assert raised.value.error is not None
    assert (raised.value.error.node_id, raised.value.error.class_type) == ("3", "KSampler")
    assert "out of paint" in raised.value.error.message


def list_and_cancel(comfy: Comfy) -> None:
    """Jobs are listed by their labels, over pages, and cancelled while their instances are held."""
    jobs: list[Job] = [
        comfy.submit(make_workflow(comfy, seed), metadata={"parity": f"held-{seed % 2}"})
        for seed in range(4)  # 36-39
    ]
    ids = [job.id for job in jobs]
    assert [summary.id for summary in comfy.list_jobs(limit=2)][:4] == ids[::-1]  # 40, in several pages
    assert [summary.id for summary in comfy.list_jobs(metadata={"parity": "held-1"})] == ids[1::2][::-1]  # 41
    for job in jobs:
        job.cancel()  # 42-45
    assert [job.wait(timeout=60).status for job in jobs] == ["canceled"] * 4  # 46-49


async def test_bodies_that_the_client_does_not_send_are_refused_by_their_codes(api: Serving) -> None:
    jobs = "/comfy/api/v2/jobs"
    drawn = await api.post(jobs, {"workflow": {"nodes": [], "links": [], "last_node_id": 1}})
    hook = await api.post(jobs, {"workflow": text_to_image(), "webhook_url": "http://example.org"})
    urgent = await api.post(jobs, {"workflow": text_to_image(), "priority": 2_000_000})
    text = await api.post(jobs, {"workflow": text_to_image(), "metadata": "a note", "priority": 7})
    path = await api.post("/comfy/api/v2/assets/from-path", {"path": "/etc/passwd"})
    health = await api.get("/comfy/api/v2/health")

    assert (drawn.status, drawn.json["error"]["code"]) == (422, "workflow_format_ui")
    assert (hook.status, hook.json["error"]["code"]) == (422, "invalid_request")
    assert (urgent.status, urgent.json["error"]["code"]) == (422, "invalid_request")
    assert (text.status, text.json["metadata"], text.json["priority"]) == (201, "a note", 7)
    assert path.status == 501
    assert (health.status, health.json["status"]) == (200, "ok")
