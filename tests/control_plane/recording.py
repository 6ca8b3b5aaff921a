"""A proxy before the API server that shows which rights an account uses.

async with Recorder(cluster.plane, token) as recorder:
    async with open_api(kubeconfig=recorder.write_kubeconfig(tmp_path)) as api: ...
recorder.rights
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml
from aiohttp import web

from control_plane.plane import Plane


class Right(NamedTuple):
    """A right as Roles grant them, without the names of objects."""

    is_namespaced: bool
    """Whether it is for objects of one namespace; else for those without one, or of all."""
    resource: str
    """`apps/deployments`; `pods/log` of the core group."""
    verb: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that the API server has answered."""

    method: str
    path: str
    """With its query."""
    kind: str
    """Of its body."""
    body: bytes
    status: int


class Recorder:
    """Passes requests on to the API server with an account's token, and keeps the rights that they took."""

    def __init__(self, plane: Plane, token: str, rewrite: Callable[[str], str] = lambda path: path) -> None:
        """`rewrite` changes the path, with its query, of what is asked for."""
        self.rights: dict[Right, Asked] = {}
        """Those that were used, with a request of each: the first for an object that was there."""
        self.refused: set[Right] = set()
        """Those that the account does not have."""
        self._plane = plane
        self._token = token
        self._rewrite = rewrite

    async def __aenter__(self) -> Recorder:
        context = ssl.create_default_context(cafile=str(self._plane.folder / "ca.crt"))
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0))
        await self._listen(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _listen(self, port: int) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self._port: int = self._runner.addresses[0][1]

    async def cut(self) -> None:
        """Cut all connections, and refuse others, as an API server that has ended."""
        await self._runner.cleanup()

    async def listen_again(self) -> None:
        """Listen where it did before it was cut."""
        await self._listen(self._port)

    def write_kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig that leads here."""
        named = {"name": "recorded"}
        value: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "recorded",
            "clusters": [{**named, "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{**named, "user": {}}],
            "contexts": [{**named, "context": {"cluster": "recorded", "user": "recorded"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(value))
        return path

    async def ask_again(self, right: Right) -> int:
        """Ask for what used a right, as a dry run, and return the status of the answer."""
        asked = self.rights[right]
        path, body = asked.path, asked.body
        if asked.method != "GET" and "dryRun=" not in path:
            path = f"{path}{'&' if '?' in path else '?'}dryRun=All"
        if right.verb == "create" and asked.method == "PATCH":  # it is there by now: another one
            path, name = re.sub(r"/([^/?]+)\?", r"/\1-again?", path), json.loads(body)["metadata"]["name"]
            body = body.replace(f'"name": "{name}"'.encode(), f'"name": "{name}-again"'.encode(), 1)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": asked.kind}
        url = f"{self._plane.url}{path}"
        async with self._session.request(asked.method, url, data=body or None, headers=headers) as answer:
            return answer.status

    async def wait_for_refusal(self, right: Right) -> None:
        """Wait until what used a right is refused: the API server knows of a change of a role in some milliseconds."""
        async with asyncio.timeout(30):
            while await self.ask_again(right) != 403:  # noqa: ASYNC110 (another process learns of it)
                await asyncio.sleep(0.01)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}
        headers["Authorization"] = f"Bearer {self._token}"
        body = await request.read() or None
        url = f"{self._plane.url}{self._rewrite(request.path_qs)}"
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            self._note(request, body or b"", answer.status)
            passed = web.StreamResponse(status=answer.status)
            passed.content_type = answer.content_type
            await passed.prepare(request)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            return passed

    def _note(self, request: web.Request, body: bytes, status: int) -> None:
        asked = Asked(
            method=request.method,
            path=request.path_qs,
            kind=request.headers.get("Content-Type", "application/json"),
            body=body,
            status=status,
        )
        for right in read_rights(request.method, request.path, request.query, created=status == 201):
            if status == 403:
                self.refused.add(right)
            else:
                known = self.rights.get(right)
                if known is None or known.status != 200 == status:
                    self.rights[right] = asked


def read_rights(method: str, path: str, query: Mapping[str, str], *, created: bool) -> set[Right]:
    """Read the rights that a request takes (Kubernetes, authorization: request verbs); an apply that creates takes two.

    An answer to a dry run says 201 as well.
    """
    parts = path.strip("/").split("/")
    if parts[0] not in ("api", "apis") or len(parts) < 3:
        return set()
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    is_namespaced = rest[:1] == ["namespaces"] and len(rest) > 2
    rest = rest[2:] if is_namespaced else rest
    if not rest:
        return set()
    name = f"{group}/{'/'.join(rest[:1] + rest[2:])}".lstrip("/")
    verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(method)
    if verb is None:
        verb = "get" if len(rest) > 1 else "watch" if "watch" in query else "list"
    verbs = {verb, "create"} if verb == "patch" and created else {verb}
    return {Right(is_namespaced, name, verb) for verb in verbs}
