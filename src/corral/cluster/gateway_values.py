"""The doors of other ecosystems, as the cluster file says them: ports of their own, and who can use these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port of its own for the clients of one protocol.

    | `owner` | `allow` | it listens on | requests without a key |
    | --- | --- | --- | --- |
    | no | no | loopback | as on the main port |
    | yes | no | loopback | speak for the owner |
    | no | yes | every address, and answers these networks | are refused |
    | yes | yes | every address, and answers these networks | speak for the owner |
    """

    port: int
    owner: str | None = None
    """For whom requests without a key speak, with the rights of a submitter; None is as on the main port."""
    allow: tuple[str, ...] = ()
    """The networks that are answered; empty listens on loopback alone."""
    tls: bool = False
    """Whether it is encrypted with the main port's certificate."""

    @property
    def is_keyless(self) -> bool:
        """Whether requests without a key are answered for an owner."""
        return self.owner is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """A port that is the main port's, but for `/api`, which is passed to a server behind it."""

    port: int
    api: str | None = None
    """The URL of that server."""
    api_from: str | None = None
    """The environment variable that holds that URL; one of the two is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudModel:
    """A model of a provider elsewhere, for when nothing here can serve."""

    name: str
    """The provider, in answers and metrics."""
    model: str
    """The provider's own word for the model."""
    base_url: str
    """Ends before `/chat/completions`."""
    key_from: str | None = None
    """The environment variable with its key."""

    def __str__(self) -> str:
        return f"{self.model} of {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayModel:
    """A model as the clients of doors know it."""

    name: str
    aliases: tuple[str, ...] = ()
    workflow: str | None = None
    """The file of the workflow of ComfyUI that makes its images."""
    fallback: tuple[CloudModel, ...] = ()
    """In the order in which they are tried."""
    fallback_after: timedelta = timedelta(seconds=10)
    """How long a slot here is waited for before that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The doors of other ecosystems."""

    models: Mapping[str, GatewayModel] = field(default_factory=dict[str, GatewayModel])
    """By name."""
    stall_after: timedelta = timedelta(minutes=5)
    """The silence of a server after which its answer is given up."""

    ollama: Listener | None = None
    openai: Listener | None = None
    comfyui: Listener | None = None
    frontend: Frontend | None = None
    public_lists: bool = False
    """Whether the lists of voices and of speech models are answered without a key."""

    @property
    def doors(self) -> Mapping[str, Listener | Frontend]:
        """The ports of their own, by name."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Listener | Frontend)}

    @property
    def listeners(self) -> Mapping[str, Listener]:
        """Those of doors."""
        return {name: door for name, door in self.doors.items() if isinstance(door, Listener)}
