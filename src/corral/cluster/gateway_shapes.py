"""The shapes of `gateway` in a cluster file."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from corral.cluster.fields import Duration, EnvironmentName, FilePath, Name, Port, Text, Url, wrong
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
    tls: bool = Field(
        False,
        description="Encrypt it with the certificate of the main port (`corral up --tls-cert`). Default: plain, since "
        "many clients of Ollama and ComfyUI speak no TLS.",
    )


class FrontendShape(Shape):
    """A port that is as the main one, but for `/api`."""

    port: Port = Field(description="The port; it is on the main port's address, and asks for keys as that does.")
    api: Url | None = Field(
        None, description="The server that `/api/*` is passed to, unchanged: `http://backend:8000`."
    )
    api_from: EnvironmentName | None = Field(
        None,
        description="The environment variable with that address instead: `BACKEND_URL`, which a service that `calls` "
        "the backend gets in each layout.",
    )

    @model_validator(mode="after")
    def _check_api(self) -> Self:
        if (self.api is None) == (self.api_from is None):
            raise wrong("a frontend has one of `api` and `apiFrom`", "write the address, or the variable that has it")
        return self


class CloudModelShape(Shape):
    """A model of a provider elsewhere."""

    name: Name = Field(description="The provider: answers and metrics name it.")
    model: Text = Field(description="The provider's own word for the model.")
    base_url: Url = Field(description="Its address, which ends before `/chat/completions`: `https://host/v1`.")
    key_from: EnvironmentName | None = Field(
        None, description="The environment variable with its key, which is never in this file."
    )


class GatewayModelShape(Shape):
    """A model as the clients of doors know it."""

    aliases: tuple[Text, ...] = Field(
        (), description="More names for it: those that programs have built in, such as `gpt-4o`, `tts-1`, `whisper-1`."
    )
    workflow: FilePath | None = Field(
        None,
        description="Of a model of images: the workflow that makes them, in ComfyUI's API format; a path relative to "
        "this file.",
    )
    fallback: tuple[CloudModelShape, ...] = Field(
        (), description="Providers elsewhere, in order, for when nothing here can serve. Default: none, ever."
    )
    fallback_after: Duration | None = Field(
        None, description="How long a slot here is waited for before that. Default: 10s."
    )


class GatewayShape(Shape):
    """The doors of other ecosystems; the main port has each of them, these are ports of their own."""

    models: dict[Text, GatewayModelShape] = Field(
        default_factory=dict,
        description="Names, images and providers of models, beyond the lists of the instances; by name.",
    )
    stall_after: Duration | None = Field(
        None, description="The silence of a server after which its answer is given up. Default: 5m."
    )

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
