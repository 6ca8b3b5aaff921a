"""Sends one notification to people: a program with apprise is started for it, and ended when its time is over.

A program of its own, since apprise waits for services without an end that could be set from outside, and so that its
190 kinds of service, and what they log, are not part of the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import ClassVar

import structlog

from corral.cluster.receivers import NotifyTarget
from corral.errors import CorralError, Kind
from corral.notifications.texts import Text

log = structlog.get_logger()

TRY_S = 60.0
"""How long a service can take: some send a picture in steps."""
MISSING_HINT = "pip install 'corral[notify]' where the server is installed, and start it again"


class NotifyError(CorralError):
    """A notification was not sent."""

    code: ClassVar[str] = "notify.not_sent"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that goes with a notification."""

    path: str
    name: str
    media_type: str


def is_installed() -> bool:
    """Whether apprise is here."""
    return find_spec("apprise") is not None


def read_url(target: NotifyTarget, environ: Mapping[str, str]) -> str:
    """Return the URL of a target, which is secret. Raises: NotifyError."""
    url = environ.get(target.url_from, "").strip()
    if not url:
        what = f"the environment variable {target.url_from} is not set"
        raise NotifyError(what, hint=f"set {target.url_from} in the environment of the server, and start it again")
    if "://" not in url:
        hint = "write it as apprise does, such as ntfys://ntfy.sh/my-topic"
        raise NotifyError(f"{target.url_from} does not hold a URL", hint=hint)
    return url


async def notify(
    url: str,
    text: Text,
    picture: Picture | None = None,
    *,
    try_s: float = TRY_S,
    is_installed: Callable[[], bool] = is_installed,
) -> None:
    """Send a notification once. Raises: NotifyError."""
    if not is_installed():
        raise NotifyError("apprise is not installed", hint=MISSING_HINT)
    asked = {"url": url, **asdict(text), "picture": None if picture is None else asdict(picture)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "corral.notifications.apprise_program",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a traceback can show the URL
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(try_s):
            output, _ = await process.communicate(json.dumps(asked).encode() + b"\n")
    except TimeoutError:
        raise NotifyError(f"the service did not answer within {try_s:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    problem = _read_problem(output, process.returncode)
    if problem is not None:
        raise NotifyError(problem)


def _read_problem(output: bytes, code: int | None) -> str | None:
    try:
        return json.loads(output)["problem"]
    except (ValueError, KeyError, TypeError):
        log.warning("apprise_program_failed", exit_code=code)
        return f"the program that sends notifications ended with exit code {code}"
