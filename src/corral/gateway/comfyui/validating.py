"""Whether an instance would take a prompt, by what it says of its nodes; errors are in ComfyUI's own words.

What a node checks with code of its own (`VALIDATE_INPUTS`) only its instance knows: it refuses the prompt when it gets
it, and the prompt fails with that refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from corral.narrowing import as_list, as_object
from corral.work import Json

Describe = Callable[[str], "Mapping[str, Json] | None"]
"""Returns what an instance says of a class of nodes; None for one that it does not have."""
LONGEST_LIST = 20
"""Choices that a refusal repeats (`execution.py`)."""
_DEEPEST = 900
"""Links that are followed one behind another; ComfyUI itself ends at Python's limit of some 1000."""


@dataclass(slots=True)
class Verdict:
    """An instance's answer to a prompt, as far as it follows from its descriptions."""

    error: dict[str, Json] | None = None
    """Why it is refused as a whole; None where some outputs can run."""
    node_errors: dict[str, Json] = field(default_factory=dict[str, Json])
    outputs: tuple[str, ...] = ()
    """The nodes with outputs that can run."""


def make_error(kind: str, message: str, details: str = "", extra: Mapping[str, Json] | None = None) -> dict[str, Json]:
    """Return an error with ComfyUI's four keys."""
    return {"type": kind, "message": message, "details": details, "extra_info": dict(extra or {})}


def judge(workflow: Mapping[str, Json], describe: Describe, targets: Sequence[str] = ()) -> Verdict:
    """Validate a prompt as `validate_prompt` of ComfyUI does."""
    outputs: list[str] = []
    for node_id, content in workflow.items():
        node = as_object(content)
        title = as_object(node.get("_meta")).get("title")
        if not isinstance(node.get("class_type"), str):
            return _refuse_shapeless(node_id, title)
        class_type = str(node["class_type"])
        description = describe(class_type)
        if description is None:
            message = f"Node '{title or class_type}' not found. No custom node here brings it."
            extra = {"node_id": node_id, "class_type": class_type, "node_title": title or class_type}
            return Verdict(error=make_error("missing_node_type", message, f"Node ID '#{node_id}'", extra))
        if description.get("output_node") is True and (not targets or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict(error=make_error("prompt_no_outputs", "Prompt has no outputs"))
    return _Judgement(workflow, describe).judge(outputs)


def judge_shape(workflow: Mapping[str, Json]) -> Verdict:
    """Judge what shows without a description of the nodes: each has a class, and links lead to nodes."""
    for node_id, content in workflow.items():
        if not isinstance(as_object(content).get("class_type"), str):
            return _refuse_shapeless(node_id, as_object(as_object(content).get("_meta")).get("title"))
    if not workflow:
        return Verdict(error=make_error("prompt_no_outputs", "Prompt has no outputs"))
    return Verdict()


def _refuse_shapeless(node_id: str, title: Json) -> Verdict:
    name = title or f"ID #{node_id}"
    message = f"Node '{name}' has no class_type. The workflow is damaged, or a custom node is missing."
    extra = {"node_id": node_id, "class_type": None, "node_title": title}
    return Verdict(error=make_error("missing_node_type", message, f"Node ID '#{node_id}'", extra))


class _Judgement:
    """One validation: each node is looked at once."""

    def __init__(self, workflow: Mapping[str, Json], describe: Describe) -> None:
        self._workflow = workflow
        self._describe = describe
        self._errors: dict[str, list[Json]] = {}
        """Of each node that was looked at."""
        self._valid: dict[str, bool] = {}
        """Whether it can run, with all that it needs."""
        self._path: list[str] = []

    def judge(self, outputs: Sequence[str]) -> Verdict:
        good: list[str] = []
        report: dict[str, Json] = {}
        for output in outputs:
            if self._look_at(output):
                good.append(output)
                continue
            for node_id in self._list_bad(output):
                entry = report.setdefault(
                    node_id,
                    {
                        "errors": self._errors[node_id],
                        "dependent_outputs": [],
                        "class_type": as_object(self._workflow[node_id])["class_type"],
                    },
                )
                entry["dependent_outputs"].append(output)
        if good:
            return Verdict(node_errors=report, outputs=tuple(good))
        details = "\n".join(_list_lines(report))
        message = "Prompt outputs failed validation"
        error = make_error("prompt_outputs_failed_validation", message, details)
        return Verdict(error=error, node_errors=report)

    def _list_bad(self, output: str) -> list[str]:
        """List the nodes with errors that an output depends on."""
        seen: dict[str, None] = {}
        left = [output]
        while left:
            node_id = left.pop()
            if node_id not in seen and node_id in self._workflow:
                seen[node_id] = None
                inputs = as_object(as_object(self._workflow[node_id]).get("inputs"))
                left += [str(value[0]) for value in inputs.values() if _is_link(value)]
        return [node_id for node_id in seen if self._errors.get(node_id)]

    def _look_at(self, node_id: str) -> bool:
        if node_id in self._valid:
            return self._valid[node_id]
        if node_id in self._path:
            self._report_cycle(node_id)
            return False
        if len(self._path) >= _DEEPEST:
            message = "Exception when validating node"
            self._note(node_id, make_error("exception_during_validation", message, "maximum recursion depth exceeded"))
            return False
        self._path.append(node_id)
        fine = all([*self._look_at_inputs(node_id)])  # all of them: every error is reported
        self._path.pop()
        self._valid[node_id] = fine and not self._errors.get(node_id)
        return self._valid[node_id]

    def _note(self, node_id: str, error: dict[str, Json]) -> None:
        self._errors.setdefault(node_id, []).append(error)
        self._valid[node_id] = False

    def _report_cycle(self, node_id: str) -> None:
        path = [*self._path[self._path.index(node_id) :], node_id]
        details = " -> ".join(f"{member} ({as_object(self._workflow[member])['class_type']})" for member in path)
        for member in dict.fromkeys(path):
            extra = {"node_id": member, "cycle_nodes": list(dict.fromkeys(path))}
            self._note(member, make_error("dependency_cycle", "Dependency cycle detected", details, extra))

    def _look_at_inputs(self, node_id: str) -> Iterator[bool]:
        node = as_object(self._workflow[node_id])
        description = as_object(self._describe(str(node["class_type"])) or {})
        groups = as_object(description.get("input"))
        values = as_object(node.get("inputs"))
        for name, config in as_object(groups.get("required")).items():
            if name in values:
                yield self._look_at_input(node_id, name, as_list(config), values[name])
            else:
                extra = {"input_name": name}
                self._note(node_id, make_error("required_input_missing", "Required input is missing", name, extra))
                yield False
        for name, config in as_object(groups.get("optional")).items():
            if name in values:
                yield self._look_at_input(node_id, name, as_list(config), values[name])

    def _look_at_input(self, node_id: str, name: str, config: Sequence[Json], value: Json) -> bool:
        extra: dict[str, Json] = {"input_name": name, "input_config": list(config), "received_value": value}
        if isinstance(value, list):
            return self._look_at_link(node_id, name, config, as_list(value), extra)
        error = _find_value_error(name, config, value, extra)
        if error is not None:
            self._note(node_id, error)
        return error is None

    def _look_at_link(
        self, node_id: str, name: str, config: Sequence[Json], link: list[Json], extra: dict[str, Json]
    ) -> bool:
        if not _is_link(link):
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            self._note(node_id, make_error("bad_linked_input", message, name, extra))
            return False
        source = str(link[0])
        if source not in self._workflow:
            message = "Exception when validating node"
            extra = {"exception_type": "KeyError", "traceback": []}
            self._note(node_id, make_error("exception_during_validation", message, repr(source), extra))
            return False
        gives = as_list((self._describe(str(as_object(self._workflow[source])["class_type"])) or {}).get("output"))
        wanted = config[0] if config else "*"
        received = gives[link[1]] if link[1] < len(gives) else None
        if received is None or not _fits(received, wanted):
            details = f"{name}, received_type({received}) mismatch input_type({wanted})"
            more = {"input_name": name, "input_config": list(config), "received_type": received, "linked_node": link}
            message = "Return type mismatch between linked nodes"
            self._note(node_id, make_error("return_type_mismatch", message, details, more))
            return False
        return self._look_at(source)


def _is_link(value: Json) -> bool:
    parts = as_list(value)
    return len(parts) == 2 and isinstance(parts[0], str | int) and type(parts[1]) is int and parts[1] >= 0


def _fits(received: Json, wanted: Json) -> bool:
    """Say whether an output can go into an input: types are names with commas between them, `*` is any."""
    if isinstance(received, list) or isinstance(wanted, list):
        return True  # a list of choices: nodes compare these themselves
    given, taken = ({part.strip() for part in str(kind).split(",")} for kind in (received, wanted))
    # Newer nodes give and take what they call COMFY_...; what these match is their own code.
    return "*" in given | taken or bool(given & taken) or any(kind.startswith("COMFY_") for kind in given | taken)


def _find_value_error(name: str, config: Sequence[Json], value: Json, extra: dict[str, Json]) -> dict[str, Json] | None:
    kind = config[0] if config else None
    settings = as_object(config[1]) if len(config) > 1 else {}
    if kind in ("INT", "FLOAT"):
        return _find_number_error(name, str(kind), settings, value, extra)
    choices = as_list(kind) if isinstance(kind, list) else as_list(settings.get("options")) if kind == "COMBO" else None
    is_checked_by_node = any(key.endswith("_upload") or key == "remote" for key in settings)
    if choices is None or is_checked_by_node or settings.get("multiselect") or value in choices:
        return None
    is_long = len(choices) > LONGEST_LIST
    listed = f"(list of length {len(choices)})" if is_long else str(choices)
    details = f"{name}: {value!r} not in {listed}"
    return make_error(
        "value_not_in_list", "Value not in list", details, {**extra, "input_config": None} if is_long else extra
    )


def _find_number_error(
    name: str, kind: str, settings: Mapping[str, Json], value: Json, extra: dict[str, Json]
) -> dict[str, Json] | None:
    try:
        number = int(value) if kind == "INT" else float(value)
    except (TypeError, ValueError, OverflowError) as failure:
        message, details = f"Failed to convert an input value to a {kind} value", f"{name}, {value}, {failure}"
        return make_error("invalid_input_type", message, details, {**extra, "exception_message": str(failure)})
    lowest, highest = settings.get("min"), settings.get("max")
    if isinstance(lowest, int | float) and number < lowest:
        return make_error("value_smaller_than_min", f"Value {number} smaller than min of {lowest}", name, extra)
    if isinstance(highest, int | float) and number > highest:
        return make_error("value_bigger_than_max", f"Value {number} bigger than max of {highest}", name, extra)
    return None


def _list_lines(report: Mapping[str, Json]) -> Iterator[str]:
    for node in report.values():
        for error in as_list(as_object(node).get("errors")):
            yield f"{error['message']}: {error['details']}" if error["details"] else str(error["message"])
