"""What messages about a remote engine may never say."""

import pytest

from corral.engines.building import build_remote
from corral.work import EngineUnavailableError
from doubles.ollama import OllamaDouble


@pytest.mark.parametrize("name", ["comfyui", "ollama", "openai"])
async def test_a_password_in_an_address_is_used_and_never_told(name: str) -> None:
    async with OllamaDouble() as gone:
        url = gone.url
    engine = build_remote(name, url=url.replace("//", "//me:secret@"), options={})

    with pytest.raises(EngineUnavailableError) as failure:
        await engine.check()
    await engine.close()

    assert failure.value.where == url
    assert "secret" not in str(failure.value)
