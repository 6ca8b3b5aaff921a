"""The routes of Comfy API v2."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from corral import __version__
from corral.errors import CorralError
from corral.gateway.asgi import ClientGoneError, Exchange, Scope
from corral.gateway.comfy_api import jobs
from corral.gateway.comfy_api.assets import (
    Assets,
    StoredAsset,
    describe_asset,
    find_output,
    read_hash,
    read_id,
    read_output_id,
)
from corral.gateway.comfy_api.jobs import ApiError
from corral.gateway.comfy_api.streams import Streams
from corral.gateway.comfyui.asked import RefusedError, read_json
from corral.gateway.comfyui.files import clean_folder, clean_name, send_stored
from corral.gateway.comfyui.instances import Instances
from corral.gateway.comfyui.submitting import submit
from corral.gateway.comfyui.workshop import OutputFile, Stage, StoredPrompt, Workshop
from corral.gateway.doors import Doorman, Visitor
from corral.gateway.forms import read_parts
from corral.gateway.routes import Route, Routes, name_route
from corral.gateway.sending import choose_media_type
from corral.gateway.statuses import RETRY_AFTER_S, find_status, list_headers
from corral.narrowing import as_list, as_object
from corral.work import Json

PREFIX = "/comfy/api/v2"
LARGEST_JOB = 32 * 2**20
MOST_LISTED, USUALLY_LISTED = 100, 50
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_LABEL = re.compile(r"metadata\[(.+)\]")
_CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    429: "queue_full",
    500: "internal",
    503: "upstream_unreachable",
}
_OF_BODIES = {400: 422}
"""This API has another status for a body that cannot be used."""
_HEALTH = Route(f"{PREFIX}/health")
log = structlog.get_logger()

Handler = Callable[[Exchange, Visitor, str], Awaitable[None]]


class ComfyApiDoor:
    """Jobs and assets of each owner."""

    def __init__(self, doorman: Doorman, workshop: Workshop, instances: Instances, assets: Assets) -> None:
        self._doorman = doorman
        self._workshop = workshop
        self._instances = instances
        self._assets = assets
        self._streams = Streams(workshop)
        routes: Mapping[tuple[str, str], Handler] = {
            ("POST", "/jobs"): self._post_job,
            ("GET", "/jobs"): self._list_jobs,
            ("GET", "/jobs/{id}"): self._get_job,
            ("GET", "/jobs/{id}/workflow"): self._get_workflow,
            ("POST", "/jobs/{id}/cancel"): self._cancel_job,
            ("GET", "/jobs/{id}/events"): self._stream_job,
            ("POST", "/assets"): self._post_asset,
            ("POST", "/assets/from-hash"): self._post_hash,
            ("GET", "/assets/by-hash/{hash}"): self._find_hash,
            ("GET", "/assets/{id}"): self._get_asset,
            ("GET", "/assets/{id}/content"): self._get_content,
            ("DELETE", "/assets/{id}"): self._delete_asset,
        }
        self._routes = Routes(routes, below=PREFIX)

    @property
    def paths(self) -> tuple[str, ...]:
        """All of the API."""
        return (f"{PREFIX}/",)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._serve(exchange)
        except ApiError as error:
            headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status in (429, 503) else None
            await exchange.answer_json(error.status, error.body, headers)
        except CorralError as error:
            if exchange.started:
                raise
            status = find_status(error)
            described = _describe(_CODES.get(status, "invalid_request"), error.what, {"hint": error.hint})
            await exchange.answer_json(_OF_BODIES.get(status, status), described, list_headers(error))
        except ClientGoneError:
            log.info("client_went_away", path=exchange.path)

    async def close(self) -> None:
        """Nothing is open once no request is served."""

    async def _serve(self, exchange: Exchange) -> None:
        path, method = exchange.path.removeprefix(PREFIX), exchange.method
        if path == "/health":  # touches no instance and no database
            name_route(exchange.scope, _HEALTH)
            await exchange.answer_json(200, {"status": "ok", "version": __version__})
            return
        visitor = await self._doorman.admit(exchange.scope)
        route = self._routes.match(method, path)
        if route is not None:
            name_route(exchange.scope, route.route)
            if method not in ("GET", "HEAD") and not visitor.can_submit:
                raise ApiError(403, "forbidden", f"{visitor.owner!r} can look and not submit")
            await route.serve(exchange, visitor, route.part)
            return
        if path == "/assets/from-path":
            raise ApiError(501, "not_implemented", "files of the server's disk are not read for clients: upload it")
        status, code = (405, "method_not_allowed") if self._routes.list_methods(path) else (404, "not_found")
        raise ApiError(status, code, f"there is no {method} {exchange.path}")

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def _post_job(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        key = exchange.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise ApiError(422, "invalid_request", "Idempotency-Key has 1 to 255 printable ASCII characters")
        job = jobs.read_job(await _read_body(exchange), visitor.owner, key)
        if key is not None and await self._workshop.find(visitor.owner, job.prompt.id) is not None:
            raise _refuse_key(key)
        for asset in job.assets:
            if await self._find_file(visitor, asset.name) is None:
                raise ApiError(422, "missing_asset", f"node {asset.node}: there is no asset {asset.name}")
        try:
            accepted, _verdict = await submit(
                self._workshop, self._instances, visitor, job.prompt, names=job.assets, facts=job.facts
            )
        except RefusedError as error:
            if error.error["type"] == "no_instances":
                raise ApiError(503, "upstream_unreachable", error.error["details"] or str(error)) from error
            raise ApiError(422, "invalid_workflow", str(error), {"node_errors": error.node_errors}) from error
        if key is not None and accepted.is_replay:
            raise _refuse_key(key)
        prompt = await self._find(visitor, job.prompt.id)
        await exchange.answer_json(201, await self._describe(exchange, prompt))

    async def _list_jobs(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        query = exchange.query
        limit = _read_number(query.get("limit"), USUALLY_LISTED, most=MOST_LISTED)
        before = _read_number(query.get("cursor"), 2**62, most=2**62, code="invalid_cursor")
        status = query.get("status")
        stages = jobs.list_stages(status) if status else frozenset(Stage)
        labels = {match[1]: value for name, value in query.items() if (match := _LABEL.fullmatch(name))}
        chosen = await self._workshop.list_page(
            visitor.owner, stages=stages, metadata=labels, before=before, limit=limit + 1
        )
        has_more = len(chosen) > limit
        answer = {
            "jobs": [jobs.describe_entry(prompt) for prompt in chosen[:limit]],
            "truncated": has_more,
            "next_cursor": str(chosen[limit - 1].task) if has_more else None,
        }
        await exchange.answer_json(200, answer)

    async def _get_job(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        await exchange.answer_json(200, await self._describe(exchange, await self._find(visitor, id)))

    async def _get_workflow(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        prompt = await self._find(visitor, id)
        await exchange.answer_json(200, {"workflow": prompt.workflow, "format": "api"})

    async def _cancel_job(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        prompt = await self._find(visitor, id)
        await self._workshop.cancel(visitor, [prompt.task])
        await exchange.answer_json(200, await self._describe(exchange, await self._find(visitor, id)))

    async def _stream_job(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        prompt = await self._find(visitor, id)
        expires_at = str((await self._describe(exchange, prompt))["expires_at"])
        await self._streams.serve(exchange, prompt, _find_base(exchange), expires_at)

    async def _find(self, visitor: Visitor, id: str) -> StoredPrompt:
        prompt = await self._workshop.find(visitor.owner, id)
        if prompt is None:
            raise ApiError(404, "not_found", f"there is no job {id}")
        return prompt

    async def _describe(self, exchange: Exchange, prompt: StoredPrompt) -> dict[str, Json]:
        position = None
        if prompt.stage is Stage.PENDING:
            position = jobs.find_position(prompt, await self._workshop.list_open(prompt.owner))
        course = self._workshop.find_course(prompt.task)
        return jobs.describe_job(prompt, _find_base(exchange), PREFIX, self._assets.kept_for, course, position)

    # --- assets -------------------------------------------------------------------------------------------------------

    async def _post_asset(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        fields: dict[str, str] = {}
        asset: StoredAsset | None = None
        is_new = True
        async for part in read_parts(exchange.headers.get("content-type", ""), exchange.read_chunks()):
            if part.filename is None:
                fields[part.name] = await part.read_text()
            elif part.name == "file":
                name = _clean_path(fields.get("file_path") or part.filename)
                wanted = read_hash(fields.get("expected_hash", ""))
                is_new = wanted is None or await self._assets.find_by_hash(visitor.owner, wanted) is None
                media_type = choose_media_type(fields.get("content_type", ""))
                asset = await self._assets.add(visitor, name, media_type, part.content)
        if asset is None:
            raise ApiError(422, "invalid_request", "the form has no part `file`")
        expected = read_hash(fields.get("expected_hash", ""))
        if fields.get("expected_hash") and expected != asset.blake3:
            await self._assets.delete(visitor, asset.id)
            raise ApiError(409, "hash_mismatch", f"the content has blake3:{asset.blake3}")
        await self._answer_asset(exchange, 201, asset, created_new=is_new)

    async def _post_hash(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        asked = await _read_body(exchange)
        digest, name = read_hash(str(asked.get("hash"))), asked.get("file_path")
        if digest is None:
            raise ApiError(422, "invalid_request", "`hash` is not blake3:<64 hexadecimal digits>")
        asset = await self._assets.add_again(visitor, digest, _clean_path(name) if isinstance(name, str) else None)
        if asset is None:
            raise ApiError(404, "blob_not_found", f"there is no content blake3:{digest}")
        await self._answer_asset(exchange, 201, asset, created_new=False)

    async def _find_hash(self, exchange: Exchange, visitor: Visitor, text: str) -> None:
        digest = read_hash(text)
        asset = None if digest is None else await self._assets.find_by_hash(visitor.owner, digest)
        if asset is None:
            raise ApiError(404, "blob_not_found", f"there is no content {text}")
        await self._answer_asset(exchange, 200, asset)

    async def _get_asset(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        uuid = read_id(id)
        asset = None if uuid is None else await self._assets.find(visitor.owner, uuid)
        if asset is not None:
            await self._answer_asset(exchange, 200, asset)
            return
        prompt = await self._find_job_of(visitor, id)
        described = {} if prompt is None else await self._describe(exchange, prompt)
        for output in map(as_object, as_list(described.get("outputs"))):
            if output["id"] == id:
                expires_at = described["expires_at"]
                more: dict[str, Json] = {"created_at": described["completed_at"], "expires_at": expires_at}
                await exchange.answer_json(200, {**output, **more, "file_path": output["name"]})
                return
        raise ApiError(404, "not_found", f"there is no asset {id}")

    async def _get_content(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        file = await self._find_file(visitor, id)
        if file is None:
            raise ApiError(404, "not_found", f"there is no asset {id}")
        await send_stored(exchange, *file)

    async def _delete_asset(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        uuid = read_id(id)
        if uuid is not None and read_output_id(uuid) is not None:
            raise ApiError(422, "invalid_request", "an output goes with its job, when that is past its time")
        if uuid is None or await self._assets.find(visitor.owner, uuid) is None:
            raise ApiError(404, "not_found", f"there is no asset {id}")
        await self._assets.delete(visitor, uuid)
        await exchange.start(204, [])
        await exchange.end()

    async def _find_file(self, visitor: Visitor, id: str) -> tuple[str, OutputFile] | None:
        """Return name and file of an asset or an output; None where there is none."""
        uuid = read_id(id)
        if uuid is None:
            return None
        asset = await self._assets.find(visitor.owner, uuid)
        if asset is not None:
            return asset.name.rpartition("/")[2], asset.file
        place, prompt = read_output_id(uuid), await self._find_job_of(visitor, id)
        return None if place is None or prompt is None else find_output(prompt, place[1])

    async def _find_job_of(self, visitor: Visitor, id: str) -> StoredPrompt | None:
        uuid = read_id(id)
        place = None if uuid is None else read_output_id(uuid)
        prompt = None if place is None else next(iter(await self._workshop.read([place[0]])), None)
        return prompt if prompt is not None and prompt.owner == visitor.owner else None

    async def _answer_asset(self, exchange: Exchange, status: int, asset: StoredAsset, **more: Json) -> None:
        described = describe_asset(asset, _find_base(exchange), self._assets.kept_for, **more)
        await exchange.answer_json(status, described)


def _refuse_key(key: str) -> ApiError:
    return ApiError(422, "idempotency_key_reuse", f"the Idempotency-Key {key[:80]!r} was used for another job")


def _describe(code: str, message: str, details: Json) -> dict[str, Json]:
    return {"error": {"code": code, "message": message, "details": details}}


async def _read_body(exchange: Exchange) -> dict[str, Json]:
    try:
        return read_json(await exchange.read_body(LARGEST_JOB))
    except RefusedError as error:
        raise ApiError(422, "invalid_request", str(error)) from error


def _clean_path(path: str) -> str:
    """Return a name with its subfolder. Raises: ApiError."""
    folder, _, name = path.replace("\\", "/").rpartition("/")
    subfolder, last = clean_folder(folder), clean_name(name)
    if not last or subfolder is None:
        raise ApiError(422, "invalid_request", f"{json.dumps(path[:200])} is not a usable file name")
    return f"{subfolder}/{last}".lstrip("/")


def _read_number(text: str | None, usual: int, *, most: int, code: str = "invalid_request") -> int:
    if text is None or text == "":
        return usual
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or not 0 < int(text) <= most:
        raise ApiError(422, code, f"{text[:40]!r} is not a number from 1 to {most}")
    return int(text)


def _find_base(exchange: Exchange) -> str:
    """Return the address of the API as this client knows it."""
    host = exchange.headers.get("host") or ":".join(str(part) for part in exchange.scope["server"])
    return f"{exchange.scope.get('scheme', 'http')}://{host}{PREFIX}"
