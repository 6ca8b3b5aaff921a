"""The kinds of values in a cluster file: how each is written, checked and described to an editor.

A check raises `PydanticCustomError` with a fact and a hint; `corral.cluster.explain` gives it a place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from corral.errors import did_you_mean
from corral.hours import DAY_MINUTES, Span
from corral.units import Bytes, UnitError, parse_bytes, parse_duration

_ENVIRONMENT_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
LARGEST_SIZE = 2**60  # 1 EiB: beyond what any node has, and still exact in JSON and in a database's bigint


def wrong(what: str, hint: str) -> PydanticCustomError:
    """Make the error of a check; braces in the texts are kept as they are."""
    return PydanticCustomError("corral", "{what}", {"what": what, "hint": hint})


def _refuse_unreadable(error: Exception, value: object, what: str, hint: str) -> PydanticCustomError:
    """Make the error for a value that the units refuse: in their words, unless they show more than `shown` does."""
    if isinstance(error, UnitError) and show_value(value) in (repr(value), str(value)):
        return wrong(error.what, error.hint or hint)
    return wrong(f"{what}: {show_value(value)}", hint)


def read_size(value: object) -> Bytes:
    """Read a size as it is written: `16Gi`, or a number of bytes."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong(f"a size is text such as 16Gi, not {show_value(value)}", "write a number and Ki, Mi, Gi or Ti")
    try:
        size = parse_bytes(value)
    except (UnitError, ValueError, OverflowError) as error:
        raise _refuse_unreadable(
            error, value, "not a size", "write a number with Ki, Mi, Gi or Ti, such as 16Gi"
        ) from None
    if not 0 < size <= LARGEST_SIZE:
        raise wrong(f"a size must be more than 0 and at most 1024 PiB, not {show_value(value)}", "write the real size")
    return size


def read_duration(value: object) -> timedelta:
    """Read a duration as it is written: `30d`, `1h30m`, or a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong(f"a duration is text such as 30d, not {show_value(value)}", "write a number and s, m, h, d or w")
    try:
        return parse_duration(value)
    except (UnitError, ValueError, OverflowError) as error:
        raise _refuse_unreadable(
            error, value, "not a duration", "write a number with s, m, h, d or w, such as 1h30m"
        ) from None


_SPAN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*(?:([01]?\d|2[0-3]):([0-5]\d)|24:00)")
CLOSED = "closed"
"""The hours of a day on which nothing opens."""


def _read_spans(value: object) -> tuple[Span, ...]:
    """Read the hours of a day as they are written: `22:00-17:00`, `09:00-12:00, 13:00-17:00`, `closed`."""
    hint = 'write "22:00-17:00", several with a comma between them, "00:00-24:00", or closed'
    if not isinstance(value, str):
        raise wrong(f"the hours of a day are text, not {kind_of(value)}", hint)
    if value.strip() == CLOSED:
        return ()
    spans = [_SPAN.fullmatch(part.strip()) for part in value.split(",")]
    if not all(spans):
        raise wrong(f"not the hours of a day: {show_value(value)}", hint)
    return tuple(_to_span(span) for span in spans if span is not None)


def _to_span(written: re.Match[str]) -> Span:
    begin = int(written[1]) * 60 + int(written[2])
    if written[3] is None:
        return begin, DAY_MINUTES
    end = int(written[3]) * 60 + int(written[4])
    return begin, end if end > begin else end + DAY_MINUTES


def _check_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError):
        hint = did_you_mean(value, sorted(available_timezones())) or "write a name such as Europe/Berlin"
        raise wrong(f"there is no time zone {show_value(value)}", hint) from None
    return value


FOREVER = timedelta.max
"""The value of `forever`; no duration that can be written is as long."""


def _read_retention(value: object) -> timedelta:
    return FOREVER if value == "forever" else read_duration(value)


def _read_idle(value: object) -> timedelta:
    return FOREVER if value == "never" else read_duration(value)


def _read_watts(value: object) -> int:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,6})\s*W", value)):
        value = int(match[1])
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"power is a whole number of watts, not {show_value(value)}", "write watts, such as 250")
    if not 0 < value <= 100_000:
        raise wrong(f"power must be 1 to 100000 W, not {value}", "write watts, such as 250")
    return value


def _read_percent(value: object) -> float:
    match = re.fullmatch(r"(\d{1,2}(?:\.\d+)?)\s*%", value) if isinstance(value, str) else None
    if match is None or not float(match[1]):
        raise wrong(f"a share is text from 1% to 99%, not {show_value(value)}", "write a share, such as 20%")
    return float(match[1]) / 100


def _check_label_value(value: object) -> str:
    if not isinstance(value, str):
        raise wrong(
            f"a label's value must be text, not {show_value(value)}",
            f'write it in quotes: "{spell_scalar(value)}"'
            if isinstance(value, int | float)
            else "write text in quotes",
        )
    if not re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value):
        raise wrong(
            f"Kubernetes refuses the label value {show_value(value)}", "use at most 63 letters, digits, `-`, `_`, `.`"
        )
    return value


def _check_env_value(value: object) -> str:
    if not isinstance(value, str):
        # The value itself stays out of the message: an environment can hold secrets.
        raise wrong(f"an environment variable's value must be text, not {kind_of(value)}", "write it in quotes")
    if "\0" in value:
        raise wrong("an environment variable cannot hold a NUL character", "remove it")
    return value


def _check_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise wrong(f"not a URL: {show_value(value)}", "write http://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f]", value) or port == 0:
        raise wrong(f"not an http or https URL: {show_value(value)}", "write http://host:port")
    if parts.username is not None or parts.password is not None:
        raise wrong("a URL in this file cannot hold a user name or password", "remove the part before the `@`")
    return value


def _check_instance_url(value: str) -> str:
    if value.startswith("kueue:"):
        if not re.fullmatch(_QUEUE_URL, value):
            raise wrong(f"not the address of a LocalQueue: {show_value(value)}", "write kueue://NAMESPACE/QUEUE")
        return value
    return _check_url(value)


def _check_environment_name(value: str) -> str:
    if re.search(r"[:/@=\s]", value):  # a URL or a connection string: never shown
        raise wrong(
            "a URL that can hold a password does not belong in this file",
            "put the URL into an environment variable and write that variable's name, such as CORRAL_DATABASE_URL",
        )
    if not re.fullmatch(_ENVIRONMENT_NAME, value):  # not shown either: it can be the secret itself
        raise wrong("not the name of an environment variable", "write the name of one, such as DATABASE_URL")
    return value


def match_whole(pattern: str, kind: str, hint: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise wrong(f"not {kind}: {show_value(value)}", f"write {hint}")
        return value

    return check


def kind_of(value: object) -> str:
    """Name the kind of a value in the words of YAML."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"


def spell_scalar(value: object) -> str:
    """Write a scalar as YAML does."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def show_value(value: object) -> str:
    """Show a wrong value in a message: bounded, on one line, without passwords in URLs."""
    if isinstance(value, bool | int | float):
        return spell_scalar(value)
    if not isinstance(value, str):
        return kind_of(value)
    hidden = re.sub(r"//[^/\s]*@", "//***@", value)
    return repr(hidden if len(hidden) <= 60 else hidden[:57] + "...")


def _describe_text(pattern: str | None = None, **more: Any) -> WithJsonSchema:  # JSON Schema keywords are of any type
    return WithJsonSchema({"type": "string", **({"pattern": pattern} if pattern else {}), **more})


NAME_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_QUEUE_URL = r"kueue://[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_SIZE_PATTERN = r"^\s*\d+(\.\d+)?\s*(Ki|Mi|Gi|Ti|k|K|M|G|T)?(i?B)?\s*$"
_DURATION_PATTERN = r"^(\s*\d+(\.\d+)?\s*(ms|s|m|h|d|w))+\s*$"

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096, strict=True)]
Name = Annotated[
    Text,
    AfterValidator(match_whole(NAME_PATTERN, "a name", "at most 63 letters, digits, `-`, `_`, `.`")),
    _describe_text(f"^{NAME_PATTERN}$"),
]
Host = Annotated[
    Text,
    AfterValidator(match_whole(r"[A-Za-z0-9:]([A-Za-z0-9:._-]{0,252})", "a host name or address", "a host name or IP")),
    _describe_text(r"^[A-Za-z0-9:][A-Za-z0-9:._-]{0,252}$"),
]
Url = Annotated[Text, AfterValidator(_check_url), _describe_text("^https?://[^@]+$", format="uri")]
InstanceUrl = Annotated[
    Text, AfterValidator(_check_instance_url), _describe_text(rf"^(https?://[^@]+|{_QUEUE_URL})$", format="uri")
]
EnvironmentName = Annotated[Text, AfterValidator(_check_environment_name), _describe_text(f"^{_ENVIRONMENT_NAME}$")]
GpuUuid = Annotated[
    Text,
    AfterValidator(match_whole(r"(GPU|MIG)-[0-9A-Za-z/-]{1,100}", "a GPU's UUID", "what `nvidia-smi -L` prints")),
    _describe_text("^(GPU|MIG)-[0-9A-Za-z/-]{1,100}$"),
]
AbsolutePath = Annotated[
    Text,
    AfterValidator(match_whole(r"/[^\x00]*", "an absolute path", "a path that starts with `/`")),
    _describe_text("^/"),
]
FilePath = Annotated[Text, AfterValidator(match_whole(r"[^\x00]+", "a path", "a path without NUL")), _describe_text()]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Count = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Index = Annotated[int, Field(ge=0, le=255, strict=True)]
Size = Annotated[
    Bytes,
    BeforeValidator(read_size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _SIZE_PATTERN}, {"type": "integer", "minimum": 1}]}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(read_duration),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _DURATION_PATTERN}, {"type": "number", "minimum": 0}]}),
]
KeptFor = Annotated[
    timedelta,
    BeforeValidator(_read_retention),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "forever"},
                {"type": "string", "pattern": _DURATION_PATTERN},
                {"type": "number", "minimum": 0},
            ]
        }
    ),
]
IdleFor = Annotated[
    timedelta,
    BeforeValidator(_read_idle),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "never"},
                {"type": "string", "pattern": _DURATION_PATTERN},
                {"type": "number", "minimum": 0},
            ]
        }
    ),
]
Percent = Annotated[float, BeforeValidator(_read_percent), _describe_text(r"^\d{1,2}(\.\d+)?\s*%$")]
"""A share, 0 to 1, that is written as `20%`."""
Watts = Annotated[
    int,
    BeforeValidator(_read_watts),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 100_000},
                {"type": "string", "pattern": r"^\d{1,6}\s*W$"},
            ]
        }
    ),
]
DayHours = Annotated[
    tuple[Span, ...],
    BeforeValidator(_read_spans),
    WithJsonSchema({"type": "string", "pattern": rf"^\s*({CLOSED}|[0-9:\s,-]+)\s*$"}),
]
ZoneName = Annotated[Text, AfterValidator(_check_zone)]
LabelKey = Annotated[
    Text,
    AfterValidator(match_whole(_LABEL_KEY, "a label's key", "`name` or `domain/name`")),
]
LabelValue = Annotated[str, BeforeValidator(_check_label_value), _describe_text(maxLength=63)]
EnvValue = Annotated[str, BeforeValidator(_check_env_value), _describe_text()]
