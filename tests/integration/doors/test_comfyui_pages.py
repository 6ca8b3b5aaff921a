"""What the ComfyUI door passes on to instances as it is: never what an instance says of other owners, and no keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from yarl import URL

from corral.cluster.gateway_values import Listener
from corral.cluster.values import Cluster, EngineSettings, Instance, Node
from corral.server.doors.comfyui_page import find_page
from corral.tasks.store.tokens import create_token
from doubles.serving import Serving
from doubles.yard import Yard
from integration.doors.conftest import Open


@dataclass
class Page:
    """An instance that answers everything, and notes what it was asked."""

    asked: list[str] = field(default_factory=list[str])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    bodies: list[bytes] = field(default_factory=list[bytes])

    async def answer(self, request: web.Request) -> web.Response:
        """Note a request as it came on the wire."""
        self.asked.append(request.raw_path)
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(text="from the instance")


@dataclass(frozen=True)
class House:
    """The door, the instance that answers its browsers, and another one."""

    api: Serving
    page: Page
    other: Page
    submitter: dict[str, str]
    """The headers of a key that submits and does not administer."""


@pytest.fixture
async def house(open_house: Open, yard: Yard) -> AsyncIterator[House]:
    pages = Page(), Page()
    async with AsyncExitStack() as stack:
        instances: list[Instance] = []
        for name, page in zip("ab", pages, strict=True):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", page.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            instances.append(Instance(name=name, url=f"http://127.0.0.1:{runner.addresses[0][1]}"))
        comfyui = EngineSettings(name="comfyui", instances=tuple(instances))
        cluster = Cluster(name="test", nodes=(Node(name="node"),), engines={"comfyui": comfyui})
        _, secret = await create_token(yard.pool, name="ann", role="submitter")
        api = await stack.enter_async_context(open_house(cluster))
        yield House(api, *pages, {"Authorization": f"Bearer {secret}"})


async def ask_raw(api: Serving, target: str) -> bytes:
    """Send a request whose path no client library would leave as it is."""
    address = URL(api.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/x/../history",
        "/x/%2e%2e/history",
        "/./queue",
        "/api/x/..%2fhistory",
        "/internal/logs/raw",
        "/internal%2flogs",
        "/internal/files/output",
    ],
)
async def test_paths_that_lead_to_the_work_of_all_owners_reach_no_instance(house: House, path: str) -> None:
    answer = await ask_raw(house.api, f"/comfyui{path}")

    assert b" 404 " in answer.splitlines()[0]
    assert not {"/history", "/queue"} & {URL(asked, encoded=True).path for asked in house.page.asked}
    assert b"from the instance" not in answer


@pytest.mark.parametrize(
    "path", ["/userdata/workflows%2Fa.json?overwrite=true", "/history%3Fmax_items=1", "/%2568istory"]
)
async def test_paths_are_passed_on_as_they_were_spelled(house: House, path: str) -> None:
    answer = await ask_raw(house.api, f"/comfyui{path}")

    assert b"from the instance" in answer
    assert house.page.asked == [path]


async def test_keys_of_visitors_do_not_reach_an_instance(house: House) -> None:
    for name, value in (("X-Api-Key", "corral_local"), ("Authorization", "Bearer corral_local"), ("Cookie", "a=b")):
        assert (await house.api.get("/comfyui/settings", headers={name: value})).body == b"from the instance"

    assert len(house.page.headers) == 3
    assert not any({"x-api-key", "authorization", "cookie"} & headers.keys() for headers in house.page.headers)


async def test_upload_through_a_route_of_a_custom_node_reaches_every_instance(house: House) -> None:
    answer = await house.api.post("/comfyui/api/vhs/uploadvideo", {"video": "fox"})

    assert answer.body == b"from the instance"
    assert house.page.asked == house.other.asked == ["/api/vhs/uploadvideo"]
    assert house.page.bodies == house.other.bodies == [b'{"video": "fox"}']
    await house.api.post("/comfyui/api/settings/theme", {"dark": True})
    assert len(house.other.asked) == 1


async def test_instances_are_administered_by_administrators_alone(house: House) -> None:
    routes = ("GET", "/manager/reboot"), ("POST", "/v2/manager/queue/install"), ("POST", "/a_custom_node/run")
    for method, path in routes:
        refused = await house.api.call(method, f"/comfyui{path}", headers=house.submitter)
        assert refused.status == 403
        assert refused.json["node_errors"] == {}
        assert refused.json["error"]["type"] == "auth.role"
        assert "administrator's key" in refused.json["error"]["details"]
    assert house.page.asked == []

    for method, path in routes:
        assert (await house.api.call(method, f"/comfyui{path}")).body == b"from the instance"
    assert house.page.asked == [path for _, path in routes]


async def test_submitter_reads_the_page_saves_its_work_and_uploads(house: House) -> None:
    for method, path in (("GET", "/"), ("POST", "/api/userdata/workflows%2Fa.json"), ("POST", "/vhs/uploadvideo")):
        answer = await house.api.call(method, f"/comfyui{path}", headers=house.submitter)
        assert answer.body == b"from the instance"


async def test_page_is_apart_from_the_main_ports_own_api(house: House) -> None:
    page = await house.api.get("/comfyui/", headers={"Accept": "text/html,*/*"})
    assert page.status == 404
    assert b"port of its own" in page.body
    assert house.page.asked == []

    script = await house.api.get("/comfyui/extensions/a_custom_node/index.html", headers={"Accept": "text/html"})
    assert script.body == b"from the instance"
    assert script.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize(
    ("host", "listener", "address"),
    [
        ("127.0.0.1:7433", None, None),
        ("127.0.0.1:7433", Listener(port=8288), "http://127.0.0.1:8288/"),
        ("[::1]:7433", Listener(port=8288, tls=True), "https://[::1]:8288/"),
        ("desk.lan:7433", Listener(port=8288), None),
        ("desk.lan:7433", Listener(port=8288, owner="family", allow=("192.168.1.0/24",)), "http://desk.lan:8288/"),
    ],
)
def test_browser_is_sent_to_the_page_where_it_can_open_it(
    host: str, listener: Listener | None, address: str | None
) -> None:
    assert find_page(host, listener) == address
