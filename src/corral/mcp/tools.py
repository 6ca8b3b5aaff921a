"""The tools: their names, texts, arguments and hints, in one table, and how a call of one is made.

All of it is read by a model before it does anything, so it is counted: under 3,000 tokens (a test measures it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from corral.engines.inputs import find_field_problems
from corral.errors import ProblemsError
from corral.mcp import arguments, describing, following, outputs, submitting
from corral.mcp.answers import ToolAnswer, ToolContext
from corral.mcp.arguments import Arguments
from corral.work import Json

INSTRUCTIONS = (
    "Corral runs AI work on GPUs that people own, from one queue. Call describe_cluster first: engines, their inputs, "
    "models. Then submit, wait (again while it is not done), get_output. explain_waiting answers why work is slow. "
    "Errors name the argument to correct."
)
ArgumentsT = TypeVar("ArgumentsT", bound=Arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Generic[ArgumentsT]):
    """One tool."""

    name: str
    title: str
    summary: str
    """Its work in a sentence or two, for a model that chooses."""
    arguments: type[ArgumentsT]
    use: Callable[[ToolContext, ArgumentsT], Awaitable[ToolAnswer]]
    reads_only: bool = True
    destroys: bool = False
    """Whether it ends work that cannot be taken up again."""

    async def call(self, context: ToolContext, given: Mapping[str, Json]) -> ToolAnswer:
        """Check the arguments and use the tool. Raises: CorralError, whose problems name arguments."""
        problems = find_field_problems(self.arguments, given)
        if problems:
            raise ProblemsError(problems)
        return await self.use(context, self.arguments.model_validate(dict(given)))


TOOLS: tuple[Tool[Any], ...] = (  # each of its own arguments
    Tool(
        name="describe_cluster",
        title="Describe the cluster",
        summary="Nodes, GPUs, slots, engines with their inputs (* is required), models, and your role.",
        arguments=arguments.DescribeArguments,
        use=describing.describe_cluster,
    ),
    Tool(
        name="submit",
        title="Submit tasks",
        summary="Submit one task, several or a sweep as one batch, all or none. The same call twice is one batch. "
        "Answers at once: then `wait`.",
        arguments=arguments.SubmitArguments,
        use=submitting.submit,
        reads_only=False,
    ),
    Tool(
        name="wait",
        title="Wait",
        summary="Wait until a batch or tasks have ended. After the timeout it answers with states, progress, expected "
        "end and last log lines, without an error: call it again.",
        arguments=arguments.WaitArguments,
        use=following.wait,
    ),
    Tool(
        name="get_task",
        title="Show a task",
        summary="A task in full: state, inputs, story, error with its remedy, outputs, the engine's last log lines.",
        arguments=arguments.TaskArgument,
        use=following.get_task,
    ),
    Tool(
        name="list_tasks",
        title="List tasks",
        summary="List tasks, the newest first.",
        arguments=arguments.ListArguments,
        use=following.list_tasks,
    ),
    Tool(
        name="explain_waiting",
        title="Explain waiting",
        summary="Why a task or batch waits or is slow: the rule, each slot's reason, tasks ahead, when it can start. "
        "Without arguments: all that waits.",
        arguments=arguments.ExplainArguments,
        use=following.explain_waiting,
    ),
    Tool(
        name="cancel",
        title="Cancel",
        summary="Cancel tasks or a batch; what runs is stopped and its work is lost.",
        arguments=arguments.TasksOrBatch,
        use=submitting.cancel,
        reads_only=False,
        destroys=True,
    ),
    Tool(
        name="retry",
        title="Retry",
        summary="Submit an ended task, or what failed or was cancelled of a batch, anew.",
        arguments=arguments.RetryArguments,
        use=submitting.retry,
        reads_only=False,
    ),
    Tool(
        name="get_output",
        title="Get an output",
        summary="The output of a task: text up to 8 kB inline, an image as a small preview and a link, else a link.",
        arguments=arguments.OutputArguments,
        use=outputs.get_output,
    ),
    Tool(
        name="fit",
        title="Fit a model",
        summary="Whether a model fits on GPUs, with which quantization, and how fast at most.",
        arguments=arguments.FitArguments,
        use=describing.fit,
    ),
    Tool(
        name="queue_summary",
        title="Summarize the queue",
        summary="What waits and runs now, on which slots, until when; deadlines; what needs a person.",
        arguments=arguments.NoArguments,
        use=describing.summarize_queue,
    ),
)
