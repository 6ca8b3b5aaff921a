"""Values of a node's widgets: which inputs of a node type have one, in which order, and what the file has for each.

A file has values without names, in the order of the widgets. So the order of an instance's `/object_info` decides, with
what the editor adds to it: a control next to a seed, a button next to an upload. Newer files have names as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from corral.engines.comfyui.editor.graph import EditorNode
from corral.engines.comfyui.errors import read_choices
from corral.errors import Problem
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json

DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
"""A choice that decides which inputs follow; theirs are named `choice.input`."""
GROWING = "COMFY_AUTOGROW_V3"
"""Any number of inputs of one kind, named `group.input0`."""
_WIDGETS = frozenset(
    {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC, "COLOR", "MARKDOWN", "TEXTAREA", "CURVE", "BOUNDING_BOX"}
)
"""Types that the editor itself has widgets for; custom nodes bring others."""
_CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
"""Values of the control that the editor puts next to a seed: how it changes after each run."""
_SEEDS = frozenset({"seed", "noise_seed"})
_UPLOADED = "image"
"""The value that older versions keep for the upload button, after the required inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input of a node type, as `/object_info` describes it."""

    name: str
    type: str
    config: Mapping[str, Json]
    choices: tuple[str, ...]
    required: bool

    @property
    def has_control(self) -> bool:
        """Whether the editor puts a control next to it."""
        return bool(self.config.get("control_after_generate")) or (self.type == "INT" and self.name in _SEEDS)


def list_inputs(description: Mapping[str, Json], *, prefix: str = "") -> tuple[Input, ...]:
    """List the inputs of a node type in the editor's order, the required before the optional ones."""
    groups, order = as_object(description.get("input")), as_object(description.get("input_order"))
    return tuple(
        _read_input(f"{prefix}{name}", as_list(configs[name]), required=group == "required")
        for group in ("required", "optional")
        for configs in (as_object(groups.get(group)),)
        for name in _order_names(configs, as_list(order.get(group)))
    )


def read_values(node: EditorNode, inputs: Sequence[Input]) -> tuple[dict[str, Json], dict[str, Problem]]:
    """Return the value of each input that has a widget, and a problem for each that does not fit its type."""
    named = node.named or as_object(node.values)
    if named:
        values = dict(_name_values(inputs, named))
        known = {entry.name for entry in inputs}
        # Nodes can add widgets of their own to the page, whose values they expect; objects are the page's state.
        extra = {name: value for name, value in as_object(node.values).items() if name not in known}
        values |= {name: value for name, value in extra.items() if not isinstance(value, dict)}
    else:
        values = dict(_take_values(node, inputs))
    misfits = {
        entry.name: _report_misfit(node, entry, values[entry.name])
        for entry in _unfold(inputs, values)
        if entry.name in values and not _fits(entry, values[entry.name])
    }
    return values, misfits


def _order_names(configs: Mapping[str, Json], order: Sequence[Json]) -> Iterator[str]:
    listed = [name for name in order if isinstance(name, str) and name in configs]
    yield from listed
    yield from (name for name in configs if name not in listed)


def _read_input(name: str, config: Sequence[Json], *, required: bool) -> Input:
    kind, settings = (config[0] if config else "*"), as_object(config[1] if len(config) > 1 else None)
    return Input(
        name=name,
        type="COMBO" if isinstance(kind, list) else as_text(kind),
        config=settings,
        choices=read_choices(config),
        required=required,
    )


def _has_widget(entry: Input, node: EditorNode, *, forced: bool) -> bool:
    """Whether an input has a widget; with `forced`, as before version 1.16, also one that is a socket only."""
    if entry.config.get("forceInput"):
        return forced
    if entry.type in _WIDGETS:
        return True
    # A custom node's own widget: the file has no socket for it, or one that belongs to a widget.
    index = node.find_input(entry.name)
    return entry.required if index is None else node.inputs[index].has_widget


# --- values by name -------------------------------------------------------------------------------------------------


def _name_values(inputs: Sequence[Input], named: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    for entry in inputs:
        value = named.get(entry.name)
        if value is None:
            value = _find_default(entry)
        if value is not None:
            yield entry.name, value
        if entry.type == DYNAMIC:
            yield from _name_values(_list_chosen(entry, value), named)


# --- values by position ---------------------------------------------------------------------------------------------


def _take_values(node: EditorNode, inputs: Sequence[Input]) -> Iterator[tuple[str, Json]]:
    values = as_list(node.values)
    socket_only = [entry for entry in inputs if entry.config.get("forceInput")]
    taken = _Taken(values)
    pairs = list(taken.take(_select_widgets(node, inputs, forced=False)))
    if socket_only and taken.position != len(values):
        older = _Taken(values)
        older_pairs = list(older.take(_select_widgets(node, inputs, forced=True)))
        if older.position == len(values):
            dropped = {entry.name for entry in socket_only}
            pairs = [(name, value) for name, value in older_pairs if name not in dropped]
    yield from pairs


def _select_widgets(node: EditorNode, inputs: Sequence[Input], *, forced: bool) -> list[Input]:
    return [entry for entry in inputs if _has_widget(entry, node, forced=forced)]


class _Taken:
    """Values that are taken one after the other; what is left out at the end has its default."""

    def __init__(self, values: Sequence[Json]) -> None:
        self._values = values
        self.position = 0

    def take(self, widgets: Sequence[Input]) -> Iterator[tuple[str, Json]]:
        for index, entry in enumerate(widgets):
            following = widgets[index + 1] if index + 1 < len(widgets) else None
            value = self._next()
            if value is None:
                value = _find_default(entry)
            if value is not None:
                yield entry.name, value
            self._skip_control(entry, following)
            if entry.type == DYNAMIC:
                yield from self.take(_list_chosen(entry, value))
            if entry.required and following is not None and not following.required:
                self._skip_button(widgets)

    def _next(self) -> Json:
        value = self._peek()
        self.position += self.position < len(self._values)
        return value

    def _peek(self) -> Json:
        return self._values[self.position] if self.position < len(self._values) else None

    def _skip_control(self, entry: Input, following: Input | None) -> None:
        """Skip the control; custom nodes add one that `/object_info` does not have, and early files had a switch."""
        value = self._peek()
        is_control = value in _CONTROLS if isinstance(value, str) else isinstance(value, bool) and entry.has_control
        if is_control and (entry.has_control or entry.type == "INT") and not _expects(following, value):
            self.position += 1
            if entry.type == "COMBO" and isinstance(self._peek(), str):
                self.position += 1  # the filter of the list, next to the control

    def _skip_button(self, widgets: Sequence[Input]) -> None:
        if self._peek() == _UPLOADED and any(key.endswith("_upload") for entry in widgets for key in entry.config):
            self.position += 1


def _expects(entry: Input | None, value: Json) -> bool:
    """Whether an input takes the value of a control as its own."""
    if entry is None:
        return False
    if isinstance(value, bool):
        return entry.type == "BOOLEAN"
    return value in entry.choices


# --- what a value can be --------------------------------------------------------------------------------------------


def _list_chosen(entry: Input, choice: Json) -> tuple[Input, ...]:
    """List the inputs that a choice brings."""
    options = (as_object(option) for option in as_list(entry.config.get("options")))
    chosen = next((option.get("inputs") for option in options if option.get("key") == choice), None)
    inputs = list_inputs({"input": chosen}, prefix=f"{entry.name}.")
    return tuple(nested for nested in inputs if nested.type in _WIDGETS and not nested.config.get("forceInput"))


def _unfold(inputs: Sequence[Input], values: Mapping[str, Json]) -> Iterator[Input]:
    for entry in inputs:
        yield entry
        if entry.type == DYNAMIC:
            yield from _unfold(_list_chosen(entry, values.get(entry.name)), values)


def _find_default(entry: Input) -> Json:
    """Return the value that the editor gives a new widget; None where it has none."""
    if "default" in entry.config:
        return entry.config["default"]
    match entry.type:
        case "COMBO":
            return entry.choices[0] if entry.choices else None
        case "INT" | "FLOAT":
            return max(0, minimum) if isinstance(minimum := entry.config.get("min"), int | float) else 0
        case "STRING":
            return ""
        case "BOOLEAN":
            return False
        case _:
            options = [as_object(option).get("key") for option in as_list(entry.config.get("options"))]
            return options[0] if entry.type == DYNAMIC and options else None


def _fits(entry: Input, value: Json) -> bool:
    """Whether ComfyUI can take the value as one of that type; it converts numbers from text."""
    match entry.type:
        case "INT" | "FLOAT":
            return isinstance(value, int | float) or (isinstance(value, str) and _is_number(value))
        case "STRING":
            return isinstance(value, str | int | float)
        case "BOOLEAN":
            return isinstance(value, bool | int)
        case "COMBO" if entry.choices and not entry.config.get("multi_select"):
            return isinstance(value, str | int | float) and not isinstance(value, bool)
        case _:
            return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _report_misfit(node: EditorNode, entry: Input, value: Json) -> Problem:
    return Problem(
        code="comfyui.widget_value",
        what=f"{str(value)[:60]!r} is not a value of type {entry.type}: the file is of another version of this node",
        where=f"{node.place} input {entry.name!r}",
        hint="open the workflow in this ComfyUI, set the value and save it again",
    )
