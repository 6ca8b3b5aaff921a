"""What axe-core finds on a page (https://www.deque.com/axe/); it is vendored from npm for the tests alone."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.async_api import Page

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"


async def find_violations(page: Page) -> list[str]:
    """Return what axe finds, each with the first element that it concerns; nothing is what every page should have."""
    # The policy of the page refuses scripts that are not its own; the browser's debugger is not bound by it.
    session = await page.context.new_cdp_session(page)
    await session.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
    answer = await session.send(
        "Runtime.evaluate",
        {
            "expression": "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify(r.violations))",
            "awaitPromise": True,
        },
    )
    await session.detach()
    violations = json.loads(answer["result"]["value"])
    return [
        f"{violation['id']} ({violation['impact']}): {violation['nodes'][0]['html'][:200]}" for violation in violations
    ]
