"""A batch, submitted so that doing it twice does it once, and running it again after its end runs it anew.

The idempotency key is the SHA-256 of what is asked for (the files' checksums included) and a generation. The server
answers a key that it knows with the batch that it made then. While that batch has unfinished tasks, it is the one to
continue; once it is finished, the next generation is tried. Which generation was last is only remembered to save
questions: without that memory, the search starts at the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from corral.batchfile.drawing import draw, make_key
from corral.batchfile.reading import Read
from corral.batchfile.values import BatchFile, digest_content
from corral.client.large_batches import is_large, submit_large
from corral.client.remote_errors import RemoteInvalidError
from corral.client.requests import ServerApi
from corral.work import Json

_FOLDER = "runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A batch that the server has."""

    batch: int
    digest: str
    continued: bool
    """True when it was submitted before and had unfinished tasks."""
    answer: Json
    """The server's answer to the submission."""


async def upload_files(api: ServerApi, batch: BatchFile) -> dict[Path, str]:
    """Upload the files of this machine that the batch takes; return the SHA-256 of each. Raises: RemoteError."""
    return {path: (await api.upload(path))["sha256"] for path in batch.local_files}


async def submit_or_continue(api: ServerApi, read: Read, uploads: Mapping[Path, str], memory: Generations) -> Submitted:
    """Submit the batch, or find the unfinished one of the same content. Raises: BatchFileError, RemoteError."""
    request = read.batch.request(uploads)
    digest = digest_content(request, read.batch.wildcards)
    generation = memory.recall(digest)
    while True:
        answer = await submit(api, read, request, key=f"{digest}-{generation}")
        batch = answer["batch"]
        if not (answer["replayed"] and batch["done"]):
            memory.remember(digest, generation)
            return Submitted(batch=batch["id"], digest=digest, continued=answer["replayed"], answer=answer)
        generation += 1


async def submit(api: ServerApi, read: Read, request: Mapping[str, Json], *, key: str | None) -> Json:
    """Submit a batch; what the server refuses is shown at its place in the file.

    Seeds and wildcards are drawn from the key, or anew where there is none. Raises: BatchFileError, RemoteError.
    """
    drawn_from = key or make_key()
    drawn = draw(request, read.batch.wildcards, drawn_from)
    try:
        if is_large(drawn):
            return await submit_large(api, drawn, key=drawn_from)
        return await api.post("/corral/v1/batches", drawn, idempotency_key=key)
    except RemoteInvalidError as error:
        raise read.make_error(error.problems) from error


class Generations:
    """Remembers in the data directory which generation of a batch was submitted last."""

    def __init__(self, data_dir: Path | None) -> None:
        """Remember in `data_dir`; with None nothing is remembered."""
        self._folder = data_dir / _FOLDER if data_dir is not None else None

    def recall(self, digest: str) -> int:
        """Return the generation that was submitted last, else the first."""
        if self._folder is None:
            return 0
        try:
            return max(0, int((self._folder / digest).read_text()))
        except (OSError, ValueError):
            return 0

    def remember(self, digest: str, generation: int) -> None:
        """Note a generation. It only saves questions, so a failure to write is not a failure of the run."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / digest).write_text(str(generation))
        except OSError:
            return
