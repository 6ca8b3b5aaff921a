"""The ComfyUI engine against an instance that works; over real HTTP and WebSocket on loopback."""

import asyncio
from pathlib import Path

import pytest

from corral.engines.building import build_remote
from corral.engines.comfyui.engine import ComfyUi
from corral.engines.credentials import Credentials
from corral.engines.inputs import check_inputs
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import comfy_work, image_to_image, text_to_image
from doubles.remote_reports import KeptReports


async def test_a_workflow_filled_from_the_task_gives_the_image_it_asks_for(
    engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path, inputs={"prompt": "a heron", "seed": 77, "width": 48, "height": 40, "steps": 2})

    produced = await engine.run(work, reports)

    (file,) = produced.files
    assert file.name == "fox_00001_.png"
    assert file.media_type == "image/png"
    assert file.path.parent == tmp_path
    assert file.path.read_bytes() == picture(seed=77, prompt="a heron", width=48, height=40)
    assert produced.values["prompt_id"] == str(work.attempt)
    assert produced.values["outputs"] == {"9": 1}
    assert produced.values["execution_s"] >= 0


async def test_the_attempt_names_the_prompt_and_is_submitted_once(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path)

    await engine.run(work, reports)

    assert comfy.submissions == [str(work.attempt)]
    assert comfy.executed == [str(work.attempt)]


async def test_data_of_the_task_go_along_with_its_prompt(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path, inputs={"extra_data": {"extra_pnginfo": {"series": "herons"}}})

    await engine.run(work, reports)

    sent = comfy.history[str(work.attempt)]["prompt"][3]
    assert sent == {"extra_pnginfo": {"series": "herons"}, "client_id": str(work.attempt)}


async def test_a_key_of_comfy_org_is_read_from_the_environment_when_a_prompt_is_sent(
    comfy: ComfyDouble, reports: KeptReports, tmp_path: Path
) -> None:
    credentials = Credentials(environment={"COMFY_KEY": "k3y"})
    engine = build_remote("comfyui", url=comfy.url, options={"comfyKeyFrom": "COMFY_KEY"}, credentials=credentials)
    work = comfy_work(tmp_path, inputs={"extra_data": {"preview_method": "none"}})

    await engine.run(work, reports)
    await engine.close()

    sent = comfy.history[str(work.attempt)]["prompt"][3]
    assert (sent["api_key_comfy_org"], sent["preview_method"]) == ("k3y", "none")
    assert "k3y" not in repr(engine)


def test_a_task_does_not_carry_a_key() -> None:
    inputs = {"workflow": text_to_image(), "extra_data": {"api_key_comfy_org": "k3y"}}

    (problem,) = check_inputs("comfyui", inputs)

    assert "'api_key_comfy_org', and what a task has is stored" in problem.what
    assert "k3y" not in str(problem)


async def test_progress_rises_to_the_end_and_names_what_runs(
    engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(comfy_work(tmp_path), reports)

    heard = [fraction for fraction in reports.fractions if fraction is not None]
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(set(heard)) > 4
    assert "KSampler 3/4" in reports.notes


async def test_previews_of_the_sampler_are_passed_on_with_their_type(
    engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(comfy_work(tmp_path), reports)

    assert len(reports.previews) == 4
    assert reports.previews[0] == ("image/png", picture(seed=5, prompt="a fox", width=32, height=32))


async def test_a_file_of_the_task_is_uploaded_and_used_under_the_name_the_instance_gives_it(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.files["input", "", "portrait.png"] = b"someone else's"
    portrait = tmp_path / "upload"
    portrait.write_bytes(b"mine")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    work = comfy_work(scratch, inputs={"workflow": image_to_image()}, files={"portrait.png": portrait})

    produced = await engine.run(work, reports)

    assert comfy.files["input", "", "portrait (1).png"] == b"mine"
    assert comfy.files["input", "", "portrait.png"] == b"someone else's"
    assert produced.files[0].path.read_bytes() == picture(seed=5, prompt="a fox", source=b"mine")


async def test_equal_names_in_different_folders_are_kept_apart(
    engine: ComfyUi, reports: KeptReports, comfy: ComfyDouble, tmp_path: Path
) -> None:
    workflow = text_to_image()
    workflow["10"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    workflow["11"] = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "night/fox"}}
    workflow["12"] = {"class_type": "ShowText", "inputs": {"text": "done"}}

    produced = await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)

    names = [file.name for file in produced.files]
    assert len(names) == len(set(names)) == 3
    assert "text_12_1.txt" in names
    assert all(file.path.parent == tmp_path for file in produced.files)


async def test_a_workflow_that_only_previews_gives_its_previews(
    engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    workflow = text_to_image()
    workflow["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}

    produced = await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)

    assert [file.name for file in produced.files] == ["ComfyUI_temp_abcde_00001_.png"]


async def test_the_model_of_the_workflow_is_resident_until_the_instance_restarts(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    assert await engine.resident() == ()
    await engine.run(comfy_work(tmp_path), reports)

    (resident,) = await engine.resident()
    assert resident.model == "sd_xl_base_1.0.safetensors"
    assert resident.memory == 6 * 2**30

    await comfy.restart()
    assert await engine.resident() == ()


async def test_release_returns_once_the_memory_is_free(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(comfy_work(tmp_path), reports)

    await engine.release()

    assert not comfy.loaded
    assert await engine.resident() == ()


@pytest.mark.parametrize("origin", ["Origin", "origin"])
async def test_no_origin_is_ever_sent(comfy: ComfyDouble, reports: KeptReports, tmp_path: Path, origin: str) -> None:
    engine = ComfyUi(comfy.url, headers={origin: "http://elsewhere", "Authorization": "Bearer x"})
    try:
        await engine.check()
        await engine.run(comfy_work(tmp_path), reports)
    finally:
        await engine.close()


async def test_previews_that_name_their_prompt_are_asked_for(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path)
    comfy.hold()
    running = asyncio.create_task(engine.run(work, reports))

    await comfy.until(lambda: comfy.running is not None and comfy.sockets[str(work.attempt)].with_metadata)

    await comfy.proceed()
    await running


async def test_a_restart_is_noticed_where_the_instance_has_no_gpu_to_tell_by(
    reports: KeptReports, tmp_path: Path
) -> None:
    async with ComfyDouble(device="cpu") as comfy:
        engine = ComfyUi(comfy.url)
        await engine.run(comfy_work(tmp_path), reports)
        (resident,) = await engine.resident()
        assert resident.memory is None

        await comfy.restart()

        assert await engine.resident() == ()
        await engine.close()
