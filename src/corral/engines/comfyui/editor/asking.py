"""ComfyUI's editor, as `corral.engines.converting` asks for it: one reading of an instance's `/object_info`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.editor.conversion import convert
from corral.engines.comfyui.errors import WorkflowInvalidError
from corral.engines.comfyui.workflow import is_editor_workflow
from corral.engines.converting import Converted
from corral.engines.credentials import Credentials
from corral.errors import Problem
from corral.narrowing import as_object
from corral.work import Json


class ComfyEditor:
    """The page on which workflows of ComfyUI are drawn."""

    def recognizes(self, workflow: Mapping[str, Json]) -> bool:
        """Whether a workflow is as the editor saves it."""
        return is_editor_workflow(workflow)

    async def convert(
        self,
        workflow: Mapping[str, Json],
        url: str,
        options: Mapping[str, Any],  # JSON from the cluster file, not used here
        credentials: Credentials,
    ) -> Converted:
        """Convert a workflow. Raises: EngineUnavailableError, WorkflowInvalidError."""
        if not is_editor_workflow(workflow):
            what = "the workflow is not in the editor's format: it has no list `nodes`"
            hint = "if its keys are ids of nodes, it is in API format: use it as it is"
            raise WorkflowInvalidError(
                [Problem(code="comfyui.workflow_format", what=what, where="workflow", hint=hint)]
            )
        client = ComfyClient(url, timings=Timings(), credentials=credentials)
        try:
            described = as_object(await client.get("/object_info"))
        finally:
            await client.close()
        return await asyncio.to_thread(convert, workflow, described)
