"""A command that is another version than its server says so, once, and goes on."""

from __future__ import annotations

from aiohttp import web

from corral import __version__
from corral.client.api import Api, describe_difference
from doubles.serving import Serving


def test_versions_that_differ_by_their_patch_are_the_same() -> None:
    assert describe_difference("0.1.0", "0.1.7") is None
    assert describe_difference("0.1.0", "0.2.0") == (
        "the server is Corral 0.2.0 and this command is 0.1.0: what they understand can differ"
    )
    assert describe_difference("0.1.0", "1.1.0") is not None


async def test_a_server_says_its_version_and_one_that_is_ours_gets_no_warning(api: Serving) -> None:
    assert (await api.get("/corral/v1/tasks")).headers["x-corral-version"] == __version__
    warnings: list[str] = []
    async with Api(api.url, None, warn=warnings.append) as client:
        await client.get("/corral/v1/tasks")
    assert warnings == []


async def test_another_version_is_named_once() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({}, headers={"X-Corral-Version": "9.8.7"})

    app = web.Application()
    app.router.add_get("/corral/v1/tasks", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        warnings: list[str] = []
        async with Api(f"http://127.0.0.1:{runner.addresses[0][1]}", None, warn=warnings.append) as client:
            await client.get("/corral/v1/tasks")
            await client.get("/corral/v1/tasks")
    finally:
        await runner.cleanup()
    assert [text.split(" and")[0] for text in warnings] == ["the server is Corral 9.8.7"]
