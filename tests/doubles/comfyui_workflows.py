"""Workflows in API format that the ComfyUI double can run, and work that carries them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from corral.work import Work

_TEXT_TO_IMAGE: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 5,
            "steps": 4,
            "cfg": 7.0,
            "sampler_name": "euler",
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}},
    "6": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "a fox", "clip": ["4", 1]},
        "_meta": {"title": "Positive"},
    },
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "fox"}},
}


def text_to_image(*, seed: int = 5) -> dict[str, Any]:
    """The workflow that ComfyUI opens with: one checkpoint, two prompts, one sampler, one saved image."""
    workflow = copy.deepcopy(_TEXT_TO_IMAGE)
    workflow["3"]["inputs"]["seed"] = seed
    return workflow


def image_to_image() -> dict[str, Any]:
    """The same, starting from the task's file `portrait.png`."""
    workflow = text_to_image()
    workflow["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    workflow["10"] = {"class_type": "LoadImage", "inputs": {"image": {"file": "portrait.png"}}}
    return workflow


def comfy_work(scratch: Path, *, attempt: UUID | None = None, timeout_s: float = 20, **rest: Any) -> Work:
    """One attempt at the plain workflow; `inputs` are added to it, other names replace those of `Work`."""
    inputs: Mapping[str, Any] = {"workflow": text_to_image(), **rest.pop("inputs", {})}
    return Work(
        attempt=attempt or uuid4(),
        task=rest.pop("task", 1),
        engine="comfyui",
        inputs=inputs,
        scratch=scratch,
        timeout_s=timeout_s,
        **rest,
    )


class ComfyStranger:
    """Someone else who uses the same instance, by hand."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def submit(self, workflow: dict[str, Any]) -> str:
        """Submit a workflow and return its prompt's id."""
        async with self._session.post("/prompt", json={"prompt": workflow}) as response:
            return (await response.json())["prompt_id"]

    async def interrupt(self) -> None:
        """Interrupt whatever runs."""
        async with self._session.post("/interrupt") as response:
            response.raise_for_status()
