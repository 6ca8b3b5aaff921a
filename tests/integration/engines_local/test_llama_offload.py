"""Layers on a real device: a llama-server for Vulkan on Mesa's software device, as a GPU slot runs it."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from corral.engines.building import Device, build
from corral.engines.environments.finding import Environments
from corral.engines.llama.builds import examine_builds, find_devices
from corral.engines.llama.inputs import LlamaOptions
from corral.engines.llama.program import BUILTIN, Installed, choose_program
from corral.engines.llama.vulkan import list_devices
from corral.tasks.lifecycle import TERMINAL
from corral.weights.store import Store
from doubles.installed import a_home, run
from doubles.local_engines import LLAMA, REPOSITORY, Remembering, a_work
from doubles.nvml_library import build_library, machine
from doubles.vulkan_server import ADMITTED, find_vulkan_server, skip_where_it_cannot_compute

CLUSTER = """\
apiVersion: corral/v1
name: offload
nodes: [{{name: here, gpus: [{{index: 0}}]}}]
engines: {{llama: {{options: {{binary: {binary}, contextSize: 256}}}}}}
"""
SHORT = {"prompt": "Hi", "system": ".", "max_tokens": 1, "seed": 1}
LAYERS = "Vulkan0 (llvmpipe"


async def test_gpu_slot_computes_on_its_device_and_slots_list_proves_it(models: Store, tmp_path: Path) -> None:
    skip_where_it_cannot_compute()
    models.path(LLAMA)
    with a_home(models=REPOSITORY / ".cache" / "models") as home:
        (home / "cluster.yaml").write_text(CLUSTER.format(binary=find_vulkan_server()))
        gpu = machine(build_library(tmp_path), "twins")
        server = corral_up(home / "data", home / "cluster.yaml", home / "server.log", env={**gpu, **ADMITTED})
        async with keeping(server), PatientClient(home / "data") as client:
            await client.leading()
            task = {"engine": "llama", "model": LLAMA, "inputs": SHORT, "name": "offload"}
            id = (await client.post("/corral/v1/tasks", task, key="offload"))["id"]
            shown = await wait_until_ended(client, id)

            listed = await asyncio.to_thread(run, home, "slots", "list")
            doctor = await asyncio.to_thread(run, home, "doctor", "--json")
            await server.stop()

    assert shown["state"] == "succeeded"
    assert shown["result"]["computed_on"].startswith(LAYERS)
    assert re.search(r"here/gpu0/llama: computes on Vulkan0 \(llvmpipe.*\), 31 of 31 layers", listed.stderr), listed
    assert re.search(r"llama \(.*on Vulkan0 \(llvmpipe", doctor.stdout), doctor.stdout


async def wait_until_ended(client: PatientClient, id: int) -> Any:  # JSON
    while (shown := await client.get(f"/corral/v1/tasks/{id}/wait?timeout=9"))["state"] not in TERMINAL:
        pass
    return shown


async def test_slot_names_its_own_gpu_to_a_build_for_vulkan(models: Store, tmp_path: Path) -> None:
    """Mesa's device stands for the slot's GPU, so it is taken although it is a program; its neighbours would not be."""
    skip_where_it_cannot_compute()
    (device,) = list_devices(os.environ)
    engine = build(
        "llama",
        device=Device(name="gpu0", gpu=device.uuid),
        threads=1,
        options={"binary": str(find_vulkan_server()), "contextSize": 256},
        locate=models.path,
        log_dir=tmp_path / "logs",
    )

    produced = await engine.run(a_work("llama", tmp_path, model=LLAMA, **SHORT), Remembering())
    await engine.close()

    assert produced.values["computed_on"].startswith(LAYERS)


def test_a_machine_without_vulkan_has_no_devices_of_it(tmp_path: Path) -> None:
    assert list_devices({**os.environ, "VK_DRIVER_FILES": str(tmp_path), "VK_ICD_FILENAMES": str(tmp_path)}) == ()


async def test_software_device_is_not_taken_by_itself_and_the_processor_is_reported(
    models: Store, tmp_path: Path
) -> None:
    skip_where_it_cannot_compute()
    engine = build(
        "llama",
        device=Device(name="gpu0", gpu="0"),
        threads=1,
        options={"binary": str(find_vulkan_server()), "contextSize": 256},
        locate=models.path,
        log_dir=tmp_path / "logs",
    )

    produced = await engine.run(a_work("llama", tmp_path, model=LLAMA, **SHORT), Remembering())
    (resident,) = await engine.resident()
    await engine.close()

    assert produced.values["computed_on"] == resident.computes_on == "the processor"
    assert resident.caution is not None
    assert "has no layer on the GPU: install a llama-server" in resident.caution


def test_choice_on_this_machine_is_the_processors_build_although_there_is_a_software_device() -> None:
    """As `make run` makes it: no GPU is found, and a llama-server for Vulkan is on PATH."""
    options, server = LlamaOptions.model_validate({}), str(find_vulkan_server())
    here = Installed(find_program=lambda _: server, builtin=BUILTIN)
    vulkan = choose_program(options, here, gpu=True)

    assert find_devices(vulkan) == ()
    assert find_devices(vulkan, {**os.environ, **ADMITTED})[0].startswith(LAYERS), "the device is there"
    assert choose_program(options, here, gpu=False) == BUILTIN


def test_doctor_says_that_a_gpu_is_unused_and_how_to_use_it() -> None:
    assert examine_builds(has_gpu=False, environments=Environments()).fix is None
    examination = examine_builds(has_gpu=True, environments=Environments())
    assert examination.what.endswith("sees no GPU, so its models are on the processor")
    assert "install a llama-server" in (examination.fix or "")
