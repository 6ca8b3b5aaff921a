"""The `job` engine: one attempt is one Job on a Kubernetes cluster, and whatever happens it is run once.

Its instances are LocalQueues of Kueue (`kueue://NAMESPACE/QUEUE`), which decides when a Job gets its GPUs. A Job goes
on while the server is away; the next attempt at its task takes it over, with what it made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from corral.engine_kinds import JOB
from corral.engines.cluster_seams import ClusterSeams
from corral.engines.credentials import Credentials
from corral.engines.inputs import read_inputs, read_options
from corral.engines.job.borrowing import Wanted
from corral.engines.job.course import Course, Phase, read_course
from corral.engines.job.delivery import make_token_secret, needs_delivery
from corral.engines.job.files import AttemptFolder, remove_forgotten
from corral.engines.job.inputs import CONTAINER, JobInputs, JobOptions
from corral.engines.job.lent import Lent, find_priority, is_gated, lend_replicas, open_gate, select_node
from corral.engines.job.manifest import (
    ATTEMPT_LABEL,
    TASK_LABEL,
    Target,
    make_job,
    make_meeting_point,
    name_job,
)
from corral.engines.job.waits import Stopwatch
from corral.engines.printed import LOG_NAME, Printed
from corral.errors import CorralError, Kind, ProblemsError
from corral.kubernetes.api import Api, open_api
from corral.kubernetes.errors import RefusedError, UnreachableError
from corral.snapshot import Kind as ObjectKind
from corral.snapshot import ObjectKey
from corral.units import parse_duration
from corral.work import (
    EngineError,
    EngineUnavailableError,
    Json,
    OutputFile,
    Produced,
    Reporter,
    Resident,
    TaskInvalidError,
    Work,
)

_JOB = ObjectKind("batch", "Job")
_POD = ObjectKind("", "Pod")
_WORKLOAD = ObjectKind("kueue.x-k8s.io", "Workload")
_LOCAL_QUEUE = ObjectKind("kueue.x-k8s.io", "LocalQueue")
_LOOK_S = 2.0
"""Time between two looks at a Job that waits or runs: its pods change in seconds."""
_AWAY_S = 300.0
"""How long an API server can be away before the attempt counts as lost; the Job goes on meanwhile."""
_STUCK_S = 180.0
"""How long an image that cannot be pulled is waited for: the kubelet tries again after 10, 20, 40 and 80 s."""
_AGAIN_S = 10.0
"""Time between two tries to end the Job of an attempt that was lost."""
_TAKEN_S = 60.0
"""How long replicas stay empty for a Job that Kueue does not admit: another one went before it."""
_WAITS = 64
"""Attempts whose waits are kept: more than lanes, since the last is read after its end."""
_LOG_LINES = 50_000
"""Lines of each pod's log that are read; `Printed` keeps both ends."""
_GONE_S = 90.0
"""How long pods are waited for that were asked to end: their grace period is 30 s unless the image says more."""

_log = structlog.get_logger(__name__)


class JobEngine:
    """One LocalQueue."""

    def __init__(self, target: Target, options: JobOptions, *, kubeconfig: Path | None = None) -> None:
        self._target = target
        self._options = options
        self._kubeconfig = kubeconfig
        self._seams: ClusterSeams | None = None
        self._waits: dict[UUID, Stopwatch] = {}
        self._works: set[asyncio.Task[Any]] = set()
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The engine's word in tasks and in the cluster file."""
        return JOB.name

    def join(self, seams: ClusterSeams) -> None:
        """Empty replicas that a Job gets the GPUs of before it is admitted; deliver files where none are shared."""
        self._seams = seams

    def count_waited(self, attempt: UUID) -> float:
        """Return the seconds that an attempt has waited for GPUs: in Kueue's queue, and for its pods' nodes."""
        wait = self._waits.get(attempt)
        return 0.0 if wait is None else wait.read()

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Run the image, or take over the Job of an earlier attempt. Raises: EngineError."""
        try:
            inputs = read_inputs(JobInputs, self.name, work.inputs)
        except ProblemsError as error:
            raise TaskInvalidError(error.what, where=error.where, hint=error.hint) from error
        self._check_files(work, inputs)
        running = asyncio.ensure_future(self._run(work, inputs, report))
        self._works.add(running)
        try:
            await asyncio.wait((running,))
            if running.cancelled():
                raise EngineError("the Job was ended: its slot was closed")
            return running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self._works.discard(running)

    async def resident(self) -> tuple[Resident, ...]:
        """Return nothing: a Job loads its own models, and they end with it."""
        return ()

    async def check(self) -> None:
        """Return when the API server has the LocalQueue. Raises: EngineUnavailableError."""
        async with self._open() as api:
            queue = await api.get(ObjectKey(_LOCAL_QUEUE, self._target.namespace, self._target.queue))
        if queue is None:
            raise EngineUnavailableError(
                f"namespace {self._target.namespace} has no LocalQueue {self._target.queue}",
                hint="apply the cluster file's queues: `corral render --only kueue` writes them",
            )

    async def release(self) -> None:
        """Return: no model stays in memory."""

    async def kill(self) -> None:
        """End what runs at once."""
        for running in self._works:
            running.cancel()

    async def close(self) -> None:
        """End what runs, and wait until it is gone."""
        await self.kill()
        await asyncio.gather(*self._works, *self._endings, return_exceptions=True)

    def abandon(self, attempt: UUID, task: int) -> None:
        """End the Job of a lost attempt as soon as the API server answers."""
        ending = asyncio.ensure_future(self._end_when_possible(attempt, task))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    # --- one attempt -------------------------------------------------------------------------------------------------

    async def _run(self, work: Work, inputs: JobInputs, report: Reporter) -> Produced:
        async with self._open() as api:
            wait = self._waits[work.attempt] = Stopwatch(asyncio.get_running_loop().time)
            while len(self._waits) > _WAITS:
                del self._waits[next(iter(self._waits))]
            attempt = await self._find_job(api, work) or await self._submit(api, work, inputs)
            key = self._name(attempt)
            async with lend_replicas(api, self._seams and self._seams.lender, self._target) as lent:
                try:
                    await self._let_in(api, key, inputs, lent, report)
                    pods = await self._follow(api, key, work.scratch, report, lent, wait)
                except asyncio.CancelledError:
                    ending = asyncio.ensure_future(self._end(api, key))
                    try:
                        await asyncio.shield(ending)
                    finally:
                        ending.cancel()  # cancelled once more: the Job is deleted, and its pods are not waited for
                    self._forget_files(attempt)
                    raise
                except EngineError as error:
                    if not isinstance(error, EngineUnavailableError):  # then the Job goes on
                        self._forget_files(attempt)
                    raise
                finally:
                    wait.stop()
            log, _ = await self._write_log(api, pods, work.scratch)
            try:
                outputs = await self._collect(attempt, inputs, work.scratch)
            except EngineError as error:
                raise EngineError(error.what, where=error.where, hint=error.hint, files=(log,)) from error
            self._forget_files(attempt)
            return Produced(files=(log, *outputs), values={"job": f"{key.namespace}/{key.name}"})

    async def _find_job(self, api: Api, work: Work) -> UUID | None:
        """Find the Job of this attempt or an earlier one that did not fail; others of the task are ended."""
        attempts = {name_job(attempt): attempt for attempt in (work.attempt, *work.earlier)}
        jobs = await api.list(_JOB, self._target.namespace, labels=f"{TASK_LABEL}={work.task}")
        chosen: UUID | None = None
        for job in sorted(jobs, key=lambda job: job["metadata"]["creationTimestamp"]):
            attempt = attempts.get(job["metadata"]["name"])
            is_leaving = "deletionTimestamp" in job["metadata"]
            if attempt is None or is_leaving or read_course(job, (), None).phase is Phase.FAILED:
                continue
            if chosen is None:
                chosen = attempt
            else:
                await self._end(api, self._name(attempt))
        return chosen

    async def _submit(self, api: Api, work: Work, inputs: JobInputs) -> UUID:
        shared = self._options.shared_folder
        if shared is not None:
            await self._sweep(api, Path(shared))
            await asyncio.to_thread(AttemptFolder.find(Path(shared), work.attempt).prepare, work.files)
        token = None
        if needs_delivery(work, inputs, self._options) and self._seams is not None:
            token = self._seams.shelf.open(work.attempt)
            await asyncio.to_thread(AttemptFolder(self._seams.shelf.find(work.attempt)).prepare, work.files)
        priority = await find_priority(api, self._options.priority_class)
        node = await select_node(api, inputs.node)
        gated = self._seams is not None and inputs.gpus > 0
        try:
            job = await api.create(
                make_job(work, inputs, self._options, self._target, priority=priority, is_gated=gated, node=node)
            )
        except RefusedError as error:
            raise TaskInvalidError(f"the cluster refuses the Job: {error.what}", hint=error.hint) from error
        if inputs.pods > 1:
            await api.create(make_meeting_point(job))
        if token is not None:
            await api.create(make_token_secret(job, token))
        return work.attempt

    async def _let_in(self, api: Api, key: ObjectKey, inputs: JobInputs, lent: Lent | None, report: Reporter) -> None:
        """Let Kueue look at a Job, once the replicas that it ends for it are empty."""
        deadline = asyncio.get_running_loop().time() + _AWAY_S
        while True:
            try:
                job = await api.get(key)
                if job is None or not is_gated(job):
                    return None
                if lent is not None:
                    wanted = Wanted(
                        resource=self._options.gpu_resource, per_pod=inputs.gpus, pods=inputs.pods, node=inputs.node
                    )
                    await lent.empty(wanted, lambda note: report.progress(None, note))
                return await open_gate(api, key)
            except UnreachableError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_LOOK_S)

    async def _follow(
        self, api: Api, key: ObjectKey, scratch: Path, report: Reporter, lent: Lent | None, wait: Stopwatch
    ) -> list[Json]:
        """Follow a Job to its end; returns its pods. `wait` runs while it has no GPUs.

        Raises: EngineError when it fails, is gone, or cannot be seen for long.
        """
        clock = asyncio.get_running_loop().time
        printed = Printed(report.progress)
        listening: asyncio.Task[None] | None = None
        began_at = seen_at = stuck_since = clock()
        try:
            while True:
                try:
                    course, pods = await self._look(api, key)
                except UnreachableError as error:
                    if clock() - seen_at > _AWAY_S:
                        raise EngineUnavailableError(error.what, hint=error.hint) from error
                    report.progress(None, "the API server does not answer; the Job goes on")
                    await asyncio.sleep(_LOOK_S)
                    continue
                seen_at = clock()
                wait.switch(is_running=course.phase is Phase.WAITING)
                if lent is not None and (course.phase is Phase.RUNNING or seen_at - began_at > _TAKEN_S):
                    await lent.give_back()  # what Kueue has not ended by now it did not need
                stuck_since = stuck_since if course.is_stuck else seen_at
                if course.phase is Phase.SUCCEEDED:
                    return pods
                if course.phase is Phase.FAILED:
                    raise await self._explain(api, course, pods, scratch)
                if seen_at - stuck_since > _STUCK_S:
                    await self._end(api, key)
                    raise EngineError(course.note, hint="check the image's name, and that its node can pull it")
                if course.phase is not Phase.RUNNING:
                    report.progress(None, course.note)
                elif listening is None or listening.done():
                    listening = asyncio.ensure_future(self._listen(api, pods, printed))
                await asyncio.sleep(_LOOK_S)
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _look(self, api: Api, key: ObjectKey) -> tuple[Course, list[Json]]:
        job = await api.get(key)
        if job is None:
            raise EngineError(f"the Job {key.namespace}/{key.name} is gone: it was deleted")
        pods = await api.list(_POD, key.namespace, labels=f"batch.kubernetes.io/job-name={key.name}")
        workload = None
        if job["spec"].get("suspend"):
            uid = job["metadata"]["uid"]
            owned = await api.list(_WORKLOAD, key.namespace, labels=f"kueue.x-k8s.io/job-uid={uid}")
            workload = owned[0] if owned else None
        return read_course(job, pods, workload), list(pods)

    async def _listen(self, api: Api, pods: list[Json], printed: Printed) -> None:
        """Read progress from the lines of the first pod until it ends or the connection breaks."""
        metadata = min(pods, key=_read_index)["metadata"]
        with suppress(CorralError):
            async with api.follow_log(metadata["namespace"], metadata["name"], CONTAINER) as lines:
                async for line in lines:
                    printed.take(line.encode() + b"\n")

    async def _explain(self, api: Api, course: Course, pods: list[Json], scratch: Path) -> EngineError:
        log, end = await self._write_log(api, pods, scratch)
        return EngineError(f"the Job failed: {course.note}{end}", files=(log,))

    async def _write_log(self, api: Api, pods: list[Json], scratch: Path) -> tuple[OutputFile, str]:
        """Write the logs of all pods into one file; returns it, and its end as a part of a sentence."""
        printed = Printed(lambda _fraction, _note: None)
        for pod in sorted(pods, key=_read_index):
            metadata = pod["metadata"]
            if len(pods) > 1:
                printed.take(f"--- pod {_read_index(pod)}, {metadata['name']}\n".encode())
            try:
                text = await api.read_log(metadata["namespace"], metadata["name"], CONTAINER, lines=_LOG_LINES)
            except CorralError as error:
                text = f"(its log cannot be read: {error.what})\n"
            printed.take(text.encode())
        path = scratch / LOG_NAME
        await asyncio.to_thread(printed.write, path)
        return OutputFile(name=LOG_NAME, path=path, media_type="text/plain; charset=utf-8"), printed.quote_end()

    async def _collect(self, attempt: UUID, inputs: JobInputs, scratch: Path) -> tuple[OutputFile, ...]:
        folder = self._find_folder(attempt)
        if folder is None or not inputs.outputs:
            return ()
        return await asyncio.to_thread(folder.collect, inputs.outputs, scratch, (LOG_NAME,))

    def _forget_files(self, attempt: UUID) -> None:
        """Remove the files of an attempt that passed through this server."""
        if self._seams is not None:
            self._seams.shelf.close(attempt)

    def _find_folder(self, attempt: UUID) -> AttemptFolder | None:
        """Find where the outputs of an attempt are: in the shared folder, else where its pods delivered them."""
        if self._options.shared_folder is not None:
            return AttemptFolder.find(Path(self._options.shared_folder), attempt)
        return None if self._seams is None else AttemptFolder(self._seams.shelf.find(attempt))

    async def _sweep(self, api: Api, shared: Path) -> None:
        """Remove the folders of attempts whose Job the cluster has forgotten."""
        jobs = await api.list(_JOB, self._target.namespace, labels=TASK_LABEL)
        known = {job["metadata"]["labels"][ATTEMPT_LABEL] for job in jobs}
        oldest = time.time() - parse_duration(self._options.keep).total_seconds()
        await asyncio.to_thread(remove_forgotten, shared, known, older_than=oldest)

    async def _end(self, api: Api, key: ObjectKey) -> None:
        """Delete a Job, and wait until its pods have ended. Raises: UnreachableError."""
        await api.delete(key)
        deadline = asyncio.get_running_loop().time() + _GONE_S
        labels = f"batch.kubernetes.io/job-name={key.name}"
        while pods := await api.list(_POD, key.namespace, labels=labels):
            if asyncio.get_running_loop().time() > deadline:
                names = ", ".join(pod["metadata"]["name"] for pod in pods)
                _log.warning("pods_do_not_end", namespace=key.namespace, pods=names, waited_s=_GONE_S)
                return
            await asyncio.sleep(0.5)

    async def _end_when_possible(self, attempt: UUID, task: int) -> None:
        while True:
            try:
                async with self._open() as api:
                    return await self._end(api, self._name(attempt))
            except CorralError as error:
                _log.warning("job_not_ended", task=task, attempt=str(attempt), reason=error.what)
                await asyncio.sleep(_AGAIN_S)

    # --- names and connections ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Api]:
        """Connect to the cluster; errors that are not an engine's become those of the slot."""
        try:
            async with open_api(self._options.context, self._kubeconfig) as api:
                yield api
        except EngineError:
            raise
        except CorralError as error:
            if error.kind is Kind.BUG:
                raise
            raise EngineUnavailableError(error.what, where=error.where, hint=error.hint) from error

    def _name(self, attempt: UUID) -> ObjectKey:
        return ObjectKey(_JOB, self._target.namespace, name_job(attempt))

    def _check_files(self, work: Work, inputs: JobInputs) -> None:
        """Refuse files that have no way to and from the pods. Raises: TaskInvalidError."""
        if self._options.shared_folder is not None and self._options.shared_claim is not None:
            return
        if self._options.server_url is not None and self._seams is not None:
            return
        for what, there in (("has files", work.files), ("declares outputs", inputs.outputs)):
            if there:
                raise TaskInvalidError(
                    f"the task {what}, and the engine has no folder that its pods share",
                    hint="set `sharedFolder` and `sharedClaim`, or `serverUrl`, in the engine's options",
                )


def _read_index(pod: Json) -> int:
    return int(pod["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-completion-index", 0))


def build_job(
    url: str,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
    credentials: Credentials,
) -> JobEngine:
    """Return the adapter of one LocalQueue. Raises: ProblemsError when `options` are wrong."""
    del credentials  # the kubeconfig has them
    parts = urlsplit(url)
    target = Target(namespace=parts.netloc, queue=parts.path.strip("/"))
    return JobEngine(target, read_options(JobOptions, JOB.name, options))
