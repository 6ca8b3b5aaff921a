"""The gallery: thumbnails, search, what is chosen as an archive, and the way back to the settings."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import asyncpg
from playwright.async_api import expect

from browser.accessibility import find_violations
from browser.conftest import Visits
from browser.serving import Barn

MAKE = """
import struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
for number in range(60):
    rows = (b"\\0" + bytes((number * 4, 80, 160)) * 600) * 400
    head = struct.pack(">IIBBBBB", 600, 400, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND", b"")
    open(f"{number:02}.png", "wb").write(b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(parts))
"""

COPIES = 20_000


async def copy_picture(barn: Barn, task: int) -> None:
    """Add rows to a task that made `00.png`: further outputs with the same content, in files of their own names."""
    database = await asyncpg.connect(f"postgresql://postgres:@/corral?host={barn.folder / 'data' / 'postgres'}")
    try:
        await database.execute(
            """
            insert into outputs (task_id, name, sha256, size, media_type)
            select task_id, 'copy-' || lpad(number::text, 5, '0') || '.png', sha256, size, media_type
            from outputs cross join generate_series(1, $2) number where task_id = $1 and name = '00.png'
            """,
            task,
            COPIES,
        )
    finally:
        await database.close()


async def test_pictures_are_found_shown_small_chosen_and_downloaded(barn: Barn, visits: Visits, tmp_path: Path) -> None:
    task = await barn.run_command(sys.executable, "-c", MAKE, name="foxes", outputs=["*.png"])
    page = await visits.open(barn.url, "#/gallery?search=IDAT", viewport={"width": 800, "height": 600})
    cells = page.locator("[data-picture]")
    last = page.locator(f"[data-picture='{task}/59.png'] img")
    await expect(last).to_have_js_property("naturalWidth", 256)
    await expect(last).to_have_js_property("naturalHeight", 170)
    assert 10 < await cells.count() < 60
    assert await find_violations(page) == []
    await page.get_by_role("region", name="Pictures").evaluate("(grid) => { grid.scrollTop = grid.scrollHeight; }")
    await expect(page.locator(f"[data-picture='{task}/00.png'] img")).to_have_js_property("naturalWidth", 256)

    await page.get_by_role("checkbox", name="00.png").check()
    await page.get_by_role("checkbox", name="01.png").check()
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download 2 as a ZIP").click()
    await (await started.value).save_as(tmp_path / "pictures.zip")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "pictures.zip").read_bytes())) as archive:
        assert archive.namelist() == [f"{task}-00.png", f"{task}-01.png"]
        assert archive.testzip() is None

    await page.get_by_label("Seed").press_sequentially("12")
    second = page.get_by_role("checkbox", name="01.png")
    await second.evaluate("(box) => box.click()")  # the page is drawn anew, the cursor stays
    await expect(page.get_by_role("link", name="Download 1 as a ZIP")).to_be_visible()
    await expect(page.get_by_label("Seed")).to_have_value("12")
    await page.get_by_label("Batch").fill("999999")
    await page.get_by_label("Batch").press("Enter")
    await expect(page.get_by_text("No picture is like that.")).to_be_visible()
    await page.goto(f"{barn.url}/#/gallery?search=IDAT")
    await cells.first.get_by_role("link").click()
    await expect(page.get_by_role("button", name="Clone with changes")).to_be_visible()


async def test_pictures_are_kept_and_rejected_by_key_and_filtered_by_it(barn: Barn, visits: Visits) -> None:
    task = await barn.run_command(sys.executable, "-c", MAKE, "herring", name="herring", outputs=["0[0-2].png"])
    page = await visits.open(barn.url, "#/gallery?search=herring", viewport={"width": 1280, "height": 800})
    links = [page.locator(f"[data-picture='{task}/0{number}.png'] a") for number in range(3)]
    for link, key, decision in zip(links, "rkf", ("reject", "keep", "favourite"), strict=True):
        await link.focus()
        await page.keyboard.press(key)
        await expect(page.locator(f"[data-decision='{decision}']")).to_have_count(1)
    assert await find_violations(page) == []
    await page.get_by_label(f"Decision about the picture {task}/02.png").select_option("")
    await expect(page.locator("[data-decision='none']")).to_have_count(1)

    await page.get_by_label("Decision", exact=True).select_option("reject")
    await expect(page.locator("[data-picture]")).to_have_count(1)
    await expect(links[0]).to_be_visible()
    await page.get_by_label("Decision", exact=True).select_option("undecided")
    await expect(links[2]).to_be_visible()
    await expect(page.locator("[data-picture]")).to_have_count(1)
    await page.reload()
    await expect(page.get_by_label("Decision", exact=True)).to_have_value("undecided")
    kept = (await barn.get("/corral/v1/pictures?search=herring&decision=keep"))["items"]
    assert [picture["name"] for picture in kept] == ["01.png"]

    await page.get_by_label("Decision", exact=True).select_option("")
    for number in (0, 1):
        await page.get_by_role("checkbox", name=f"0{number}.png").check()
    await page.get_by_label("Chosen ones").select_option("favourite")
    await page.get_by_label("Note").fill("for the cover")
    assert await find_violations(page) == []
    await page.get_by_role("button", name="Decide").click()
    await expect(page.get_by_text("Decided about 2 pictures")).to_be_visible()
    await expect(page.locator("[data-decision='favourite']")).to_have_count(2)
    await expect(links[0]).to_have_attribute("title", "herring\n\nNote: for the cover")
    favourites = (await barn.get("/corral/v1/pictures?search=herring&decision=favourite"))["items"]
    assert [picture["note"] for picture in favourites] == ["for the cover"] * 2


async def test_a_gallery_of_twenty_thousand_pictures_has_no_more_in_the_page_than_its_window(
    barn: Barn, visits: Visits
) -> None:
    task = await barn.run_command(sys.executable, "-c", MAKE, "herd", name="herd", outputs=["00.png"])
    await copy_picture(barn, task)
    page = await visits.open(barn.url, "#/gallery?search=herd", viewport={"width": 1280, "height": 800})
    cells = page.locator("[data-picture]")
    await expect(cells.first).to_be_visible()
    most = await page.evaluate(
        """async (copies) => {
          const ROW_PX = 210;
          const grid = document.querySelector(".gallery");
          let most = 0;
          const count = () => { most = Math.max(most, grid.querySelectorAll("[data-picture]").length); };
          new MutationObserver(count).observe(grid, { childList: true, subtree: true });
          const columns = getComputedStyle(grid.querySelector("ul")).gridTemplateColumns.split(" ").length;
          const whole = Math.ceil((copies + 1) / columns);  // with the original
          while (grid.querySelector(".whole").clientHeight / ROW_PX < whole) {
            grid.scrollTop = grid.scrollHeight;
            await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
          }
          grid.scrollTop = grid.scrollHeight;
          return most;
        }""",
        COPIES,
    )
    await expect(page.locator("[data-picture$='/copy-00001.png'] img")).to_have_js_property("naturalWidth", 256)
    assert 7 < most < 100
    await page.get_by_role("region", name="Pictures").evaluate("(grid) => { grid.scrollTop = 0; }")
    await expect(page.locator(f"[data-picture$='/copy-{COPIES:05}.png'] img")).to_have_js_property("naturalWidth", 256)
