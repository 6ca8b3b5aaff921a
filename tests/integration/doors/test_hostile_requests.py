"""Requests that no honest client sends are refused by the doors in their own shapes, never answered as a bug."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import FormData

from corral.cluster.values import Cluster, EngineSettings, Instance, Node
from corral.gateway.forms import MOST_PARTS
from doubles.guest_desk import OpenDesk
from doubles.serving import Serving
from integration.doors.conftest import Open

TARGETS = [
    *("/comfyui/history/%00", "/comfyui/history/a%00b", "/comfyui/api/jobs/%00", "/comfyui/models/%00"),
    *("/comfyui/view?filename=%00", "/comfyui/view?filename=a&subfolder=%00", "/comfyui/models/%0d%0aX-Forged:%201"),
    *("/comfy/api/v2/jobs/%00", f"/comfy/api/v2/jobs?limit=0{'9' * 5000}", "/comfy/api/v2/assets/%00"),
    *("/v1/files/%00", "/v1/files/%00/content", "/v1/files?after=%00", "/v1/files?purpose=%00"),
    *(f"/v1/files?limit={'9' * 5000}", "/v1/batches/%00", "/v1/batches?after=%00", f"/v1/batches?limit={'9' * 5000}"),
]
DOORS = ("/comfyui/prompt", "/v1/chat/completions", "/v1/batches", "/api/chat", "/v1/messages")
FORMS = {"/comfyui/upload/image": "image", "/comfy/api/v2/assets": "file", "/v1/files": "file"}


@pytest.fixture
async def api(open_house: Open) -> AsyncIterator[Serving]:
    """The doors, with an instance of ComfyUI that is away."""
    comfyui = EngineSettings(name="comfyui", instances=(Instance(name="a", url="http://127.0.0.1:9"),))
    cluster = Cluster(name="test", nodes=(Node(name="node"),), engines={"comfyui": comfyui})
    async with open_house(cluster, guests=OpenDesk({})) as api:
        yield api


@pytest.mark.parametrize("target", TARGETS)
async def test_targets_that_name_nothing_are_refused(api: Serving, target: str) -> None:
    answer = await api.get(target)

    assert 400 <= answer.status < 500
    assert "x-forged" not in answer.headers
    assert answer.json is not None


@pytest.mark.parametrize("path", FORMS)
async def test_forms_that_cannot_be_read_are_refused(api: Serving, path: str) -> None:
    part = b'Content-Disposition: form-data; name="a"\r\n\r\n'
    bodies = {
        "x" * 3000: b"",
        "nul": b"--nul\r\n" + part + b"\x00\r\n--nul--\r\n",
        "many": b"".join(b"--many\r\n" + part + b"\r\n" for _ in range(MOST_PARTS + 1)) + b"--many--\r\n",
    }
    for boundary, body in bodies.items():
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = await api.call("POST", path, data=body, headers=headers)
        assert (answer.status in (400, 422), boundary) == (True, boundary)
        assert answer.json["error"]


async def test_files_keep_names_in_other_alphabets(api: Serving) -> None:
    form = FormData(quote_fields=False)
    form.add_field("image", b"picture", filename="狐.png", content_type="image/png")
    answer = await api.call("POST", "/comfyui/upload/image", data=form)

    assert (answer.status, answer.json["name"]) == (200, "狐.png")


@pytest.mark.parametrize(
    "given", ["a/b\r\nSet-Cookie: x=1", "TEXT/HTML", "text/html ; x", "image/svg+xml", "ä/b", "no"]
)
async def test_assets_are_never_sent_under_a_type_that_forges_headers_or_runs(api: Serving, given: str) -> None:
    form = FormData()
    form.add_field("content_type", given)
    form.add_field("file", b"hello", filename="a.bin")
    asset = (await api.call("POST", "/comfy/api/v2/assets", data=form)).json
    answer = await api.get(f"/comfy/api/v2/assets/{asset['id']}/content")

    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/comfyui/prompt", "/v1/chat/completions", "/v1/batches", "/api/chat", "/v1/messages"]
)
async def test_viewer_has_no_work_done_at_any_door(api: Serving, path: str) -> None:
    made = await api.post("/corral/v1/tokens", {"name": "guest", "role": "viewer"})
    known = {"Authorization": f"Bearer {made.json['token']}"}

    assert (await api.post(path, {}, headers=known)).status == 403
    assert (await api.post(path, {}, headers={"Authorization": "Bearer corral_unknown"})).status == 401
