"""The reference of errors: every class with a code, found by walking the package, and the codes of single problems."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import cast

from pieces import code, first_paragraph, page, sentence, table
from source import modules_with_errors, problem_codes

from corral.cli import exits
from corral.errors import CorralError, Kind
from corral.server.api.errors import status_of

_DO = {
    Kind.INVALID: "Change what was asked.",
    Kind.MISSING: "Name something that exists.",
    Kind.CONFLICT: "Look at the present state and decide again.",
    Kind.NO_CAPACITY: "Wait, or add hardware.",
    Kind.UNAVAILABLE: "Try again later, or fix what is down.",
    Kind.DENIED: "Use other credentials.",
    Kind.BUG: "Report it.",
}

_PROBLEMS = {
    "attempt.device_lost": "The GPU of the attempt was lost, or its driver unloaded.",
    "attempt.disturbed": "The attempt failed because others took memory of its GPU, or the machine slept meanwhile.",
    "attempt.input_missing": "A file that the attempt needs is no longer there.",
    "attempt.io_error": "The attempt's folder or files could not be made.",
    "attempt.lost": "The server or slot of the attempt died, or its lease ran out.",
    "attempt.no_memory": "Others took memory that the task needs between the decision and the start.",
    "attempt.timeout": "The work, or storing its outputs, was not done within the task's time.",
    "attempt.yielded": "The attempt was interrupted because its GPU was given to other programs.",
    "batchfile.<...>": "The batch file's YAML or shape is wrong; the rest is as in the cluster file (`cluster.*`).",
    "batchfile.duplicate_name": "Two tasks of the batch have one name.",
    "batchfile.files": "The engine takes more or fewer files.",
    "batchfile.missing_key": "A task lacks its engine or its model.",
    "batchfile.needs_itself": "A task needs itself.",
    "batchfile.no_file": "A file of this machine is not where the batch file says, or cannot be used.",
    "batchfile.prompts": "A list of prompts has no input to go to, or one that the matrix fills too.",
    "batchfile.several_tasks": "A file is taken from a task that stands for several.",
    "batchfile.too_large": "The batch file stands for more tasks than a batch can have.",
    "batchfile.unknown_output": "The task that is named makes no such output.",
    "batchfile.unknown_task": "No task of the batch has this name.",
    "batchfile.wildcard": "A text has a wildcard for which the batch has no list.",
    "changes.<...>": "The changes file's YAML is wrong; the rest is as in the cluster file (`cluster.*`).",
    "changes.ambiguous_reference": "The name fits several GPU models.",
    "changes.bad_value": "A change does not name a GPU, node, model or quantity as it should.",
    "changes.conflict": "Two changes contradict each other, or one contradicts the cluster file.",
    "changes.dangling": "Something refers to a GPU that will be gone, and the user has to decide what becomes of it.",
    "changes.duplicate_name": "The new node has a name that is taken.",
    "changes.out_of_range": "A power limit is outside what the GPU takes.",
    "changes.unknown_reference": "A change names a node, GPU or model that there is not.",
    "changes.unknown_word": "There is no such change; the hint names the nearest one.",
    "changes.not_text": "The changes file is not text.",
    "changes.unlisted_gpus": "The cluster file does not list the node's GPUs, so a change of them cannot be made.",
    "characters.<...>": "The YAML or shape of characters is wrong; the rest is as in the cluster file (`cluster.*`).",
    "characters.image": "An image of a character is not where the file says.",
    "characters.repeated": "Several characters of a file or a folder have one name.",
    "cluster.ambiguous_reference": "The name fits several GPU models.",
    "cluster.bad_value": "A value is not of its kind, or outside its bounds.",
    "cluster.conflict": "Two settings contradict each other.",
    "cluster.duplicate_key": "A key stands twice in one mapping.",
    "cluster.duplicate_name": "Two things have one name.",
    "cluster.missing_key": "A key that must be there is not.",
    "cluster.secret": "A password, token or key is written out; only the name of a Secret can be written here.",
    "cluster.too_large": "The file, or what its aliases expand to, is larger than allowed.",
    "cluster.unknown_key": "There is no such key; the hint names the nearest one.",
    "cluster.unknown_reference": "The file names a node, GPU, volume, service, engine or model that there is not.",
    "cluster.yaml": "The text is not YAML, or uses a part of YAML that is not read.",
    "comfyui.<...>": "ComfyUI refused the workflow; the rest of the code is the type of its own error.",
    "comfyui.ambiguous_input": "A prompt, seed or size could go to several inputs of the workflow.",
    "comfyui.group_node": "The workflow has a group node, which only the editor can take apart.",
    "comfyui.left_as_written": "A text has a choice or a date that the editor's page would resolve (a note).",
    "comfyui.missing_input": "A node that an output needs lacks an input, or its link leads to a muted node.",
    "comfyui.missing_model": "An instance does not have a model file that the workflow names.",
    "comfyui.missing_node_type": "An instance does not have a node type of the workflow.",
    "comfyui.no_input": "The workflow has no input for a prompt, seed or size.",
    "comfyui.no_outputs": "Nothing in the workflow is saved or shown.",
    "comfyui.places": "`places` of a workflow is not a mapping, or names an input that the workflow does not have.",
    "comfyui.seed": "The seed is outside ComfyUI's bounds.",
    "comfyui.too_large": "An input file is larger than the instance takes.",
    "comfyui.unknown_file": "The workflow names a file that the task does not have.",
    "comfyui.unknown_input": "`set` names a place or a node input that the workflow does not have.",
    "comfyui.widget_value": "A value in the editor's file does not fit the input that the instance has in its place.",
    "comfyui.workflow_format": "The workflow is in the editor's format instead of API format, or the other way round.",
    "comfyui.workflow_shape": "The workflow is not a mapping of nodes with class and inputs, or its nodes do not fit.",
    "engine.bug": "The engine's adapter met an error that it does not know; please report it.",
    "fit.ambiguous_gpu": "The name fits several GPU models.",
    "fit.memory_unknown": "A GPU without memory of its own, named without the machine's.",
    "fit.unknown_gpu": "The catalogue has no such GPU.",
    "hold.has_gpu": "The processor was asked for on a machine that has GPUs.",
    "hold.no_device": "The server lends no device: it has no slot of the engine `hold`.",
    "hold.no_gpu": "A GPU was asked for on a machine that has none.",
    "hold.other_machine": "GPUs of another machine were asked for than the one where the program runs.",
    "hold.too_large": "No device has as much memory as was asked for.",
    "hold.too_many": "More devices were asked for than the machine can lend.",
    "hold.device_gone": "The device of a hold is not there any more, or another has it, after a restart.",
    "input.conflict": "Two inputs contradict each other, or one of several is needed.",
    "input.engine_off": "The cluster file does not turn this engine on.",
    "input.files": "The engine takes more or fewer files.",
    "input.invalid": "An input is not of its kind, or outside its bounds.",
    "input.missing": "An input, an engine or a model is missing.",
    "input.no_engine": "No engine has this name.",
    "input.unknown": "The engine has no such input.",
    "lint.no_file": "The file to lint does not exist.",
    "machine.gpu_<...>": "A GPU fell off the bus (`lost`) or does not answer as it should (`failed`).",
    "machine.gpu_absent": "The cluster file lists a GPU that was not found.",
    "machine.gpu_memory_differs": "A GPU has less memory than the cluster file says.",
    "machine.gpu_model_differs": "A GPU is another model than the cluster file says.",
    "machine.other_node": "The `run` of an instance is for a node that is not this machine.",
    "outputs.pattern": "The folder for a batch's outputs is not one that can be used.",
    "outputs.unsafe_path": "The name of a task cannot be that of a folder for its outputs.",
    "outputs.unwritable": "The outputs of a task cannot be written to their folder.",
    "render.contradiction": "Facts of the cluster file contradict each other where they apply.",
    "request.invalid": "The request cannot be understood as a whole.",
    "request.invalid_value": "A value is not of its kind, or outside its bounds.",
    "request.missing": "A value that must be there is not.",
    "request.unknown_name": "There is no such name; the hint gives the nearest one.",
    "request.unusable_value": "A value cannot be stored: a NUL character, half a surrogate pair, too deep, too large.",
    "server.bug": "The server met an error that it does not know; its log has the rest, under the request id.",
    "server.strange_answer": "Something answered, but not as a Corral server does.",
    "server.unreachable": "The server does not answer.",
    "set.no_characters": "The set takes all characters, and there are none.",
    "set.too_large": "The set stands for more pictures than a set can have.",
    "set.unknown_character": "The set names a character that there is not.",
    "set.unset_place": "A text of the set has a place, such as `{character.look}`, without a value.",
    "setfile.<...>": "The set file's YAML or shape is wrong; the rest is as in the cluster file (`cluster.*`).",
    "setfile.distance": "The set has a distance for near-duplicates, and no check makes hashes.",
    "setfile.engine": "A task of the set names an engine that there is not.",
    "setfile.measure": "A threshold is on a measure that no check has.",
    "setfile.threshold": "A threshold lets no value through, or there is nothing that is measured.",
    "slots.none": "The server has no slot, so nothing that is queued starts.",
    "submission.bad_name": "A task's name is empty, too long or not printable.",
    "submission.contradicting_nodes": "A task must run on one node and prefers another.",
    "submission.cycle": "Tasks need each other in a circle.",
    "submission.deadline_passed": "The batch should be done by an instant that has passed.",
    "submission.duplicate_name": "Two tasks of the submission have one name.",
    "submission.empty": "There is no task in it.",
    "submission.inputs_too_large": "A task's inputs are too large; upload a file instead.",
    "submission.no_tariff": "A batch waits for cheap power, and the cluster file has no tariff.",
    "submission.notify": "No entry of `notify` in the cluster file has that name and is for batches.",
    "submission.webhook": "The batch cannot have that webhook.",
    "submission.needs_itself": "A task needs itself.",
    "submission.too_large": "There are more tasks than one submission can have.",
    "submission.unknown_<...>": "A task names a `queue` or `needs` a task that there is not.",
    "submission.unknown_needs": "A task needs one that there is not.",
    "submission.unknown_node": "A task names a node that no slot is on.",
    "submission.unknown_upload": "A task names an upload that its owner has not made.",
    "switch.claim": "A claim of a pod is not there, has lost its volume, or is bound to one that the pod cannot reach.",
    "switch.claim_in_use": "Something of others uses a claim that must be made anew.",
    "switch.dangling": "Something of others calls a Service that goes, or a Service would have no pods.",
    "switch.no_image": "A node has no image that is in no registry.",
    "switch.no_room": "No node can run a pod of the layout, with the reason of each.",
    "switch.no_secret": "A key of a Secret that a pod needs is missing.",
    "switch.quota": "A quota would refuse pods of the layout.",
    "task.model_missing": "No server has had the task's model for as long as a task waits for one.",
    "task.need_failed": "A task that this one needs did not succeed.",
    "task.need_unmet": "A task cannot be retried before what it needs has been.",
}
"""The meaning of the codes of single problems; `check` sees to it that none is missing and none is left over."""


def error_classes() -> list[type[CorralError]]:
    """Return every error class of the package, by its code."""
    for module in modules_with_errors():
        import_module(module)
    errors = {error for error in _subclasses(CorralError) if error.__module__.startswith("corral.")}
    return sorted({CorralError, *errors}, key=lambda error: (error.code, error.__module__))


def render() -> str:
    """Make the page."""
    return page("Errors", _OPENING, "## Kinds", _kinds(), "## Codes", _classes(), "## Codes of problems", _problems())


_OPENING = """Every error has a stable code, a kind that says what you can do, a fact, a place and a hint. The command
line prints it like this, and `--json` and the HTTP API give the same as JSON:

```text
error[batchfile.missing]: the batch file cannot be read: No such file or directory
  at: nothing.yaml
hint: check the path
```

An error that is about a whole file, batch or request lists every problem that was found. Each problem has a code of its
own."""


def _kinds() -> str:
    rows = [(code(kind.value), _DO[kind], exits.CODES[kind], _status(kind)) for kind in Kind]
    return table(("kind", "what to do", "exit code", "HTTP status"), rows)


def _status(kind: Kind) -> str:
    sample = CorralError("")
    sample.kind = kind  # pyright: ignore[reportAttributeAccessIssue]  one sample for each kind, not a class for each
    return f"{status_of(sample)}, or 401" if kind is Kind.DENIED else str(status_of(sample))


def _classes() -> str:
    rows: list[tuple[object, ...]] = []
    for error in error_classes():
        status = status_of(cast("CorralError", error))  # it reads the class's own code and kind, nothing else
        meaning = first_paragraph(error.__doc__) if error is not CorralError else "An error without a code of its own"
        rows.append((code(error.code), code(error.kind), status, sentence(meaning)))
    return table(("code", "kind", "HTTP status", "meaning"), rows)


def _problems() -> str:
    codes = check(problem_codes())
    rows = [(code(name.replace("<...>", "*")), _PROBLEMS[name]) for name in sorted(codes)]
    return f"They are in `problems`, in a failed task's `error`, and in the server's log.\n\n{_table(rows)}"


def _table(rows: list[tuple[str, str]]) -> str:
    return table(("code", "meaning"), rows)


_RECODED = {"batchfile.<...>", "characters.<...>", "setfile.<...>"}
"""Codes of the cluster file's reader, as other files have them."""


def check(used: set[str]) -> set[str]:
    """Return the codes to list. Raises: LookupError when the code and this page know different ones."""
    known = set(_PROBLEMS) - _RECODED
    if unknown := used - set(_PROBLEMS):
        raise LookupError(f"docs/generate/errors_page.py does not say what these mean: {', '.join(sorted(unknown))}")
    if left := known - used:
        raise LookupError(f"docs/generate/errors_page.py explains codes that are gone: {', '.join(sorted(left))}")
    return used | _RECODED


def _subclasses(error: type[CorralError]) -> Iterator[type[CorralError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
