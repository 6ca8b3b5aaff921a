"""One file over HTTP, resumed where it broke off.

A download grows in `NAME.part`; next to it, `NAME.part.json` has its URL and the version of the file. The download is
continued only when the server confirms that version (`If-Range`), else it starts anew: a file put together from two
versions would be worse than none.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corral.weights.errors import SourceDeniedError, SourceError
from corral.weights.files import explain_disk_errors
from corral.weights.redirects import make_redirect_checks

if TYPE_CHECKING:
    import aiohttp  # imported where it is used: its 0.2 s would be added to commands that fetch nothing

_CHUNK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_LINKED_SHA256 = re.compile(r'(?:W/)?"([0-9a-f]{64})"')
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_CONNECT_S, _LONGEST_SILENCE_S = 30, 60
"""There is no bound on the whole, which can be 40 GB on a slow line; a server that is silent for a minute is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a broken download is taken up again."""

    fruitless_tries: int = 4
    """In a row, without a single new byte."""
    first_delay_s: float = 1.0
    """Doubled after each fruitless try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A finished download."""

    sha256: str | None
    """The server's promise (Hugging Face gives one for large files); not yet compared with the bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Which version of which file a partial download belongs to."""

    url: str
    validator: str | None
    """A strong ETag or a Last-Modified; None when the server gave neither: then a part cannot be continued."""


class _BrokenError(Exception):
    """The connection or the server failed in a way that might pass."""


def open_session() -> aiohttp.ClientSession:
    """Open a client that honours HTTP_PROXY and its like, and that checks redirects and drops logins at other hosts."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_LONGEST_CONNECT_S, sock_read=_LONGEST_SILENCE_S)
    return aiohttp.ClientSession(timeout=timeout, trust_env=True, trace_configs=[make_redirect_checks()])


async def download(
    session: aiohttp.ClientSession,
    url: str,
    part: Path,
    *,
    headers: Mapping[str, str],
    patience: Patience,
    on_bytes: Callable[[int, int | None], None],
) -> Received:
    """Fetch `url` into `part`, continuing what is there; `on_bytes` gets what is there and the whole size, if known.

    Raises: SourceError when the server refuses or keeps failing; DiskFullError.
    """
    tries = 0
    while True:
        before = _measure_size(part)
        try:
            return await _try_once(session, url, part, headers, on_bytes)
        except _BrokenError as error:
            tries = 1 if _measure_size(part) > before else tries + 1
            if tries >= patience.fruitless_tries:
                raise SourceError(
                    str(error), where=strip_query(url), hint="pull again; it continues where it stopped"
                ) from error
        await asyncio.sleep(patience.first_delay_s * 2 ** (tries - 1))


def strip_query(url: str) -> str:
    """Leave out the query of a URL, which can be a signature."""
    return url.partition("?")[0]


def name_origin_file(part: Path) -> Path:
    """Name the file that describes what `part` belongs to."""
    return part.with_name(part.name + ".json")


async def _try_once(
    session: aiohttp.ClientSession,
    url: str,
    part: Path,
    headers: Mapping[str, str],
    on_bytes: Callable[[int, int | None], None],
) -> Received:
    import aiohttp

    origin = _read_origin(part)
    start = _measure_size(part) if origin is not None and origin.url == url and origin.validator else 0
    asked = dict(headers) | {"Accept-Encoding": "identity"}
    if start and origin is not None and origin.validator:
        asked |= {"Range": f"bytes={start}-", "If-Range": origin.validator}
    try:
        async with session.get(url, headers=asked) as response:
            if response.status == 416:
                return _accept_whole_part(response, part, start)
            _refuse(response, url)
            start = _find_start(response, start)
            await _receive(response, part, start, _Origin(url=url, validator=_read_validator(response)), on_bytes)
            return Received(sha256=_read_linked_sha256(response))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _BrokenError(f"the download broke off: {_describe_error(error)}") from error


async def _receive(
    response: aiohttp.ClientResponse,
    part: Path,
    start: int,
    origin: _Origin,
    on_bytes: Callable[[int, int | None], None],
) -> None:
    length = response.content_length
    total = None if length is None else start + length
    done = start
    with explain_disk_errors(part.parent), part.open("r+b" if start else "wb") as handle:
        name_origin_file(part).write_text(json.dumps(asdict(origin)), encoding="utf-8")
        handle.seek(start)
        async for chunk in response.content.iter_chunked(_CHUNK):
            await asyncio.to_thread(handle.write, chunk)
            done += len(chunk)
            on_bytes(done, total)


def _accept_whole_part(response: aiohttp.ClientResponse, part: Path, start: int) -> Received:
    """A part that ends where the file ends leaves no range to ask for; any other part is of no use."""
    if response.headers.get("Content-Range") == f"bytes */{start}":
        return Received(sha256=_read_linked_sha256(response))
    part.unlink(missing_ok=True)
    raise _BrokenError(f"the server has no bytes from {start} on")


def _refuse(response: aiohttp.ClientResponse, url: str) -> None:
    if response.status in {200, 206}:
        return
    fact = f"the server answered {response.status} {response.reason or ''}".rstrip()
    if response.status in _WORTH_RETRYING:
        raise _BrokenError(fact)
    if response.status in {401, 403}:
        hint = "accept the model's licence on its page and set HF_TOKEN to a token that can read it"
        raise SourceDeniedError(fact, where=strip_query(url), hint=hint)
    raise SourceError(fact, where=strip_query(url), hint="check the name of the file and of its repository")


def _find_start(response: aiohttp.ClientResponse, asked: int) -> int:
    """Say at which byte the answer starts: 200 means all of it, whatever was asked for."""
    if response.status == 200:
        return 0
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != asked:
        raise SourceError(
            f"asked for the bytes from {asked} on, got {response.headers.get('Content-Range')!r}",
            where=strip_query(str(response.url)),
            hint="pull from another source, or report it to the owner of the server",
        )
    return asked


def _read_validator(response: aiohttp.ClientResponse) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _read_linked_sha256(response: aiohttp.ClientResponse) -> str | None:
    """Read the SHA-256 that Hugging Face gives for a large file, on its own answer or on the redirect to its store."""
    for answer in (*response.history, response):
        match = _LINKED_SHA256.fullmatch(answer.headers.get("X-Linked-ETag", ""))
        if match is not None:
            return match[1]
    return None


def _read_origin(part: Path) -> _Origin | None:
    try:
        return _Origin(**json.loads(name_origin_file(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _measure_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _describe_error(error: BaseException) -> str:
    return str(error) or type(error).__name__
