"""The `comfyui` engine: one attempt is one prompt on one instance, and whatever happens it is run once.

What decides the outcome is the instance's queue and history, never the WebSocket. A server elsewhere cannot be killed;
`kill` ends the prompt that this adapter has there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn
from uuid import UUID

import structlog

from corral.engine_kinds import COMFYUI
from corral.engines.comfyui.client import ComfyClient, SessionFactory, Timings, open_session
from corral.engines.comfyui.errors import (
    InstanceAnswerError,
    OutputMissingError,
    PromptInterruptedError,
    PromptLostError,
    WorkflowInvalidError,
    translate_execution_failure,
)
from corral.engines.comfyui.events import Course
from corral.engines.comfyui.filling import Filled, fill
from corral.engines.comfyui.inputs import ComfyUiInputs, ComfyUiOptions
from corral.engines.comfyui.leftovers import Leftovers
from corral.engines.comfyui.listener import Listener
from corral.engines.comfyui.memory import Memory
from corral.engines.comfyui.outputs import bring, choose, describe, make_safe_name
from corral.engines.comfyui.prompts import LIVE, Prompt, Prompts, Stage
from corral.engines.credentials import Credentials
from corral.engines.inputs import read_inputs, read_options
from corral.errors import ProblemsError
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import (
    PASSED_ON_MARK,
    Endpoint,
    EngineError,
    EngineUnavailableError,
    Json,
    Produced,
    Reporter,
    Resident,
    SlotLacksError,
    Use,
    Work,
)

_CORRAL = "corral_version"
"""The entry of `/system_stats` by which the door of another Corral is known."""

_log = structlog.get_logger(__name__)


class ComfyUi:
    """One ComfyUI instance; `headers` go with every request (a token for a proxy before it)."""

    def __init__(
        self,
        url: str,
        *,
        timings: Timings | None = None,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials = Credentials(),  # noqa: B008 (a frozen value)
        key_from: str | None = None,
        session: SessionFactory = open_session,
    ) -> None:
        """`key_from` names the environment variable with a key of comfy.org."""
        self._timings = timings or Timings()
        self._credentials = credentials
        self._key_from = key_from
        self._client = ComfyClient(
            url, timings=self._timings, headers=headers, credentials=credentials, session=session
        )
        self._prompts = Prompts(self._client, self._timings)
        self._memory = Memory(self._client, self._prompts, self._timings)
        self._leftovers = Leftovers(self._prompts, self._client.url, self._timings.settle_s)
        self._current: set[str] = set()
        self._corral_devices: int | None = None
        """How many devices another Corral lists; None where the server is a ComfyUI."""

    @property
    def name(self) -> str:
        """The engine's word in tasks and in the cluster file."""
        return COMFYUI.name

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Run the workflow, or take over the prompt of an earlier attempt. Raises: EngineError."""
        try:
            inputs = read_inputs(ComfyUiInputs, self.name, work.inputs)
        except ProblemsError as error:
            raise WorkflowInvalidError(error.problems) from error
        self._refuse_third(inputs)
        filled = fill(inputs.list_changes(), task=work.task, files=work.files)
        attempts = [str(attempt) for attempt in (work.attempt, *work.earlier)]
        self._leftovers.keep(attempts)
        await self._leftovers.stop_all()
        adopted = await self._prompts.adopt(attempts)
        prompt = await self._run_prompt(work, inputs, filled, report, adopted)
        self._memory.remember(work.model or next(iter(filled.models), None), prompt.id)
        try:
            return await self._collect(prompt, inputs, work, report)
        except OutputMissingError as error:
            # ComfyUI names the file of an earlier prompt where nothing changed since, whether it is still there or not.
            _log.info("output_made_again", url=self._client.url, prompt_id=prompt.id, reason=error.what)
            await self._prompts.forget(str(work.attempt))
            again = filled.make_again(prompt.outputs, mark=str(work.attempt))
            prompt = await self._run_prompt(work, inputs, again, report, None)
            return await self._collect(prompt, inputs, work, report)

    @asynccontextmanager
    async def reach(
        self, model: str | None, note: Callable[[str], None], devices: tuple[str, ...] = (), use: Use = Use.WRITING
    ) -> AsyncGenerator[Endpoint]:
        """Lend the server, which loads what workflows name. Raises: EngineUnavailableError without a secret."""
        del model, note, devices, use  # a workflow names its models; nothing is started here
        yield self._client.make_endpoint()

    async def resident(self) -> tuple[Resident, ...]:
        """Say what this adapter last loaded there, if the instance still seems to hold it."""
        return await self._memory.resident()

    async def check(self) -> None:
        """Return when the instance answers as ComfyUI does, and has let go of every prompt that must end there."""
        stats = await self._client.get("/system_stats", within_s=self._timings.check_s)
        if not isinstance(as_object(stats).get("system"), dict):
            raise InstanceAnswerError(
                "/system_stats answered, but not as ComfyUI does",
                where=self._client.url,
                status=200,
                hint="correct the engine's url in the cluster file",
            )
        is_corral = bool(as_object(stats["system"]).get(_CORRAL))
        self._corral_devices = len(as_list(as_object(stats).get("devices"))) if is_corral else None
        await self._leftovers.require_none()

    async def count_lanes(self) -> int | None:
        """Return how many devices another Corral had at the last check; a ComfyUI does one prompt at a time."""
        return self._corral_devices or None

    async def release(self) -> None:
        """Unload the instance's models."""
        await self._memory.release()

    async def kill(self) -> None:
        """End this adapter's own prompts there; the server itself is out of reach."""
        for prompt_id in tuple(self._current):
            await self._prompts.cancel(prompt_id)

    def abandon(self, attempt: UUID, task: int) -> None:
        """End the prompt of a lost attempt when the instance is looked at next."""
        self._leftovers.note(str(attempt), task=task)

    async def close(self) -> None:
        """End what runs and close every connection."""
        await self.kill()
        await self._leftovers.wait()
        await self._client.close()

    async def _run_prompt(
        self, work: Work, inputs: ComfyUiInputs, filled: Filled, report: Reporter, adopted: Prompt | None
    ) -> Prompt:
        prompt_id = adopted.id if adopted else str(work.attempt)
        course = Course(prompt=prompt_id, classes={node: filled.prompt[node]["class_type"] for node in filled.prompt})
        listener = Listener(self._client, course, report, self._timings)
        listening = asyncio.create_task(listener.run(), name=f"comfyui-listener-{prompt_id}")
        self._current.add(prompt_id)
        owed = adopted is not None
        try:
            if adopted is None:
                prompt = filled.name_uploads(await self._upload(work, filled.uploads.values()))
                await listener.wait_for_connection()
                extra_data = self._make_extra_data(inputs)
                owed = True
                await self._prompts.submit(prompt_id, prompt, allow_partial=inputs.allow_partial, extra_data=extra_data)
            result = await self._follow(prompt_id, listener)
            owed = False
            return result
        except EngineUnavailableError:
            if owed:  # out of reach: it is ended when the instance is back
                self._leftovers.note(prompt_id, task=work.task)
            owed = False
            raise
        except EngineError:
            owed = False  # it has ended, or was refused
            raise
        finally:
            self._current.discard(prompt_id)
            listening.cancel()
            if owed:
                await self._leftovers.end(prompt_id, task=work.task)
            await asyncio.wait([listening])

    def _refuse_third(self, inputs: ComfyUiInputs) -> None:
        """Raises: SlotLacksError where the prompt comes from a Corral, and would go to a third."""
        if self._corral_devices is not None and inputs.extra_data.get(PASSED_ON_MARK):
            what = "the prompt comes from a Corral, and the server of the slot is another one"
            raise SlotLacksError(what, where=self._client.url, hint="give the first Corral that server as an instance")

    def _make_extra_data(self, inputs: ComfyUiInputs) -> dict[str, Json]:
        """Return what goes along with a prompt, with the key in it as late as possible. Raises: SecretMissingError."""
        if self._key_from is None:
            return inputs.extra_data
        return {**inputs.extra_data, "api_key_comfy_org": self._credentials.read_secret(self._key_from)}

    async def _upload(self, work: Work, names: Iterable[str]) -> dict[str, str]:
        wanted = dict.fromkeys(names)
        return {name: await self._client.upload(work.files[name], make_safe_name(name)) for name in wanted}

    async def _follow(self, prompt_id: str, listener: Listener) -> Prompt:
        """Wait until the prompt has ended; the socket's news only make the next look come sooner."""
        while True:
            listener.news.clear()
            prompt = await self._prompts.find_patiently(prompt_id)
            if prompt.stage not in LIVE:
                return prompt if prompt.stage is Stage.SUCCEEDED else self._fail(prompt)
            # The end is announced a moment before the history shows it, and once more when it does; the last can
            # get lost with the socket, so look again soon, not at once.
            pause = self._timings.retry_s if listener.ended else self._timings.poll_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await listener.news.wait()

    def _fail(self, prompt: Prompt) -> NoReturn:
        if prompt.stage is Stage.UNKNOWN:
            raise PromptLostError(
                f"the instance no longer knows the prompt {prompt.id}: it restarted, or another client deleted it",
                where=self._client.url,
                hint="look at the log of the ComfyUI instance for why it restarted",
            )
        failure = translate_execution_failure(prompt.messages, where=self._client.url)
        if isinstance(failure, PromptInterruptedError):
            _log.info("prompt_interrupted_elsewhere", url=self._client.url, prompt_id=prompt.id)
        raise failure

    async def _collect(self, prompt: Prompt, inputs: ComfyUiInputs, work: Work, report: Reporter) -> Produced:
        report.progress(1.0, "downloading")
        items = choose(prompt.outputs, inputs.outputs)
        files = await bring(self._client, items, work.scratch, self._timings)
        counts: dict[str, int] = {}
        for item in items:
            counts[item.node] = counts.get(item.node, 0) + 1
        values: dict[str, Json] = {
            "prompt_id": prompt.id,
            "outputs": counts,
            "nodes": describe(prompt.outputs, items),
            "messages": list(prompt.messages),
            "execution_s": _measure_execution(prompt.messages),
        }
        return Produced(files=files, values=values)


def _measure_execution(messages: Iterable[Json]) -> float | None:
    """Return how long the prompt ran, by the instance's own clock; None where it does not report it."""
    at: dict[str, float] = {}
    for message in messages:
        event, data = (*as_list(message), None, None)[:2]
        stamp = as_number(as_object(data).get("timestamp"))
        if stamp is not None:
            at[as_text(event)] = stamp
    start, end = at.get("execution_start"), at.get("execution_success")
    return None if start is None or end is None else round((end - start) / 1000, 3)


def build_comfyui(
    url: str,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
    credentials: Credentials,
) -> ComfyUi:
    """Return the adapter of one instance. Raises: ProblemsError when `options` are wrong."""
    settings = read_options(ComfyUiOptions, COMFYUI.name, options)
    timings = Timings(reconnect_s=settings.reconnect_seconds)
    return ComfyUi(url, credentials=credentials, key_from=settings.comfy_key_from, timings=timings)
