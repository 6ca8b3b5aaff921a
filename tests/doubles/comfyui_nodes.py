"""The nodes that the ComfyUI double knows, how it validates a workflow of them, and the picture it draws.

Stands for `validate_prompt` of ComfyUI and a handful of its nodes. The error types, their four keys and `node_errors`
are those of the protocol description and of version 0.3.64's `execution.py`; not checked against a running ComfyUI.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

Json = Any
Prompt = Mapping[str, Mapping[str, Json]]

CHECKPOINTS = ["sd_xl_base_1.0.safetensors", "sd_xl_refiner_1.0.safetensors", "flux1-dev.safetensors"]
SAMPLERS = ["euler", "dpmpp_2m"]
MANY_LORAS = [f"style_{number:03}.safetensors" for number in range(40)]
"""More than twenty: ComfyUI then leaves the list out of its refusal."""

_SEED = ["INT", {"min": 0, "max": 2**64 - 1}]
_SIZE = ["INT", {"min": 16, "max": 16384}]

NODES: dict[str, dict[str, Json]] = {
    "CheckpointLoaderSimple": {"in": {"ckpt_name": [CHECKPOINTS, {}]}, "out": ["MODEL", "CLIP", "VAE"]},
    "LoraLoaderModelOnly": {"in": {"model": ["MODEL"], "lora_name": [MANY_LORAS, {}]}, "out": ["MODEL"]},
    "CLIPTextEncode": {"in": {"text": ["STRING", {}], "clip": ["CLIP"]}, "out": ["CONDITIONING"]},
    "EmptyLatentImage": {
        "in": {"width": _SIZE, "height": _SIZE, "batch_size": ["INT", {"min": 1, "max": 4096}]},
        "out": ["LATENT"],
    },
    "KSampler": {
        "in": {
            "model": ["MODEL"],
            "seed": _SEED,
            "steps": ["INT", {"min": 1, "max": 10000}],
            "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
            "sampler_name": [SAMPLERS, {}],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "latent_image": ["LATENT"],
        },
        "out": ["LATENT"],
    },
    "VAEDecode": {"in": {"samples": ["LATENT"], "vae": ["VAE"]}, "out": ["IMAGE"]},
    "VAEEncode": {"in": {"pixels": ["IMAGE"], "vae": ["VAE"]}, "out": ["LATENT"]},
    "LoadImage": {"in": {"image": ["UPLOAD", {}]}, "out": ["IMAGE", "MASK"]},
    "SaveImage": {"in": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}, "out": [], "saves": "output"},
    "PreviewImage": {"in": {"images": ["IMAGE"]}, "out": [], "saves": "temp"},
    "ShowText": {"in": {"text": ["STRING", {}]}, "out": ["STRING"], "saves": "text"},
}


def object_info(class_type: str) -> dict[str, Json]:
    """Describe one class as `/object_info/{class}` does; empty for an unknown one."""
    node = NODES.get(class_type)
    if node is None:
        return {}
    return {class_type: {"input": {"required": node["in"]}, "output": node["out"], "output_node": "saves" in node}}


def refused_as_a_whole(prompt: Prompt, *, modern: bool) -> dict[str, Json] | None:
    """Return the error for a class that is missing or a workflow without outputs, before any input is looked at."""
    for node_id, node in prompt.items():
        class_type = node.get("class_type")
        if class_type not in NODES:
            extra = {"node_id": node_id, "class_type": class_type, "node_title": class_type} if modern else {}
            kind = "missing_node_type" if modern else "invalid_prompt"
            message = f"Cannot execute because node {class_type} does not exist."
            return error(kind, message, f"Node ID '#{node_id}'", extra)
    if not any("saves" in NODES[node["class_type"]] for node in prompt.values()):
        return error("prompt_no_outputs", "Prompt has no outputs", "", {})
    return None


def node_errors(prompt: Prompt, uploads: Mapping[str, bytes]) -> tuple[list[str], dict[str, Json]]:
    """Return the outputs that can run, and per failing node its errors and the outputs that depend on it."""
    good: list[str] = []
    report: dict[str, Json] = {}
    for output in (node_id for node_id, node in prompt.items() if "saves" in NODES[node["class_type"]]):
        failing = {
            node_id: errors for node_id in upstream(prompt, output) if (errors := _errors_of(prompt, node_id, uploads))
        }
        if not failing:
            good.append(output)
        for node_id, errors in failing.items():
            fresh = {"errors": errors, "dependent_outputs": [], "class_type": prompt[node_id]["class_type"]}
            report.setdefault(node_id, fresh)["dependent_outputs"].append(output)
    return good, report


def upstream(prompt: Prompt, node_id: str) -> list[str]:
    """List a node and everything that it needs, in an order in which they can run."""
    order: list[str] = []
    _visit(prompt, node_id, order, set())
    return order


def _visit(prompt: Prompt, node_id: str, order: list[str], seen: set[str]) -> None:
    if node_id in seen or node_id not in prompt:
        return
    seen.add(node_id)
    for value in prompt[node_id]["inputs"].values():
        if is_link(value):
            _visit(prompt, value[0], order, seen)
    order.append(node_id)


def is_link(value: Json) -> bool:
    """Say whether an input's value is a link."""
    return isinstance(value, list) and len(value) == 2


def _errors_of(prompt: Prompt, node_id: str, uploads: Mapping[str, bytes]) -> list[Json]:
    node = prompt[node_id]
    wanted = NODES[node["class_type"]]["in"]
    return [
        problem
        for name, description in wanted.items()
        for problem in _input_errors(prompt, node["inputs"], name, description, uploads)
    ]


def _input_errors(
    prompt: Prompt, inputs: Mapping[str, Json], name: str, description: list[Json], uploads: Mapping[str, bytes]
) -> Iterator[Json]:
    kind, config = description[0], description[1] if len(description) > 1 else {}
    extra = {"input_name": name, "input_config": description}
    if name not in inputs:
        yield error("required_input_missing", "Required input is missing", name, extra)
        return
    value = inputs[name]
    extra = {**extra, "received_value": value}
    if is_link(value):
        source = prompt.get(value[0])
        outs = NODES[source["class_type"]]["out"] if source else []
        got = outs[value[1]] if value[1] < len(outs) else None
        if got != kind and not isinstance(kind, list):
            details = f"{name}, received_type({got}) mismatch input_type({kind})"
            yield error("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)
        return
    yield from _value_errors(name, kind, config, value, extra, uploads)


def _value_errors(
    name: str, kind: Json, config: Mapping[str, Json], value: Json, extra: dict[str, Json], uploads: Mapping[str, bytes]
) -> Iterator[Json]:
    if isinstance(kind, list):
        if value not in kind:
            listed = f"(list of length {len(kind)})" if len(kind) > 20 else str(kind)
            extra = {**extra, "input_config": None} if len(kind) > 20 else extra
            yield error("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {listed}", extra)
    elif kind == "UPLOAD":
        if value not in uploads:
            message = f"{name} - Invalid image file: {value}"
            yield error("custom_validation_failed", "Custom validation failed for node", message, extra)
    elif kind in ("INT", "FLOAT"):
        if not isinstance(value, int | float):
            details = f"{name}, {value}, invalid literal for {kind.lower()}()"
            yield error("invalid_input_type", f"Failed to convert an input value to a {kind} value", details, extra)
        elif value < config["min"]:
            yield error("value_smaller_than_min", f"Value {value} smaller than min of {config['min']}", name, extra)
        elif value > config["max"]:
            yield error("value_bigger_than_max", f"Value {value} bigger than max of {config['max']}", name, extra)
    elif kind != "STRING":
        details = f"{name}, expected a link to {kind}"
        yield error("bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot]", details, extra)


def error(kind: str, message: str, details: str, extra: dict[str, Json]) -> dict[str, Json]:
    """Write an error with ComfyUI's four keys."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def picture(*, seed: int, prompt: str, width: int = 64, height: int = 64, source: bytes = b"") -> bytes:
    """Draw a real PNG whose bytes follow from its arguments alone; at most 64 by 64 pixels, whatever is asked.

    Size, seed and prompt stand in its text chunks, so that a person can see what was asked.
    """
    width, height = min(width, 64), min(height, 64)
    key = f"{seed}\n{prompt}\n{width}x{height}\n".encode() + hashlib.sha256(source).digest()
    colours = hashlib.sha256(key).digest()
    rows = b"".join(
        b"\0" + bytes(colours[(x // 8 + y // 8) % 29 + c] for x in range(width) for c in range(3))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    text = b"prompt\0" + prompt.encode("latin-1", "replace") + f" seed {seed}".encode()
    chunks = ((b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture_of(prompt: Prompt, image_node: str, uploads: Mapping[str, bytes]) -> bytes:
    """Draw what a node that takes `images` would save."""
    nodes = [prompt[node_id] for node_id in upstream(prompt, image_node)]
    sampler = next((node for node in nodes if node["class_type"] == "KSampler"), None)
    latent = next((node["inputs"] for node in nodes if node["class_type"] == "EmptyLatentImage"), {})
    source = b"".join(uploads[node["inputs"]["image"]] for node in nodes if node["class_type"] == "LoadImage")
    seed = sampler["inputs"]["seed"] if sampler else 0
    text = prompt[sampler["inputs"]["positive"][0]]["inputs"].get("text", "") if sampler else ""
    return picture(
        seed=seed, prompt=text, width=latent.get("width", 64), height=latent.get("height", 64), source=source
    )
