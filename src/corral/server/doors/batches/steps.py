"""Brings batches of clients from one status to the next: read the file, have the tasks done, write the results.

Each step can be killed at any point and is done again from its beginning. Tasks are submitted under idempotency keys of
their batch, so none is made twice; a result file is recorded with the end of its batch in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import structlog

from corral.errors import CorralError
from corral.gateway.catalogue import Catalogue, Offer
from corral.requests import KeyFields
from corral.server.api.accepting import list_nodes, make_rules
from corral.server.api.requests import BatchTaskAsked, UploadedBatchAsked
from corral.server.api.state import ApiState
from corral.server.api.uploaded_batches import accept_uploaded
from corral.server.auth import Caller, Role
from corral.server.doors.batches.book import make_file
from corral.server.doors.batches.reading import (
    PART_LINES,
    BatchFileErrors,
    Part,
    Survey,
    Translator,
    survey_file,
)
from corral.server.doors.batches.results import ResultFiles
from corral.server.keys.limits import require_model
from corral.tasks.artifacts import Content
from corral.tasks.lifecycle import CancelRequested
from corral.tasks.store import client_batches, reading
from corral.tasks.store.client_batches import ClientBatch
from corral.tasks.store.pool import CONNECTION_LOST
from corral.tasks.store.reading import Filter, list_open_tasks
from corral.tasks.store.transitions import TaskChange, apply
from corral.tasks.store.uploads import delete_upload, record_upload
from corral.tasks.values import StoredFile
from corral.units import Bytes
from corral.work import TaskClass

POLL_S = 1.0
"""Pause between two looks at batches that are under way."""
_PAGE = 100
"""Tasks that are read at once: their inputs come with them, and are decoded on the event loop."""
_PIECE_LINES = 500
_LARGEST_PART = Bytes(4 * 1024**3)
"""Bytes of one part's tasks or refusals: more than lines of the largest file become."""
_log = structlog.get_logger()


@dataclass(slots=True)
class _Taken:
    """What came of a file."""

    parts: list[int] = field(default_factory=list[int])
    refused: list[bytes] = field(default_factory=list[bytes])


class BatchSteps:
    """The work on all batches that have not ended; where this server leads."""

    def __init__(self, api: ApiState, catalogue: Catalogue) -> None:
        self._api = api
        self._pool = api.services.pool
        self._catalogue = catalogue
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at once: a batch is new, or to be cancelled."""
        self._woken.set()

    async def run(self) -> None:
        """Bring batches forward until cancelled."""
        while True:
            self._woken.clear()
            try:
                if self._api.services.board.epoch is not None:
                    await self.go_on()
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
                _log.warning("batches_wait", error=str(error) or type(error).__name__)
            try:
                await asyncio.wait_for(self._woken.wait(), POLL_S)
            except TimeoutError:
                continue

    async def go_on(self) -> None:
        """Bring every batch as far as it can go now."""
        for batch in await client_batches.list_open_batches(self._pool):
            try:
                await self._go_on(batch)
            except CorralError as error:
                _log.warning("batch_waits", batch=batch.id, code=error.code, what=error.what)

    async def _go_on(self, batch: ClientBatch) -> None:
        if batch.in_progress_at is None:
            if batch.status == "cancelling":
                await self._give_up(batch)
            else:
                await self._take(batch)
            return
        if batch.status == "cancelling" and batch.finalizing_at is None:
            await self._cancel(batch)
        if not await client_batches.has_open_tasks(self._pool, batch.parts):
            await self._finish(batch)

    # --- from a file to tasks

    async def _take(self, batch: ClientBatch) -> None:
        file = await client_batches.find_file(self._pool, batch.owner, batch.input_file)
        assert file is not None, "a file that a batch reads is not deleted"
        path = await asyncio.to_thread(self._api.services.artifacts.check, file.sha256)
        try:
            survey = await asyncio.to_thread(survey_file, path, batch.endpoint)
        except BatchFileErrors as errors:
            await client_batches.note_failed(self._pool, batch.id, [error.describe() for error in errors.problems])
            return
        translator = Translator(
            endpoint=batch.endpoint,
            offers=await self._find_offers(batch, survey.models),
            rules=make_rules(self._api, list_nodes(self._api)),
            make_id=lambda number: f"{batch.id}-{number}",
        )
        taken = _Taken()
        for index in range(-(-survey.total // PART_LINES)):
            known = await client_batches.find_part(self._pool, batch.owner, _make_key(batch, index))
            names = None if known is None else await client_batches.list_task_names(self._pool, known)
            part = await asyncio.to_thread(translator.read_part, path, index, accepted=names)
            if known is None and part.tasks:
                try:
                    known = await self._submit(batch, survey, index, part)
                except CorralError as error:
                    part = await asyncio.to_thread(translator.refuse_part, path, index, error)
            taken.refused += part.refused
            if known is not None:
                taken.parts.append(known)
        lines = (
            await self._api.services.artifacts.receive(_split(taken.refused), limit=_LARGEST_PART)
            if taken.refused
            else None
        )
        await client_batches.note_accepted(
            self._pool,
            batch.id,
            parts=taken.parts,
            total=survey.total,
            refused=len(taken.refused),
            refused_lines=None if lines is None else lines.sha256,
        )

    async def _find_offers(self, batch: ClientBatch, models: Iterable[str]) -> Mapping[str, Offer | CorralError]:
        """Look the models up; one that the batch's key cannot use is an error, as one that is unknown."""
        limits = KeyFields(models=None if batch.models is None else list(batch.models))
        offers: dict[str, Offer | CorralError] = {}
        for model in models:
            try:
                require_model(batch.key, limits, model)
                offers[model] = await self._catalogue.find(model)
            except CorralError as error:
                offers[model] = error
        return offers

    async def _submit(self, batch: ClientBatch, survey: Survey, index: int, part: Part) -> int:
        """Store the tasks of one part, and return their batch of the queue. Raises: CorralError."""
        services = self._api.services
        content = await self._api.services.artifacts.receive(_split(part.tasks), limit=_LARGEST_PART)
        upload = StoredFile(
            name=f"{batch.id}.jsonl", sha256=content.sha256, size=content.size, media_type="application/jsonl"
        )
        await record_upload(self._pool, batch.owner, upload, quota=services.cluster.server.uploads_per_owner)
        asked = UploadedBatchAsked(
            name=batch.id if survey.total <= PART_LINES else f"{batch.id}-{index + 1}",
            tasks_in=[content.sha256],
            by=batch.by if batch.by > datetime.now(UTC) else None,
            defaults=BatchTaskAsked.model_validate({"class": TaskClass.BATCH}),
        )
        caller = Caller(owner=batch.owner, role=Role.SUBMITTER, key=batch.key)
        try:
            accepted = await accept_uploaded(self._api, caller, asked, _make_key(batch, index))
        finally:
            await delete_upload(self._pool, batch.owner, content.sha256)
            await asyncio.to_thread(self._api.services.artifacts.remove, content.sha256, older_than_s=0)
        assert accepted.batch is not None, "an uploaded batch is a batch"
        return accepted.batch

    # --- from a wish to its end

    async def _give_up(self, batch: ClientBatch) -> None:
        """Note the parts of a batch that was cancelled before all of it was taken."""
        parts: list[int] = []
        while (
            part := await client_batches.find_part(self._pool, batch.owner, _make_key(batch, len(parts)))
        ) is not None:
            parts.append(part)
        total = sum([len(await client_batches.list_task_names(self._pool, part)) for part in parts])
        await client_batches.note_accepted(
            self._pool, batch.id, parts=parts, total=total, refused=0, refused_lines=None
        )

    async def _cancel(self, batch: ClientBatch) -> None:
        for part in batch.parts:
            tasks = await list_open_tasks(self._pool, part)
            note = {"by": batch.owner}
            await apply(self._pool, [TaskChange(task=task, event=CancelRequested(), note=note) for task in tasks])

    # --- from tasks to files

    async def _finish(self, batch: ClientBatch) -> None:
        await client_batches.note_finalizing(self._pool, batch.id)
        file = await client_batches.find_file(self._pool, batch.owner, batch.input_file)
        assert file is not None, "a file that a batch reads is not deleted"
        requests = await asyncio.to_thread(self._api.services.artifacts.check, file.sha256)
        results = await asyncio.to_thread(
            ResultFiles,
            endpoint=batch.endpoint,
            requests=requests,
            artifacts=self._api.services.artifacts,
            scratch=self._api.services.data_dir / "scratch",
        )
        with results:
            if batch.refused_lines is not None:
                await asyncio.to_thread(results.add_lines, self._api.services.artifacts.locate(batch.refused_lines))
            for part in batch.parts:
                await self._add_part(results, part)
            output, error = await asyncio.to_thread(results.store)
        await client_batches.note_ended(
            self._pool,
            batch.id,
            output=_name_result(batch, "output", output),
            error=_name_result(batch, "error", error),
            completed=results.completed,
            failed=results.failed + batch.refused,
        )

    async def _add_part(self, results: ResultFiles, part: int) -> None:
        last: int | None = None
        while True:
            page = await reading.list_tasks(self._pool, Filter(batch=part), before=last, limit=_PAGE, oldest_first=True)
            await asyncio.to_thread(results.add_tasks, page.tasks)
            if not page.more:
                return
            last = page.tasks[-1].id


def _make_key(batch: ClientBatch, index: int) -> str:
    """Return the idempotency key of a part of a batch."""
    return f"{batch.id}/{index}"


def _name_result(batch: ClientBatch, kind: str, content: Content | None) -> client_batches.ClientFile | None:
    return None if content is None else make_file(batch.owner, f"{batch.id}_{kind}.jsonl", "batch_output", content)


async def _split(lines: list[bytes]) -> AsyncIterator[bytes]:
    """Yield lines in pieces, so that the event loop is free between them."""
    for start in range(0, len(lines), _PIECE_LINES):
        yield b"".join(lines[start : start + _PIECE_LINES])
        await asyncio.sleep(0)
