"""The shapes of `gateway` in a cluster file."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from corral.cluster.fields import Name, Port, Url, wrong
from corral.cluster.machine_shapes import Shape
from corral.cluster.receiver_shapes import NetworkText


def _check_allow(networks: tuple[str, ...]) -> tuple[str, ...]:
    if not networks:
        raise wrong("a listener that allows no network answers no client", "name one, or remove `allow` for loopback")
    return networks


class ListenerShape(Shape):
    """A port for clients whose settings are a host and a port, often without a key."""

    port: Port = Field(description="The port: 11434 is where clients look for Ollama, 8188 for ComfyUI.")
    owner: Name | None = Field(
        None,
        description="For whom requests without a key speak: they submit and read what is this owner's, and never "
        "administer. Default: a key is needed as on the main port.",
    )
    allow: Annotated[tuple[NetworkText, ...], AfterValidator(_check_allow)] = Field(
        (),
        description="The networks and addresses that are answered: `192.168.1.0/24`. With it, it listens on every "
        "address. Default: it listens on loopback alone.",
    )


class FrontendShape(Shape):
    """A port that is as the main one, but for `/api`."""

    port: Port = Field(description="The port; it is on the main port's address, and asks for keys as that does.")
    api: Url = Field(description="The server that `/api/*` is passed to, unchanged: `http://backend:8000`.")


class GatewayShape(Shape):
    """The doors of other ecosystems; the main port has each of them, these are ports of their own."""

    ollama: ListenerShape | None = Field(None, description="A port that is Ollama to its clients.")
    openai: ListenerShape | None = Field(None, description="A port that is OpenAI's API to its clients.")
    comfyui: ListenerShape | None = Field(None, description="A port that is ComfyUI to its clients.")
    frontend: FrontendShape | None = Field(
        None, description="A port for the pages of a program that has an `/api` of its own."
    )
    public_lists: bool = Field(
        False,
        description="Answer `GET /v1/audio/voices` and `/v1/audio/models` without a key: Open WebUI sends none.",
    )
