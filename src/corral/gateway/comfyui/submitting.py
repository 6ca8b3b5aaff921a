"""From a prompt as a client sends it to one in the queue: checked against the instances, refused in their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corral.errors import CorralError, Kind
from corral.gateway.comfyui.asked import PromptAsked, RefusedError, find_file_names, find_parts
from corral.gateway.comfyui.instances import Instances
from corral.gateway.comfyui.validating import Verdict, make_error
from corral.gateway.comfyui.workshop import Accepted, FileName, NewPrompt, Workshop
from corral.gateway.doors import Visitor
from corral.work import Json


async def submit(
    workshop: Workshop,
    instances: Instances,
    visitor: Visitor,
    asked: PromptAsked,
    *,
    names: Sequence[FileName] = (),
    facts: Mapping[str, Json] | None = None,
) -> tuple[Accepted, Verdict]:
    """Check a prompt and put it into the queue; `names` are files that it has by other than their names.

    Raises: RefusedError, CorralError.
    """
    verdict, describe = await instances.judge(asked.workflow, asked.targets)
    if verdict.error is not None:
        raise RefusedError(verdict.error, verdict.node_errors)
    prompt = NewPrompt(
        id=asked.id,
        client=asked.client,
        workflow=asked.workflow,
        parts=find_parts(asked.workflow, verdict.outputs),
        outputs=verdict.outputs,
        extra_data=asked.extra_data,
        names=[*names, *find_file_names(asked.workflow, describe)],
        number=asked.number,
        precedence=asked.precedence,
        is_first=asked.is_first,
        facts=facts or {},
    )
    try:
        return await workshop.submit(visitor, prompt), verdict
    except CorralError as error:
        raise _translate(error) from error


def _translate(error: CorralError) -> Exception:
    """Return a refused submission in ComfyUI's shape; another fault stays as it is."""
    if error.kind is Kind.CONFLICT and error.code == "submission.idempotency_conflict":
        return RefusedError(make_error("invalid_prompt_id", "Invalid prompt_id", "this id is another prompt's"))
    if error.kind is not Kind.INVALID:
        return error
    details = "\n".join(f"{problem.what} ({problem.where})" for problem in error.problems)
    extra: dict[str, Json] = {"problems": [{"code": problem.code, "hint": problem.hint} for problem in error.problems]}
    return RefusedError(make_error("prompt_outputs_failed_validation", error.problems[0].what, details, extra))
