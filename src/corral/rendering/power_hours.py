"""Power limits by the hour, as a timer that fires at each change and a script that sets the limit of that moment.

The script looks at the clock of the wall, so that a machine that starts in the middle of a night has the night's limit.
In the night in which clocks are put back, it can be an hour off.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from corral.cluster.power_windows import PowerWindow
from corral.hours import DAY_MINUTES, Hours
from corral.rendering.gpus import NvidiaGpu, name_for_driver, write_power_command

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK_MINUTES = len(_DAYS) * DAY_MINUTES

Moment = tuple[int, int]
"""A minute of a day, and the number of the day from Monday on."""


def list_windows(gpus: Iterable[NvidiaGpu]) -> tuple[PowerWindow, ...]:
    """List the hours with lower limits of some GPUs."""
    return tuple(window for gpu in gpus for window in gpu.gpu.power_windows)


def list_changes(windows: Iterable[PowerWindow]) -> tuple[str, ...]:
    """List the moments at which a limit can change, as systemd's calendar events (systemd.time(7))."""
    days: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
    for window in windows:
        for begin, end in _list_spans(window.hours):
            for moment in (begin, end):
                day, minute = divmod(moment % _WEEK_MINUTES, DAY_MINUTES)
                days[minute, window.hours.zone].add(day)
    return tuple(
        f"{'' if len(on) == len(_DAYS) else ','.join(_DAYS[day] for day in sorted(on)) + ' '}"
        f"*-*-* {minute // 60:02}:{minute % 60:02}:00 {zone}"
        for (minute, zone), on in sorted(days.items())
    )


def write_script(gpus: Sequence[NvidiaGpu], program: str) -> str:
    """Write the commands that set every limit; `program` is `nvidia-smi` as the script finds it."""
    windows = list_windows(gpus)
    lines = ["failed=0"]
    if windows:
        lines += [
            "# The day (1 is Monday), hour and minute in the time zone of the cluster file.",
            f"now=$(TZ={shlex.quote(windows[0].hours.zone)} date +%u%H%M)",
            'within() { [ "$now" -ge "$1" ] && [ "$now" -lt "$2" ]; }',
        ]
    for gpu in gpus:
        lines += _write_choice(gpu, program) if gpu.gpu.power_windows else [_write_command(gpu, program)]
    return "\n".join((*lines, 'exit "$failed"', ""))


def _write_choice(gpu: NvidiaGpu, program: str) -> Iterator[str]:
    word = "if"
    for window in gpu.gpu.power_windows:
        conditions = " || ".join(f"within {begin} {end}" for begin, end in _list_bounds(window.hours))
        yield f"{word} {conditions}; then limit={window.watts}"
        word = "elif"
    yield f"else limit={gpu.gpu.power_limit_w}; fi"
    yield f'{program} -i {shlex.quote(name_for_driver(gpu))} -pl "$limit" || failed=1'


def _write_command(gpu: NvidiaGpu, program: str) -> str:
    return f"{program} {shlex.join(write_power_command(gpu))} || failed=1"


def _list_spans(hours: Hours) -> Iterator[tuple[int, int]]:
    """List the spans of a week in minutes from Monday's midnight; one of Sunday can end after the week."""
    for day, spans in enumerate(hours.spans):
        for begin, end in spans:
            yield day * DAY_MINUTES + begin, day * DAY_MINUTES + end


def _list_bounds(hours: Hours) -> Iterator[tuple[int, int]]:
    """List the spans of a week as the script compares them: day, hour and minute as one number, 12200 to 20700."""
    for begin, end in _list_spans(hours):
        if end <= _WEEK_MINUTES:
            yield _number(begin), _number(end)
        else:
            yield _number(begin), _number(_WEEK_MINUTES)
            yield _number(0), _number(end - _WEEK_MINUTES)


def _number(minute: int) -> int:
    day, minute = divmod(minute, DAY_MINUTES)
    return (day + 1) * 10_000 + minute // 60 * 100 + minute % 60
