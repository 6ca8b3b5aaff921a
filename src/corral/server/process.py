"""The process of a server: its log and its signals.

The log has one line per event on stderr, in the past tense, with its context; tracebacks are printed without the values
of local variables, for some of them are secrets.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from corral.printable import make_printable, make_printable_line
from corral.server.reloading import ClusterInEffect

log = structlog.get_logger()


def _make_values_printable(
    _: object, __: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:  # values of any type
    """Keep each record on its line, and terminals out of reach: values can be what users and engines wrote."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = (make_printable if name == "traceback" else make_printable_line)(value)
    return event


_OBJECTS_BEFORE_A_LOOK = (700, 10, 10)
"""Python's own thresholds: small steps, for a loop that must stay free."""


def keep_what_start_made() -> None:
    """Leave what the start made out of every later look for garbage, and look in small steps from here on."""
    gc.freeze()
    gc.set_threshold(*_OBJECTS_BEFORE_A_LOOK)


def configure_logs() -> None:
    """Set up logging for this process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _make_values_printable,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


@contextmanager
def stop_quietly_while_starting() -> Generator[None, None, None]:
    """Let a signal end the start in order, database included; the runtime takes the signals over once it serves."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    asked = False

    def ask() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    handle_signals(ask)
    try:
        yield
    except asyncio.CancelledError:
        if not asked:
            raise
        task.uncancel()
        log.info("stopped_while_starting")


@contextmanager
def reload_on_hangup(in_effect: ClusterInEffect) -> Generator[None, None, None]:
    """Let SIGHUP read the cluster file again while the context lasts; when a terminal closes, it ends the server."""
    reloads: set[asyncio.Task[None]] = set()
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def reload() -> None:
        closed = [stream for stream in terminals if not os.isatty(stream)]
        if closed:
            _write_nowhere(closed)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        task = asyncio.create_task(in_effect.reload_on_signal(), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _write_nowhere(streams: Iterable[int]) -> None:
    """Point these streams away from a terminal that is closed: writing there raises."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def handle_signals(act: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, act)


def open_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's where there is one, which takes less processor time than asyncio's."""
    try:
        import uvloop
    except ImportError:  # it has no wheel for the system
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
