"""The generated parts of pages that people write: the text between `<!-- generated: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields as dataclass_fields
from datetime import timedelta
from itertools import groupby
from types import MappingProxyType

import rooms
import rule_pages
from pieces import anchor, code, first_paragraph, sentence, table
from shapes import Schema, fields, names_used

from corral.cli import exits
from corral.cluster.values import ServerRules
from corral.cluster.writing import write_default_file
from corral.data_dir import LONGEST_DATA_DIR
from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES
from corral.engines.inputs import load_inputs, load_options
from corral.errors import Kind
from corral.mcp.arguments import Arguments, make_schema
from corral.mcp.tools import TOOLS
from corral.requests import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_S
from corral.scheduling.retrying import BACKOFF_BASE, BACKOFF_CAP, MAX_LOSSES
from corral.scheduling.values import PolicyBounds, Rule
from corral.server.api.bodies import MAX_JSON_BYTES
from corral.server.api.state import MAX_UPLOAD
from corral.server.api.streams import MAX_STREAMS
from corral.server.api.strict_json import MAX_VALUES
from corral.server.runtime import GRACE_S
from corral.server.settings import DEFAULT_PORT
from corral.tasks.attempt_run import MAX_VALUES_BYTES
from corral.tasks.dispatcher import Timings
from corral.tasks.lifecycle import TERMINAL, TRANSITIONS, TaskState
from corral.tasks.store.transitions import kind_of
from corral.tasks.submission_checks import MAX_BYTES, MAX_INPUTS_BYTES, MAX_TASKS, MAX_TOTAL_NEEDS
from corral.units import format_bytes, format_duration
from corral.weights.catalogue import CATALOGUE

_REGION = re.compile(r"(<!-- generated: ([a-zA-Z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_RULES = {
    Rule.NO_ENGINE: "The engine runs on none of the slots of the queue. A person must fix it.",
    Rule.MODEL_MISSING: "The engine runs, and no server that the task can be sent to has its model: pull it on one.",
    Rule.NODE_MISSING: "It must run on one node, where no slot of its queue and engine works. A person must fix it.",
    Rule.NO_FIT: "No slot has the memory, or no node has as many slots, even when idle.",
    Rule.QUEUE_PAUSED: "The queue is paused.",
    Rule.OWNER_LIMIT: "The owner runs as many tasks of the queue as the cluster file allows.",
    Rule.CHEAP_HOURS: "It waits for the hours in which power is cheapest, and its deadline allows that.",
    Rule.SLOTS_CLOSED: "The slots that could run it are paused, draining or unhealthy.",
    Rule.OUTSIDE_HOURS: "Its queue, or the slots that could run it, are outside of their hours.",
    Rule.CLOSES_SOON: "A slot could run it, and its hours or those of the queue end before the task should.",
    Rule.SLOTS_BUSY: "The slots that could run it are busy, or busy neighbours hold the memory that it needs.",
    Rule.NODE_BUSY: "It must run on one node, whose slots are busy; a slot elsewhere is free.",
    Rule.BEHIND_OTHERS: "Tasks that go first take the slots that are free now.",
    Rule.RESERVED: "The free slots are kept for a task that needs several, and this one would take too long.",
    Rule.GATHERING: "It needs several slots of one node; they are kept for it as they become free.",
    Rule.LANES_DRAIN: "A lane is free next to tasks of its model; one that goes first needs the slot without them.",
    Rule.AFFINITY: "A task whose model is already in memory went first. This is bounded.",
    Rule.FASTER_SOON: "A slow slot is free, but faster ones should do all that waits before it could finish this task.",
    Rule.MODEL_STAYS: "A person used a model just now that would have to be given up for it; that stays a while.",
    Rule.PREFERRED_NODE: "A slot elsewhere is free; its preferred node should have one soon enough.",
    Rule.STARTING: "It does not wait: the next decision starts it.",
}
_BOUNDS = {
    "model_wait": "How long a task waits for a model that no server has, before it fails (`scheduling.modelWait`).",
    "promote_after": "A batch task that waited longer goes with the interactive ones (`scheduling.promoteAfter`).",
    "affinity_window": "How many tasks behind the first are looked at for one whose model is in memory.",
    "model_stay": "How long a model that a person used can keep batch tasks waiting, however often it is used again.",
    "affinity_delay": "How long a model's turn lasts while others wait; half of their wait if that is longer.",
    "node_wish": "How much later a task can end for its preferred node.",
    "cheap_hours": "When power is cheapest (`electricity.tariff`).",
    "deadline_slack": "With less slack than this a batch with a deadline goes first of its owner's, whatever it needs.",
    "unknown_before_closing": "What must be left of the hours for a task of which nothing was measured; half of an "
    "opening that is shorter than twice that.",
    "unknown_duration_s": "Seconds that are expected and charged where nothing was measured yet.",
}


def fill(text: str) -> str:
    """Write every region of a page again. Raises: LookupError for one without a generator."""
    return _REGION.sub(lambda region: f"{region[1]}\n{_region(region[2])}\n\n{region[3]}", text)


def _region(name: str) -> str:
    if name not in REGIONS:
        raise LookupError(f"no region is called {name!r}; there are: {', '.join(REGIONS)}")
    return REGIONS[name]()


def lifecycle_diagram() -> str:
    """Draw the table of transitions."""
    edges = sorted(
        ((before, after, kind_of(event)) for event, ways in TRANSITIONS.items() for before, to in ways.items()
         for after in to if before is not after),
        key=lambda edge: (_place(edge[0]), _place(edge[1])),
    )  # fmt: skip
    lines = ["    [*] --> waiting: needs or a start time", "    [*] --> queued: otherwise"]
    for (before, after), between in groupby(edges, key=lambda edge: edge[:2]):
        events = "<br/>".join(sorted(event for _, _, event in between))
        lines.append(f"    {before} --> {after}: {events}")
    lines += [f"    {state} --> [*]" for state in TaskState if state in TERMINAL]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _place(state: TaskState) -> int:
    return list(TaskState).index(state)


def story_kinds() -> str:
    """List the events that a story can have."""
    rows = [(code("submitted"), "The task was accepted.")]
    rows += [(code(kind_of(event)), sentence(_for_people(event.__doc__))) for event in TRANSITIONS]
    rows.append((code("hold_granted"), "Its devices were found free, and are its holder's from now on."))
    rows.append((code("hold_ending"), "Its holder was asked to stop: its time is over, or it was asked back."))
    rows.append((code("hold_ended"), "It was given back, or taken back; `because` says why."))
    rows.append((code("forecast_missed"), "The batch cannot be done by its deadline any more. It belongs to no task."))
    rows.append((code("priority_changed"), "A user gave the task another priority while it waited."))
    rows.append((code("gate_changed"), "A queue or a slot was paused, drained or resumed. It belongs to no task."))
    rows.append(
        (code("slot_yields"), "A GPU was given to programs outside of Corral; `to` names them. It belongs to no task.")
    )
    rows.append((code("slot_returns"), "It takes tasks again. It belongs to no task."))
    rows.append((code("slot_closed"), "A GPU cannot be used, and `reason` says why. It belongs to no task."))
    rows.append((code("slot_opened"), "It answers again. It belongs to no task."))
    return table(("kind", "what happened"), rows)


def _for_people(docstring: str | None) -> str:
    """Return what a docstring says of the thing, without what it says of a field."""
    return first_paragraph(docstring).split("; `")[0]


def rules() -> str:
    """List why queued tasks wait."""
    return table(("rule", "meaning"), [(code(rule.value), _RULES[rule]) for rule in Rule])


def scheduling_bounds() -> str:
    """List the policy's numbers."""
    default = PolicyBounds()
    rows = [
        (code(field.name), _shown(getattr(default, field.name)), _BOUNDS[field.name])
        for field in dataclass_fields(PolicyBounds)
    ]
    return table(("bound", "value", "meaning"), rows)


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    return format_duration(value.total_seconds()) if isinstance(value, timedelta) else f"{value:g}"


def engines() -> str:
    """List the engines."""
    rows = [
        (
            f"[{code(kind.name)}](#{anchor(kind.name)})",
            "this machine" if not kind.remote else "by URL, or run by Corral",
            "needed" if kind.needs_model else "",
            "on" if kind.on_by_default else "off",
            kind.summary,
        )
        for kind in ENGINES.values()
    ]
    return table(("engine", "runs", "model", "default", "what it does"), rows)


def engine(kind: EngineKind) -> str:
    """Describe what one engine takes and gives."""
    schema = load_inputs(kind).model_json_schema()
    parts = [f"Files: {kind.files.summary}.", "Inputs:", fields(schema, _nested)]
    for name in dict.fromkeys(names_used(schema)):
        definition = schema["$defs"][name]
        parts += [f"{code(name)}: {sentence(definition.get('description'))}", fields(definition, _nested)]
    parts += _options(load_options(kind).model_json_schema(by_alias=True))
    if kind.outputs:
        rows = [(code(output.name), code(output.media_type), sentence(output.summary)) for output in kind.outputs]
        parts += ["Outputs:", table(("file", "type", "what it is"), rows)]
    values = [(code(value.name), sentence(value.summary)) for value in kind.values]
    parts += ["Values, kept with the task as `result`:", table(("name", "what it is"), values)]
    return "\n\n".join(parts)


def _options(schema: Schema) -> list[str]:
    if not schema.get("properties"):
        return []
    return ["Options, in the cluster file under `options`:", fields(schema, _nested)]


def _nested(name: str) -> str:
    return code(name)


def exit_codes() -> str:
    """List exit codes."""
    rows: list[tuple[object, str]] = [
        (0, "It worked."),
        (exits.TASKS_FAILED, "A task failed or was cancelled, or `corral doctor` found something that does not work."),
    ]
    rows += [(exits.CODES[kind], f"An error of the kind [{code(kind.value)}](errors.md#kinds).") for kind in Kind]
    rows.append((exits.INTERRUPTED, "Interrupted with Ctrl-C."))
    return table(("exit code", "meaning"), rows)


def limits() -> str:
    """List the bounds that are built in, and the defaults of those that the cluster file sets."""
    waits, rules = Timings(), ServerRules()
    rows = [
        ("tasks in one batch", f"{MAX_TASKS:,}"),
        ("inputs of one task, as JSON", format_bytes(MAX_INPUTS_BYTES)),
        ("inputs of all tasks of a batch, defaults included", format_bytes(MAX_BYTES)),
        ("needs of all tasks of a batch", f"{MAX_TOTAL_NEEDS:,}"),
        ("values of a request's JSON body", f"{MAX_VALUES:,}"),
        ("values of one task, as JSON", format_bytes(MAX_VALUES_BYTES)),
        ("a request's JSON body", format_bytes(MAX_JSON_BYTES)),
        ("one upload", format_bytes(MAX_UPLOAD)),
        ("open event streams", str(MAX_STREAMS)),
        ("open event streams of one owner", f"{rules.streams_per_owner} (`server.limits.perOwner.streams`)"),
        ("connections of one owner", "a quarter of the server's (`server.limits.perOwner.connections`)"),
        ("uploads of one owner", f"{format_bytes(rules.uploads_per_owner)} (`server.limits.perOwner.uploads`)"),
        ("free disk that nothing takes", f"{format_bytes(rules.disk_reserve)} (`server.diskReserve`)"),
        ("time of one attempt, unless the task says otherwise", format_duration(DEFAULT_TIMEOUT_S)),
        ("attempts, unless the task says otherwise", str(DEFAULT_MAX_ATTEMPTS)),
        ("losses after which a task fails", str(MAX_LOSSES)),
        ("wait after a first failed attempt, doubled with each further one", f"up to {_shown(BACKOFF_BASE)}"),
        ("longest wait after a failed attempt", _shown(BACKOFF_CAP)),
        ("a lease without a heartbeat", _shown(waits.lease_ttl)),
        ("heartbeat of a lease", format_duration(waits.heartbeat_s)),
        ("time for running tasks when the server stops", format_duration(GRACE_S)),
        ("path of the data directory", f"{LONGEST_DATA_DIR} bytes"),
        ("port, unless `--port` says otherwise", str(DEFAULT_PORT)),
    ]
    return table(("limit", "value"), rows)


def models() -> str:
    """List the catalogue of models."""
    rows = [
        (
            code(entry.name),
            ", ".join(map(code, entry.engines)),
            format_bytes(entry.size) if entry.size is not None else "",
            entry.licence or "",
        )
        for entry in CATALOGUE
    ]
    return table(("model", "engine", "size", "licence"), rows)


def default_cluster_file() -> str:
    """Show the file that the first start writes."""
    return f"```yaml\n{write_default_file('pc', 'pc').rstrip()}\n```"


def _engine_region(kind: EngineKind) -> Callable[[], str]:
    return lambda: engine(kind)


def assistant_tools() -> str:
    """List the tools for assistants; in bold those that change something."""
    rows = [
        (
            f"**{code(tool.name)}**" if not tool.reads_only else code(tool.name),
            _list_arguments(tool.arguments),
            tool.summary,
        )
        for tool in TOOLS
    ]
    return table(("tool", "arguments", "what it does"), rows)


def _list_arguments(arguments: type[Arguments]) -> str:
    return ", ".join(map(code, make_schema(arguments).get("properties", {})))


REGIONS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "assistant-tools": assistant_tools,
        "lifecycle-diagram": lifecycle_diagram,
        "story-kinds": story_kinds,
        "rules": rules,
        "scheduling-bounds": scheduling_bounds,
        "engines": engines,
        "exit-codes": exit_codes,
        "limits": limits,
        "models": models,
        "default-cluster-file": default_cluster_file,
        "layers": rooms.draw_layers,
        "rooms": rooms.list_rooms,
        **{f"engine-{kind.name}": _engine_region(kind) for kind in ENGINES.values()},
        **rule_pages.regions(),
    }
)
"""Every region by its name."""
