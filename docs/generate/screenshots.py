"""Takes the pictures of the console for the documentation, on a real server whose tasks sleep and draw.

    python docs/generate/screenshots.py

Needs Debian's Chromium; `make screenshots` sees to it. Pictures are WebP, a third of PNG's size.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import sys
from pathlib import Path

from playwright.async_api import Page, async_playwright

REPOSITORY = Path(__file__).parents[2]
IMAGES = REPOSITORY / "docs" / "guides" / "images"
HYDRA = REPOSITORY / "examples" / "hydra" / "before.yaml"
_WIDE = {"width": 1000, "height": 640}
_QUALITY = 80
_WAIT_FOR_IMAGES = """
Promise.all([...document.images]
  .filter((image) => image.getBoundingClientRect().top < innerHeight)
  .map((image) => image.decode()))
"""
_DRAW = """
import struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
head = struct.pack(">IIBBBBB", 256, 160, 8, 2, 0, 0, 0)
for hue in range(1, 13):
    rows = b"".join(b"\\0" + bytes(v for x in range(256) for v in (x, y, 20 * hue)) for y in range(160))
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    picture = b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(chunk(*part) for part in parts)
    open(f"sunset-{hue:02}.png", "wb").write(picture)
"""


async def main() -> None:
    """Start a server, give it work, and take each picture."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from browser.serving import keep_barn
    from doubles.short_folders import lend_short_folder

    IMAGES.mkdir(exist_ok=True)
    with lend_short_folder("corral-pictures") as folder:
        async with keep_barn(folder) as barn, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = await browser.new_page(viewport=_WIDE)  # pyright: ignore[reportArgumentType]  a dictionary does
            drawn = await barn.run_command(sys.executable, "-c", _DRAW, name="sunset", outputs=["*.png"])
            await barn.submit(16, 40, "portrait")
            await _take(page, f"{barn.url}/#/tasks/{drawn}", "[data-output='sunset-01.png'] img", "console-task.webp")
            await _take(page, f"{barn.url}/#/gallery", "[data-picture$='sunset-12.png'] img", "console-gallery.webp")
            await _take(page, f"{barn.url}/#/", ".running progress[value]", "console-now.webp")
            (folder / "cluster.yaml").write_text(HYDRA.read_text(encoding="utf-8"), encoding="utf-8")
            await _take_forecast(page, f"{barn.url}/#/cluster/forecast")
            await _take_change(page, f"{barn.url}/#/cluster/upgrade")
            await browser.close()
            await barn.cancel_all()


async def _take_forecast(page: Page, address: str) -> None:
    await page.goto(address)
    await page.get_by_label("Length of the night").fill("1h")
    await page.get_by_role("button", name="Play the night").click()
    await _keep(page, "img[alt^='The night of images']", "console-forecast.webp")


async def _take_change(page: Page, address: str) -> None:
    await page.goto(address)
    await page.get_by_label("Node or GPU").select_option("hydra-compute/gpu1")
    await page.get_by_label("New GPU").fill("RTX 5070 Ti")
    await page.get_by_role("button", name="Compare").click()
    await _keep(page, "[aria-label='In a night']", "console-what-if.webp")


async def _take(page: Page, address: str, seen: str, name: str) -> None:
    await page.goto(address)
    await _keep(page, seen, name)


async def _keep(page: Page, seen: str, name: str) -> None:
    """Write the page as it is seen; what `seen` chooses is in view."""
    await page.locator(seen).first.scroll_into_view_if_needed()
    await page.evaluate(_WAIT_FOR_IMAGES)
    session = await page.context.new_cdp_session(page)
    shot = await session.send("Page.captureScreenshot", {"format": "webp", "quality": _QUALITY})
    await session.detach()
    (IMAGES / name).write_bytes(base64.b64decode(shot["data"]))
    sys.stderr.write(f"wrote docs/guides/images/{name}\n")


if __name__ == "__main__":
    asyncio.run(main())
