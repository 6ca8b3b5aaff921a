"""Images of OpenAI's client are durable tasks of ComfyUI with the workflow that the cluster file names."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from corral.cluster.gateway_values import Gateway, GatewayModel
from corral.cluster.values import Cluster, EngineSettings, Instance, Node, QueueSettings
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.requests import KeyFields
from corral.tasks.store.pool import Pool
from corral.tasks.store.tokens import create_token
from corral.work import PASSED_ON, PASSED_ON_MARK
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import image_to_image, text_to_image
from doubles.guest_desk import OpenDesk
from doubles.serving import Serving
from doubles.yard import Yard
from integration.doors.conftest import Open

QUICK = Timings(poll_s=0.1, retry_s=0.02, reconnect_s=0.5, check_s=0.5)


@dataclass(frozen=True)
class House:
    """OpenAI's client, and the instance behind the door."""

    client: AsyncOpenAI
    comfy: ComfyDouble
    api: Serving


def make_cluster(url: str) -> Cluster:
    models = {
        "fox": GatewayModel(name="fox", aliases=("dall-e-3",), workflow="fox.json"),
        "edit": GatewayModel(name="edit", workflow="edit.json"),
        "gone": GatewayModel(name="gone", workflow="gone.json"),
    }
    return Cluster(
        name="test",
        nodes=(Node(name="node"),),
        engines={"comfyui": EngineSettings(name="comfyui", instances=(Instance(name="comfy", url=url),))},
        queues={"default": QueueSettings(name="default")},
        gateway=Gateway(models=models),
    )


@pytest.fixture
async def house(yard: Yard, open_house: Open, tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "fox.json").write_text(json.dumps(text_to_image()))
    (tmp_path / "edit.json").write_text(json.dumps({**image_to_image(), "places": {"image": "10.image"}}))
    async with ComfyDouble() as comfy:
        yard.start(ComfyUi(comfy.url, timings=QUICK))
        async with (
            open_house(make_cluster(comfy.url), guests=OpenDesk({})) as api,
            AsyncOpenAI(base_url=f"{api.url}/v1", api_key="corral_local", max_retries=0, timeout=120) as client,
        ):
            yield House(client, comfy, api)


async def list_tasks(house: House) -> list[Any]:
    return (await house.api.get("/corral/v1/tasks")).json["items"]


async def test_images_are_tasks_with_seeds_of_their_own(house: House) -> None:
    made = await house.client.images.generate(model="dall-e-3", prompt="a red fox", n=2, size="64x32")

    pictures = [base64.b64decode(image.b64_json or "") for image in made.data or ()]
    assert len(pictures) == 2
    assert all(data.startswith(b"\x89PNG") for data in pictures)
    tasks = await list_tasks(house)
    assert {(task["engine"], task["class"], task["state"]) for task in tasks} == {
        ("comfyui", "interactive", "succeeded")
    }


async def test_key_for_an_image_model_draws_with_it_and_with_no_other(house: House, pool: Pool) -> None:
    _, secret = await create_token(pool, name="ann", role="submitter", fields=KeyFields(models=["fox"]))
    client = house.client.with_options(api_key=secret)

    made = await client.images.generate(model="fox", prompt="a red fox")

    assert len(made.data or ()) == 1
    with pytest.raises(openai.PermissionDeniedError):
        await client.images.generate(model="gone", prompt="a red fox")


async def test_images_that_a_corral_asks_for_are_marked_and_go_to_no_third(house: House) -> None:
    passed = {PASSED_ON: "1"}

    await house.client.images.generate(model="fox", prompt="a red fox", extra_headers=passed)

    (task,) = await list_tasks(house)
    shown = (await house.api.get(f"/corral/v1/tasks/{task['id']}")).json
    assert shown["inputs"]["extra_data"] == {PASSED_ON_MARK: True}


async def test_picture_of_an_edit_reaches_its_place_in_the_workflow(house: House) -> None:
    made = await house.client.images.edit(
        model="edit", prompt="at night", image=("fox.png", picture(seed=1, prompt="a fox"))
    )

    assert base64.b64decode((made.data or [])[0].b64_json or "").startswith(b"\x89PNG")


async def test_models_with_a_workflow_are_listed_and_do_not_chat(house: House) -> None:
    assert {"fox", "dall-e-3", "edit"} <= {model.id async for model in house.client.models.list()}
    with pytest.raises(openai.NotFoundError, match="a workflow"):
        await house.client.chat.completions.create(model="fox", messages=[{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"n": 11}, "n"),
        ({"size": "big"}, "size"),
        ({"response_format": "url"}, "response_format"),
        ({"prompt": ""}, "prompt"),
    ],
)
async def test_fields_that_cannot_be_used_are_named(house: House, wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await house.client.images.generate(**({"model": "fox", "prompt": "a fox"} | wrong))
    assert raised.value.param == where
    assert await list_tasks(house) == []


async def test_workflow_that_is_gone_is_said(house: House) -> None:
    with pytest.raises(openai.InternalServerError, match=r"gone\.json cannot be read"):
        await house.client.images.generate(model="gone", prompt="a fox")
