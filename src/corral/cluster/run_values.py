"""How Corral runs the server of an instance itself, as the cluster file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

READY_WITHIN = timedelta(minutes=5)
"""The bound of one start of a program that no preset knows: a large model loads from a slow disk in less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """A service of a Compose file."""

    file: str
    service: str
    program: str = "docker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of an image."""

    image: str
    program: str = "docker"
    port: int | None = None
    """The port within it; None is the engine's usual one."""
    volumes: tuple[str, ...] = ()
    """`/home/ada/models:/models`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A server that Corral starts when it is needed, and ends whole."""

    preset: str | None = None
    """The name of a program in `corral.presets`; None where `command` says what to start."""
    command: tuple[str, ...] = ()
    """A program of this machine and its arguments; `{port}` in them is the port."""
    systemd: str | None = None
    """A unit of systemd."""
    compose: Compose | None = None
    container: Container | None = None
    arguments: tuple[str, ...] = ()
    """More arguments, after the command's own."""
    folder: str | None = None
    """Where it runs; `~` is the home of the server's user, which it is where none is set."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    env_from: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables, each with the one of the server's own environment that holds its value."""
    port: int | None = None
    """None is a free one at each start."""
    health_path: str | None = None
    """None is the engine's."""
    ready_within: timedelta | None = None
    """The bound of one start; None is the preset's, or `READY_WITHIN`."""
    idle: timedelta | None = timedelta(minutes=15)
    """How long it stays without work; None is for ever."""
    always: bool = False
    """Whether it runs whenever Corral does."""
