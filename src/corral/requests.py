"""Requests to the queue: the one description of a task's, a batch's and a key's fields.

Every other shape of a task inherits these fields or copies them as a whole: the HTTP API's request and answer, the
batch file, what is submitted, the columns of its row and what is read from them. So a new field of a task is a field
here and a column in a migration; code that acts on it reads it where it acts.

Belongs here: fields that the user sets, how each is written, checked and explained.
Does not belong here: what the queue adds to a task (its state, its attempts), HTTP, SQL.
May import: `corral.cluster` (for the values that both kinds of file have), `corral.work`, `corral.units`,
`corral.errors`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from corral.cluster.fields import LabelKey, Url, kind_of, read_duration, read_size, show_value, wrong
from corral.errors import did_you_mean
from corral.units import Bytes
from corral.work import Json, Priority, TaskClass

DEFAULT_TIMEOUT_S = 3600.0
DEFAULT_MAX_ATTEMPTS = 3
MOST_PRECEDENCE = 2**53
"""Above and below 0; no JSON reader rounds it."""
_JOINED = ("inputs", "files", "labels")
"""Fields of which a task and the defaults of its batch each give a part."""
_FIRST_YEAR, _LAST_YEAR = 1970, 9998
"""Years whose instants keep inside Python's and PostgreSQL's range in every time zone."""
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


# --- how a field is written -----------------------------------------------------------------------------------------


def _check_storable(text: str) -> str:
    """Refuse what PostgreSQL's `text` cannot hold."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise wrong("a NUL character or half of a surrogate pair cannot be stored", "remove it")
    return text


def _check_whole(value: object) -> object:
    if isinstance(value, bool | str):
        raise wrong(f"expected a whole number, found {kind_of(value)}", "write a whole number, without quotes")
    return value


def _read_seconds(value: object) -> float:
    if isinstance(value, float | int) and not isinstance(value, bool) and value <= 0:
        raise wrong(f"a duration is above zero, not {show_value(value)}", "write a duration above 0, such as 30s")
    duration = read_duration(value)
    if duration <= timedelta(0):
        raise wrong("a duration is above zero", "write a duration above 0, such as 30s")
    return duration.total_seconds()


def _read_priority(value: object) -> Priority:
    if isinstance(value, Priority):
        return value
    if not isinstance(value, str) or value not in _PRIORITIES:
        words = ", ".join(_PRIORITIES)
        hint = did_you_mean(value, _PRIORITIES) if isinstance(value, str) else f"use one of {words}"
        raise wrong(f"{show_value(value)} is not one of {words}", hint)
    return _PRIORITIES[value]


_INSTANT: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)


def _read_instant(value: object) -> datetime:
    hint = "write date, time and zone, such as 2026-12-24T18:00:00+01:00"
    if not isinstance(value, str | datetime):
        raise wrong(f"an instant is text, not {kind_of(value)}", hint)
    try:
        instant = _INSTANT.validate_python(value)
    except ValidationError:
        raise wrong(f"not an instant: {show_value(value)}", hint) from None
    if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        raise wrong(f"the year is between {_FIRST_YEAR} and {_LAST_YEAR}, not {instant.year}", hint)
    return instant.astimezone(UTC)


_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def read_by(value: object) -> datetime | str:
    """Read an instant, or keep a time of the clock (`07:00`) for `find_deadline`."""
    if isinstance(value, str) and _CLOCK.fullmatch(value.strip()):
        return value.strip()
    try:
        return _read_instant(value)
    except PydanticCustomError as error:
        context = error.context or {}
        hint = "write a time of the clock, such as 07:00, or date, time and zone, such as 2026-12-24T07:00:00+01:00"
        raise wrong(str(context.get("what", error)), hint) from None


def find_deadline(by: datetime | str, now: datetime, zone: str) -> datetime:
    """Return the instant of a deadline: that of a time of the clock is the next at which clocks of the zone show it."""
    if isinstance(by, datetime):
        return by
    hour, minute = map(int, by.split(":"))
    today = now.astimezone(ZoneInfo(zone)).date()
    days = (datetime.combine(today + timedelta(days=ahead), time(hour, minute), ZoneInfo(zone)) for ahead in range(3))
    return next(at for day in days if (at := day.astimezone(UTC)) > now)


Word = Annotated[str, StringConstraints(min_length=1, max_length=200, strict=True), AfterValidator(_check_storable)]
"""A name: of a task, a queue, an engine, a slot."""
LongWord = Annotated[
    str, StringConstraints(min_length=1, max_length=2000, strict=True), AfterValidator(_check_storable)
]
"""A name that can be a path or a URL: of a model."""
WebhookUrl = Annotated[Url, StringConstraints(max_length=2000), AfterValidator(_check_storable)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""Names a task or a batch."""
Need = Annotated[Id, Field(strict=True)] | Word
"""Names a task of the same batch, or any task by its id."""
Whole = Annotated[int, BeforeValidator(_check_whole)]
Size = Annotated[
    Bytes,
    BeforeValidator(read_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[1-9][0-9]{0,5}(Ki|Mi|Gi|Ti)?$"},
                {"type": "integer", "minimum": 1, "maximum": 2**60},
            ]
        },
        mode="validation",
    ),
]
"""Bytes, or text such as `8Gi`."""
Seconds = Annotated[
    float,
    BeforeValidator(_read_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[1-9][0-9]{0,5}(s|m|h)$"},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9},
            ]
        },
        mode="validation",
    ),
]
"""Seconds, or text such as `10m`."""
Instant = Annotated[
    datetime,
    BeforeValidator(_read_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation"),
]
"""RFC 3339 with an offset; kept in UTC."""
By = Annotated[
    datetime | str,
    BeforeValidator(read_by),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$"},
                {"type": "string", "format": "date-time"},
            ]
        },
        mode="validation",
    ),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""An instant, or a time of the clock that the server makes one of."""
OwnerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", strict=True)]
"""The name of a token and of an owner."""
Count = Annotated[int, BeforeValidator(_check_whole), Field(ge=1, le=2**53)]
"""A limit; no JSON reader rounds it."""
LabelText = Annotated[str, StringConstraints(max_length=200, strict=True), AfterValidator(_check_storable)]
Labels = Annotated[
    dict[LabelKey, LabelText],
    Field(default_factory=dict[str, str], max_length=32, description="Words of your own to find it by, up to 32."),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 200},
            "propertyNames": {"pattern": r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"},
            "maxProperties": 32,
        }
    ),
]
"""By key, `project: aurora`; keys are written as those of Kubernetes."""
PriorityWord = Annotated[
    Priority,
    BeforeValidator(_read_priority),
    PlainSerializer(lambda priority: priority.name.lower(), return_type=str),
    WithJsonSchema({"type": "string", "enum": [*_PRIORITIES]}),
]


# --- the fields -----------------------------------------------------------------------------------------------------


class Fields(BaseModel):
    """Base of the descriptions here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskFields(Fields):
    """The fields of a task next to its name, its engine and what it needs."""

    model: LongWord | None = Field(
        default=None, description="The model: a name of `corral models list`, or what the engine knows."
    )
    inputs: dict[str, Json] = Field(
        default_factory=dict[str, Json], description="What to do, in the engine's words; see the engine's reference."
    )
    queue: Word = Field(default="default", description="The queue.")
    task_class: TaskClass = Field(
        default=TaskClass.BATCH, alias="class", description="`interactive` tasks go before `batch` tasks."
    )
    priority: PriorityWord = Field(
        default=Priority.NORMAL, description="The order inside a class.", json_schema_extra={"default": "normal"}
    )
    precedence: Whole = Field(
        default=0,
        ge=-MOST_PRECEDENCE,
        le=MOST_PRECEDENCE,
        description="The order among its owner's tasks of equal class and priority: higher goes first.",
    )
    gpus: Whole = Field(default=1, ge=1, le=64, description="How many GPUs of one node it takes at once.")
    memory: Size | None = Field(
        default=None, description="Memory that it needs on each of them, such as `8Gi`; measured when left out."
    )
    node: Word | None = Field(default=None, description="The only node where it can run.")
    prefer_node: Word | None = Field(
        default=None,
        description="The node that it would rather run on, where that makes it end two minutes later at most.",
    )
    timeout_s: Seconds = Field(
        default=DEFAULT_TIMEOUT_S,
        validation_alias="timeout",
        description="How long an attempt can take, such as `10m`.",
    )
    max_attempts: Whole = Field(
        default=DEFAULT_MAX_ATTEMPTS, ge=1, le=100, description="How often it is tried when attempts fail."
    )
    not_before: Instant | None = Field(default=None, description="It starts at this instant at the earliest.")
    labels: Labels = Field(default_factory=dict[str, str])


class BatchFields(Fields):
    """The fields of a batch next to its tasks."""

    name: Word = Field(description="The batch's name; its outputs are written to `out/<name>/`.")
    outputs: LongWord | None = Field(
        default=None,
        description="A folder for each task's outputs, written by the server as tasks succeed: "
        "`/mnt/nas/{batch}/{task}`, below one of `outputFolders` of the cluster file.",
    )
    webhook: WebhookUrl | None = Field(
        default=None,
        description="A URL that gets a signed request when a task has failed and when the batch has ended; see "
        "`webhooks` of the cluster file.",
    )
    notify: list[Word] = Field(
        default_factory=list[str],
        max_length=32,
        description="Who is notified of it: names of `notify` in the cluster file.",
    )
    by: By | None = Field(
        default=None,
        description="When it should be done: a time of the clock, `07:00`, or an instant. Where little time is left "
        "for it, its tasks go first.",
    )
    when: Literal["cheap"] | None = Field(
        default=None,
        description="`cheap`: its tasks wait for the hours of the lowest price of power, as far as `by` allows.",
    )
    labels: Labels = Field(default_factory=dict[str, str])


class KeyFields(Fields):
    """The fields of a token (a key of clients) next to its name and its role: whose it is, and how much it can ask."""

    owner: OwnerName | None = Field(
        default=None, description="Whose it is: several keys can be of one owner. The token's own name when left out."
    )
    models: Annotated[list[LongWord], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="The only models that it can use; `*` is any part of a name. All when left out."
    )
    requests_per_minute: Count | None = Field(default=None, description="Requests within any minute.")
    tokens_per_minute: Count | None = Field(
        default=None, description="Tokens, read and written, after which requests wait until a minute has passed."
    )
    tokens_per_day: Count | None = Field(
        default=None, description="Tokens, read and written, after which requests wait for the next day (UTC)."
    )
    concurrent: Count | None = Field(default=None, description="Requests at the same time.")
    expires_at: Instant | None = Field(default=None, description="It is refused from this instant on.")

    def allows(self, model: str) -> bool:
        """Whether it can use a model; in Ollama's words, `name` is `name:latest`."""
        if self.models is None:
            return True
        names = {model, model.removesuffix(":latest"), model if ":" in model else f"{model}:latest"}
        return any(fnmatchcase(name, pattern) for pattern in self.models for name in names)


FieldsT = TypeVar("FieldsT", bound=Fields)


def get_values(fields: Fields, kind: type[Fields]) -> dict[str, Any]:  # of every field's own type
    """Return the values of the fields that `kind` declares, by name, to hand them on to another shape."""
    return {name: getattr(fields, name) for name in kind.model_fields}


def fill_in(own: Mapping[str, Json], common: Mapping[str, Json]) -> dict[str, Json]:
    """Return what a task of a batch asks for: its own values, else the common ones; `inputs` and `files` are joined."""
    joined = {name: {**common.get(name, {}), **own.get(name, {})} for name in _JOINED if name in own or name in common}
    return {**common, **own, **joined}


def select(fields: Fields, kind: type[FieldsT]) -> FieldsT:
    """Return a value of `kind` alone, without what `fields` adds to it."""
    return kind.model_construct(**get_values(fields, kind))


def request_of(fields: Fields, kind: type[Fields]) -> dict[str, Json]:
    """Return those fields of `kind` that were set, as the HTTP API takes them."""
    names = fields.model_fields_set & kind.model_fields.keys()
    values = fields.model_dump(mode="json", include=set(names))
    return {_find_key(name, kind): values[name] for name in kind.model_fields if name in names}


def _find_key(name: str, kind: type[Fields]) -> str:
    info = kind.model_fields[name]
    return str(info.validation_alias or info.alias or name)
