"""The studio: a set is made and shown with its progress, its measures, and what is stale."""

from __future__ import annotations

import json
from typing import Any

from playwright.async_api import Locator, expect

from browser.accessibility import find_violations
from browser.conftest import Visits
from browser.serving import Barn
from doubles.comfyui import ComfyDouble
from doubles.picture_sets import a_set


def a_set_of(look: str) -> dict[str, Any]:
    """A set of four pictures of one character."""
    return a_set("noise", characters=[{"name": "ada", "look": look}], thresholds={"width": {"least": 32}})


async def test_a_set_is_made_one_picture_rejected_and_remade_and_stale_ones_are_listed(
    barn: Barn, comfy: ComfyDouble, visits: Visits
) -> None:
    page = await visits.open(barn.url, "#/studio", viewport={"width": 1280, "height": 800})
    await page.get_by_text("Make a set").click()
    file = page.get_by_label("Set file, as JSON")
    await file.fill(json.dumps({**a_set_of("red hair"), "seeds": 0}))
    await page.get_by_role("button", name="Check").click()
    await expect(page.get_by_role("alert")).to_contain_text("seeds")
    await file.fill(json.dumps(a_set_of("red hair")))
    await page.get_by_role("button", name="Check").click()
    await expect(page.get_by_text("4 to make, 0 kept, 0 stale")).to_be_visible()
    assert await find_violations(page) == []

    await page.get_by_role("button", name="Make", exact=True).click()
    await expect(page.locator("[data-key][data-state='accepted'] img")).to_have_count(4)
    await expect(page.get_by_text("4 of 4", exact=True)).to_be_visible()
    await expect(page.get_by_role("meter", name="Kept of smile")).to_be_visible()
    picture = page.locator("[data-key='ada/smile/1']")
    await picture.get_by_role("button", name="Reject ada/smile/1").click()
    await expect(picture.get_by_role("link", name="take 2")).to_be_visible()
    await expect(picture).to_have_attribute("data-state", "accepted")
    await expect(measures_of(page.locator("tbody tr"), "smile")).to_contain_text("67%, 2 of 3")
    assert await find_violations(page) == []
    assert len(comfy.submissions) == 5

    await page.get_by_label("Grouped by").select_option("seed")
    await expect(page.get_by_role("heading", name="Which seed gives pictures that are kept")).to_be_visible()
    await page.get_by_label("State", exact=True).select_option("rejected")
    await expect(page.get_by_text("None is in this state.")).to_be_visible()

    await barn.post("/corral/v1/sets", {"file": a_set_of("black braids")})
    await page.reload()
    stale = page.get_by_role("region", name="Stale pictures")
    await expect(stale.locator("tbody tr")).to_have_count(4)
    await expect(stale.locator("tbody tr").first).to_contain_text("character.look")
    await page.get_by_role("link", name="Studio").click()
    await expect(page.get_by_role("progressbar", name="Progress of noise")).to_be_visible()


def measures_of(rows: Locator, value: str) -> Locator:
    """The row of a value of the setting by which takes are grouped."""
    return rows.filter(has_text=value)
