"""The nodes that the ComfyUI double knows, how it validates a workflow of them, and the picture it draws.

Stands for `validate_prompt` of ComfyUI and a handful of its nodes, of which those that need no model behave alike on a
real instance (`contracts/test_comfyui_*.py`). Error types, their four keys, `node_errors` and the wording are
those of `execution.py`, read in versions up to 0.8.1 (`modern=False`) and around 0.38 (`modern=True`).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

Json = Any
Prompt = Mapping[str, Mapping[str, Json]]

CHECKPOINTS = ["sd_xl_base_1.0.safetensors", "sd_xl_refiner_1.0.safetensors", "flux1-dev.safetensors"]
SAMPLERS = ["euler", "dpmpp_2m"]
MANY_LORAS = [f"style_{number:03}.safetensors" for number in range(40)]
"""More than twenty: ComfyUI then leaves the list out of its refusal."""

_SEED = ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}]
_SIZE = ["INT", {"min": 16, "max": 16384}]
_SIDE = ["INT", {"min": 1, "max": 16384}]
_BATCH = ["INT", {"min": 1, "max": 4096}]
_PREFIX = ["STRING", {}]
_UPSCALERS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]

NODES: dict[str, dict[str, Json]] = {
    "CheckpointLoaderSimple": {"in": {"ckpt_name": [CHECKPOINTS, {}]}, "out": ["MODEL", "CLIP", "VAE"]},
    "LoraLoaderModelOnly": {"in": {"model": ["MODEL"], "lora_name": [MANY_LORAS, {}]}, "out": ["MODEL"]},
    "CLIPTextEncode": {"in": {"text": ["STRING", {}], "clip": ["CLIP"]}, "out": ["CONDITIONING"]},
    "EmptyLatentImage": {
        "in": {"width": _SIZE, "height": _SIZE, "batch_size": _BATCH},
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
    "EmptyImage": {
        "in": {
            "width": _SIDE,
            "height": _SIDE,
            "batch_size": _BATCH,
            "color": ["INT", {"min": 0, "max": 0xFFFFFF}],
        },
        "out": ["IMAGE"],
    },
    "ImageScale": {
        "in": {
            "image": ["IMAGE"],
            "upscale_method": [_UPSCALERS, {}],
            "width": ["INT", {"min": 0, "max": 16384}],
            "height": ["INT", {"min": 0, "max": 16384}],
            "crop": [["disabled", "center"], {}],
        },
        "out": ["IMAGE"],
    },
    "EmptyAudio": {
        "in": {
            "duration": ["FLOAT", {"min": 0.0, "max": 1e9}],
            "sample_rate": ["INT", {"min": 1, "max": 192000}],
            "channels": ["INT", {"min": 1, "max": 2}],
        },
        "out": ["AUDIO"],
    },
    "SaveImage": {"in": {"images": ["IMAGE"], "filename_prefix": _PREFIX}, "out": [], "saves": "images"},
    "PreviewImage": {"in": {"images": ["IMAGE"]}, "out": [], "saves": "previews"},
    "SaveAnimatedPNG": {
        "in": {
            "images": ["IMAGE"],
            "filename_prefix": _PREFIX,
            "fps": ["FLOAT", {"min": 0.01, "max": 1000.0}],
            "compress_level": ["INT", {"min": 0, "max": 9}],
        },
        "out": [],
        "saves": "animated",
    },
    "SaveLatent": {"in": {"samples": ["LATENT"], "filename_prefix": _PREFIX}, "out": [], "saves": "latents"},
    "SaveAudio": {"in": {"audio": ["AUDIO"], "filename_prefix": _PREFIX}, "out": [], "saves": "audio"},
    "PreviewAny": {"in": {"source": ["*", {}]}, "out": ["STRING"], "saves": "text"},
    "Preview3D": {"in": {"model_file": ["STRING", {}]}, "out": [], "saves": "result"},
    "ShowText": {"in": {"text": ["STRING", {}]}, "out": ["STRING"], "saves": "text"},
    "VHS_VideoCombine": {"in": {"images": ["IMAGE"], "filename_prefix": _PREFIX}, "out": [], "saves": "gifs"},
}


def object_info(class_type: str, *, lacks: Collection[str] = frozenset()) -> dict[str, Json]:
    """Describe one class as `/object_info/{class}` does; empty for one that is not installed."""
    node = NODES.get(class_type)
    if node is None or class_type in lacks:
        return {}
    inputs = {name: _without(description, lacks) for name, description in node["in"].items()}
    return {
        class_type: {
            "input": {"required": inputs},
            "input_order": {"required": list(inputs)},
            "output": node["out"],
            "display_name": class_type,
            "output_node": "saves" in node,
        }
    }


def _without(description: list[Json], lacks: Collection[str]) -> list[Json]:
    kind, *rest = description
    if kind == "UPLOAD":  # as an instance describes it: the files of its folder, and how more get there
        return [["example.png"], {"image_upload": True}]
    return [[choice for choice in kind if choice not in lacks] if isinstance(kind, list) else kind, *rest]


def refused_as_a_whole(prompt: Prompt, *, modern: bool, lacks: Collection[str] = frozenset()) -> dict[str, Json] | None:
    """Return the error for a class that is missing or a workflow without outputs, before any input is looked at."""
    for node_id, node in prompt.items():
        class_type = node.get("class_type")
        if class_type not in NODES or class_type in lacks:
            return _missing_class(node_id, node, modern=modern)
    if not any("saves" in NODES[node["class_type"]] for node in prompt.values()):
        return error("prompt_no_outputs", "Prompt has no outputs", "", {})
    return None


def _missing_class(node_id: str, node: Mapping[str, Json], *, modern: bool) -> dict[str, Json]:
    class_type = node.get("class_type")
    place = f"Node ID '#{node_id}'"
    if not modern:
        return error("invalid_prompt", f"Cannot execute because node {class_type} does not exist.", place, {})
    title = node.get("_meta", {}).get("title", class_type)
    message = f"Node '{title}' not found. The custom node may not be installed."
    return error(
        "missing_node_type", message, place, {"node_id": node_id, "class_type": class_type, "node_title": title}
    )


Validated = dict[str, tuple[bool, list[Json]]]


def node_errors(
    prompt: Prompt, uploads: Mapping[str, bytes], *, modern: bool, lacks: Collection[str] = frozenset()
) -> tuple[list[str], dict[str, Json]]:
    """Return the outputs that can run, and per failing node its errors and the outputs that depend on it."""
    good: list[str] = []
    report: dict[str, Json] = {}
    validated: Validated = {}
    for output in (node_id for node_id, node in prompt.items() if "saves" in NODES[node["class_type"]]):
        try:
            valid = _validate(prompt, output, uploads, validated, [], modern=modern, lacks=lacks)
        except (LookupError, TypeError) as failure:
            extra = {"exception_type": type(failure).__name__, "traceback": []}
            reason = error("exception_during_validation", "Exception when validating node", str(failure), extra)
            validated[output] = valid, _ = (False, [reason])
        if valid:
            good.append(output)
            continue
        for node_id, (fine, errors) in validated.items():
            if not fine and errors:
                fresh = {"errors": errors, "dependent_outputs": [], "class_type": prompt[node_id]["class_type"]}
                report.setdefault(node_id, fresh)["dependent_outputs"].append(output)
    return good, report


def _validate(
    prompt: Prompt,
    node_id: str,
    uploads: Mapping[str, bytes],
    validated: Validated,
    visiting: list[str],
    *,
    modern: bool,
    lacks: Collection[str],
) -> bool:
    """Validate a node and what it needs; raises LookupError for a link to a node or an output that is not there."""
    if node_id in validated:
        return validated[node_id][0]
    if node_id in visiting:
        return _close_cycle(prompt, node_id, validated, visiting, modern=modern)
    node = prompt[node_id]
    errors: list[Json] = []
    fine = True
    for name, description in NODES[node["class_type"]]["in"].items():
        value = node["inputs"].get(name)
        problems = list(_input_errors(prompt, node["inputs"], name, description, uploads, lacks))
        errors += problems
        if problems or not is_link(value):
            continue
        visiting.append(node_id)
        try:
            fine = _validate(prompt, value[0], uploads, validated, visiting, modern=modern, lacks=lacks) and fine
        except (LookupError, TypeError, RecursionError) as failure:
            fine = False
            extra = {"input_name": name, "exception_type": type(failure).__name__, "linked_node": value}
            message = "Exception when validating inner node"
            validated[value[0]] = (False, [error("exception_during_inner_validation", message, str(failure), extra)])
        finally:
            visiting.pop()
    before = validated.get(node_id, (True, []))
    validated[node_id] = (before[0] and fine and not errors, before[1] + errors)
    return validated[node_id][0]


def _close_cycle(prompt: Prompt, node_id: str, validated: Validated, visiting: list[str], *, modern: bool) -> bool:
    """Report a cycle at each of its nodes; old versions do not look for one and run out of Python's stack."""
    if not modern:
        raise RecursionError("maximum recursion depth exceeded")
    path = [*visiting[visiting.index(node_id) :], node_id]
    details = " -> ".join(f"{member} ({prompt[member]['class_type']})" for member in path)
    for member in path:
        extra = {"node_id": member, "cycle_nodes": list(dict.fromkeys(path))}
        validated[member] = (False, [error("dependency_cycle", "Dependency cycle detected", details, extra)])
    return False


def upstream(prompt: Prompt, node_id: str, stop: Callable[[str], bool] = lambda _: False) -> list[str]:
    """List a node and everything that it needs, in an order in which they can run; `stop` ends a way at a node."""
    order: list[str] = []
    _visit(prompt, node_id, order, set(), stop)
    return order


def _visit(prompt: Prompt, node_id: str, order: list[str], seen: set[str], stop: Callable[[str], bool]) -> None:
    if node_id in seen or node_id not in prompt:
        return
    seen.add(node_id)
    if not stop(node_id):
        for value in prompt[node_id]["inputs"].values():
            if is_link(value):
                _visit(prompt, value[0], order, seen, stop)
    order.append(node_id)


def is_link(value: Json) -> bool:
    """Say whether an input's value is a link."""
    return isinstance(value, list) and len(value) == 2


def _input_errors(
    prompt: Prompt,
    inputs: Mapping[str, Json],
    name: str,
    description: list[Json],
    uploads: Mapping[str, bytes],
    lacks: Collection[str],
) -> Iterator[Json]:
    description = description if description[0] == "UPLOAD" else _without(description, lacks)
    kind, config = description[0], description[1] if len(description) > 1 else {}
    extra = {"input_name": name, "input_config": description}
    if name not in inputs:
        yield error("required_input_missing", "Required input is missing", name, {"input_name": name})
        return
    value = inputs[name]
    if isinstance(value, list) and len(value) != 2:
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        yield error("bad_linked_input", message, name, {**extra, "received_value": value})
    elif is_link(value):
        received = NODES[prompt[value[0]]["class_type"]]["out"][value[1]]
        if received != kind and kind != "*" and not isinstance(kind, list):
            details = f"{name}, received_type({received}) mismatch input_type({kind})"
            more = {"received_type": received, "linked_node": value}
            yield error("return_type_mismatch", "Return type mismatch between linked nodes", details, extra | more)
    else:
        yield from _value_errors(name, kind, config, value, {**extra, "received_value": value}, uploads)


def _value_errors(
    name: str, kind: Json, config: Mapping[str, Json], value: Json, extra: dict[str, Json], uploads: Mapping[str, bytes]
) -> Iterator[Json]:
    if isinstance(kind, list):
        if value not in kind:
            listed = f"(list of length {len(kind)})" if len(kind) > 20 else str(kind)
            extra = {**extra, "input_config": None} if len(kind) > 20 else extra
            yield error("value_not_in_list", "Value not in list", f"{name}: {value!r} not in {listed}", extra)
    elif kind == "UPLOAD":
        if value not in uploads:
            message = f"{name} - Invalid image file: {value}"
            extra = {"input_name": name}
            yield error("custom_validation_failed", "Custom validation failed for node", message, extra)
    elif kind in ("INT", "FLOAT"):
        yield from _number_errors(name, kind, config, value, extra)


def _number_errors(
    name: str, kind: str, config: Mapping[str, Json], value: Json, extra: dict[str, Json]
) -> Iterator[Json]:
    try:
        number = int(value) if kind == "INT" else float(value)
    except (TypeError, ValueError) as failure:
        message, details = f"Failed to convert an input value to a {kind} value", f"{name}, {value}, {failure}"
        yield error("invalid_input_type", message, details, extra | {"exception_message": str(failure)})
        return
    if number < config["min"]:
        yield error("value_smaller_than_min", f"Value {number} smaller than min of {config['min']}", name, extra)
    elif number > config["max"]:
        yield error("value_bigger_than_max", f"Value {number} bigger than max of {config['max']}", name, extra)


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
    empty = next((node["inputs"] for node in nodes if node["class_type"] == "EmptyImage"), {})
    latent = latent or empty
    seed = seed or empty.get("color", 0)
    return picture(
        seed=seed, prompt=text, width=latent.get("width", 64), height=latent.get("height", 64), source=source
    )
