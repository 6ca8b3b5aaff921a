"""The official client of Comfy's API runs its calls against a server over two instances.

The client is synchronous, so it runs in threads; server, dispatcher and instances are in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from blake3 import blake3
from comfy_sdk import Comfy
from comfy_sdk.events import OutputReady, Progress, StatusChange
from comfy_sdk.exceptions import ComfyError

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
T = TypeVar("T")
QUICK = Timings(poll_s=0.1, retry_s=0.02, reconnect_s=0.5, check_s=0.5)


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


@pytest.fixture
def comfy(api: Serving, monkeypatch: pytest.MonkeyPatch) -> Comfy:
    """The official client, which knows the address from its environment alone."""
    monkeypatch.setenv("COMFY_BASE_URL", f"{api.url}/comfy")
    return Comfy(timeout=30.0)


async def call(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Let the client work in a thread."""
    return await asyncio.to_thread(work, *arguments, **options)


def refused(work: Callable[..., object], *arguments: Any, **options: Any) -> ComfyError:
    """Return the error that the client raises."""
    with pytest.raises(ComfyError) as raised:
        work(*arguments, **options)
    return raised.value


async def test_job_is_submitted_followed_and_downloaded(comfy: Comfy) -> None:
    def work() -> tuple[Any, list[Any], bytes, bytes]:
        job = comfy.submit(comfy.workflows.from_json(text_to_image(seed=4)), metadata={"client": "acme"})
        events = list(job.events())
        job.result()
        (output,) = job.outputs
        return job, events, output.to_bytes(), output.to_bytes(range=(1, 3))

    job, events, content, part = await call(work)

    assert content == picture(seed=4, prompt="a fox", width=32, height=32)
    assert part == b"PNG"
    assert (job.status, job.metadata) == ("succeeded", {"client": "acme"})
    statuses = [event.status for event in events if isinstance(event, StatusChange)]
    assert statuses[-1] == "succeeded"
    assert any(isinstance(event, Progress) and event.nodes_total == 7 for event in events)
    assert [event.output.name for event in events if isinstance(event, OutputReady)] == [job.outputs[0].name]
    again = await call(comfy.jobs.get, job.id)
    assert again.outputs[0].id == job.outputs[0].id
    assert (await call(job.get_workflow)).graph == text_to_image(seed=4)
    assert (await call(job.outputs[0].get_download_url)).url.endswith(
        f"/comfy/api/v2/assets/{again.outputs[0].id}/content"
    )


async def test_asset_is_uploaded_once_and_reaches_the_instance(comfy: Comfy) -> None:
    content = picture(seed=1, prompt="a portrait")

    def work() -> tuple[Any, Any, Any]:
        first = comfy.assets.from_bytes(content, filename="portrait.png")
        first.commit()
        second = comfy.assets.from_bytes(content, filename="again.png")
        workflow = comfy.workflows.from_json(text_to_image())
        workflow.json["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
        workflow.json["10"] = {"class_type": "LoadImage", "inputs": {}}
        workflow.set_input("10", "image", second)
        return first, second, comfy.run(workflow)

    first, second, job = await call(work)

    assert (first.created_new, second.created_new) == (True, False)
    assert first.hash == second.hash == f"blake3:{blake3(content).hexdigest()}"
    assert first.id != second.id
    assert job.status == "succeeded"
    output = await call(comfy.assets.get, job.outputs[0].id)
    assert output.job_id == job.id
    await call(first.delete)
    assert (await call(comfy.assets.get, second.id)).hash == second.hash
    await call(second.delete)
    assert (await call(refused, comfy.assets.get, str(second.id))).http_status == 404
    assert (await call(refused, comfy.assets.delete, job.outputs[0].id)).http_status == 422


async def test_key_is_good_for_one_job(comfy: Comfy) -> None:
    def work() -> ComfyError:
        workflow = comfy.workflows.from_json(text_to_image())
        comfy.submit(workflow, idempotency_key="once")
        return refused(comfy.submit, workflow, idempotency_key="once")

    error = await call(work)

    assert (error.code, error.http_status) == ("idempotency_key_reuse", 422)


async def test_jobs_are_listed_by_labels_over_pages_and_cancelled(
    comfy: Comfy, instances: tuple[ComfyDouble, ComfyDouble]
) -> None:
    for instance in instances:
        instance.hold()

    def work() -> tuple[list[str], list[str], list[str], list[str]]:
        jobs = [
            comfy.submit(comfy.workflows.from_json(text_to_image(seed=seed)), metadata={"parity": str(seed % 2)})
            for seed in range(6)
        ]
        every = [summary.id for summary in comfy.list_jobs(limit=2)]
        odd = [summary.id for summary in comfy.list_jobs(metadata={"parity": "1"})]
        for job in jobs:
            job.cancel()
        states = [job.wait(timeout=30).status for job in jobs]
        return [job.id for job in jobs], every, odd, states

    ids, every, odd, states = await call(work)

    assert every == ids[::-1]
    assert odd == ids[1::2][::-1]
    assert states == ["canceled"] * 6


async def test_refusals_have_their_codes(comfy: Comfy, api: Serving) -> None:
    def work() -> list[str | None]:
        absent = comfy.workflows.from_json(text_to_image())
        absent.json["4"]["inputs"]["ckpt_name"] = "absent.safetensors"
        missing = comfy.workflows.from_json(text_to_image())
        missing.json["10"] = {"class_type": "LoadImage", "inputs": {}}
        reference = {"__type": "core/ASSET", "info": {"id": "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"}}
        missing.set_input("10", "image", reference)
        return [
            refused(comfy.submit, absent).code,
            refused(comfy.submit, missing).code,
            refused(comfy.submit, comfy.workflows.from_json(text_to_image()), metadata={"long": "x" * 2000}).code,
            refused(comfy.jobs.get, "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b").code,
        ]

    codes = await call(work)
    jobs = "/comfy/api/v2/jobs"
    drawn = await api.post(jobs, {"workflow": {"nodes": [], "links": [], "last_node_id": 1}})
    hook = await api.post(jobs, {"workflow": text_to_image(), "webhook_url": "http://example.org"})
    urgent = await api.post(jobs, {"workflow": text_to_image(), "priority": 2_000_000})
    text = await api.post(jobs, {"workflow": text_to_image(), "metadata": "a note", "priority": 7})
    path = await api.post("/comfy/api/v2/assets/from-path", {"path": "/etc/passwd"})
    health = await api.get("/comfy/api/v2/health")

    assert codes == ["invalid_workflow", "missing_asset", "metadata_invalid", "not_found"]
    assert (drawn.status, drawn.json["error"]["code"]) == (422, "workflow_format_ui")
    assert (hook.status, hook.json["error"]["code"]) == (422, "invalid_request")
    assert (urgent.status, urgent.json["error"]["code"]) == (422, "invalid_request")
    assert (text.status, text.json["metadata"], text.json["priority"]) == (201, "a note", 7)
    assert path.status == 501
    assert (health.status, health.json["status"]) == (200, "ok")
