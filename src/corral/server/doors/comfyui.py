"""Fulfils what the ComfyUI door needs: a prompt is an interactive task, instances are those of the cluster file."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from itertools import islice
from mimetypes import guess_type
from uuid import uuid4

from corral.cluster.values import EngineSettings, Instance
from corral.engine_kinds import COMFYUI
from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.installed import Installed
from corral.engines.credentials import name_credentials
from corral.engines.inputs import find_model_name
from corral.engines.surveying import RECENT_S, REMEMBERED_S
from corral.gateway.comfy_api.assets import find_output, read_id, read_output_id
from corral.gateway.comfy_api.jobs import ASSET
from corral.gateway.comfyui.asked import FRONT
from corral.gateway.comfyui.shapes import find_output_name, read_folder
from corral.gateway.comfyui.workshop import (
    Accepted,
    Course,
    Event,
    FileName,
    InstanceAnswer,
    ListedPrompt,
    Moved,
    NewPrompt,
    News,
    OutputFile,
    Picture,
    PromptEnd,
    Stage,
    StoredPrompt,
)
from corral.gateway.doors import Visitor
from corral.narrowing import as_list, as_object
from corral.server.api.accepting import accept
from corral.server.api.state import ApiState
from corral.server.api.uploading import take_upload
from corral.server.doors.doorman import as_caller
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Preview, Relayed
from corral.tasks.lifecycle import TERMINAL, CancelRequested, TaskState
from corral.tasks.store import prompts as store
from corral.tasks.store import story
from corral.tasks.store.assets import find_asset
from corral.tasks.store.audit import Act, Action
from corral.tasks.store.transitions import TaskChange, apply
from corral.tasks.values import (
    FileRef,
    OutputRef,
    Prompt,
    Sha256,
    StoredFile,
    StoryEvent,
    Submission,
    TaskSpec,
    UploadRef,
)
from corral.work import EngineError, Json, SlotId, TaskClass, device_of

KEY = "comfyui:"
"""The beginning of the idempotency key of a prompt: its id follows, so that one id is one task."""
ASKED_S = 2.0
"""How old an answer of an instance can be that is given again, and how long an instance has to answer."""
_WAITING_NEWS = 2048
_CANCELLED_AT_ONCE = 200
"""Tasks in one transaction, and in one line of the audit log."""
_NODE = re.compile(r"\bnode (\S+) \(")
_STAGES = {
    TaskState.WAITING: Stage.PENDING,
    TaskState.QUEUED: Stage.PENDING,
    TaskState.LEASED: Stage.RUNNING,
    TaskState.RUNNING: Stage.RUNNING,
    TaskState.SUCCEEDED: Stage.SUCCEEDED,
    TaskState.FAILED: Stage.FAILED,
    TaskState.CANCELLED: Stage.CANCELLED,
}


class ComfyUiWorkshop:
    """Prompts, files and instances of this server."""

    def __init__(self, api: ApiState) -> None:
        self._api = api
        self._services = api.services
        self._asked: dict[str, tuple[float, Sequence[InstanceAnswer]]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    # --- prompts ------------------------------------------------------------------------------------------------------

    async def submit(self, visitor: Visitor, prompt: NewPrompt) -> Accepted:
        """Put a prompt into the queue. Raises: CorralError."""
        files, settings = await self._find_files(visitor.owner, prompt.names)
        facts: dict[str, Json] = {**prompt.facts, "client": prompt.client, "outputs": list(prompt.outputs)}
        if prompt.number is not None:
            facts["number"] = prompt.number
        if prompt.parts != prompt.workflow:
            facts["workflow"] = prompt.workflow
        inputs: dict[str, Json] = {
            "workflow": prompt.parts,
            "set": {place: value for place, value in settings.items() if place.partition(".")[0] in prompt.parts},
            "extra_data": prompt.extra_data,
            "outputs": "all",
            "allow_partial": True,
        }
        spec = TaskSpec.model_validate(
            {
                "name": prompt.id,
                "engine": COMFYUI.name,
                "model": find_model_name(COMFYUI.name, None, inputs),
                "inputs": {name: value for name, value in inputs.items() if value != {}},
                "files": files,
                "class": TaskClass.INTERACTIVE,
                "precedence": await self._find_precedence(visitor.owner, prompt),
                "max_attempts": 1,  # as there: who waits for it sees the error of a node at once
                "prompt": Prompt(id=prompt.id, facts=facts),
            }
        )
        submission = Submission(owner=visitor.owner, tasks=(spec,), idempotency_key=f"{KEY}{prompt.id}")
        accepted = await accept(self._api, as_caller(visitor), submission)
        task = accepted.tasks[0]
        return Accepted(task=task, number=find_number(facts, task), is_replay=accepted.replayed)

    async def _find_precedence(self, owner: str, prompt: NewPrompt) -> int:
        if not prompt.is_first:
            return prompt.precedence
        before = await store.find_prompt(self._services.pool, owner, prompt.id)
        if before is not None:  # it can be the same once more: then it is the same task
            return before.task.precedence
        return 1 + max(0, await store.find_highest_precedence(self._services.pool, owner))

    async def list_open(self, owner: str) -> Sequence[ListedPrompt]:
        """Return all of an owner's prompts that have not ended, in the order in which they go."""
        return [_describe_line(line) for line in await store.list_open_prompts(self._services.pool, owner)]

    async def count_open(self, owner: str) -> int:
        """Count an owner's prompts that have not ended."""
        return await store.count_open_prompts(self._services.pool, owner)

    async def list_ended(self, owner: str, limit: int) -> Sequence[ListedPrompt]:
        """Return an owner's newest prompts in its history, newest first."""
        lines = await store.list_ended_prompts(self._services.pool, owner, limit=limit)
        return [_describe_line(line) for line in lines]

    async def list_page(
        self, owner: str, *, stages: Collection[Stage], metadata: Mapping[str, str], before: int, limit: int
    ) -> Sequence[StoredPrompt]:
        """Return an owner's newest prompts of tasks below `before`, in any of the stages, with all of the metadata."""
        states = [state for state, stage in _STAGES.items() if stage in stages]
        prompts = await store.list_prompts(
            self._services.pool, owner, states=states, metadata=metadata, before=before, limit=limit
        )
        return [describe_prompt(prompt, self._services.artifacts) for prompt in prompts]

    async def read(self, tasks: Collection[int]) -> Sequence[StoredPrompt]:
        """Return those of the tasks that are prompts, oldest first."""
        prompts = await store.read_prompts(self._services.pool, tasks)
        return [describe_prompt(prompt, self._services.artifacts) for prompt in prompts]

    def find_course(self, task: int) -> Course | None:
        """Return how far a prompt is; None while it does not run."""
        board = self._services.board
        progress = board.progress.get(task)
        if progress is None:
            return None
        events = {name: relayed.data for name, relayed in board.find_relayed(task).items()}
        return Course(fraction=progress.fraction, note=progress.note, events=events)

    async def find(self, owner: str, id: str) -> StoredPrompt | None:
        """Return an owner's prompt."""
        prompt = await store.find_prompt(self._services.pool, owner, id)
        return None if prompt is None else describe_prompt(prompt, self._services.artifacts)

    async def cancel(self, visitor: Visitor, tasks: Collection[int]) -> None:
        """Cancel prompts; one that has ended stays as it is."""
        left, by = iter(tasks), {"by": visitor.owner}
        while some := [*islice(left, _CANCELLED_AT_ONCE)]:
            act = Act(
                owner=visitor.owner,
                origin=None,
                action=Action.TASK_CANCELLED,
                subject=", ".join(map(str, some)),
                details={"owner": visitor.owner},
            )
            changes = [TaskChange(task=task, event=CancelRequested(), note=by) for task in some]
            await apply(self._services.pool, changes, act=act)

    async def hide(self, owner: str, ids: Collection[str] | None) -> None:
        """Take ended prompts out of an owner's history."""
        await store.hide_prompts(self._services.pool, owner, ids)

    # --- what happens -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def follow(self) -> AsyncGenerator[AsyncIterator[News]]:
        """Open what happens to all prompts from now on."""
        news: asyncio.Queue[News | BaseException | None] = asyncio.Queue(_WAITING_NEWS)
        after = await story.read_horizon(self._services.pool)
        with self._services.board.open_feed() as feed:

            async def take_updates() -> None:
                async for update in feed:
                    if isinstance(update, Relayed):
                        await news.put(Event(update.task, update.event, update.data))
                    elif isinstance(update, Preview):
                        await news.put(Picture(update.task, update.media_type, update.data))

            async def take_story() -> None:
                try:
                    async with aclosing(self._api.changes.follow(after)) as changes:
                        async for lines in changes:
                            for moved in await self._find_moves(lines):
                                await news.put(moved)
                    await news.put(None)
                except Exception as error:  # noqa: BLE001 - it is raised where the news are read
                    await news.put(error)

            parts = (asyncio.create_task(take_updates()), asyncio.create_task(take_story()))
            try:
                yield _read_queue(news)
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)

    async def _find_moves(self, lines: Sequence[StoryEvent]) -> list[Moved]:
        stages = {
            line.task: _STAGES[TaskState(line.data["state"])]
            for line in lines
            if line.task is not None and (line.kind == "submitted" or line.data.get("state") in TERMINAL)
        }
        if not stages:
            return []
        prompts = await store.find_prompts_of_tasks(self._services.pool, stages)
        return [Moved(prompts[task][0], task, stage) for task, stage in stages.items() if task in prompts]

    # --- files --------------------------------------------------------------------------------------------------------

    async def keep(self, visitor: Visitor, name: str, content: AsyncIterator[bytes]) -> OutputFile:
        """Keep an uploaded file, within its owner's quota. Raises: CorralError."""
        media_type = guess_type(name)[0] or "application/octet-stream"
        file = await take_upload(self._api, visitor.owner, content, name=name or "upload", media_type=media_type)
        return _locate(file, self._services.artifacts)

    async def name_input(self, owner: str, folder: str, name: str, file: OutputFile, *, overwrite: bool) -> str:
        """Give a kept file its name, and return the one that it got."""
        sha256 = Sha256(file.sha256)
        if overwrite:
            await store.replace_input_file(self._services.pool, owner, folder, name, sha256)
            return name
        return await store.name_input_file(self._services.pool, owner, folder, list(_propose_names(name)), sha256)

    async def find_input(self, owner: str, folder: str, name: str) -> OutputFile | None:
        """Return a file that an owner uploaded."""
        file = (await store.find_input_files(self._services.pool, owner, folder, [name])).get(name)
        return None if file is None else _locate(file, self._services.artifacts)

    async def list_inputs(self, owner: str) -> Sequence[str]:
        """Return the names of an owner's files in the folder `input`."""
        return tuple(await store.find_input_files(self._services.pool, owner, "input"))

    async def _find_files(self, owner: str, names: Sequence[FileName]) -> tuple[dict[str, FileRef], dict[str, Json]]:
        """Return the files that a prompt takes by a name for the task, and where in its workflow each belongs."""
        files: dict[str, FileRef] = {}
        settings: dict[str, Json] = {}
        for file in names:
            ref = await self._find_file(owner, file) if "." not in file.node else None
            if ref is not None:
                name = _name_file(files, _choose_name(file, ref), ref)
                files[name] = ref
                settings[f"{file.node}.{file.input}"] = {"file": name}
        return files, settings

    async def _find_file(self, owner: str, file: FileName) -> FileRef | None:
        if file.folder == ASSET:
            return await self._find_asset(owner, file.name)
        folder, _, name = file.name.rpartition("/")
        place = read_folder(folder)
        if place is not None:
            prompt = next(iter(await self.read([place[0]])), None)
            output = None if prompt is None else find_output_name(prompt, name, place[1], file.folder)
            is_own = prompt is not None and prompt.owner == owner and output is not None
            return OutputRef(task=place[0], output=output) if is_own and output is not None else None
        files = await store.find_input_files(self._services.pool, owner, file.folder, [file.name])
        return None if file.name not in files else UploadRef(upload=files[file.name].sha256)

    async def _find_asset(self, owner: str, text: str) -> FileRef | None:
        id = read_id(text)
        asset = None if id is None else await find_asset(self._services.pool, owner, id)
        if asset is not None:
            return UploadRef(upload=asset.file.sha256)
        place = None if id is None else read_output_id(id)
        prompt = None if place is None else next(iter(await self.read([place[0]])), None)
        output = None if prompt is None or place is None else find_output(prompt, place[1])
        if prompt is None or prompt.owner != owner or output is None:
            return None
        return OutputRef(task=prompt.task, output=output[0])

    # --- instances ----------------------------------------------------------------------------------------------------

    @property
    def _settings(self) -> EngineSettings:
        return self._services.cluster.engines.get(COMFYUI.name) or EngineSettings(name=COMFYUI.name)

    async def describe_nodes(self, *, fresh: bool = False) -> Sequence[InstanceAnswer]:
        """Return what each instance last answered to `/object_info`."""
        age_s = RECENT_S if fresh else REMEMBERED_S
        known = await self._services.surveyor.list_known(COMFYUI, self._settings, age_s=age_s)
        return [
            InstanceAnswer(
                name=look.instance.name,
                value=look.inventory.descriptions if isinstance(look.inventory, Installed) else None,
                problem=None if look.away is None else look.away.what,
            )
            for look in known
        ]

    async def ask(self, path: str) -> Sequence[InstanceAnswer]:
        """Ask each instance that answers now; what was asked just before is not asked again."""
        async with self._turns.setdefault(path, asyncio.Lock()):
            now = time.monotonic()
            self._asked = {key: kept for key, kept in self._asked.items() if now - kept[0] <= ASKED_S}
            self._turns = {key: turn for key, turn in self._turns.items() if key == path or turn.locked()}
            if path not in self._asked:
                answers = await asyncio.gather(*(self._ask(instance, path) for instance in self._settings.instances))
                self._asked[path] = (time.monotonic(), answers)
            return self._asked[path][1]

    async def _ask(self, instance: Instance, path: str) -> InstanceAnswer:
        url = self._services.directory.find_url(COMFYUI.name, instance)
        if url is None:
            return InstanceAnswer(name=instance.name, value=None, problem="it does not run now")
        client = ComfyClient(url, timings=Timings(), credentials=name_credentials(instance))
        try:
            return InstanceAnswer(name=instance.name, value=await client.get(path, within_s=ASKED_S))
        except EngineError as error:
            return InstanceAnswer(name=instance.name, value=None, problem=error.what)
        finally:
            await client.close()

    def list_addresses(self) -> Mapping[str, tuple[str, Mapping[str, str]]]:
        """Return URL and headers of each instance that runs now, by name."""
        addresses: dict[str, tuple[str, Mapping[str, str]]] = {}
        for instance in self._settings.instances:
            url = self._services.directory.find_url(COMFYUI.name, instance)
            if url is not None:
                addresses[instance.name] = (url, name_credentials(instance).make_headers())
        return addresses

    def find_address(self, task: int) -> tuple[str, Mapping[str, str]] | None:
        """Return URL and headers of the instance on which a prompt runs now."""
        progress = self._services.board.progress.get(task)
        if progress is None:
            return None
        addresses = self.list_addresses()
        names = [instance.name for instance in self._settings.instances if _is_slot_of(progress.slot, instance)]
        return next((addresses[name] for name in names if name in addresses), None)


def describe_prompt(stored: store.PromptTask, artifacts: ArtifactStore) -> StoredPrompt:
    """Return a prompt in the door's words."""
    task, facts = stored.task, stored.prompt.facts
    inputs, result = as_object(task.inputs), as_object(task.result)
    where = (task.error.where or "") if task.error is not None else ""
    node = _NODE.search(where)
    end = PromptEnd(
        nodes=as_object(result.get("nodes")),
        messages=as_list(result.get("messages")),
        problem=None if task.error is None else task.error.what,
        node=None if node is None else node[1],
    )
    return StoredPrompt(
        id=stored.prompt.id,
        task=task.id,
        owner=task.owner,
        client=facts.get("client"),
        number=find_number(facts, task.id),
        workflow=as_object(facts.get("workflow") or inputs.get("workflow")),
        outputs=tuple(str(output) for output in as_list(facts.get("outputs"))),
        extra_data=as_object(inputs.get("extra_data")),
        facts=facts,
        stage=_STAGES[task.state],
        is_cancelling=task.cancel_requested and task.state not in TERMINAL,
        created_ms=_to_ms(task.created_at) or 0,
        started_ms=_to_ms(task.started_at),
        ended_ms=_to_ms(task.finished_at),
        end=end if task.state in TERMINAL else None,
        files={file.name: _locate(file, artifacts) for file in task.outputs},
    )


def _describe_line(line: store.PromptLine) -> ListedPrompt:
    return ListedPrompt(
        id=line.id,
        task=line.task,
        stage=_STAGES[line.state],
        workflow_id=line.workflow_id,
        created_ms=_to_ms(line.created_at) or 0,
        started_ms=_to_ms(line.started_at),
        ended_ms=_to_ms(line.finished_at),
    )


def find_number(facts: Mapping[str, Json], task: int) -> float:
    """Return the number by which clients order a prompt: the one that was asked for, else its task's."""
    number = facts.get("number")
    return task if not isinstance(number, int | float) else -task if number == FRONT else number


def _to_ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)


def _locate(file: StoredFile, artifacts: ArtifactStore) -> OutputFile:
    path = artifacts.place(file.sha256)
    return OutputFile(path=path, media_type=file.media_type, sha256=file.sha256, size=file.size)


def _propose_names(name: str) -> Iterator[str]:
    """Yield names for a file as ComfyUI renames it: `x.png`, `x (1).png`; at last one that nothing has."""
    yield name
    stem, dot, ending = name.rpartition(".")
    stem, dot, ending = (stem, dot, ending) if stem else (name, "", "")
    for number in range(1, 1000):
        yield f"{stem} ({number}){dot}{ending}"
    yield f"{stem} ({uuid4().hex}){dot}{ending}"


def _choose_name(file: FileName, ref: FileRef) -> str:
    if isinstance(ref, OutputRef):
        return ref.output
    return f"asset-{file.name}" if file.folder == ASSET else file.name.rpartition("/")[2]


def _name_file(taken: Mapping[str, FileRef], name: str, ref: FileRef) -> str:
    number, free = 2, name
    while taken.get(free, ref) != ref:
        free, number = f"{number}-{name}", number + 1
    return free


def _is_slot_of(slot: SlotId, instance: Instance) -> bool:
    device = device_of(slot)
    name = slot.removeprefix(f"{device}/{COMFYUI.name}").strip("/")
    if name:
        return name == instance.name
    return device in (instance.name, f"{instance.node}/gpu{instance.gpu}")


async def _read_queue(news: asyncio.Queue[News | BaseException | None]) -> AsyncGenerator[News]:
    while (item := await news.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
