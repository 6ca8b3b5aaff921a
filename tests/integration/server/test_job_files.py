"""Files of jobs elsewhere: a token is good for one attempt, and for nothing else."""

from __future__ import annotations

from uuid import UUID, uuid4

from corral.server.services import Services
from doubles.serving import Serving

CONTENT = bytes(range(256)) * 64


def name_file(attempt: UUID, kind: str, name: str = "lora.safetensors") -> str:
    return f"/corral/v1/attempts/{attempt}/{kind}?name={name}"


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_job_fetches_its_inputs_and_delivers_its_outputs_with_its_token(
    api: Serving, services: Services
) -> None:
    attempt = uuid4()
    token = services.job_files.open(attempt)
    folder = services.job_files.find(attempt)
    (folder / "inputs" / "words.txt").write_text("a cat")

    fetched = await api.call("GET", name_file(attempt, "inputs", "words.txt"), headers=with_token(token))
    delivered = [
        await api.call("PUT", name_file(attempt, "outputs", name), data=CONTENT, headers=with_token(token))
        for name in ("lora.safetensors", "sample/1.png")
    ]

    assert (fetched.status, fetched.body) == (200, b"a cat")
    assert [answer.status for answer in delivered] == [204, 204]
    outputs = folder / "outputs"
    files = {str(path.relative_to(outputs)): path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    assert files == {"lora.safetensors": CONTENT, "sample/1.png": CONTENT}


async def test_no_other_token_opens_the_files_of_an_attempt(api: Serving, services: Services) -> None:
    attempt, other = uuid4(), uuid4()
    token, strange = services.job_files.open(attempt), services.job_files.open(other)
    for wrong in (with_token(strange), with_token("corral_local")):
        answer = await api.call("PUT", name_file(attempt, "outputs"), data=CONTENT, headers=wrong)
        assert (answer.status, answer.json["error"]["code"]) == (403, "job.token")
    assert (await api.call("PUT", name_file(attempt, "outputs"), data=CONTENT, headers={})).status == 401
    assert (await api.call("GET", "/corral/v1/tasks", headers=with_token(token))).status == 401
    services.job_files.close(attempt)
    ended = await api.call("PUT", name_file(attempt, "outputs"), data=CONTENT, headers=with_token(token))
    assert ended.status == 403
    assert not services.job_files.find(attempt).exists()


async def test_a_name_stays_inside_and_a_file_is_whole_or_not_there(api: Serving, services: Services) -> None:
    attempt = uuid4()
    token = services.job_files.open(attempt)
    for name in ("../token.sha256", "/etc/passwd"):
        answer = await api.call("PUT", name_file(attempt, "outputs", name), data=CONTENT, headers=with_token(token))
        assert (answer.status, answer.json["error"]["code"]) == (422, "job.file_name")
    large = await api.call("PUT", name_file(attempt, "outputs"), data=bytes(64 * 2**20), headers=with_token(token))
    assert large.status == 413
    assert [path.name for path in services.job_files.find(attempt).rglob("*") if path.is_file()] == ["token.sha256"]
