"""Secrets towards an instance: read from the environment when a request is sent, and shown nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from corral.cluster.values import Instance
from corral.work import EngineUnavailableError


class SecretMissingError(EngineUnavailableError):
    """The server's environment lacks a secret that an instance asks for."""

    code: ClassVar[str] = "instance.secret_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The names of the environment variables that hold what an instance asks for."""

    token_from: str | None = None
    headers_from: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def make_headers(self) -> dict[str, str]:
        """Return the headers of a request. Raises: SecretMissingError."""
        headers = {name: self.read_secret(variable) for name, variable in self.headers_from.items()}
        if self.token_from is not None:
            headers["Authorization"] = f"Bearer {self.read_secret(self.token_from)}"
        return headers

    def read_secret(self, variable: str) -> str:
        """Return the secret in a variable of the environment. Raises: SecretMissingError."""
        value = self.environment.get(variable, "")
        if not value or not value.isprintable():
            state = "is not set" if not value else "is not one line of text"
            hint = f"set {variable} in the environment of the Corral server, and start it again"
            raise SecretMissingError(f"the environment variable {variable} {state}", hint=hint)
        return value


def name_credentials(instance: Instance) -> Credentials:
    """Return the credentials that an instance of the cluster file names; the secrets are not read here."""
    return Credentials(token_from=instance.token_from, headers_from=instance.headers_from)
