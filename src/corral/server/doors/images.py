"""Makes the images of OpenAI's door: interactive tasks of ComfyUI with the workflow that the cluster file names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import ClassVar

from corral.engine_kinds import COMFYUI
from corral.engines.inputs import find_model_name
from corral.errors import CorralError, Kind
from corral.gateway.doors import Visitor
from corral.gateway.openai.images import Drawing
from corral.narrowing import as_object
from corral.server.api.accepting import accept
from corral.server.api.changes import Subject
from corral.server.api.state import ApiState
from corral.server.api.uploading import take_upload
from corral.server.api.waiting import wait_until_ended
from corral.server.doors.doorman import as_caller
from corral.tasks.lifecycle import TERMINAL, TaskState
from corral.tasks.store import reading
from corral.tasks.values import Submission, Task, TaskSpec, UploadRef
from corral.work import PASSED_ON_MARK, Json, TaskClass

_LOOK_S = 60.0
"""How long one wait for an end takes at most; the next follows."""


class WorkflowFileError(CorralError):
    """The workflow of a model cannot be read."""

    code: ClassVar[str] = "gateway.workflow_file"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class ImageFailedError(CorralError):
    """An image was not made."""

    code: ClassVar[str] = "gateway.image_failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class ImageStudio:
    """Images as tasks of this server."""

    def __init__(self, api: ApiState, cancel: Callable[[Visitor, Collection[int]], Awaitable[None]]) -> None:
        """`cancel` cancels tasks for a visitor."""
        self._api = api
        self._cancel = cancel

    async def draw(self, visitor: Visitor, drawing: Drawing) -> Sequence[bytes]:
        """Make images, and return them once all are there; a cancelled call cancels them. Raises: CorralError."""
        path = self._api.services.cluster_file.parent / Path(drawing.workflow).expanduser()
        workflow = await asyncio.to_thread(read_workflow, path)
        files = {f"{place}.png": await self._keep(visitor, place, data) for place, data in drawing.files.items()}
        inputs: dict[str, Json] = {
            "workflow": workflow,
            "prompt": drawing.prompt,
            "seed": "random",
            **({} if drawing.size is None else {"size": drawing.size}),
            **({"extra_data": {PASSED_ON_MARK: True}} if drawing.comes_from_corral else {}),
            **({"set": {place: {"file": f"{place}.png"} for place in drawing.files}} if drawing.files else {}),
        }
        model = find_model_name(COMFYUI.name, None, inputs)
        spec = {
            "engine": COMFYUI.name,
            "model": model,
            "inputs": inputs,
            "files": files,
            "class": TaskClass.INTERACTIVE,
        }
        specs = tuple(TaskSpec.model_validate({"name": f"image-{n}", **spec}) for n in range(1, drawing.count + 1))
        submission = Submission(owner=visitor.owner, tasks=specs)
        # The door has looked whether the key is for the model whose workflow this is; its checkpoint has another name.
        accepted = await accept(self._api, as_caller(visitor), submission, admitted={model})
        try:
            return [await self._wait(task) for task in accepted.tasks]
        except BaseException:
            await asyncio.shield(self._cancel(visitor, accepted.tasks))
            raise

    async def _keep(self, visitor: Visitor, place: str, data: bytes) -> UploadRef:
        async def give() -> AsyncIterator[bytes]:
            yield data

        file = await take_upload(self._api, visitor.owner, give(), name=f"{place}.png", media_type="image/png")
        return UploadRef(upload=file.sha256)

    async def _wait(self, id: int) -> bytes:
        """Return the image of a task. Raises: ImageFailedError."""

        async def read() -> Task:
            return await reading.get_task(self._api.services.pool, id)

        while (task := await self._look(id, read)).state not in TERMINAL:
            if self._api.changes.stopping:
                raise ImageFailedError("the server stops", hint=f"task {id} goes on with the next start")
        if task.state is not TaskState.SUCCEEDED:
            what = task.error.what if task.error is not None else f"it was {task.state}"
            hint = task.error.hint if task.error is not None else None
            raise ImageFailedError(f"image of task {id}: {what}", hint=hint)
        image = next((file for file in task.outputs if file.media_type.startswith("image/")), None)
        if image is None:
            raise ImageFailedError(f"the workflow of task {id} saves no image", hint="add a node that saves one")
        return await asyncio.to_thread(self._api.services.artifacts.locate(image.sha256).read_bytes)

    async def _look(self, id: int, read: Callable[[], Awaitable[Task]]) -> Task:
        return await wait_until_ended(
            self._api,
            read,
            still_open=lambda task: int(task.state not in TERMINAL),
            subject=Subject(task=id),
            timeout_s=_LOOK_S,
        )


def read_workflow(path: Path) -> dict[str, Json]:
    """Return the workflow in a file. Raises: WorkflowFileError."""
    try:
        workflow = as_object(json.loads(path.read_bytes()))
    except OSError as error:
        hint = "correct `workflow` of the model in the cluster file"
        raise WorkflowFileError(f"{path.name} cannot be read: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise WorkflowFileError(f"{path.name} is not JSON: {error}", hint="save it with Export (API)") from error
    if not workflow:
        raise WorkflowFileError(f"{path.name} has no workflow", hint="save it with Export (API)")
    return workflow
