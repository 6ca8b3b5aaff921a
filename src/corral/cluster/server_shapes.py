"""The part of the cluster file on the server's door and its disk."""

from __future__ import annotations

from pydantic import Field

from corral.cluster.fields import Count, Size, Url
from corral.cluster.machine_shapes import Shape
from corral.cluster.receiver_shapes import NetworkText


class ServerOwnerLimitsShape(Shape):
    """Limits of one owner at the server's door."""

    uploads: Size | None = Field(None, description="Bytes of files that are uploaded and kept. Default: 100Gi.")
    connections: Count | None = Field(
        None, description="Connections at the same time. Default: a quarter of those that the server can have."
    )
    streams: Count | None = Field(None, description="Streams of events at the same time, of 64 in all. Default: 32.")


class ServerLimitsShape(Shape):
    """Limits of the server's door."""

    per_owner: ServerOwnerLimitsShape | None = Field(None, description="For each owner: a token, or `local`.")


class ConsoleShape(Shape):
    """Conversations of the console, and its rights beyond those of the person in front of it."""

    conversations: bool = Field(
        True,
        strict=True,
        description="Whether conversations of the chat are kept in the database, for their owner alone. Default: yes. "
        "Turned off, nothing is added; what was kept before stays until its owner deletes it.",
    )
    may_apply: bool = Field(
        False,
        strict=True,
        description="Whether the server on Kubernetes gets the rights to apply layouts and to switch between them. "
        "Default: no; people do that with their own.",
    )


class ServerShape(Shape):
    """Settings of the server's door and its disk; they take effect with `corral reload`."""

    require_token: bool | None = Field(
        None,
        description="Ask for a token on loopback, too, as `corral up --require-token` does. Default: false.",
        strict=True,
    )
    disk_reserve: Size | None = Field(
        None, description="Free bytes below which nothing starts, and that no upload takes. Default: 256Mi."
    )
    link: Url | None = Field(
        None, description="The address under which people reach this server, for the links in notifications."
    )
    trusted_proxies: tuple[NetworkText, ...] = Field(
        (),
        description="Addresses and networks of reverse proxies: `127.0.0.1`, `10.0.0.0/8`. From there, X-Forwarded-For "
        "and X-Forwarded-Proto name the client's address and protocol. Default: none; these headers are ignored.",
    )
    limits: ServerLimitsShape | None = Field(None, description="Limits of owners.")
