"""Kinds of services, and the parts of a service that name no other part of the file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ServiceKind(StrEnum):
    """A service's kind, for the renderer."""

    SERVER = "server"
    """Answers at a port, or just runs."""
    JOB = "job"
    """Runs to its end on demand: training, burn-in."""
    LITELLM = "litellm"
    """Routes language models to the Ollama services and to providers elsewhere."""
    NGINX = "nginx"
    """Forwards `/api/` to the services that it calls, and serves the rest itself."""
    CORRAL = "corral"
    """Corral's own server."""
    POSTGRESQL = "postgresql"
    REDIS = "redis"
    QDRANT = "qdrant"
    ADDON = "addon"
    """A part of the cluster that a chart of its name brings (`render --only addons`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """A value that is in a Kubernetes Secret (or in the environment), never in the cluster file."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A language model that LiteLLM offers from a provider elsewhere."""

    name: str
    """The name that clients use: `gpt-4`."""
    model: str
    """LiteLLM's name: `openai/gpt-4`."""
    key_from: str | None = None
    """The environment variable that holds the provider's key."""
    instead_of: tuple[str, ...] = ()
    """Models of the layout that fall back to it."""
