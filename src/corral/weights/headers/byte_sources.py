"""Where the files of a model lie: a folder here, or a folder of a web server; of each file, only its beginning is read.

Over HTTP, the beginning grows by ranges (RFC 9110, section 14): what has arrived is kept, a range asks for what is
missing, and an answer that breaks off is continued. A server that ignores ranges sends the file from its start; it is
read as far as needed and hung up on.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from corral.weights.downloads import Patience, strip_query
from corral.weights.errors import ModelMissingError, SourceDeniedError, SourceError
from corral.weights.headers.errors import HeaderError

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 1 << 16
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
OnBytes = Callable[[str, int], None]
"""Gets the name of a file and how many of its bytes are here."""


class ByteSource(Protocol):
    """A folder with files whose beginnings can be read."""

    def name_file(self, file: str) -> str:
        """Spell a file for people."""
        ...

    async def read_start(self, file: str, length: int) -> bytes:
        """Read so many bytes from the start of a file, fewer only where it ends.

        Raises: ModelMissingError, SourceError.
        """
        ...


class Folder:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name_file(self, file: str) -> str:
        """Spell a file for people."""
        return str(self._folder / file)

    async def read_start(self, file: str, length: int) -> bytes:
        """Read the start of a file. Raises: ModelMissingError."""
        return await asyncio.to_thread(self._read, file, length)

    def _read(self, file: str, length: int) -> bytes:
        path = self._folder / file
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for a writer
                raise self._make_error(file, "it is not a regular file")
            with path.open("rb") as handle:
                return handle.read(length)
        except OSError as error:
            raise self._make_error(file, error.strerror or str(error)) from error

    def _make_error(self, file: str, why: str) -> ModelMissingError:
        return ModelMissingError(
            f"cannot read {file!r}: {why}", where=self.name_file(file), hint="check the path of the model"
        )


class WebFolder:
    """A folder of a web server; keeps what it has read of each file."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base: str,
        *,
        headers: Mapping[str, str],
        on_bytes: OnBytes,
        patience: Patience,
        query: str = "",
    ) -> None:
        """Use `base`, without a slash at its end; `query` goes to every file (it can be a signature)."""
        self._session = session
        self._base = base
        self._query = query
        self._headers = dict(headers) | {"Accept-Encoding": "identity"}
        self._on_bytes = on_bytes
        self._patience = patience
        self._here: dict[str, bytearray] = {}
        self._whole: set[str] = set()
        self._versions: dict[str, str] = {}

    def name_file(self, file: str) -> str:
        """Spell a file for people."""
        return strip_query(self._make_url(file))

    async def read_start(self, file: str, length: int) -> bytes:
        """Read the start of a file, asking only for what is not here yet. Raises: SourceError, SourceDeniedError."""
        import aiohttp

        here = self._here.setdefault(file, bytearray())
        tries = 0
        while len(here) < length and file not in self._whole:
            before = len(here)
            try:
                await self._grow(file, here, length)
            except (aiohttp.ClientError, TimeoutError, _PassingError) as error:
                tries = 1 if len(here) > before else tries + 1
                if tries >= self._patience.fruitless_tries:
                    words = str(error) or type(error).__name__
                    raise SourceError(f"the header could not be read: {words}", where=self.name_file(file)) from error
                await asyncio.sleep(self._patience.first_delay_s * 2 ** (tries - 1))
        return bytes(here[:length])

    async def _grow(self, file: str, here: bytearray, length: int) -> None:
        asked = self._headers | {"Range": f"bytes={len(here)}-{length - 1}"}
        if file in self._versions:
            asked["If-Range"] = self._versions[file]
        async with self._session.get(self._make_url(file), headers=asked) as response:
            if response.status == 416:
                self._whole.add(file)
                return
            self._refuse(response, file)
            if response.status == 200:
                here.clear()
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {len(here)}-"):
                raise SourceError("the server sent another range than it was asked for", where=self.name_file(file))
            self._remember(file, response)
            await self._receive(file, here, length, response)

    async def _receive(self, file: str, here: bytearray, length: int, response: aiohttp.ClientResponse) -> None:
        async for chunk in response.content.iter_chunked(_CHUNK):
            here += chunk
            self._on_bytes(file, len(here))
            if len(here) >= length:
                response.close()  # a server that ignores ranges would send all of it
                return
        self._whole.add(file)  # it ended before the range did

    def _remember(self, file: str, response: aiohttp.ClientResponse) -> None:
        etag = response.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            self._versions[file] = etag

    def _refuse(self, response: aiohttp.ClientResponse, file: str) -> None:
        if response.status in {200, 206}:
            return
        fact = f"the server answered {response.status} {response.reason or ''}".rstrip()
        if response.status in _PASSING:
            raise _PassingError(fact)
        if response.status in {401, 403}:
            hint = "accept the model's licence on its page and set HF_TOKEN to a token that can read it"
            raise SourceDeniedError(fact, where=self.name_file(file), hint=hint)
        raise SourceError(fact, where=self.name_file(file), hint="check the name of the file and of its repository")

    def _make_url(self, file: str) -> str:
        return f"{self._base}/{quote(file)}{self._query}"


class _PassingError(Exception):
    """A refusal that might pass."""


def cut_short(where: str, have: int) -> HeaderError:
    """Say that a file ends inside its header."""
    return HeaderError(
        f"the file ends after {have} bytes, inside its header", where=where, hint="download it again; it is cut short"
    )
