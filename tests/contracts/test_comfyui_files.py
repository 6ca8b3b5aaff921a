"""What Corral relies on in what ComfyUI saves, gives out and takes in (instances: `conftest`)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from doubles.comfyui_client import FOLDER, PREFIX, Instance, Json, image

# ---- files


def saving(node: Json, **more: Json) -> dict[str, Json]:
    """A workflow with an output node, over a picture, a latent and a sound."""
    return {
        "1": image()["1"],
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 16, "height": 16, "batch_size": 1}},
        "5": {"class_type": "EmptyAudio", "inputs": {"duration": 0.1, "sample_rate": 44100, "channels": 1}},
        "2": node,
        **more,
    }


SAVED: list[tuple[Json, str, str]] = [
    ({"class_type": "SaveImage", "inputs": {"images": ["1", 0], **PREFIX}}, "images", "image/png"),
    ({"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}, "images", "image/png"),
    ({"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], **PREFIX}}, "latents", "application/octet-stream"),
    ({"class_type": "SaveAudio", "inputs": {"audio": ["5", 0], **PREFIX}}, "audio", "audio/"),
]


@pytest.mark.parametrize(("node", "kind", "media_type"), SAVED, ids=[case[0]["class_type"] for case in SAVED])
async def test_a_file_is_named_and_given_with_its_media_type(
    comfy: Instance, node: Json, kind: str, media_type: str
) -> None:
    entry = await comfy.run(saving(node))
    (file,) = entry["outputs"]["2"][kind]
    params = {name: file[name] for name in ("filename", "subfolder", "type")}

    async with comfy.session.get("/view", params=params) as response:
        assert response.status == 200
        assert response.content_type.startswith(media_type)
        assert await response.read()
    assert file["type"] == ("temp" if node["class_type"] == "PreviewImage" else "output")


async def test_a_flag_next_to_files_is_not_a_file(comfy: Instance) -> None:
    inputs = {"images": ["1", 0], "fps": 6.0, "compress_level": 4, **PREFIX}
    entry = await comfy.run(saving({"class_type": "SaveAnimatedPNG", "inputs": inputs}))

    assert entry["outputs"]["2"]["animated"] == [True]
    assert entry["outputs"]["2"]["images"][0]["filename"].endswith(".png")


async def test_a_text_is_a_list_of_texts(comfy: Instance) -> None:
    entry = await comfy.run({"1": {"class_type": "PreviewAny", "inputs": {"source": f"done {uuid4()}"}}})

    (text,) = entry["outputs"]["1"]["text"]
    assert text.startswith("done")


async def test_folders_in_a_file_name_are_stripped(comfy: Instance) -> None:
    name = f"{uuid4()}.obj"
    _, given = await comfy.upload(name, b"v 0 0 0\n", type="output", subfolder=FOLDER)

    assert given == {**given, "name": name, "subfolder": FOLDER, "type": "output"}
    assert (await comfy.get("/view", filename=f"{FOLDER}/{name}", subfolder="", type="output"))[0] == 404
    assert await comfy.get("/view", filename=name, subfolder=FOLDER, type="output") == (200, b"v 0 0 0\n")


async def test_a_3d_model_is_named_by_its_path(comfy: Instance) -> None:
    path = f"{FOLDER}/{uuid4()}.obj"
    await comfy.upload(path.rpartition("/")[2], b"v 0 0 0\n", type="output", subfolder=FOLDER)
    prompt_id, _, _ = await comfy.submit({"1": {"class_type": "Preview3D", "inputs": {"model_file": path}}})
    entry = await comfy.wait(prompt_id)

    assert entry["outputs"]["1"]["result"][0] == path
    if await comfy.has_jobs():
        _, job = await comfy.get(f"/api/jobs/{prompt_id}")
        file = job["outputs"]["1"]["result"][0]
        assert (file["filename"], file["subfolder"], file["type"]) == (path, "", "output")


@pytest.mark.parametrize("name", ["fox..final_00001_.png", "../fox.png", "/etc/passwd"])
async def test_a_name_with_two_dots_is_refused_whatever_it_means(comfy: Instance, name: str) -> None:
    assert (await comfy.get("/view", filename=name, type="output"))[0] == 400


async def test_a_file_that_is_not_there_is_missing(comfy: Instance) -> None:
    assert (await comfy.get("/view", filename=f"{uuid4()}.png", type="output"))[0] == 404


async def test_equal_uploads_keep_their_name_and_others_get_a_new_one(comfy: Instance) -> None:
    name = f"{uuid4()}.png"
    given = [(await comfy.upload(name, content, subfolder=FOLDER))[1]["name"] for content in (b"one", b"one", b"two")]

    assert given == [name, name, name.replace(".png", " (1).png")]


async def test_a_body_over_the_limit_is_refused(comfy: Instance) -> None:
    limit = (await comfy.get("/features"))[1]["max_upload_size"]

    status, _ = await comfy.upload(f"{uuid4()}.png", bytes(limit + 1), subfolder=FOLDER)

    assert status == 413


async def test_freeing_memory_is_accepted_at_any_time(comfy: Instance) -> None:
    assert (await comfy.post("/free", {"unload_models": True, "free_memory": True}))[0] == 200
    assert (await comfy.run(image()))["status"]["completed"]
