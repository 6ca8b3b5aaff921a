"""Files over HTTP: bounded on the way in, whole or in ranges on the way out, and never shown as a page."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from corral.server.services import Services
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes
from doubles import queue_life
from doubles.serving import MIB, Answered, Serving

CONTENT = bytes(range(256)) * 16
SHA256 = hashlib.sha256(CONTENT).hexdigest()


async def upload(api: Serving, content: object = CONTENT, name: str = "voice.wav") -> Answered:
    return await api.call("POST", f"/corral/v1/uploads?name={name}", data=content)


@pytest.fixture
async def output(api: Serving, services: Services) -> str:
    """The address of a task's output whose name needs quoting."""
    await upload(api)
    made = await api.post("/corral/v1/tasks", {"engine": "sleep", "inputs": {"seconds": 0}})
    file = StoredFile(
        name="a 100%.html", sha256=Sha256(SHA256), size=Bytes(len(CONTENT)), media_type="text/html; charset=utf-8"
    )
    await queue_life.succeed(services.pool, made.json["id"], file)
    return (await api.get(f"/corral/v1/tasks/{made.json['id']}")).json["outputs"][0]["url"]


async def test_upload_is_named_by_its_content_and_can_be_used(api: Serving) -> None:
    answer = await upload(api)
    assert answer.status == 201
    assert answer.json == {"sha256": SHA256, "size": len(CONTENT), "name": "voice.wav", "media_type": "audio/x-wav"}
    asked = {"engine": "command", "inputs": {"argv": ["true"]}, "files": {"in": {"upload": SHA256}}}
    used = await api.post("/corral/v1/tasks", asked)
    assert used.status == 201, used.body
    assert (await api.get(f"/corral/v1/artifacts/{SHA256}")).body == CONTENT


async def test_task_with_an_unknown_upload_is_refused(api: Serving) -> None:
    asked = {"engine": "command", "inputs": {"argv": ["true"]}, "files": {"in": {"upload": "0" * 64}}}
    answer = await api.post("/corral/v1/tasks", asked)
    assert (answer.status, answer.json["error"]["problems"][0]["where"]) == (422, "files.in")


async def test_upload_above_the_bound_is_refused_and_leaves_nothing(api: Serving, services: Services) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(MIB // 32)

    try:
        answer = await upload(api, endless())
        assert (answer.status, answer.json["error"]["code"]) == (413, "artifact.too_large")
    except aiohttp.ClientConnectionError:
        pass  # the server may close the connection before the client has sent all
    assert list((services.data_dir / "artifacts" / "incoming").iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", "..%2Fb", "a%5Cb", "a%00b"])
async def test_upload_with_a_path_as_name_is_refused(api: Serving, name: str) -> None:
    assert (await upload(api, name=name)).status == 422


async def test_output_is_an_attachment_with_the_type_and_name_that_the_task_gave(api: Serving, output: str) -> None:
    answer = await api.get(output)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''a%20100%25.html"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["etag"] == f'"{SHA256}"'


async def test_range_of_an_output_is_answered_alone(api: Serving, output: str) -> None:
    answer = await api.get(output, headers={"Range": "bytes=10-19"})
    assert (answer.status, answer.body) == (206, CONTENT[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(CONTENT)}"


async def test_range_outside_the_file_is_refused(api: Serving, output: str) -> None:
    answer = await api.get(output, headers={"Range": "bytes=99999-"})
    assert (answer.status, answer.json["error"]["code"]) == (416, "artifact.range_unsatisfiable")


async def test_range_of_another_version_gets_the_whole_file(api: Serving, output: str) -> None:
    answer = await api.get(output, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (answer.status, answer.body) == (200, CONTENT)


async def test_client_that_has_the_file_is_told_so(api: Serving, output: str) -> None:
    answer = await api.get(output, headers={"If-None-Match": f'"{SHA256}"'})
    assert (answer.status, answer.body) == (304, b"")


async def test_output_and_artifact_that_do_not_exist_are_missing(api: Serving, output: str) -> None:
    task = output.split("/outputs/")[0]
    for path, code in (
        (f"{task}/outputs/other.txt", "output.missing"),
        (f"{task}/outputs/..%2Fother.txt", "request.no_route"),
        (f"/corral/v1/artifacts/{'0' * 64}", "artifact.missing"),
    ):
        answer = await api.get(path)
        assert (answer.status, answer.json["error"]["code"]) == (404, code)
    assert (await api.get("/corral/v1/artifacts/..%2F..%2Fserver.json")).status in (404, 422)


async def test_file_that_was_changed_on_the_disk_is_refused_and_not_taken_for_what_was_stored(
    api: Serving, services: Services, output: str
) -> None:
    path = services.artifacts.locate(Sha256(SHA256))
    assert (await api.get(output)).status == 200
    path.chmod(0o644)
    path.write_bytes(bytes(len(CONTENT)))
    for address in (output, f"/corral/v1/artifacts/{SHA256}"):
        answer = await api.get(address)
        assert (answer.status, answer.json["error"]["code"]) == (409, "artifact.damaged")
    path.write_bytes(CONTENT)
    assert (await api.get(output)).body == CONTENT
