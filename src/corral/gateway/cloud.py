"""Providers elsewhere, for when nothing here can serve: off unless the cluster file names them for a model.

Their keys are read from the environment when a request is sent. Answers name the provider in a header: they are not
those of the GPUs here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import structlog

from corral.cluster.gateway_values import CloudModel
from corral.errors import CorralError, Kind
from corral.gateway.passing import Cloud, Errand, Prepared, UpstreamRefusedError
from corral.gateway.upstream import Answer, Outgoing, UpstreamError, Upstreams
from corral.slots.guests import Choice
from corral.work import Dialect, Endpoint

_log = structlog.get_logger()

ENGINE = "cloud"
"""The engine's name in the choice that a request is prepared for."""
_VERSION = "/v1"


class KeyMissingError(CorralError):
    """The environment lacks a provider's key."""

    code: ClassVar[str] = "cloud.key_missing"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class CloudFallback:
    """Asks the providers of a model one after the other."""

    upstreams: Upstreams
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    async def open(self, errand: Errand, stall_s: float) -> Cloud | None:
        """Return the first answer; None where the model has no provider. Raises: CorralError of the last one."""
        last: CorralError | None = None
        for model in errand.offer.fallback:
            try:
                answer, prepared = await self._ask(errand, model, stall_s)
            except (UpstreamError, KeyMissingError) as error:
                _log.warning("cloud_failed", provider=model.name, model=model.model, error=error.what)
                last = error
                continue
            if answer.status < 500 and answer.status != 429:
                _log.info("cloud_served", provider=model.name, model=model.model, label=errand.label)
                return Cloud(answer, prepared, model.name)
            last = UpstreamRefusedError(model.name, answer.status, b"")
            answer.close()
        if last is not None:
            raise last
        return None

    async def _ask(self, errand: Errand, model: CloudModel, stall_s: float) -> tuple[Answer, Prepared]:
        endpoint = Endpoint(
            url=model.base_url.rstrip("/"),
            dialects=frozenset({Dialect.OPENAI}),
            headers=self._make_headers(model),
            model=model.model,
        )
        prepared = errand.prepare(endpoint, Choice(ENGINE, model.model))
        outgoing = Outgoing(
            method=prepared.method,
            url=endpoint.url + prepared.path.removeprefix(_VERSION),
            headers={**endpoint.headers, "content-type": prepared.content_type},
            body=prepared.body,
            stall_s=stall_s,
        )
        return await self.upstreams.open(outgoing), prepared

    def _make_headers(self, model: CloudModel) -> dict[str, str]:
        """Return the header with the provider's key. Raises: KeyMissingError."""
        if model.key_from is None:
            return {}
        key = self.environment.get(model.key_from, "")
        if not key or not key.isprintable():
            hint = f"set {model.key_from} in the environment of the Corral server, and start it again"
            raise KeyMissingError(f"the environment variable {model.key_from} is not one line of text", hint=hint)
        return {"Authorization": f"Bearer {key}"}
