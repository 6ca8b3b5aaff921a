"""Sessions of browsers: a cookie that holds a token, and single-use codes by which a printed link makes one.

The token stays in a cookie that scripts cannot read and that no page of another site can have sent. Ports of one host
share cookies, and a page on another port is of the same site: so a request with a cookie must also be the console's
own. A change needs a header that only pages of this very server can add, without the permission that it never gives.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from corral.errors import CorralError, Kind

HEADER = "x-corral-console"
"""The header that the console adds to each of its requests."""
LASTS = timedelta(days=30)
"""How long a session lasts, where its token does not end before."""
CODE_LASTS = timedelta(minutes=15)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_CODES = 100


class ForgedRequestError(CorralError):
    """A cookie came with a request that is not the console's own."""

    code: ClassVar[str] = "auth.forged"
    kind: ClassVar[Kind] = Kind.DENIED


class CodeError(CorralError):
    """A code of a link is unknown, used, or too old."""

    code: ClassVar[str] = "auth.code"
    kind: ClassVar[Kind] = Kind.DENIED


def name_cookie(cluster: str) -> str:
    """Return the name of the cookie: servers on several ports of one host share cookies, and each has its own."""
    return f"corral_{hashlib.sha256(cluster.encode()).hexdigest()[:8]}"


def explain_forgery(method: str, headers: Mapping[str, str]) -> str | None:
    """Say why a request with a cookie is not believed to be the console's; None when it is. Names are lower-case."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "a browser sent it for another page"
    if method not in _SAFE and HEADER not in headers:
        return f"it changes something, and has no header {HEADER}"
    return None


@dataclass(slots=True)
class LinkCodes:
    """The codes of links that are not used yet, in memory: a restart ends them."""

    _ends: dict[str, datetime] = field(default_factory=dict[str, datetime])

    def make(self, now: datetime) -> tuple[str, datetime]:
        """Return a new code, and when it ends."""
        self._ends = {code: end for code, end in self._ends.items() if end > now}
        while len(self._ends) >= _MOST_CODES:
            self._ends.pop(next(iter(self._ends)))
        code, end = secrets.token_urlsafe(18), now + CODE_LASTS
        self._ends[code] = end
        return code, end

    def make_link(self, url: str, *, needs_code: bool) -> tuple[str, datetime | None]:
        """Return a link to the page at an address, and when its code ends; None without one.

        The code is behind `#`, the part of an address that browsers do not send and that no log has.
        """
        if not needs_code:
            return f"{url.rstrip('/')}/", None
        code, end = self.make(datetime.now(UTC))
        return f"{url.rstrip('/')}/#code={code}", end

    def redeem(self, code: str, now: datetime) -> None:
        """Use a code up. Raises: CodeError."""
        end = self._ends.pop(code, None)
        if end is None or end <= now:
            raise CodeError(
                "the code of this link is unknown, used or too old", hint="`corral console` prints a new link"
            )
