"""The page for new work: forms from schemas, what varies, a workflow that is dropped, problems at their fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from playwright.async_api import Page, expect

from browser.accessibility import find_violations
from browser.conftest import Visits
from browser.serving import Barn
from doubles.comfyui import ComfyDouble
from doubles.comfyui_editor import plain_text_to_image


async def drop_file(page: Page, place: str, name: str, content: str) -> None:
    """Drop a file on a part of the page, as a hand does from a file manager."""
    await page.locator(place).evaluate(
        """(place, [name, content]) => {
          const dropped = new DataTransfer();
          dropped.items.add(new File([content], name, { type: "application/json" }));
          for (const kind of ["dragover", "drop"])
            place.dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }""",
        [name, content],
    )


async def test_a_form_follows_the_schema_keeps_what_was_typed_and_shows_problems_at_their_fields(
    barn: Barn, visits: Visits
) -> None:
    await barn.submit(1, 0, "measured")
    page = await visits.open(barn.url)
    await page.get_by_role("link", name="Submit", exact=True).click()
    await page.get_by_label("Engine", exact=True).select_option("comfyui")
    await page.get_by_label("Prompts, one on each line").fill("of another engine")
    await page.get_by_label("Engine", exact=True).select_option("sleep")
    seconds = page.get_by_label("seconds (required)")
    await seconds.fill("soon")
    await page.get_by_label("Name", exact=True).fill("nap")
    await page.get_by_text("Queue, priority, deadline").click()
    await page.get_by_label("Done by").fill("2001-01-01T00:00:00Z")
    await page.get_by_role("button", name="Submit").click()
    await expect(seconds).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("#inputs-seconds-faults")).to_contain_text("seen: 'soon'")
    assert await find_violations(page) == []

    await page.reload()
    await expect(seconds).to_have_value("soon")
    await seconds.fill(str(2**53 + 1))
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#inputs-seconds-faults")).to_contain_text("would be rounded here")
    await seconds.fill("0")
    await page.get_by_role("button", name="Vary an input").click()
    await page.get_by_label("Input", exact=True).select_option("seconds")
    await page.get_by_label("Values, one on each line").fill("0\n0.1\n0.2")
    await page.get_by_label("How many of each").fill("4")
    await page.get_by_role("button", name="Check and forecast").click()
    await expect(page.get_by_role("alert")).to_contain_text("has passed")
    await page.get_by_label("Done by").fill("")  # which folds nothing up
    await page.get_by_label("Done by").fill(datetime.now(UTC).replace(year=2999).isoformat())
    await page.get_by_role("button", name="Check and forecast").click()
    forecast = page.get_by_role("status").filter(has=page.get_by_role("heading", name="12 tasks"))
    await expect(forecast).to_contain_text("nap-01 seconds: 0")
    await expect(forecast).to_contain_text("in time")
    await expect(forecast).not_to_contain_text("unknown")
    await page.get_by_role("button", name="Submit").click()
    await expect(page.get_by_role("heading", name="Batch")).to_be_visible()
    await expect(page.locator("tbody .badge.succeeded")).to_have_count(12)
    tasks = (await barn.get("/corral/v1/tasks?limit=12"))["items"]
    assert sorted(task["inputs"]["seconds"] for task in tasks) == [0] * 4 + [0.1] * 4 + [0.2] * 4
    await page.goto(f"{barn.url}/#/submit")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("")


async def test_a_workflow_that_is_dropped_is_converted_varied_and_makes_its_pictures(
    barn: Barn, comfy: ComfyDouble, visits: Visits
) -> None:
    page = await visits.open(barn.url, "#/submit")
    await page.get_by_label("Engine", exact=True).select_option("comfyui")
    link = page.get_by_role("link", name="Open ComfyUI's page")
    await expect(link).to_have_attribute("href", f"{barn.url}/comfyui/")
    await drop_file(page, "[data-drop=workflow]", "portrait.json", json.dumps(plain_text_to_image()))
    await expect(page.get_by_text("portrait.json: 7 nodes")).to_be_visible()
    await page.get_by_label("Prompts, one on each line").fill("a red barn\n\na horse")
    await page.get_by_role("button", name="Vary an input").click()
    await page.get_by_label("Input", exact=True).select_option("set.3.steps")
    await page.get_by_label("Values, one on each line").fill("2\n3")
    await page.get_by_role("button", name="Vary an input").click()
    await page.get_by_label("Input", exact=True).last.select_option("set.7.text")
    await page.get_by_label("Values, one on each line").last.fill("007")
    await page.get_by_role("button", name="Check and forecast").click()
    await expect(page.get_by_role("heading", name="4 tasks")).to_be_visible()
    assert await find_violations(page) == []
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("tbody .badge.succeeded")).to_have_count(4)
    await page.locator("tbody a").first.click()
    await expect(page.locator("[data-output] img")).to_have_js_property("naturalWidth", 32)
    assert len(comfy.submissions) == 4
    tasks = (await barn.get("/corral/v1/tasks?limit=4"))["items"]
    assert [task["inputs"]["set"]["7.text"] for task in tasks] == ["007"] * 4
