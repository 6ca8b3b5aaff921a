"""Which files the ComfyUI engine brings, and what it makes of outputs that are gone; over real HTTP on loopback."""

from pathlib import Path

import pytest

from corral.engines.comfyui.engine import ComfyUi
from corral.engines.comfyui.errors import OutputMissingError, RequestRefusedError
from corral.work import FailureScope, Produced
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import comfy_work, text_to_image
from doubles.remote_reports import KeptReports

FOX = picture(seed=5, prompt="a fox", width=32, height=32)


def image_of(produced: Produced) -> bytes:
    return produced.files[0].path.read_bytes()


async def test_a_download_that_breaks_off_is_read_again(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.break_downloads = 2

    assert image_of(await engine.run(comfy_work(tmp_path), reports)) == FOX


async def test_an_output_that_is_lost_again_when_it_was_made_again_fails_the_attempt(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.lose_files = True

    with pytest.raises(OutputMissingError, match="fox_00002_"):
        await engine.run(comfy_work(tmp_path), reports)


async def test_a_cached_output_whose_file_was_deleted_is_made_again(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(comfy_work(tmp_path), reports)
    comfy.files.clear()

    produced = await engine.run(comfy_work(tmp_path), reports)

    assert image_of(produced) == FOX
    assert [file.name for file in produced.files] == ["fox_00002_.png"]


async def test_an_output_of_a_lost_attempt_that_was_deleted_is_made_again(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    first = comfy_work(tmp_path)
    await engine.run(first, reports)
    comfy.files.clear()

    assert image_of(await engine.run(comfy_work(tmp_path, earlier=(first.attempt,)), reports)) == FOX


async def test_an_output_whose_name_comfyui_never_gives_out_fails_the_task(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path, inputs={"set": {"9.filename_prefix": "fox..final"}})

    with pytest.raises(RequestRefusedError, match=r"'fox\.\.final_00001_\.png'") as failure:
        await engine.run(work, reports)

    assert failure.value.scope is FailureScope.TASK
    assert "filename_prefix" in (failure.value.hint or "")


# ---- outputs that are not images


@pytest.mark.parametrize("folder", ["output", "temp", "input"])
async def test_a_3d_model_is_brought_from_the_folder_that_it_is_in(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, folder: str
) -> None:
    comfy.files[folder, "3d", "m_00001.obj"] = b"v 0 0 0\n"
    workflow = {"1": {"class_type": "Preview3D", "inputs": {"model_file": "3d/m_00001.obj"}}}

    (file,) = (await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)).files

    assert (file.name, file.path.read_bytes()) == ("m_00001.obj", b"v 0 0 0\n")


async def test_latents_sounds_videos_and_texts_are_brought_with_their_media_types(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    workflow = text_to_image()
    saved = {"filename_prefix": "night/fox"}
    workflow |= {
        "20": {"class_type": "SaveLatent", "inputs": {"samples": ["3", 0], **saved}},
        "21": {"class_type": "SaveAudio", "inputs": {"audio": ["22", 0], **saved}},
        "22": {"class_type": "EmptyAudio", "inputs": {"duration": 1.0, "sample_rate": 44100, "channels": 2}},
        "23": {"class_type": "VHS_VideoCombine", "inputs": {"images": ["8", 0], **saved}},
        "24": {
            "class_type": "SaveAnimatedPNG",
            "inputs": {"images": ["8", 0], "fps": 6.0, "compress_level": 4, **saved},
        },
        "25": {"class_type": "PreviewAny", "inputs": {"source": "done"}},
    }

    produced = await engine.run(comfy_work(tmp_path, inputs={"workflow": workflow}), reports)

    types = {file.name.rpartition(".")[2]: file.media_type for file in produced.files}
    assert types.pop("flac") in ("audio/flac", "audio/x-flac"), "as the instance's system has it"
    assert types == {
        "png": "image/png",
        "latent": "application/octet-stream",
        "gif": "image/gif",
        "txt": "text/plain; charset=utf-8",
    }
    assert len(produced.files) == 6
