"""An engine kind whose instances answer at once.

Stands for an engine with models of its own; its functions have the signatures that `EngineKind.look` names, as
`corral.engines.comfyui.installed` has them. What an instance lacks tells how it was asked.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corral.engines.credentials import Credentials
from corral.engines.surveying import Need
from corral.errors import Problem

LOOK = f"{__name__}:look"


@dataclass(frozen=True, slots=True)
class TalkativeInventory:
    """Lacks one thing of each list of needs: `what` names the thread that compared, `where` the token's variable."""

    credentials: Credentials

    def find_missing(self, needs: Sequence[Sequence[Need]]) -> tuple[tuple[Problem, ...], ...]:
        """Return one problem for each list."""
        problem = Problem(code="double.lack", what=threading.current_thread().name, where=self.credentials.token_from)
        return tuple((problem,) for _ in needs)


async def look(url: str, options: Mapping[str, Any], credentials: Credentials) -> TalkativeInventory:
    """Answer for any URL."""
    return TalkativeInventory(credentials)
