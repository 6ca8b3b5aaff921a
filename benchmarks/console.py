"""What a browser makes of the console, next to a blank page of the same server: `python -m benchmarks.console`.

A whole server, as `corral up` starts it, has twelve slots; Debian's Chromium runs without a screen, with 60 frames a
second, on the same machine. The blank page is what the server answers at `/health/live`: a line of text, no script.

- First paint is that of Chromium (`first-contentful-paint`), from the start of the navigation, in a new profile each
  time: nothing is in its cache. The console is whole when its twelve slots are on the page.
- Event to screen is the time from a line of the story, as the database has it (`now()` of its transaction), to the end
  of the frame that shows it. So it has the commit, the notification and the stream in it. Lines that leave the list's
  window before they are drawn have none: their number is printed.
- Frames dropped are those of 60 a second that were not drawn while the slots worked.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, Page, async_playwright

from benchmarks.programs import START_S, find_port, run_corral
from benchmarks.table import machine, percentile, show

SLOTS = 12
SECONDS = 0.5
"""How long each task sleeps: 24 of them end in a second."""
FRAME_MS = 1000 / 60
BLANK, CONSOLE = "health/live", "#/"
_LINES_OF_A_TASK = 4
_VIEW: Any = {"width": 1280, "height": 2400}  # the whole page is in view; playwright's type of it is a class of its own
_CLUSTER = f"""
apiVersion: corral/v1
name: benchmark
nodes: [{{name: here, gpus: [], cpu: {{slots: {SLOTS}}}}}]
engines:
  sleep: {{enabled: true}}
  llama: {{enabled: false}}
  whisper: {{enabled: false}}
  piper: {{enabled: false}}
  kokoro: {{enabled: false}}
  inspect: {{enabled: false}}
  onnx: {{enabled: false}}
"""
_WATCH = f"""
(() => {{
  const watch = (window.watch = {{ lines: {{}}, frames: [], whole: 0 }});
  new MutationObserver((changes) => {{
    const rows = changes.flatMap(({{ addedNodes }}) => [...addedNodes])
      .filter((node) => node instanceof Element)
      .flatMap((node) => [...(node.matches("[data-line]") ? [node] : []), ...node.querySelectorAll("[data-line]")]);
    const fresh = rows.map((row) => [row.dataset.line, Date.parse(row.querySelector("time").dateTime)]);
    requestAnimationFrame(() => setTimeout(() => {{
      const shownAt = performance.timeOrigin + performance.now();
      for (const [line, at] of fresh) watch.lines[line] ??= shownAt - at;
      const slots = document.querySelectorAll("[data-device]").length;
      if (!watch.whole && slots === {SLOTS}) watch.whole = performance.now();
    }}));
  }}).observe(document, {{ childList: true, subtree: true }});
  requestAnimationFrame(function note(at) {{
    watch.frames.push(at);
    requestAnimationFrame(note);
  }});
}})();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A page that was opened, in ms from the start of its navigation."""

    painted: float
    whole: float
    """Zero for the blank page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """A page while the slots worked."""

    delays: Sequence[float]
    """From each line to the screen, in ms."""
    dropped: float
    """The part of all frames, 0 to 1."""
    longest: float
    """Between two frames, in ms."""


async def open_page(browser: Browser, url: str, path: str) -> Page:
    """Open a page in a new profile."""
    context = await browser.new_context(viewport=_VIEW)
    await context.add_init_script(_WATCH)
    page = await context.new_page()
    await page.goto(f"{url}/{path}")
    if path == CONSOLE:
        await page.locator("[data-device]").nth(SLOTS - 1).wait_for()
        await page.get_by_text("Live", exact=True).wait_for()
    return page


async def measure_opening(browser: Browser, url: str, path: str) -> Opening:
    """Open a page once."""
    page = await open_page(browser, url, path)
    await page.wait_for_timeout(500)  # Chromium reports a paint after the frame was shown
    painted = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    whole = await page.evaluate("watch.whole")
    await page.context.close()
    return Opening(painted=painted, whole=whole)


async def measure_watching(
    session: aiohttp.ClientSession, browser: Browser, url: str, path: str, tasks: int
) -> Watching:
    """Let the slots work while a page is open."""
    page = await open_page(browser, url, path)
    await page.evaluate("watch.frames.length = 0")
    sleep = {"engine": "sleep", "inputs": {"seconds": SECONDS}}
    batch = {"name": "sleepers", "defaults": sleep, "tasks": [{"name": f"task-{number}"} for number in range(tasks)]}
    async with session.post(f"{url}/corral/v1/batches", json=batch) as answer:
        answer.raise_for_status()
        id = (await answer.json())["batch"]["id"]
    is_done = False
    while not is_done:
        async with session.get(f"{url}/corral/v1/batches/{id}/wait?timeout=60") as answer:
            is_done = (await answer.json())["done"]
    await page.wait_for_timeout(1000)  # the last line is on its way
    frames, lines = await page.evaluate("[watch.frames, Object.values(watch.lines)]")
    await page.context.close()
    gaps = [later - earlier for earlier, later in pairwise(frames)]
    missed = sum(max(0, round(gap / FRAME_MS) - 1) for gap in gaps)
    return Watching(delays=lines, dropped=missed / (missed + len(frames)), longest=max(gaps))


async def measure(url: str, rounds: int, tasks: int) -> None:
    """Measure both pages in turns and print the tables."""
    openings: dict[str, list[Opening]] = {BLANK: [], CONSOLE: []}
    watchings: dict[str, list[Watching]] = {BLANK: [], CONSOLE: []}
    async with aiohttp.ClientSession() as session, async_playwright() as playwright:
        async with asyncio.timeout(START_S):
            while not await _is_leading(session, url):  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(0.1)
        path = shutil.which("chromium") or sys.exit("install Chromium: `sh tests/packages.sh`")
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(rounds):
            for page in (BLANK, CONSOLE):
                openings[page].append(await measure_opening(browser, url, page))
        for _ in range(max(1, rounds // 3)):
            for page in (BLANK, CONSOLE):
                watchings[page].append(await measure_watching(session, browser, url, page, tasks))
        version = browser.version
        await browser.close()
    _print_openings(openings)
    delays = [delay for watching in watchings[CONSOLE] for delay in watching.delays]
    lines = len(watchings[CONSOLE]) * tasks * _LINES_OF_A_TASK
    show(
        f"Event to screen, {SLOTS} slots, tasks of {SECONDS} s",
        ("ms", "p50", "p95", "p99", "longest"),
        [("from the database to the frame", *(f"{percentile(delays, part):.0f}" for part in (0.5, 0.95, 0.99, 1.0)))],
        [f"{lines} lines, of which {lines - len(delays)} left the window before a frame; the aim is p95 below 300 ms"],
    )
    show(
        "Frames while the slots work",
        ("page", "dropped", "longest gap, ms"),
        [(name, *_describe_frames(watchings[page])) for page, name in ((BLANK, "blank"), (CONSOLE, "console"))],
        [f"Chromium {version}; {machine()}"],
    )


async def _is_leading(session: aiohttp.ClientSession, url: str) -> bool:
    with suppress(aiohttp.ClientError):
        async with session.get(f"{url}/health/ready") as answer:
            return (await answer.json())["dispatcher"] == "leading"
    return False


def _print_openings(openings: dict[str, list[Opening]]) -> None:
    blank = [opening.painted for opening in openings[BLANK]]
    painted = [opening.painted for opening in openings[CONSOLE]]
    whole = [opening.whole for opening in openings[CONSOLE]]
    rows = (("blank, first paint", blank), ("console, first paint", painted), ("console, all slots shown", whole))
    show(
        f"Opening, {len(blank)} times each in turns, nothing in the cache",
        ("ms", "median", "shortest", "longest"),
        [(name, *(f"{pick(times):.0f}" for pick in (statistics.median, min, max))) for name, times in rows],
    )


def _describe_frames(watchings: Sequence[Watching]) -> tuple[str, str]:
    dropped = statistics.mean(watching.dropped for watching in watchings)
    return f"{100 * dropped:.1f} %", f"{max(watching.longest for watching in watchings):.0f}"


def main() -> None:
    """Start a server and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="openings; a third as many times the slots work")
    parser.add_argument("--tasks", type=int, default=240, help="of each time that the slots work")
    asked = parser.parse_args()
    port = find_port()
    with tempfile.TemporaryDirectory(prefix="corral") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user where root starts it
        with run_corral(_CLUSTER, port, Path(folder)):
            asyncio.run(measure(f"http://127.0.0.1:{port}", asked.rounds, asked.tasks))


if __name__ == "__main__":
    main()
