"""The life of one prompt on an instance: finding, submitting and cancelling it, whatever answers get lost.

ComfyUI does not distinguish two submissions of one id and would run both. So nothing is sent again before the queue and
the history were asked, and a submission whose answer got lost counts as made until they say otherwise.

The queue is always asked before the history: a prompt only ever moves from the one to the other, so one that finishes
between the two questions is still seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.errors import (
    AdapterClosedError,
    InstanceAnswerError,
    InstanceLacksError,
    InstanceUnreachableError,
    WorkflowInvalidError,
    list_refused_choices,
    read_choices,
    translate_refusal,
)
from corral.narrowing import as_list, as_object, as_text
from corral.work import EngineUnavailableError, Json

_SUBMISSIONS = 3
"""How often one attempt can send its prompt: once, and again after the instance was seen to have lost it."""


class Stage(StrEnum):
    """Where a prompt is."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


LIVE = frozenset({Stage.PENDING, Stage.RUNNING})
ENDED = frozenset({Stage.SUCCEEDED, Stage.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The state of a prompt according to the instance now."""

    id: str
    stage: Stage
    outputs: dict[str, Json] = field(default_factory=dict[str, Json])
    """Per node, lists of files and texts."""
    messages: Sequence[Json] = ()
    """Pairs of event and data, as they were sent while it ran."""


class Prompts:
    """The prompts of one instance."""

    def __init__(self, client: ComfyClient, timings: Timings) -> None:
        self._client = client
        self._timings = timings
        self._has_jobs: bool | None = None
        """Whether the instance has the jobs routes (newer versions); None until asked, and after it was away."""

    async def find(self, prompt_id: str) -> Prompt:
        """Look a prompt up. Raises: EngineUnavailableError."""
        if await self._has_jobs_routes():
            return await self._find_job(prompt_id)
        stage = await self._find_queued(prompt_id)
        if stage is not None:
            return Prompt(id=prompt_id, stage=stage)
        history = as_object(await self._client.get(f"/history/{prompt_id}"))
        return _read_history(prompt_id, as_object(history.get(prompt_id)))

    async def find_patiently(self, prompt_id: str) -> Prompt:
        """Look a prompt up, waiting for an instance that is away for up to `reconnect_s`."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._timings.reconnect_s
        pause = self._timings.retry_s
        while True:
            try:
                return await self.find(prompt_id)
            except EngineUnavailableError as error:
                self.forget_version()
                if _is_final(error) or now() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._timings.poll_s)

    async def adopt(self, prompt_ids: Iterable[str]) -> Prompt | None:
        """Find the best of several prompts of one task: a success, else a running, else a pending one.

        The others that live are cancelled: a task needs one result.
        Raises: EngineUnavailableError, at once: an instance that is away before anything began is not waited for.
        """
        self.forget_version()
        prompts = [await self.find(prompt_id) for prompt_id in prompt_ids]
        order = (Stage.SUCCEEDED, Stage.RUNNING, Stage.PENDING)
        best = min((p for p in prompts if p.stage in order), key=lambda p: order.index(p.stage), default=None)
        for other in prompts:
            if other is not best and other.stage in LIVE:
                await self.cancel(other.id)
        return best

    async def submit(
        self, prompt_id: str, workflow: Json, *, allow_partial: bool, extra_data: Mapping[str, Json]
    ) -> None:
        """Submit a prompt that the instance does not know yet; on return it has it, once.

        Raises: WorkflowInvalidError, InstanceLacksError, RequestRefusedError, EngineUnavailableError.
        """
        # The prompt's id is the client's id as well, see the package.
        body = {"prompt": workflow, "prompt_id": prompt_id, "client_id": prompt_id}
        body |= {"extra_data": dict(extra_data)} if extra_data else {}
        for remaining in reversed(range(_SUBMISSIONS)):
            try:
                status, answer = await self._client.submit(body)
            except (InstanceUnreachableError, InstanceAnswerError) as error:
                if _is_final(error) or (isinstance(error, InstanceUnreachableError) and not error.received):
                    raise
                if await self._has_arrived(prompt_id):
                    return
                if not remaining:
                    raise
            else:
                await self._judge(prompt_id, status, answer, allow_partial=allow_partial)
                return

    async def forget(self, prompt_id: str) -> None:
        """Take an ended prompt out of the history, so that its id stands for the next one that is sent with it."""
        await self._client.post("/history", {"delete": [prompt_id]})

    async def _has_arrived(self, prompt_id: str) -> bool:
        """Check whether a prompt whose submission broke off is there all the same; it might still be under way."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._timings.settle_s
        while (await self.find_patiently(prompt_id)).stage is Stage.UNKNOWN:
            if now() >= deadline:
                return False
            await asyncio.sleep(self._timings.retry_s)
        return True

    async def _judge(self, prompt_id: str, status: int, answer: Json, *, allow_partial: bool) -> None:
        partly_refused = bool(as_object(as_object(answer).get("node_errors")))
        if status == 200 and (allow_partial or not partly_refused):
            return
        if status == 200:
            await self.cancel(prompt_id)
        raise await self._explain_refusal(answer)

    async def _explain_refusal(self, answer: Json) -> WorkflowInvalidError | InstanceLacksError:
        choices: dict[tuple[str, str], Sequence[str]] = {}
        for class_type, name in list_refused_choices(answer):
            with suppress(EngineUnavailableError):  # the refusal stands without a "did you mean"
                choices[class_type, name] = await self._fetch_choices(class_type, name)
        return translate_refusal(answer, where=self._client.url, choices=choices)

    async def _fetch_choices(self, class_type: str, name: str) -> tuple[str, ...]:
        description = as_object(await self._client.get(f"/object_info/{class_type}")).get(class_type)
        groups = as_object(as_object(description).get("input")).values()
        return next((read_choices(as_list(as_object(group)[name])) for group in groups if name in as_object(group)), ())

    async def cancel(self, prompt_id: str, *, may_arrive: bool = False, within_s: float | None = None) -> bool:
        """End a prompt and return whether it is gone within that time (`cancel_s`); never ends another client's.

        A submission that was cut off can still arrive: with `may_arrive`, an unknown prompt is looked for a while.
        """
        now = asyncio.get_running_loop().time
        arrival = now() + (self._timings.settle_s if may_arrive else 0)
        pause = self._timings.retry_s
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timings.cancel_s if within_s is None else within_s):
                while not await self.is_gone(prompt_id, arrived=now() >= arrival):
                    await asyncio.sleep(min(pause, self._timings.poll_s))
                    pause *= 2
                return True
        return False

    async def is_gone(self, prompt_id: str, *, arrived: bool = True) -> bool:
        """Look for the prompt, stop it where it is, and return whether it has ended; not known while it is away.

        With `arrived`, a prompt that is unknown there is gone.
        """
        with suppress(EngineUnavailableError):
            stage = (await self.find(prompt_id)).stage
            if stage in LIVE:
                await self._stop(prompt_id, stage)
            return stage in ENDED or (stage is Stage.UNKNOWN and arrived)
        return False

    async def _stop(self, prompt_id: str, stage: Stage) -> None:
        if await self._has_jobs_routes() and await self._cancel_job(prompt_id):
            return
        if stage is Stage.PENDING:
            await self._client.post("/queue", {"delete": [prompt_id]})
        else:
            # Only after the queue reported that it is the running one: old versions ignore the id and would interrupt
            # whatever runs.
            await self._client.post("/interrupt", {"prompt_id": prompt_id})

    async def _cancel_job(self, prompt_id: str) -> bool:
        """Cancel a job by its id; false where the version has jobs and cannot do that (0.8)."""
        try:
            await self._client.post(f"/api/jobs/{prompt_id}/cancel", {})
        except InstanceAnswerError as error:
            if error.status not in (404, 405):
                raise
            return False
        return True

    def forget_version(self) -> None:
        """Ask the instance anew what it can: it can come back as another version."""
        self._has_jobs = None

    async def _has_jobs_routes(self) -> bool:
        if self._has_jobs is None:
            try:
                answer = await self._client.get("/api/jobs", params={"limit": "1"})
            except InstanceAnswerError as error:
                if error.status >= 500:
                    raise
                answer = None
            self._has_jobs = isinstance(as_object(answer).get("jobs"), list)
        return self._has_jobs

    async def _find_queued(self, prompt_id: str) -> Stage | None:
        queue = as_object(await self._client.get("/queue"))
        for name, stage in (("queue_running", Stage.RUNNING), ("queue_pending", Stage.PENDING)):
            if any(as_list(item)[1:2] == [prompt_id] for item in as_list(queue.get(name))):
                return stage
        return None

    async def _find_job(self, prompt_id: str) -> Prompt:
        try:
            job = as_object(await self._client.get(f"/api/jobs/{prompt_id}"))
        except InstanceAnswerError as error:
            if error.status != 404:
                raise
            return Prompt(id=prompt_id, stage=Stage.UNKNOWN)
        stage = _JOB_STAGES.get(as_text(job.get("status")), Stage.UNKNOWN)
        messages = as_list(as_object(job.get("execution_status")).get("messages"))
        return Prompt(id=prompt_id, stage=stage, outputs=as_object(job.get("outputs")), messages=messages)


def _is_final(error: EngineUnavailableError) -> bool:
    """Say whether asking again is of no use: the instance refuses, or this adapter no longer asks."""
    refused = isinstance(error, InstanceAnswerError) and 400 <= error.status < 500
    return refused or isinstance(error, AdapterClosedError)


_JOB_STAGES = {
    "pending": Stage.PENDING,
    "in_progress": Stage.RUNNING,
    "completed": Stage.SUCCEEDED,
    "failed": Stage.FAILED,
    "cancelled": Stage.FAILED,
}


def _read_history(prompt_id: str, entry: dict[str, Json]) -> Prompt:
    if not entry:
        return Prompt(id=prompt_id, stage=Stage.UNKNOWN)
    status = as_object(entry.get("status"))
    # An entry without a status (custom executors write such) has finished, or it would not be in the history.
    stage = Stage.FAILED if as_text(status.get("status_str")) == "error" else Stage.SUCCEEDED
    messages = as_list(status.get("messages"))
    return Prompt(id=prompt_id, stage=stage, outputs=as_object(entry.get("outputs")), messages=messages)
