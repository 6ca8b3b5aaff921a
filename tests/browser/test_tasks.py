"""The pages of tasks and batches: filters, story, outputs, retry, clone."""

from __future__ import annotations

import sys

from playwright.async_api import expect

from browser.conftest import Visits
from browser.serving import Barn

MAKE_FILES = """
import base64, wave
png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
open("dot.png", "wb").write(base64.b64decode(png))
with wave.open("tone.wav", "wb") as sound:
    sound.setnchannels(1); sound.setsampwidth(2); sound.setframerate(8000); sound.writeframes(bytes(16000))
open("note.txt", "w").write("<b>bold</b> & plain")
open("figures.csv", "w").write('name,count\\n"a, b",3\\n')
open("page.html", "w").write("<script>document.title = 'taken over'</script>")
"""


async def test_outputs_are_shown_as_what_they_are_and_never_as_a_page(barn: Barn, visits: Visits) -> None:
    task = await barn.run_command(sys.executable, "-c", MAKE_FILES, name="files", outputs=["*"])
    page = await visits.open(barn.url, f"#/tasks/{task}")

    picture = page.locator("[data-output='dot.png'] img")
    await expect(picture).to_have_js_property("complete", True)
    await expect(picture).to_have_js_property("naturalWidth", 1)
    sound = page.locator("[data-output='tone.wav'] audio")
    await expect(sound).to_have_js_property("duration", 1)
    await expect(page.locator("[data-output='note.txt'] pre")).to_have_text("<b>bold</b> & plain")
    await expect(page.locator("[data-output='figures.csv'] td")).to_have_text(["a, b", "3"])
    await expect(page.locator("[data-output='page.html'] pre")).to_contain_text("<script>")
    await expect(page).to_have_title(f"Task {task} - barn - Corral")
    await expect(page.locator(".lines .kind")).to_have_text(["submitted", "leased", "started", "succeeded"])


async def test_a_task_that_failed_says_why_and_is_retried_or_cloned_with_changes(barn: Barn, visits: Visits) -> None:
    asked = {"engine": "command", "name": "fails", "inputs": {"argv": ["false"]}, "max_attempts": 1}
    task = (await barn.post("/corral/v1/tasks", asked))["id"]
    page = await visits.open(barn.url, f"#/tasks/{task}")
    await expect(page.locator(".title .badge")).to_have_text("failed")
    await expect(page.locator(".warning").first).to_contain_text("1")

    await page.get_by_role("button", name="Retry fails").click()
    await expect(page.get_by_role("link", name=f"task {task}", exact=True)).to_be_visible()
    await page.goto(f"{barn.url}/#/tasks/{task}")
    await page.get_by_role("button", name="Clone with changes").click()
    await page.get_by_label("Name").fill("works")
    await page.get_by_role("textbox", name="Inputs").fill("{not json")
    await page.get_by_role("button", name="Submit").click()
    await expect(page.get_by_role("alert")).to_contain_text("The inputs are not JSON")
    await page.get_by_role("textbox", name="Inputs").fill('{"argv": ["true"]}')
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator(".title strong")).to_have_text("works")
    await expect(page.locator(".title .badge")).to_have_text("succeeded")
    newest = (await barn.get("/corral/v1/tasks?limit=1"))["items"][0]
    assert (newest["name"], newest["max_attempts"], newest["inputs"]["argv"]) == ("works", 1, ["true"])


async def test_a_filter_is_in_the_address_and_chooses_tasks_as_they_change(barn: Barn, visits: Visits) -> None:
    await barn.submit(2, 0, "seen")
    await barn.run_command("true", name="other")
    page = await visits.open(barn.url, "#/tasks?engine=command&state=succeeded")
    names = page.locator("tbody td[data-label='Name']")
    await expect(names.first).to_have_text("other")
    await expect(names.filter(has_text="seen")).to_have_count(0)

    await page.get_by_label("Engine").fill("sleep")
    await page.get_by_label("Engine").press("Enter")
    await expect(names.filter(has_text="seen-1")).not_to_have_count(0)
    await expect(names.filter(has_text="other")).to_have_count(0)
    assert "engine=sleep" in page.url
    await barn.submit(1, 0, "late")
    await expect(names.first).to_have_text("late-1")


async def test_a_batch_shows_its_tasks_and_is_cancelled_and_retried(barn: Barn, visits: Visits) -> None:
    batch = await barn.submit(3, 120, "night")
    page = await visits.open(barn.url, "#/batches")
    await page.get_by_role("link", name="night").first.click()
    await expect(page.get_by_role("heading", name=f"Batch {batch}")).to_be_visible()
    await expect(page.locator("tbody tr")).to_have_count(3)

    await page.get_by_role("button", name=f"Cancel batch {batch}").click()
    await expect(page.locator("main")).to_contain_text("3 cancelled")
    await expect(page.locator("tbody .badge.cancelled")).to_have_count(3)
    await page.get_by_role("button", name=f"Retry batch {batch}").click()
    await expect(page.get_by_role("heading", name=f"Batch {batch + 1}")).to_be_visible()
    await expect(page.locator("tbody tr")).to_have_count(3)
