"""Takes the pictures of the console for the documentation, on a real server whose tasks sleep and draw.

    python docs/generate/screenshots.py

Needs Debian's Chromium; `make screenshots` sees to it.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from playwright.async_api import Page, async_playwright

REPOSITORY = Path(__file__).parents[2]
IMAGES = REPOSITORY / "docs" / "guides" / "images"
_WIDE = {"width": 1280, "height": 860}
_DRAW = """
import struct, zlib
rows = b"".join(b"\\0" + bytes(v for x in range(256) for v in (x, y, 255 - x)) for y in range(160))
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
head = struct.pack(">IIBBBBB", 256, 160, 8, 2, 0, 0, 0)
parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
open("sunset.png", "wb").write(b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(chunk(*part) for part in parts))
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
            await _take(page, f"{barn.url}/#/tasks/{drawn}", "[data-output] img", "console-task.png")
            await _take(page, f"{barn.url}/#/", ".running progress[value]", "console-now.png")
            await browser.close()
            await barn.cancel_all()


async def _take(page: Page, address: str, seen: str, name: str) -> None:
    await page.goto(address)
    await page.wait_for_selector(seen)
    await page.screenshot(path=IMAGES / name)
    sys.stderr.write(f"wrote docs/guides/images/{name}\n")


if __name__ == "__main__":
    asyncio.run(main())
