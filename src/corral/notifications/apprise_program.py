"""Sends one notification through apprise; a process of its own, which the server ends when its time is over.

It reads one line of JSON on standard input and prints one. The URL arrives there and nowhere else: command lines are
readable by everybody on the machine. It says of a failure what apprise warned of, without any part of the URL.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from corral.processes.kernel import die_with_parent

_PARTS = re.compile(r"[/:@?&=,;\s]+")
_SHORT = 3
"""Characters of a part of the URL that stay readable: ports, `com`."""
_LONGEST = 300


class _Warnings(logging.Handler):
    """Keeps what apprise warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


def main() -> None:
    """Send what standard input describes, and print how it went."""
    die_with_parent(os.getppid())
    asked = json.loads(sys.stdin.readline())
    print(json.dumps({"problem": _send(asked)}), flush=True)  # noqa: T201 (the answer)


def _send(asked: dict[str, Any]) -> str | None:  # JSON
    """Return why it could not be sent; None when it was."""
    import apprise

    warnings = _Warnings()
    logger = logging.getLogger("apprise")
    logger.addHandler(warnings)
    logger.propagate = False
    # Pictures of its own come from a web site, which would learn of each notification.
    asset = apprise.AppriseAsset(app_id="Corral", app_desc="Corral", image_url_mask="", image_url_logo="")
    services = apprise.Apprise(asset=asset)
    if not services.add(asked["url"]):
        return "apprise does not know this kind of URL, or a part of it is missing"
    sent = services.notify(
        title=asked["title"],
        body=asked["body"],
        body_format=apprise.NotifyFormat.TEXT,
        attach=_attach(asked["picture"], services) if asked["picture"] else None,
    )
    return None if sent else hide_secrets(warnings.lines, asked["url"])


def _attach(picture: dict[str, Any], services: Any) -> Any:  # apprise's own types are unknown to a strict checker
    """Return the picture for services that all take one; else None."""
    from apprise import AppriseAttachment
    from apprise.attachment.file import AttachFile

    if not all(service.attachment_support for service in services):
        return None
    attachment = AppriseAttachment()
    attachment.add(AttachFile(path=picture["path"], name=picture["name"], mimetype=picture["media_type"]))
    return attachment


def hide_secrets(warnings: Sequence[str], url: str) -> str:
    """Return what was warned of first, without any part of the URL but its scheme."""
    if not warnings:
        return "the service did not take it"
    line = " ".join(warnings[0].split())
    _, _, rest = url.partition("://")
    parts = {spelling for part in _PARTS.split(rest) for spelling in (part, unquote(part))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > _SHORT:
            line = line.replace(part, "***")
    return line[:_LONGEST]


if __name__ == "__main__":
    main()
