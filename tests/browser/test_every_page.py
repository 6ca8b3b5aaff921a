"""Every page, light and dark, wide and on a phone: axe finds nothing, nothing is cut off, the keyboard is enough."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from playwright.async_api import expect

from browser.accessibility import find_violations
from browser.conftest import Visits
from browser.serving import Barn

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WIDE = {"viewport": {"width": 1280, "height": 800}}


@pytest.mark.parametrize("profile", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    barn: Barn, visits: Visits, scheme: str, profile: dict[str, Any]
) -> None:
    made = await barn.run_command(
        sys.executable, "-c", "open('a.txt', 'w').write('text')", name="text", outputs=["a.txt"]
    )
    batch = await barn.submit(14, 60, "portrait")
    page = await visits.open(barn.url, color_scheme=scheme, **profile)
    pages = {
        "#/": page.locator(".running progress[value]").nth(11),
        f"#/tasks/{made}": page.locator("[data-output] pre").first,
        "#/tasks": page.locator("tbody tr").nth(14),
        "#/batches": page.locator("tbody tr").first,
        f"#/batches/{batch}": page.locator("tbody tr").nth(13),
        "#/submit": page.get_by_role("button", name="Vary an input"),
        "#/studio": page.get_by_text("Make a set"),
        "#/cluster/models": page.get_by_role("button", name="Fetch", exact=True),
    }
    for path, seen in pages.items():
        await page.goto(f"{barn.url}/{path}")
        await expect(seen).to_be_visible()
        assert await find_violations(page) == [], path
        width = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width == 0, path


async def test_axe_finds_nothing_on_the_login(barn: Barn, visits: Visits) -> None:
    page = await visits.open(barn.url)
    await page.route("**/corral/v1/session", lambda route: route.fulfill(json={"owner": None}))
    await page.reload()
    await expect(page.get_by_label("Token")).to_be_visible()
    assert await find_violations(page) == []


async def test_the_keyboard_is_enough_to_cancel_a_task_and_to_change_pages(barn: Barn, visits: Visits) -> None:
    await barn.submit(13, 60, "step")
    page = await visits.open(barn.url)
    await expect(page.get_by_role("row").filter(has_text="step-13")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    cancel = page.get_by_role("button", name="Cancel step-13")
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await cancel.evaluate("(button) => button === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("step-13 is cancelled")).to_be_visible()

    await page.get_by_role("link", name="Tasks").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    await expect(page.locator("#main")).to_be_focused()
