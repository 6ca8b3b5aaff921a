"""The routes of the virtual ComfyUI, each with and without `/api` before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from corral.errors import CorralError, Kind
from corral.gateway.asgi import ClientGoneError, Exchange, Scope
from corral.gateway.comfyui import asked as asking
from corral.gateway.comfyui.asked import RefusedError
from corral.gateway.comfyui.files import Files
from corral.gateway.comfyui.history import MOST_ENTRIES, History, Queue
from corral.gateway.comfyui.instances import Instances
from corral.gateway.comfyui.page import Passer, find_raw_path
from corral.gateway.comfyui.permitted import READS, is_for_administrators, is_upload
from corral.gateway.comfyui.serving import serve_socket
from corral.gateway.comfyui.shapes import describe_job, page_jobs
from corral.gateway.comfyui.sockets import FEATURES, Sockets
from corral.gateway.comfyui.submitting import submit
from corral.gateway.comfyui.validating import make_error
from corral.gateway.comfyui.workshop import ListedPrompt, Stage, Workshop
from corral.gateway.doors import Doorman, NotAllowedError, Visitor, require_submitter
from corral.gateway.routes import Route, Routes, name_route
from corral.gateway.statuses import find_status, list_headers
from corral.gateway.thirds import is_passed_on
from corral.narrowing import as_list
from corral.work import PASSED_ON_MARK

PREFIX = "/comfyui"
LARGEST_PROMPT = 32 * 2**20
"""Bytes; some nodes take pictures as base64."""
_REST = Route(f"{PREFIX}/{{page}}")
"""All that is passed on."""
log = structlog.get_logger()

Handler = Callable[[Exchange, Visitor, str], Awaitable[None]]


class ComfyUiDoor:
    """One ComfyUI for each owner, over all instances."""

    def __init__(self, doorman: Doorman, workshop: Workshop, instances: Instances) -> None:
        self._doorman = doorman
        self._workshop = workshop
        self._instances = instances
        self._sockets = Sockets(workshop)
        self._passer = Passer(workshop)
        self._queue = Queue(workshop)
        self._history = History(workshop)
        self._files = Files(workshop, self._passer)
        routes: Mapping[tuple[str, str], Handler] = {
            ("GET", "/prompt"): self._get_prompt,
            ("POST", "/prompt"): self._post_prompt,
            ("GET", "/queue"): self._get_queue,
            ("POST", "/queue"): self._post_queue,
            ("POST", "/interrupt"): self._interrupt,
            ("POST", "/free"): self._free,
            ("GET", "/history"): self._list_history,
            ("GET", "/history/{id}"): self._get_history,
            ("POST", "/history"): self._post_history,
            ("GET", "/view"): self._files.view,
            ("POST", "/upload/image"): self._files.upload,
            ("POST", "/upload/mask"): self._files.upload_mask,
            ("GET", "/object_info"): self._instances.get_all_nodes,
            ("GET", "/object_info/{node...}"): self._instances.get_node,
            ("GET", "/models"): self._instances.get_folders,
            ("GET", "/models/{folder}"): self._instances.get_models,
            ("GET", "/embeddings"): self._instances.get_embeddings,
            ("GET", "/system_stats"): self._instances.get_stats,
            ("GET", "/features"): self._get_features,
            ("GET", "/api/jobs"): self._list_jobs,
            ("POST", "/api/jobs/cancel"): self._cancel_jobs,
            ("GET", "/api/jobs/{id}"): self._get_job,
            ("POST", "/api/jobs/{id}/cancel"): self._cancel_job,
        }
        self._routes = Routes(routes, below=PREFIX)

    @property
    def paths(self) -> tuple[str, ...]:
        """All below `/comfyui`."""
        return PREFIX, f"{PREFIX}/"

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request or websocket."""
        if scope["type"] == "websocket":
            await serve_socket(self._doorman, self._sockets, scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._serve(exchange)
        except RefusedError as error:
            await exchange.answer_json(400, {"error": error.error, "node_errors": error.node_errors})
        except CorralError as error:
            if exchange.started:
                raise
            problem = error.problems[0]
            said = make_error(problem.code, problem.what, problem.hint or "", {"where": problem.where})
            await exchange.answer_json(find_status(error), {"error": said, "node_errors": {}}, list_headers(error))
        except ClientGoneError:
            log.info("client_went_away", path=exchange.path)

    async def close(self) -> None:
        """Close the connections to instances."""
        await self._passer.close()

    async def _serve(self, exchange: Exchange) -> None:
        path = exchange.path.removeprefix(PREFIX)
        if not path:
            await exchange.answer(307, b"", "text/plain", {"Location": f"{PREFIX}/"})
            return
        visitor = await self._doorman.admit(exchange.scope)
        method = exchange.method
        twin = path.removeprefix("/api") if path.startswith("/api/") else path
        route = self._routes.match(method, path) or self._routes.match(method, twin)
        if route is not None:
            name_route(exchange.scope, route.route)
            if method not in READS:
                require_submitter(visitor)
            await route.serve(exchange, visitor, route.part)
            return
        name_route(exchange.scope, _REST)
        if method not in READS:
            require_submitter(visitor)
        raw = find_raw_path(exchange.scope, PREFIX)
        if raw is None:
            raise PathRefusedError(f"there is no {path!r} here", hint="see docs/doors/comfyui.md")
        if not visitor.is_admin and is_for_administrators(method, raw):
            raise NotAllowedError(
                f"{visitor.owner!r} cannot have {method} {path!r}: it administers an instance, or a custom node has it",
                hint="use an administrator's key; see docs/doors/comfyui.md",
            )
        pass_on = self._passer.pass_on_to_all if is_upload(method, raw) else self._passer.pass_on
        if not await pass_on(exchange, raw):
            note = await self._instances.explain_absence()
            await exchange.answer(503, f"{note}\n".encode(), "text/plain; charset=utf-8")

    # --- the queue ---------------------------------------------------------------------------------------------------

    async def _get_prompt(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        remaining = await self._workshop.count_open(visitor.owner)
        await exchange.answer_json(200, {"exec_info": {"queue_remaining": remaining}})

    async def _post_prompt(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        asked = asking.read_prompt(await exchange.read_body(LARGEST_PROMPT))
        if is_passed_on(exchange.headers):
            asked = replace(asked, extra_data={**asked.extra_data, PASSED_ON_MARK: True})
        accepted, verdict = await submit(self._workshop, self._instances, visitor, asked)
        answer = {"prompt_id": asked.id, "number": accepted.number, "node_errors": verdict.node_errors}
        await exchange.answer_json(200, answer)

    async def _get_queue(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        await exchange.answer(200, await self._queue.list_items(visitor.owner), "application/json")

    async def _post_queue(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        asked = asking.read_json(await exchange.read_body())
        ids = None if asked.get("clear") else {str(id) for id in as_list(asked.get("delete"))}
        await self._cancel(visitor, ids, (Stage.PENDING,))
        await exchange.answer(200, b"", "text/plain")

    async def _interrupt(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        id = asking.read_json(await exchange.read_body()).get("prompt_id")
        await self._cancel(visitor, None if id is None else {str(id)}, (Stage.RUNNING,))
        await exchange.answer(200, b"", "text/plain")

    async def _free(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """Accept it and unload nothing: what is in an instance's memory serves all owners, and the queue decides."""
        asking.read_json(await exchange.read_body())
        await exchange.answer(200, b"", "text/plain")

    async def _cancel(
        self, visitor: Visitor, ids: set[str] | None, stages: Sequence[Stage]
    ) -> tuple[ListedPrompt, ...]:
        """Cancel an owner's prompts, those of these ids or all, that are in one of these stages."""
        prompts = tuple(
            prompt
            for prompt in await self._workshop.list_open(visitor.owner)
            if (ids is None or prompt.id in ids) and prompt.stage in stages
        )
        if prompts:
            await self._workshop.cancel(visitor, [prompt.task for prompt in prompts])
        return prompts

    # --- what was -----------------------------------------------------------------------------------------------------

    async def _list_history(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        body = await self._history.list_entries(visitor.owner, exchange.query)
        await exchange.answer(200, body, "application/json")

    async def _get_history(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        await exchange.answer(200, await self._history.find_entry(visitor.owner, id), "application/json")

    async def _post_history(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        asked = asking.read_json(await exchange.read_body())
        ids = None if asked.get("clear") else [str(id) for id in as_list(asked.get("delete"))]
        if ids is None or ids:
            await self._workshop.hide(visitor.owner, ids)
        await exchange.answer(200, b"", "text/plain")

    async def _get_features(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        await exchange.answer_json(200, FEATURES)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def _list_jobs(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        ended = await self._workshop.list_ended(visitor.owner, MOST_ENTRIES)
        page = page_jobs([*await self._workshop.list_open(visitor.owner), *reversed(ended)], exchange.query)
        if isinstance(page, str):
            await exchange.answer_json(400, {"error": page})
            return
        read = await self._workshop.read([listed.task for listed in page.prompts])
        prompts = {prompt.task: prompt for prompt in read}
        jobs = [describe_job(prompts[listed.task]) for listed in page.prompts if listed.task in prompts]
        await exchange.answer_json(200, {"jobs": jobs, "pagination": page.pagination})

    async def _get_job(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        prompt = await self._workshop.find(visitor.owner, id)
        if prompt is None:
            await exchange.answer_json(404, {"error": "Job not found"})
        else:
            await exchange.answer_json(200, describe_job(prompt, whole=True))

    async def _cancel_job(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        if await self._workshop.find(visitor.owner, id) is None:
            await exchange.answer_json(404, {"error": "Job not found"})
            return
        cancelled = await self._cancel(visitor, {id}, (Stage.PENDING, Stage.RUNNING))
        await exchange.answer_json(200, {"cancelled": bool(cancelled)})

    async def _cancel_jobs(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        ids = {str(id) for id in as_list(asking.read_json(await exchange.read_body()).get("job_ids"))}
        cancelled = await self._cancel(visitor, ids, (Stage.PENDING, Stage.RUNNING))
        await exchange.answer_json(200, {"cancelled": [prompt.id for prompt in cancelled]})


class PathRefusedError(CorralError):
    """A path that no instance is asked for."""

    code = "comfyui.no_path"
    kind = Kind.MISSING
