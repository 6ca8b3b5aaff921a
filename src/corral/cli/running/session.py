"""The whole of `corral run`, step by step: models, server, submission, watching, summary, and the server's end.

A server that this command started is stopped at the end when nothing else is in its queue; whatever goes wrong before,
it is stopped too, since the queue loses nothing by that. A server that ran already is never stopped from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from corral.batchfile.reading import Read, open_batch_file
from corral.cli import exits, launching, terminal
from corral.cli.listing import put_caution
from corral.cli.pulling import pull
from corral.cli.running.view import choose_view, format_failures, format_summary
from corral.cli.running.watching import Choice, Interrupts, Watch, ask_choice
from corral.client.api import Api
from corral.client.collecting import Collector, find_folder
from corral.client.connection import Server
from corral.client.converting import make_converter
from corral.client.following import Follower
from corral.client.output_folder import Heading
from corral.client.progress import ENDED, BatchProgress, TaskView
from corral.client.submitting import Generations, Submitted, submit_or_continue, upload_files
from corral.client.tally import summarise, summary_to_json
from corral.data_dir import models_dir, prepare_data_dir
from corral.engine_kinds import ENGINES
from corral.errors import CorralError, Kind, Problem
from corral.weights.errors import ModelDamagedError, ModelMissingError
from corral.weights.store import Store

_ELSEWHERE = (Choice.CONTINUE, Choice.LEAVE, Choice.CANCEL)
_OURS = (Choice.CONTINUE, Choice.LEAVE, Choice.STOP, Choice.CANCEL)


@dataclass(slots=True)
class _Held:
    """The server of a run."""

    server: Server
    started: launching.Running | None = None
    """Set when this command started it."""
    leave: bool = False
    """Whether it goes on when this command ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What `corral run` was asked to do."""

    file: Path
    out: Path
    """The folder in which the batch gets a folder of its own."""
    data_dir: Path
    cluster_file: Path | None = None
    elsewhere: Server | None = None
    """A server named by URL; it has its own models, and is neither started nor stopped."""
    as_json: bool = False

    async def execute(self) -> int:
        """Run the batch and return the exit code. Raises: CorralError."""
        url = None if self.elsewhere is None else self.elsewhere.url
        convert = make_converter(url, self.data_dir, terminal.note)
        read = await asyncio.to_thread(open_batch_file, self.file, convert)  # a conversion calls the server
        if self.elsewhere is None:
            prepare_data_dir(self.data_dir)
            await ensure_models(read, Store(models_dir(self.data_dir)))
        async with self._hold_server() as held, Api(held.server.url, held.server.token) as api:
            memory = Generations(self.data_dir if self.elsewhere is None else None)
            submitted = await submit_or_continue(api, read, await upload_files(api, read.batch), memory)
            heading = Heading(name=read.batch.name, batch=submitted.batch, digest=submitted.digest)
            folder = find_folder(self.out, heading.name, heading)
            collector = Collector(api=api, folder=folder, heading=heading, batch_progress=BatchProgress())
            choice = await self._watch(collector, read, submitted, held)
            held.leave = choice is Choice.LEAVE or (choice is not Choice.STOP and await _has_other_work(api))
        return self._finish(collector, choice)

    @asynccontextmanager
    async def _hold_server(self) -> AsyncGenerator[_Held, None]:
        """Hold a server while the batch runs; stop it afterwards if it is ours and not to be left."""
        held = await self._find_or_start_server()
        try:
            yield held
        finally:
            if held.started is not None and not held.leave:
                terminal.note("stopping the server")
                await launching.stop(held.started)
            elif held.started is not None:
                terminal.note(f"the server goes on in the background at {held.server.url}, process {held.server.pid}")

    async def _find_or_start_server(self) -> _Held:
        if self.elsewhere is not None:
            return _Held(self.elsewhere)
        running = await launching.find_running(self.data_dir)
        if running is not None:
            terminal.note(f"using the server at {running.server.url}")
            return _Held(running.server)
        terminal.note(f"starting a server on {self.data_dir}")
        started = await launching.start(self.data_dir, self.cluster_file)
        return _Held(started.server, started if started.process is not None else None)

    async def _watch(self, collector: Collector, read: Read, submitted: Submitted, held: _Held) -> Choice | None:
        api, batch, batch_progress = collector.api, submitted.batch, collector.batch_progress
        verb = "continuing" if submitted.continued else "submitted"
        terminal.note(
            f"{verb} batch {batch}, {read.batch.name}: {terminal.format_count(len(read.batch.tasks), 'task')}"
        )
        put_caution(submitted.answer)
        collector.open()
        interrupts, view = Interrupts(), choose_view()
        choices = _ELSEWHERE if held.started is None else _OURS

        async def cancel() -> None:
            await api.post(f"/corral/v1/batches/{batch}/cancel")

        def ended(task: TaskView) -> None:
            view.show_end(task)
            collector.add(task)

        watch = Watch(
            follower=Follower(api, batch, batch_progress, ended),
            collector=collector,
            batch_progress=batch_progress,
            view=view,
            interrupts=interrupts,
            ask=lambda: ask_choice(interrupts, choices),
            cancel_batch=cancel,
        )
        with interrupts.handle_signals():
            return await watch.run()

    def _finish(self, collector: Collector, choice: Choice | None) -> int:
        if choice in (Choice.LEAVE, Choice.STOP):
            terminal.note("running the same command again continues this batch")
            return exits.INTERRUPTED
        summary = summarise(collector.batch_progress.all)
        if self.as_json:
            terminal.put_json({**summary_to_json(summary), "folder": str(collector.folder)})
        else:
            terminal.put("\n".join(format_summary(summary)))
            terminal.put(f"outputs: {collector.folder}/")
        for line in format_failures(summary):
            terminal.note(line)
        if choice is Choice.CANCEL:
            return exits.INTERRUPTED
        return exits.TASKS_FAILED if summary.failures else 0


async def _has_other_work(api: Api) -> bool:
    """Whether the queue holds work that has not ended."""
    queues = (await api.get("/corral/v1/status"))["counts"]
    return any(count for states in queues.values() for state, count in states.items() if state not in ENDED)


async def ensure_models(read: Read, store: Store) -> None:
    """Return when every model of a local engine is in the store.

    Raises: BatchFileError with every model whose name means nothing, at its place; PullError, DiskFullError.
    """
    unknown: list[Problem] = []
    for engine, model in read.batch.models:
        kind = ENGINES.get(engine)
        if kind is None or kind.remote or not kind.needs_model or is_here(store, model):
            continue
        terminal.note(f"the model {model} is not here yet: fetching it")
        try:
            await pull(store, model)
        except CorralError as error:
            if error.kind is not Kind.INVALID:
                raise
            index = next(index for index, task in enumerate(read.batch.tasks) if task.model == model)
            unknown += [
                Problem(code=problem.code, what=problem.what, where=f"tasks[{index}].model", hint=problem.hint)
                for problem in error.problems
            ]
    if unknown:
        raise read.make_error(tuple(unknown))


def is_here(store: Store, model: str) -> bool:
    """Whether a model is in the store, as far as its folder shows."""
    try:
        store.path(model)
    except (ModelMissingError, ModelDamagedError):
        return False
    return True
