"""The page of the cluster: plan, power, forecast, fit, models, what a change would bring, lint, doctor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Page, expect

from browser.accessibility import find_violations
from browser.conftest import Visits
from browser.serving import CLUSTER, Barn

HYDRA = Path(__file__).parents[2] / "examples" / "hydra" / "before.yaml"
LATEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: ollama}
spec:
  selector: {matchLabels: {app: ollama}}
  template:
    metadata: {labels: {app: ollama}}
    spec: {containers: [{name: ollama, image: "ollama/ollama:latest"}]}
"""


@pytest_asyncio.fixture(loop_scope="session")
async def hydra(barn: Barn) -> AsyncIterator[Barn]:
    """The server, whose cluster file on disk is the example's while a test lasts; what is in effect stays."""
    (barn.folder / "cluster.yaml").write_text(HYDRA.read_text())
    yield barn
    (barn.folder / "cluster.yaml").write_text(CLUSTER)


async def show(page: Page, name: str) -> None:
    await page.get_by_role("navigation", name="Parts of the cluster").get_by_role("link", name=name, exact=True).click()


async def check(page: Page) -> None:
    """Hold that axe finds nothing, and that nothing is wider than a phone."""
    assert await find_violations(page) == []
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    await page.set_viewport_size({"width": 1280, "height": 800})


async def test_the_cluster_is_planned_powered_and_forecast_and_models_are_judged(hydra: Barn, visits: Visits) -> None:
    page = await visits.open(hydra.url)
    await page.get_by_role("link", name="Cluster", exact=True).click()
    await expect(page.get_by_role("region", name="What runs in pool")).to_contain_text("hydra-compute")
    await expect(page.locator("details").filter(has_text="animatediff")).to_contain_text("takes turns on")
    await check(page)

    await show(page, "Power")
    await expect(page.get_by_role("region", name="Power of hydra-ai")).to_contain_text("1,025 W")
    await page.get_by_label("Show where each number is from").check()
    await expect(page.get_by_role("region", name="Power of hydra-ai")).to_contain_text("575 W + 450 W")
    await page.get_by_label("Show where each number is from").uncheck()

    await show(page, "Forecast")
    await page.get_by_label("Length of the night").fill("1h")
    await page.get_by_role("button", name="Play the night").click()
    await expect(page.get_by_role("region", name="Forecast of images")).to_contain_text("120 images")
    chart = page.get_by_alt_text("The night of images, slot by slot")
    await expect(chart).not_to_have_js_property("naturalWidth", 0)
    await check(page)

    await show(page, "Fit")
    await page.get_by_label("Model (required)").fill("llama3:70b")
    await page.get_by_role("button", name="Judge").click()
    await expect(page.get_by_role("region", name="Where it fits")).to_contain_text("hydra-ai/gpu0")
    await page.get_by_label("Model (required)").fill("what is this")
    await page.get_by_role("button", name="Judge").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await check(page)


async def test_a_change_is_reported_and_its_checklist_is_ticked(hydra: Barn, visits: Visits) -> None:
    page = await visits.open(hydra.url, "#/cluster/upgrade")
    await page.get_by_label("Node or GPU").select_option("hydra-compute/gpu1")
    await page.get_by_label("New GPU").fill("RTX 507")
    await expect(page.locator("#value-0-note")).to_contain_text("did you mean `RTX 5070`")
    await page.get_by_label("New GPU").fill("5070ti")
    await expect(page.locator("datalist option[value='RTX 5070 Ti']")).to_have_count(1)
    await page.get_by_label("New GPU").fill("RTX 5070 Ti")
    await expect(page.locator("#value-0-note")).to_contain_text("16.0 GiB, 300 W")
    await page.get_by_role("button", name="Compare").click()
    await expect(page.get_by_role("region", name="In a night")).to_contain_text("1,920")
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download the whole report").click()
    assert "<svg" in Path(await (await downloading.value).path()).read_text()

    await page.get_by_role("button", name="Show the checklist").click()
    box = page.locator("[data-item] input").first
    await expect(box).to_be_disabled()
    await page.get_by_label("How you know that it is done").fill("seen in the rack")
    await box.click()
    await expect(box).to_be_checked()
    await expect(page.locator("[data-item]").first).to_contain_text("done")
    await check(page)


async def test_a_manifest_is_linted_the_machine_examined_and_a_model_fetched_and_deleted(
    hydra: Barn, visits: Visits
) -> None:
    page = await visits.open(hydra.url, "#/cluster/lint")
    await page.get_by_label("Text").fill(LATEST)
    await page.get_by_role("button", name="Lint", exact=True).click()
    await expect(page.locator(".findings")).to_contain_text("latest")
    await check(page)

    await show(page, "Doctor")
    await expect(page.locator(".findings")).to_contain_text("the dispatcher is leading")

    source = hydra.folder / "own.gguf"
    source.write_bytes(b"GGUF" + bytes(1000))
    await show(page, "Models")
    await page.get_by_label("Model (required)").fill(str(source))
    await page.get_by_role("button", name="Fetch", exact=True).click()
    row = page.get_by_role("row").filter(has_text="own.gguf")
    await expect(row).to_contain_text("1004 B")
    await page.get_by_label("Model (required)").fill("no-such-model")
    await page.get_by_role("button", name="Fetch", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("no-such-model")
    await check(page)
    await row.get_by_role("button", name="Delete").click()
    await row.get_by_role("button", name="Delete it now").click()
    await expect(row).to_have_count(0)
    assert source.exists()
