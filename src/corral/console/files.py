"""The files of the page as answers: what each is, how long a browser can keep it, and what the page can load.

A file's address has a hash over all files, so browsers keep it for ever and a new version is never mixed with an old
one. Only the HTML is asked for anew; every address in it is relative, so it works below any path of a reverse proxy.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

FOLDER = "console"
"""The first part of the path of every file but the HTML."""
PAGE = Path(__file__).parent / "page"
IMPORTS = MappingProxyType(
    {
        "preact": "vendor/preact.mjs",
        "preact/hooks": "vendor/hooks.mjs",
        "@preact/signals": "vendor/signals.mjs",
        "@preact/signals-core": "vendor/signals-core.mjs",
        "htm": "vendor/htm.mjs",
        "marked": "vendor/marked.mjs",
        "dompurify": "vendor/purify.mjs",
    }
)
"""Where a browser finds what modules import by name."""
_LATE = frozenset({"vendor/marked.mjs", "vendor/purify.mjs", "parts/markdown.js"})
"""Modules that are loaded with the first answer that is shown: 140 kB that most pages do not need."""
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
_HTML = "index.html"
_MEDIA_TYPES = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
        "": "text/plain; charset=utf-8",
    }
)
_POLICY = (
    "default-src 'none'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types dompurify",
)
"""The content security policy but for scripts: those of this server, and the import map by its hash.

Only the sanitizer makes markup of text: the one policy for trusted types is its own, and can be made once.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """One file as a browser gets it."""

    body: bytes
    media_type: str
    etag: str
    """With its quotes."""
    caching: str
    """The value of `Cache-Control`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleFiles:
    """All files of the page."""

    html: PageFile
    policy: str
    """The value of `Content-Security-Policy`."""
    files: Mapping[str, PageFile]
    """By their paths, which begin with `console/` and the version."""


@cache
def read_console() -> ConsoleFiles:
    """Read the page from the installed package, once."""
    texts = {path.relative_to(PAGE).as_posix(): path.read_bytes() for path in sorted(PAGE.rglob("*")) if path.is_file()}
    return make_console(texts)


def make_console(texts: Mapping[str, bytes]) -> ConsoleFiles:
    """Put the page together from its files, by their paths below its folder; `index.html` is one of them."""
    version = _hash_all(texts)
    base = f"{FOLDER}/{version}"
    imports = json.dumps({"imports": {name: f"./{base}/{path}" for name, path in IMPORTS.items()}}, indent=1)
    modules = [name for name in texts if name.endswith((".js", ".mjs")) and name not in _LATE]
    html = _fill(texts[_HTML].decode(), base, imports, modules)
    return ConsoleFiles(
        html=_make_file(_HTML, html.encode(), ASK_AGAIN),
        policy="; ".join((*_POLICY, f"script-src 'self' '{_hash_for_policy(imports)}'")),
        files={f"{base}/{name}": _make_file(name, body, FOR_EVER) for name, body in texts.items() if name != _HTML},
    )


def _hash_all(texts: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, body in sorted(texts.items()):
        whole.update(f"{name}\0{len(body)}\0".encode() + body)
    return whole.hexdigest()[:16]


def _fill(html: str, base: str, imports: str, modules: Iterable[str]) -> str:
    """Fill in the places of the HTML; modules are loaded side by side, not one after the other as they import."""
    preloads = "\n".join(f'<link rel="modulepreload" href="{base}/{name}">' for name in sorted(modules))
    return html.replace("{{base}}", base).replace("{{imports}}", imports).replace("{{preloads}}", preloads)


def _hash_for_policy(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _make_file(name: str, body: bytes, caching: str) -> PageFile:
    digest = hashlib.sha256(body).hexdigest()
    return PageFile(body=body, media_type=_MEDIA_TYPES[Path(name).suffix], etag=f'"{digest[:32]}"', caching=caching)
