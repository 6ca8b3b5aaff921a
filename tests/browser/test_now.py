"""The page of what runs, what waits and what happens, in a real browser on a real server."""

from __future__ import annotations

import asyncio
import json

from playwright.async_api import Page, expect

from browser.conftest import Visits
from browser.serving import Barn

TASKS, SLOTS = 1000, 12
LINES_OF_A_TASK = ("submitted", "leased", "started", "succeeded")


async def is_live(page: Page) -> None:
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()


async def read_shown_lines(page: Page) -> list[int]:
    """Scroll through the list of events, and return the ids of its rows in the order in which they are shown."""
    shown = await page.evaluate(
        """async () => {
          const list = document.querySelector(".virtual");
          const ids = [];
          for (let top = 0; ; top += list.clientHeight) {
            list.scrollTop = top;
            await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
            for (const row of list.querySelectorAll("[data-line]")) {
              const id = Number(row.dataset.line);
              if (ids.length === 0 || id !== ids.at(-1)) if (!ids.slice(-120).includes(id)) ids.push(id);
            }
            if (top + list.clientHeight >= list.scrollHeight) return ids;
          }
        }"""
    )
    return [int(line) for line in shown]


async def read_story(barn: Barn, batch: int) -> list[int]:
    """Read the ids of all lines of a batch from the API's stream, until its last task has ended."""
    ids: list[int] = []
    ended = 0
    headers = {"Authorization": f"Bearer {barn.token}"}
    async with barn.session.get(f"{barn.url}/corral/v1/events?after=0&batch={batch}", headers=headers) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "id" in event:
                    ids.append(event["id"])
                    ended += event["kind"] == "succeeded"
            if ended == TASKS:
                return ids
    raise AssertionError(f"the stream ended after {ended} tasks")


async def test_what_runs_and_what_waits_is_shown_with_progress_and_reasons(barn: Barn, visits: Visits) -> None:
    await barn.submit(SLOTS + 2, 60, "portrait")
    page = await visits.open(barn.url)
    await is_live(page)

    await expect(page.locator("[data-device]")).to_have_count(SLOTS)
    await expect(page.locator(".running progress[value]")).to_have_count(SLOTS)
    await expect(page.locator(".running").filter(has_text="portrait-1")).not_to_have_count(0)
    row = page.get_by_role("row").filter(has_text="portrait-14")
    await expect(row).to_contain_text("local")
    await expect(row).to_contain_text("batch")
    await expect(row).to_contain_text("12 slots that could run it are busy")


async def test_a_task_that_waits_is_moved_up_and_cancelled_from_the_page(barn: Barn, visits: Visits) -> None:
    await barn.submit(SLOTS + 3, 60, "shot")
    page = await visits.open(barn.url)
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(3)

    await page.get_by_label("Priority of shot-15").select_option("high")
    await expect(rows.first).to_contain_text("shot-15")
    await page.get_by_role("button", name="Cancel shot-13").click()
    await expect(rows).to_have_count(2)
    await expect(page.get_by_text("shot-13 is cancelled")).to_be_visible()

    tasks = (await barn.get("/corral/v1/tasks?limit=15"))["items"]
    facts = {task["name"]: (task["state"], task["priority"]) for task in tasks}
    assert facts["shot-15"] == ("queued", "high")
    assert facts["shot-13"][0] == "cancelled"
    running = page.locator(".running").filter(has_text="shot-1").first
    name = await running.locator("a").inner_text()
    await page.get_by_role("button", name=f"Cancel {name}", exact=True).click()
    await expect(page.locator(".running").filter(has=page.get_by_text(name, exact=True))).to_have_count(0)


async def test_every_event_of_a_thousand_tasks_is_shown_in_order_in_two_browsers(barn: Barn, visits: Visits) -> None:
    pages = [await visits.open(barn.url), await visits.open(barn.url)]
    for page in pages:
        await is_live(page)
    batch = await barn.submit(TASKS, 0)
    story = await asyncio.wait_for(read_story(barn, batch), 200)

    assert len(story) == TASKS * len(LINES_OF_A_TASK)
    for page in pages:
        await expect(page.get_by_text(f"{len(story)} events since this page was opened")).to_be_visible()
        await expect(page.get_by_text("Nothing waits.")).to_be_visible()
        assert await read_shown_lines(page) == story


async def test_a_page_comes_back_by_itself_after_a_restart_and_has_missed_nothing(barn: Barn, visits: Visits) -> None:
    page = await visits.open(barn.url)
    await is_live(page)
    await barn.submit(2, 0, "before")
    await expect(page.get_by_text("8 events since this page was opened")).to_be_visible()
    await barn.stop()
    await expect(page.get_by_text("Reconnecting", exact=True)).to_be_visible()
    await page.context.set_offline(True)  # what happens now is behind it when it comes back
    await barn.start()
    await barn.submit(3, 0, "meanwhile")
    await page.context.set_offline(False)
    await is_live(page)
    await expect(page.get_by_text("20 events since this page was opened")).to_be_visible()
    shown = await read_shown_lines(page)
    assert shown == sorted(set(shown))
    assert len(shown) == 20
