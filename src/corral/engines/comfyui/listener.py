"""Listens to one prompt over the WebSocket for as long as the prompt lasts.

Its messages are a courtesy to those watching, and a hint to look at the prompt sooner. Losing the socket loses neither
the prompt nor its outcome: the listener connects again, and the engine asks the queue and the history meanwhile.
"""

from __future__ import annotations

import asyncio

import aiohttp

from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.events import SUBSCRIBE, Course, read_binary
from corral.work import EngineUnavailableError, Reporter


class Listener:
    """Reports one prompt's progress and previews; `news` is set when the prompt might have ended."""

    def __init__(self, client: ComfyClient, course: Course, report: Reporter, timings: Timings) -> None:
        self._client = client
        self._course = course
        self._report = report
        self._timings = timings
        self.news = asyncio.Event()
        self._tried = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the socket reported that the prompt has ended."""
        return self._course.ended

    async def wait_for_connection(self) -> None:
        """Return when the first connection stands or has failed, so that no event of a quick prompt is missed."""
        await self._tried.wait()

    async def run(self) -> None:
        """Listen until cancelled, connecting again with growing pauses."""
        pause = self._timings.retry_s
        while True:
            try:
                if await self._listen():
                    pause = self._timings.retry_s
            except EngineUnavailableError:
                pass  # the engine's own look at the prompt decides how long that is borne
            finally:
                self._tried.set()
            # The socket closes when the instance dies: worth a look at the prompt.
            self.news.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._timings.poll_s)

    async def _listen(self) -> bool:
        heard = False
        async with self._client.open_socket(self._course.prompt) as socket:
            try:
                await socket.send_str(SUBSCRIBE)
                self._tried.set()
                async for message in socket:
                    heard = True
                    self._take(message)
            except (aiohttp.ClientError, ConnectionError):
                return heard
        return heard

    def _take(self, message: aiohttp.WSMessage) -> None:
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                self._take_text(message.data)
            case aiohttp.WSMsgType.BINARY:
                preview = read_binary(message.data)
                if preview is not None and preview.prompt in (None, self._course.prompt):
                    self._report.preview(preview.media_type, preview.data)
            case _:
                return

    def _take_text(self, raw: str) -> None:
        news = self._course.read(raw)
        if news is None:
            return
        self._report.progress(self._course.fraction, self._course.note)
        self._report.relay(*news)
        if self._course.ended:
            self.news.set()
