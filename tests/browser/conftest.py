"""One Chromium and one server for all tests of the console; each test has a profile of its own.

What every test holds of every page: no request leaves the server, nothing is refused by the content security policy,
no script fails.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, BrowserType, ConsoleMessage, Page, async_playwright, expect

from browser.serving import CLUSTER, Barn, keep_barn
from doubles.comfyui import ComfyDouble
from doubles.openai_server import OpenAiDouble
from doubles.short_folders import lend_short_folder

CHROMIUM = "chromium"
"""Debian's, which `tests/packages.sh` installs."""
FAR_NAME = "barn.test"
"""Leads to loopback, and is another machine for the browser: plain HTTP from there is no secure context."""
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)  # machines that run other tests at the same time take long for an answer
_OFFLINE = "net::ERR_"
"""How Chromium reports requests to a server that is away; tests that stop one expect them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all of these tests in one event loop: that of their browser."""
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


async def launch(chromium_type: BrowserType, *arguments: str) -> Browser:
    """Start Debian's Chromium with further arguments."""
    path = shutil.which(CHROMIUM)
    assert path is not None, "install Chromium: `sh tests/packages.sh`"
    names = f"--host-resolver-rules=MAP {FAR_NAME} 127.0.0.1"
    return await chromium_type.launch(executable_path=path, args=["--no-sandbox", names, *arguments])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_type() -> AsyncIterator[BrowserType]:
    """What starts browsers of the run."""
    async with async_playwright() as playwright:
        yield playwright.chromium


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(chromium_type: BrowserType) -> AsyncIterator[Browser]:
    """The browser of the run."""
    browser = await launch(chromium_type)
    yield browser
    await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_barn() -> AsyncIterator[Barn]:
    """A server on loopback without tokens, with twelve slots."""
    with lend_short_folder("corral-console") as folder:
        async with keep_barn(folder) as barn:
            yield barn


@pytest_asyncio.fixture(loop_scope="session")
async def barn(running_barn: Barn) -> AsyncIterator[Barn]:
    """The server of the run; what a test leaves there is cancelled."""
    yield running_barn
    await running_barn.cancel_all()


@pytest_asyncio.fixture(loop_scope="session")
async def comfy(barn: Barn) -> AsyncIterator[ComfyDouble]:
    """An instance of ComfyUI that the server has while a test lasts."""
    async with ComfyDouble() as comfy:
        instance = f"  comfyui: {{instances: [{{name: easel, node: here, url: '{comfy.url}'}}]}}\n"
        await barn.change_cluster(CLUSTER + instance)
        yield comfy
        await barn.cancel_all()
        await barn.change_cluster(CLUSTER)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def writer() -> AsyncIterator[OpenAiDouble]:
    """A server elsewhere whose models write, one answer at a time."""
    models = {"echo": {}, "eye": {"capabilities": ["completion", "vision"]}, "mean": {"capabilities": ["completion"]}}
    async with OpenAiDouble(model_names=models) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded(writer: OpenAiDouble) -> AsyncIterator[Barn]:
    """A server that asks for tokens on loopback, too; its chat is that of the writer."""
    instance = f"openai: {{instances: [{{name: writer, node: here, url: '{writer.url}', lanes: 1}}]}}"
    cluster = CLUSTER.replace("engines:", f"engines:\n  {instance}")
    with lend_short_folder("corral-guarded") as folder:
        async with keep_barn(folder, "--require-token", cluster=cluster) as barn:
            yield barn


OpenPage = Callable[..., Awaitable[Page]]
"""Opens an address of a server in a profile of its own; further arguments are those of a profile."""


class Visits:
    """Opens pages, and knows what went wrong in any of them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._stack = AsyncExitStack()
        self.problems: list[str] = []

    async def open(self, url: str, path: str = "", **profile: Any) -> Page:  # playwright's own arguments
        """Open a page of a server in a new profile."""
        context = await self._browser.new_context(**profile)
        self._stack.push_async_callback(context.close)
        return await self.open_in(context, url, path)

    async def open_in(self, context: BrowserContext, url: str, path: str = "") -> Page:
        """Open one more page in a profile."""
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        page.on("request", lambda request: self._note_request(request.url, url))
        await page.goto(f"{url}/{path}")
        return page

    async def log_in(self, barn: Barn, token: str, path: str = "", **profile: Any) -> Page:  # as `open`
        """Open a page of a server that asks for a token, and give it one."""
        page = await self.open(barn.url, path, **profile)
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Log in").click()
        return page

    def _note_message(self, message: ConsoleMessage) -> None:
        is_refusal = "status of 4" in message.text or _OFFLINE in message.text
        if message.type == "error" and not is_refusal:
            self.problems.append(f"console: {message.text}")

    def _note_request(self, address: str, url: str) -> None:
        if not address.startswith((f"{url}/", "data:", f"blob:{url}/")):
            self.problems.append(f"a request left the server: {address}")

    async def close(self) -> None:
        """Close every profile."""
        await self._stack.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def visits(chromium: Browser) -> AsyncIterator[Visits]:
    """Pages of a test; it fails when something went wrong in one that the test did not ask for."""
    visits = Visits(chromium)
    yield visits
    await visits.close()
    assert visits.problems == []
