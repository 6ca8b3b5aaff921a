"""The API server, over the connection that lightkube makes from a kubeconfig or a pod's account.

Objects are plain JSON, as manifests have them: lightkube's typed objects drop fields that they do not know, and what is
applied has to be what was rendered.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkube import AsyncClient, KubeConfig
from lightkube.config.client_adapter import AsyncClient as open_connection
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.types import ExecResponse
from yaml import YAMLError

from corral.errors import CorralError
from corral.kubernetes.errors import (
    ChangedMeanwhileError,
    FieldConflict,
    FieldConflictError,
    ForbiddenError,
    NoClusterError,
    RefusedError,
    UnknownKindError,
    UnreachableError,
)
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

MANAGER = "corral"
"""The field manager of server-side apply."""
_PAGE = 500
"""Objects per answer, as kubectl asks for them."""
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_WATCH_S = 120
"""The API server ends a watch after this time, and the next one goes on where it ended."""
_LATE_S = 30.0
"""A connection on which nothing came for so much longer has been lost on the way, without a word."""
_AT_ONCE = 8
"""Lists asked for at the same time."""
_NOT_THERE = re.compile(r'exec: "[^"]*": .*(executable file not found|no such file or directory)')
"""How containerd and runc refuse a program that the image does not have (NVIDIA/k8s-device-plugin#346)."""
_NOT_THERE_CODE = 127
"""The exit code of a shell for such a program, which other runtimes answer with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A kind as the API server serves it, in the version that it prefers."""

    version: str
    plural: str
    is_namespaced: bool
    verbs: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An event of a watch."""

    type: str
    """`ADDED`, `MODIFIED`, `DELETED`; `LISTING` before and `LISTED` after the objects that are there already."""
    value: Json
    """The object; None for `LISTING` and `LISTED`."""


class Api:
    """A connection to an API server. Methods raise CorralError alone; see `corral.kubernetes.errors`."""

    def __init__(self, config: SingleConfig) -> None:
        self._config = config
        self._http: Any = open_connection(config, ConnectionParams())
        self._served: Mapping[Kind, Served] | None = None

    @property
    def context(self) -> str:
        """The context of the kubeconfig."""
        return self._config.context_name

    @property
    def namespace(self) -> str:
        """The namespace of the context."""
        return self._config.namespace

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def read_version(self) -> str:
        """Read the API server's version, `v1.36.3`."""
        return (await self.ask("GET", "/version"))["gitVersion"]

    async def discover(self, *, anew: bool = False) -> Mapping[Kind, Served]:
        """Find the kinds that the API server serves; asked for once per connection unless `anew`."""
        if self._served is None or anew:
            core, groups = await asyncio.gather(
                self.ask("GET", "/api", headers={"Accept": _DISCOVERY}),
                self.ask("GET", "/apis", headers={"Accept": _DISCOVERY}),
            )
            self._served = dict(_read_discovery([*core["items"], *groups["items"]]))
        return self._served

    async def get(self, key: ObjectKey) -> Json | None:
        """Get an object; None when it is not there."""
        try:
            return await self.ask("GET", await self._find_path(key.kind, key.namespace, key.name))
        except _NotThereError:
            return None

    async def list(self, kind: Kind, namespace: str | None = None, *, labels: str | None = None) -> tuple[Json, ...]:
        """List objects, of all namespaces unless one is named; `labels` is a selector as kubectl takes it."""
        path = await self._find_path(kind, namespace or "")
        values, _ = await self._list(path, kind, labels)
        return values

    async def observe(self, kinds: Iterable[Kind], namespaces: Iterable[str] | None = None) -> Snapshot:
        """Take a snapshot of objects of these kinds; those of `namespaces` alone where they are named.

        Kinds that the API server does not serve have no objects; kinds whose list is forbidden are in `unread`.
        """
        served = await self.discover()
        wanted = [kind for kind in kinds if kind in served]
        scopes = None if namespaces is None else tuple(namespaces)
        gate = asyncio.Semaphore(_AT_ONCE)
        unread: dict[Kind, str] = {}

        async def list_kind(kind: Kind) -> tuple[Json, ...]:
            async with gate:
                try:
                    if scopes is None or not served[kind].is_namespaced:
                        return await self.list(kind)
                    parts = [await self.list(kind, namespace) for namespace in scopes]
                    return tuple(value for part in parts for value in part)
                except ForbiddenError as error:
                    unread[kind] = error.what
                    return ()

        version, lists = await asyncio.gather(self.read_version(), asyncio.gather(*map(list_kind, wanted)))
        objects = {ObjectKey.read(value): value for values in lists for value in values}
        return Snapshot(objects=dict(sorted(objects.items())), served=frozenset(served), unread=unread, version=version)

    async def apply(self, value: Json, *, force: bool = False, dry_run: bool = False) -> Json:
        """Apply an object server-side; `force` takes over fields that others have set.

        Raises: ForbiddenError also where the object is not there and the account cannot create it, RefusedError also
        where its namespace is not there.
        """
        key = ObjectKey.read(value)
        path = await self._find_path(key.kind, key.namespace, key.name, version=value["apiVersion"].rpartition("/")[2])
        words = {"fieldManager": MANAGER, "force": "true" if force else "false", "fieldValidation": "Strict"}
        try:
            return await self.ask("PATCH", path, value, kind=_APPLY, words=words | _say_dry(dry_run))
        except _NotThereError as error:
            raise _read_absence(key, error) from error

    async def create(self, value: Json) -> Json:
        """Create an object, which can have `generateName`. Raises: RefusedError when it exists."""
        metadata = value["metadata"]
        path = await self._find_path(Kind.read(value), metadata.get("namespace") or "")
        return await self.ask("POST", path, value, words={"fieldManager": MANAGER})

    async def patch(self, key: ObjectKey, change: Json, *, part: str = "", dry_run: bool = False) -> Json:
        """Merge a change into an object (null removes a field), or into a `part` of it: `scale`, `status`."""
        path = await self._find_path(key.kind, key.namespace, key.name)
        words = {"fieldManager": MANAGER} | _say_dry(dry_run)
        return await self.ask("PATCH", f"{path}/{part}" if part else path, change, kind=_MERGE, words=words)

    async def delete(
        self, key: ObjectKey, *, propagation: str = "Background", grace_s: int | None = None, dry_run: bool = False
    ) -> bool:
        """Delete an object and what it owns; False when it was not there.

        `grace_s` is how long a pod can take; of one that is ending already, less than before ends it sooner.
        """
        path = await self._find_path(key.kind, key.namespace, key.name)
        words = {"propagationPolicy": propagation} | _say_dry(dry_run)
        if grace_s is not None:
            words["gracePeriodSeconds"] = str(grace_s)
        try:
            await self.ask("DELETE", path, words=words)
        except _NotThereError:
            return False
        return True

    async def watch(
        self, kind: Kind, namespace: str | None = None, *, labels: str | None = None
    ) -> AsyncIterator[Change]:
        """Watch objects: those that are there between `LISTING` and `LISTED`, then every change, without an end.

        A list that has become too old begins anew with `LISTING`: an object that does not come again is gone.
        Raises: UnreachableError when the server goes away, or is silent for longer than a server that works.
        """
        path = await self._find_path(kind, namespace or "")
        while True:
            values, version = await self._list(path, kind, labels)
            yield Change(type="LISTING", value=None)
            for value in values:
                yield Change(type="ADDED", value=value)
            yield Change(type="LISTED", value=None)
            async for change in self._follow(path, labels, version):
                yield change

    async def _follow(self, path: str, labels: str | None, version: str) -> AsyncIterator[Change]:
        """Follow changes after a version, until the server has forgotten it."""
        while True:
            words = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
            words |= {"timeoutSeconds": str(_WATCH_S)} | _say_labels(labels)
            async with self.stream("GET", path, words, silent_s=_WATCH_S + _LATE_S) as lines:
                async for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield Change(type=event["type"], value=event["object"])

    async def read_log(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        *,
        lines: int | None = None,
        previous: bool = False,
    ) -> str:
        """Read the end of a container's log: `lines` of it, or all that is kept."""
        words = _say_log(container, lines) | ({"previous": "true"} if previous else {})
        answer = await self._send("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", None, words, {})
        return answer.text

    @asynccontextmanager
    async def follow_log(
        self, namespace: str, pod: str, container: str | None = None, *, lines: int | None = None
    ) -> AsyncGenerator[AsyncIterator[str]]:
        """Follow a container's log, line by line, until the container ends."""
        words = _say_log(container, lines) | {"follow": "true"}
        async with self.stream("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", words) as log:
            yield log

    async def run_inside(
        self, namespace: str, pod: str, container: str, argv: Iterable[str], *, deadline_s: float = 30.0
    ) -> ExecResponse:
        """Run a program inside of a container, to its end; the answer has `stdout`, `stderr` and `exit_code`.

        A program that the container does not have answers 127, as a shell does. Raises: UnreachableError.
        """
        client = AsyncClient(config=self._config)
        try:
            return await client.exec(
                pod,
                namespace=namespace,
                container=container,
                command=list(argv),
                stdout=True,
                stderr=True,
                timeout=deadline_s,
            )
        except ApiError as error:
            if _NOT_THERE.search(str(error)):
                return ExecResponse(stdout=b"", stderr=str(error).encode(), exit_code=_NOT_THERE_CODE)
            raise UnreachableError(f"nothing can be run inside of pod {namespace}/{pod}: {error}") from error
        except Exception as error:  # lightkube's, httpx's and those of the WebSocket below have no common base
            raise UnreachableError(f"nothing can be run inside of pod {namespace}/{pod}: {error}") from error
        finally:
            await client.aclose()

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, words: Mapping[str, str], *, silent_s: float | None = None
    ) -> AsyncGenerator[AsyncIterator[str]]:
        """Send a request whose answer has no end; gives its lines as they come.

        Raises: UnreachableError when the server goes away, or sends nothing for `silent_s`; None waits for ever.
        """
        request = self._http.build_request(method, path, params=dict(words))
        request.extensions["timeout"] = {**request.extensions["timeout"], "read": silent_s}
        answer = await self._carry(self._http.send(request, stream=True), f"{method} {path}")
        try:
            if answer.status_code >= 400:
                await answer.aread()
                raise _read_refusal(answer, f"{method} {path}")
            yield self._read_lines(answer, path)
        finally:
            await answer.aclose()

    async def _read_lines(self, answer: Any, path: str) -> AsyncIterator[str]:
        try:
            async for line in answer.aiter_lines():
                yield line
        except OSError as error:
            raise UnreachableError(f"the API server went away: GET {path}: {error}") from error
        except Exception as error:
            if type(error).__module__.startswith("httpx"):
                raise UnreachableError(f"the API server went away: GET {path}: {error}") from error
            raise

    async def ask(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        kind: str = "application/json",
        words: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Send a request; gives the JSON of the answer."""
        content = None if body is None else json.dumps(body)
        sent = {**(headers or {}), **({} if body is None else {"Content-Type": kind})}
        return (await self._send(method, path, content, words or {}, sent)).json()

    async def _send(
        self, method: str, path: str, content: str | None, words: Mapping[str, str], headers: Mapping[str, str]
    ) -> Any:
        request = self._http.request(method, path, content=content, params=dict(words), headers=dict(headers))
        answer = await self._carry(request, f"{method} {path}")
        if answer.status_code >= 400:
            raise _read_refusal(answer, f"{method} {path}")
        return answer

    async def _carry(self, request: Any, what: str) -> Any:
        """Await a request; errors of the connection become ours."""
        try:
            return await request
        except ConfigError as error:
            raise NoClusterError(f"the credentials of context {self.context} cannot be read: {error}") from error
        except Exception as error:
            if not type(error).__module__.startswith("httpx"):
                raise
            server = self._config.cluster.server
            raise UnreachableError(
                f"the API server of context {self.context} does not answer: {what}: {error or type(error).__name__}",
                where=server,
                hint="check the address in the kubeconfig and whether the server runs; then run the command again",
            ) from error

    async def _list(self, path: str, kind: Kind, labels: str | None) -> tuple[tuple[Json, ...], str]:
        values: list[Json] = []
        words = {"limit": str(_PAGE)} | _say_labels(labels)
        while True:
            answer = await self.ask("GET", path, words=words)
            api_version = answer["apiVersion"]
            # Entries of a list have neither; what is read elsewhere goes by them.
            values += ({"apiVersion": api_version, "kind": kind.name, **value} for value in answer["items"] or ())
            following = answer["metadata"].get("continue")
            if not following:
                return tuple(values), answer["metadata"]["resourceVersion"]
            words["continue"] = following

    async def _find_path(self, kind: Kind, namespace: str, name: str = "", version: str = "") -> str:
        served = (await self.discover()).get(kind) or (await self.discover(anew=True)).get(kind)
        if served is None:
            raise UnknownKindError(f"the API server does not serve {kind}: its CRD is not installed")
        base = f"/apis/{kind.group}" if kind.group else "/api"
        scope = f"/namespaces/{namespace}" if namespace and served.is_namespaced else ""
        return f"{base}/{version or served.version}{scope}/{served.plural}{f'/{name}' if name else ''}"


@asynccontextmanager
async def open_api(context: str | None = None, kubeconfig: Path | None = None) -> AsyncGenerator[Api]:
    """Connect as kubectl does: by `kubeconfig`, `KUBECONFIG` or `~/.kube/config`, inside of a pod by its account.

    Raises: NoClusterError.
    """
    api = Api(_find_config(context, kubeconfig))
    try:
        yield api
    finally:
        await api.close()


def _find_config(context: str | None, kubeconfig: Path | None) -> SingleConfig:
    try:
        known = KubeConfig.from_env() if kubeconfig is None else KubeConfig.from_file(kubeconfig)
        config = known.get(context)
    except (ConfigError, LookupError, TypeError, YAMLError) as error:  # lightkube reads the file without checking it
        raise NoClusterError(
            f"no Kubernetes cluster is configured: {error}",
            hint="set KUBECONFIG, or copy /etc/rancher/k3s/k3s.yaml of the server to ~/.kube/config",
        ) from error
    if config is None:
        raise NoClusterError(
            "the kubeconfig has no current context", hint="kubectl config use-context NAME, or --context"
        )
    return config


class _NotThereError(CorralError):
    """An object is not there."""

    code = "kubernetes.not_there"


def _read_discovery(items: Iterable[Json]) -> Iterable[tuple[Kind, Served]]:
    for group in items:
        name = group.get("metadata", {}).get("name", "")
        # The API server lists versions by its preference; a kind is taken from the first that has it.
        for version in reversed(group["versions"]):
            for resource in version["resources"]:
                kind = resource["responseKind"]["kind"]
                served = Served(
                    version=version["version"],
                    plural=resource["resource"],
                    is_namespaced=resource["scope"] == "Namespaced",
                    verbs=frozenset(resource["verbs"]),
                )
                yield Kind(name, kind), served


def _say_dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _say_labels(labels: str | None) -> dict[str, str]:
    return {"labelSelector": labels} if labels else {}


def _say_log(container: str | None, lines: int | None) -> dict[str, str]:
    words = {} if container is None else {"container": container}
    return words if lines is None else {**words, "tailLines": str(lines)}


def _read_refusal(answer: Any, what: str) -> CorralError:
    """Read why a request was refused."""
    try:
        status: Json = answer.json()
    except ValueError:
        status = {"message": answer.text}
    message = status.get("message") or answer.reason_phrase
    if answer.status_code == 404:
        return _NotThereError(message)
    if answer.status_code in (401, 403):
        return ForbiddenError(message, hint="use a context whose account has this verb")
    details: Json = status.get("details") or {}
    causes: list[Json] = details.get("causes") or []
    conflicts = tuple(_read_conflict(cause) for cause in causes if cause.get("reason") == "FieldManagerConflict")
    if conflicts:
        return FieldConflictError(message, conflicts)
    if status.get("reason") == "Conflict":
        return ChangedMeanwhileError(message, hint="run the command again")
    # A field that the schema does not have is answered as an error of the server's own, 500.
    is_typed = message.startswith("failed to create typed patch object")
    if answer.status_code == 429 or (answer.status_code >= 500 and not is_typed):
        return UnreachableError(f"{what}: {message}")
    return RefusedError(message)


def _read_absence(key: ObjectKey, error: CorralError) -> CorralError:
    """Read why an object that would be created is not found: of rights, the API server says no more than that."""
    if error.what.startswith("namespaces "):
        return RefusedError(error.what, where=str(key))
    what = f"cannot create {key}, which is not there: {error.what}"
    return ForbiddenError(what, where=str(key), hint="let an account that can create it apply the file once")


def _read_conflict(cause: Json) -> FieldConflict:
    named = re.search(r'conflict with "([^"]*)"', cause["message"])
    return FieldConflict(manager=named[1] if named else cause["message"], field=cause["field"])
