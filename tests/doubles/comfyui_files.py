"""How the ComfyUI double finds a file for `/view`, and how its jobs routes rewrite outputs; pure.

Stands for `view_image` in ComfyUI's `server.py` and `normalize_outputs` in `comfy_execution/jobs.py`, read in
versions around 0.8 and 0.38: folders in a file name are stripped, a name with `..` is refused whatever it means, the
media type follows from the ending, and types that a browser would run are octet streams. In the jobs routes alone, a
text that ends like a 3D model becomes a file, with its folders in the name.
"""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Mapping
from typing import Any

Json = Any
_KINDS = ("output", "input", "temp")
_RUN_BY_BROWSERS = frozenset({"text/html", "text/javascript", "text/css", "image/svg+xml", "application/javascript"})
_MODELS_3D = (".obj", ".fbx", ".gltf", ".glb", ".usdz")


def find(query: Mapping[str, str]) -> tuple[tuple[str, str, str] | None, int]:
    """Return (type, subfolder, filename) of what is asked for, or None and the status of the refusal."""
    if "filename" not in query:
        return None, 404
    name, kind = query["filename"], query.get("type", "output")
    for other in _KINDS:
        if name.endswith(f"[{other}]"):
            name, kind = name[: -len(other) - 3], other
    if not name or name[0] == "/" or ".." in name or kind not in _KINDS:
        return None, 400
    folder = posixpath.normpath(query.get("subfolder", "") or ".")
    if folder.startswith(("..", "/")):
        return None, 403
    return (kind, "" if folder == "." else folder, posixpath.basename(name)), 200


def guess_type(name: str) -> str:
    """Return the media type that `/view` gives a file."""
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return "application/octet-stream" if guessed in _RUN_BY_BROWSERS else guessed


def rewrite_outputs(outputs: Mapping[str, Json]) -> Json:
    """Rewrite a prompt's outputs as the jobs routes answer them."""
    return {
        node: {
            kind: items if kind == "animated" else [_rewrite(item) for item in items if item is not None]
            for kind, items in lists.items()
        }
        for node, lists in outputs.items()
    }


def _rewrite(item: Json) -> Json:
    if isinstance(item, str) and item.lower().endswith(_MODELS_3D):
        return {"filename": item, "type": "output", "subfolder": "", "mediaType": "3d"}
    return item
