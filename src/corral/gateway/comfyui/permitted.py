"""Decides what of an instance is for administrators alone; everybody else gets what ComfyUI's own page needs.

An instance knows no users: ComfyUI-Manager installs code and restarts it for every caller of its routes, custom nodes
can do anything at theirs, and the list of assets has the files of all owners.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_ROUTES_OF_ADMINISTRATORS = frozenset(
    {
        *("manager", "customnode", "snapshot", "comfyui_manager", "externalmodel"),  # ComfyUI-Manager
        *("internal", "free"),
    }
)
_BELOW_API = frozenset({"assets", "tags"})
"""Routes of ComfyUI's assets; without `/api` before it, `/assets` has the files of the page."""
_FOLDERS_OF_MANAGER = frozenset({"comfyui-manager", "__manager"})
"""Its folders in the user data: settings, and scripts that it runs when the instance starts."""
_PREFIX = re.compile(r"(api|v\d+)")
_KEPT_BY_PAGE = re.compile(r"(/api)?/(settings|userdata)(/.*)?", re.DOTALL)
_UPLOAD = re.compile(r"(^|[/_-])upload", re.IGNORECASE)


def is_upload(method: str, path: str) -> bool:
    """Whether a request brings a file for a custom node: each instance gets it, since any can run the prompt."""
    return method == "POST" and _UPLOAD.search("/".join(["", *_split(path)[-2:]])) is not None


def is_for_administrators(method: str, path: str) -> bool:
    """Whether a request that an instance would answer is refused to all but administrators.

    `path` is the instance's own, percent-encoded. It is judged decoded to the end, as ComfyUI decodes names of files
    twice.
    """
    parts = _split(path)
    prefixes = 0
    while prefixes < len(parts) and _PREFIX.fullmatch(parts[prefixes]):
        prefixes += 1
    route = parts[prefixes] if prefixes < len(parts) else ""
    if route in _ROUTES_OF_ADMINISTRATORS or (route in _BELOW_API and "api" in parts[:prefixes]):
        return True
    if route == "userdata" and _FOLDERS_OF_MANAGER & {*parts}:
        return True
    if method in READS or is_upload(method, path):
        return False
    return method not in ("POST", "DELETE") or _KEPT_BY_PAGE.fullmatch(path) is None


def _split(path: str) -> list[str]:
    """Split a path into its parts, decoded to the end, in lower case and without empty ones."""
    decoded = unquote(path)
    while decoded != path:
        path, decoded = decoded, unquote(decoded)
    return [part for part in re.split(r"[/\\]", decoded.lower()) if part]
