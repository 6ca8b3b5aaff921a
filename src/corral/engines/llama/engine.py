"""`corral.work.Engine` in front of a llama.cpp server that Corral runs on this machine.

The server starts with the first task and stays, with its model in memory; another model, another projector or other
adapters need another server. Up to as many attempts as the slot has lanes share it; what needs another one waits until
they are done, and those that come later wait behind that. One that ends by itself is started again by the next task
with the same model, later and later, and after some failures in a row no more (`corral.processes.restarts`). Memory is
released by ending it: a CUDA context alone takes hundreds of MiB that no library gives back while its process lives.

Belongs here: the life of the server across attempts.
Does not belong here: which build and which arguments (`program`), one attempt's talk with the server (`attempt`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from corral.engine_kinds import LLAMA
from corral.engines.inputs import read_task_inputs
from corral.engines.llama.attempt import compute, list_task_images
from corral.engines.llama.builds import check_devices, check_program, look_for_builds
from corral.engines.llama.client import ConnectionLostError, LlamaClient
from corral.engines.llama.inputs import LlamaInputs, LlamaOptions
from corral.engines.llama.loading import LoadReport
from corral.engines.llama.program import (
    INSTALL,
    Installed,
    Loading,
    Program,
    choose_program,
    choose_threads,
    list_arguments,
    make_environment,
)
from corral.engines.llama.vulkan import VISIBLE, choose_devices, list_devices
from corral.engines.machine_share import MachineShare, locate_model
from corral.engines.visible_gpus import is_address
from corral.errors import CorralError
from corral.processes.bounded_log import BoundedLog
from corral.processes.restarts import RestartRules
from corral.processes.server import Server, ServerLateError, ServerOutOfUseError, ServerProgram, ServerStartError
from corral.work import (
    Dialect,
    Endpoint,
    EngineError,
    EngineUnavailableError,
    Produced,
    Reporter,
    Resident,
    TaskInvalidError,
    Use,
    Work,
)

CANCEL_GRACE_S = 2.0
"""The time that the server has to notice a closed connection before it is killed, or left to the others that it works
for; one token takes far less."""
_GUEST_LOAD_S = 600.0
"""Seconds within which a model must be loaded for a guest, whose own patience is bounded before."""
_END_S = 1.0
"""Between a connection that broke and the end of its process, which says more."""
_STARTS_BEFORE_GIVING_UP = 2
_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """The contents of the memory that are asked for, and how long they can take."""

    loading: Loading
    model: str
    """The name by which it was asked for; a file can have several."""
    devices: tuple[str, ...]
    within_s: float
    note: Callable[[str], None]
    """Gets a few words for what is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A server with a model in memory."""

    loading: Loading
    devices: tuple[str, ...]
    program: Program
    server: Server
    key: str
    """Of the server; its clients send it."""
    client: LlamaClient
    report: LoadReport


class Llama:
    """llama.cpp on one slot of this machine."""

    def __init__(
        self,
        share: MachineShare,
        options: LlamaOptions,
        *,
        find_builds: Callable[[], Installed] | None = None,
        rules: RestartRules | None = None,
    ) -> None:
        self._rules = rules
        self._share = share
        self._options = options
        self._find_builds = find_builds or partial(look_for_builds, share.environments)
        self._turn = asyncio.Lock()
        """Held while a server starts or stops, and by what waits until nothing uses the one that is there."""
        self._starting: Server | None = None
        self._loaded: _Loaded | None = None
        self._users = 0
        self._stopping = 0
        """Users whose connection is closed, until the server computes no more for them."""
        self._unused = asyncio.Event()
        self._unused.set()
        self._doubted: Server | None = None
        """The server that broke a connection and did not end: nothing new is asked of it."""
        self._model = ""
        """The name of the loaded model in the last task; a model can have several."""
        self._failed_starts = 0
        self._proven: Program | None = None
        """The build that has seen a GPU of AMD or Intel."""
        self._closed = False

    @property
    def name(self) -> str:
        return LLAMA.name

    @property
    def _is_gpu(self) -> bool:
        return self._share.device.gpu is not None

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Write or embed. Raises: EngineError."""
        inputs = read_task_inputs(LlamaInputs, work.inputs)
        loading = await asyncio.to_thread(self._make_loading, work, inputs)
        order = _Order(
            loading=loading,
            model=work.model or "",
            devices=self._list_gpus(work.devices),
            within_s=work.timeout_s,
            note=partial(report.progress, None),
        )
        async with self._lend(order) as loaded:
            try:
                produced = await compute(loaded.client, inputs, work, report)
                return replace(produced, values={**produced.values, "computed_on": loaded.report.computes_on})
            except asyncio.CancelledError:
                await self._stop_computing(loaded)
                raise
            except ConnectionLostError as error:
                raise await self._explain_loss(loaded, error) from error

    @asynccontextmanager
    async def reach(
        self, model: str | None, note: Callable[[str], None], devices: tuple[str, ...] = (), use: Use = Use.WRITING
    ) -> AsyncGenerator[Endpoint]:
        """Lend the server with a model in memory, which stays meanwhile. Raises: EngineError.

        Where the block ends with an error, the server has time to notice that its answer is not waited for.
        """
        embeds = use is Use.EMBEDDING
        loading = Loading(
            model=await asyncio.to_thread(self._find_file, model),
            embeds=embeds,
            pooling=self._options.pooling if embeds else None,
        )
        order = _Order(
            loading=loading,
            model=model or "",
            devices=self._list_gpus(devices),
            within_s=_GUEST_LOAD_S,
            note=note,
        )
        async with self._lend(order) as loaded:
            try:
                yield Endpoint(
                    url=loaded.client.url,
                    headers=loaded.client.headers,
                    model=model,
                    dialects=frozenset({Dialect.OPENAI}),
                )
            except BaseException:
                await self._stop_computing(loaded)
                raise

    async def resident(self) -> tuple[Resident, ...]:
        loaded = self._loaded
        return (self._describe_resident(loaded),) if loaded is not None and loaded.server.running else ()

    async def check(self) -> None:
        """Return when a build is there, and sees a GPU of AMD or Intel; after failed starts, when it can be run."""
        program = await self._find_program(())
        if self._failed_starts:
            await asyncio.to_thread(check_program, program)

    async def release(self) -> None:
        async with self._turn:
            await self._unused.wait()
            await self._unload()

    async def kill(self) -> None:
        for server in (self._starting, self._loaded and self._loaded.server):
            if server is not None:
                server.kill()
                await server.stop()
        if not self._turn.locked() and not self._users:  # attempts see the end of their connections, and clean up
            await self._unload()

    async def close(self) -> None:
        self._closed = True
        await self.kill()

    def _make_loading(self, work: Work, inputs: LlamaInputs) -> Loading:
        """Find every file that the task names. Raises: TaskInvalidError."""
        missing = [name for name in list_task_images(inputs) if name not in work.files]
        if missing:
            raise TaskInvalidError(f"the task has no file {missing[0]!r}", where="inputs.images")
        if work.files and not list_task_images(inputs):
            raise TaskInvalidError(f"the task has {len(work.files)} files and `images` names none of them")

        embeds = inputs.embed is not None
        return Loading(
            model=self._find_file(work.model),
            mmproj=None if inputs.mmproj is None else self._find_file(inputs.mmproj),
            loras=tuple(self._find_file(lora.name) for lora in inputs.loras),
            embeds=embeds,
            pooling=inputs.pooling or (self._options.pooling if embeds else None),
        )

    def _find_file(self, model: str | None) -> Path:
        """Find the file of a model; blocks. Raises: TaskInvalidError."""
        path = locate_model(self._share.locate, self.name, model)
        _check_file(path)
        return path

    # --- lanes -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _lend(self, order: _Order) -> AsyncGenerator[_Loaded]:
        """Lend a server with what is ordered in memory; it stays as it is meanwhile. Raises: EngineError."""
        async with self._turn:
            loaded = await self._ensure_loaded(order)
            self._users += 1
            self._unused.clear()
        try:
            yield loaded
        finally:
            try:
                if self._users == 1 and self._doubted is loaded.server:
                    await self._unload()
            finally:  # whatever ends it early, a cancel say: a user that stayed would keep all others waiting
                self._users -= 1
                if not self._users:
                    self._unused.set()

    async def _ensure_loaded(self, order: _Order) -> _Loaded:
        """Load what is ordered, once nothing uses what is in memory in its place; the caller has the turn."""
        loaded = self._loaded
        if loaded is not None and self._serves(loaded, order) and loaded.server.running:
            self._model = order.model
            return loaded
        if self._users:
            order.note("waiting for others that use the server")
            await self._unused.wait()
        loaded = self._loaded
        if loaded is not None and self._serves(loaded, order):
            order.note(f"loading {order.model} again")
            loaded = self._loaded = await self._restart(loaded, order)
        else:
            await self._unload()  # frees the memory before the next model takes it
            order.note(f"loading {order.model}")
            loaded = self._loaded = await self._load(order)
        self._model = order.model
        return loaded

    def _serves(self, loaded: _Loaded, order: _Order) -> bool:
        same = (loaded.loading, loaded.devices) == (order.loading, order.devices)
        return same and loaded.server is not self._doubted

    async def _stop_computing(self, loaded: _Loaded) -> None:
        """Wait until the server computes for the others alone; kill it when it does not in time and there are none."""
        self._stopping += 1
        obeyed = False
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                await loaded.client.wait_until_idle(lambda: self._users - self._stopping)
                obeyed = True
        except (TimeoutError, ConnectionLostError):
            pass
        finally:
            if not obeyed and self._users == self._stopping:
                loaded.server.kill()
                self._doubted = loaded.server
            self._stopping -= 1

    async def _explain_loss(self, loaded: _Loaded, error: ConnectionLostError) -> EngineError:
        try:
            async with asyncio.timeout(_END_S):
                await loaded.server.wait()
        except TimeoutError:
            pass
        end = loaded.server.describe_end()
        if not loaded.server.has_ended:  # it was killed on request, or lives and does not answer
            self._doubted = loaded.server
        return EngineError(f"{loaded.program.name} failed ({error}): {end}")

    # --- its server --------------------------------------------------------------------------------------------------

    def _describe_resident(self, loaded: _Loaded) -> Resident:
        """Describe the model by what has been printed until now: a server can be ready before its lines are read."""
        load = loaded.report
        caution = None
        if self._is_gpu and self._options.gpu_layers != 0 and load.computes_on is not None and not load.devices:
            caution = f"{loaded.program.name} has no layer on the GPU: {INSTALL}"
        return Resident(model=self._model, memory=load.memory, computes_on=load.computes_on, caution=caution)

    async def _load(self, order: _Order) -> _Loaded:
        """Start a server with the model. Raises: EngineError."""
        self._refuse_when_closed()
        program = await self._find_program(order.devices)
        key, lines = secrets.token_hex(32), LoadReport()
        log = BoundedLog(self._share.name_log(self.name), follow=lines.take)
        seen = await asyncio.to_thread(self._find_devices, program, order.devices)
        asked = self._make_server_program(program, order, key, seen)
        server = self._starting = Server(asked, log, rules=self._rules)
        try:
            url = await self._start(server, order)
        except (CorralError, OSError) as error:
            await server.stop()
            if isinstance(error, EngineError):
                raise
            end = error.what if isinstance(error, CorralError) else str(error)
            raise self._count_failure(lines.make_failure(program.name, order.loading.model.name, end)) from error
        finally:
            self._starting = None
        self._failed_starts = 0
        return _Loaded(
            loading=order.loading,
            devices=order.devices,
            program=program,
            server=server,
            key=key,
            client=LlamaClient(url, key=key),
            report=lines,
        )

    async def _restart(self, loaded: _Loaded, order: _Order) -> _Loaded:
        """Start a server again that ended by itself, when its turn comes. Raises: EngineError."""
        await loaded.client.close()
        loaded.report.begin()
        try:
            url = await self._start(loaded.server, order)
        except EngineError:  # closed meanwhile
            await loaded.server.stop()
            raise
        except ServerOutOfUseError as error:
            raise EngineError(error.what, hint="use another model, or another build of llama.cpp") from error
        except (ServerStartError, ServerLateError, OSError) as error:
            raise loaded.report.make_failure(loaded.program.name, loaded.loading.model.name, str(error)) from error
        return replace(loaded, client=LlamaClient(url, key=loaded.key))

    async def _start(self, server: Server, order: _Order) -> str:
        def show_wait(seconds: float) -> None:
            order.note(f"loading {order.model}, {seconds:.0f} s")

        url = await server.ensure_ready(within_s=order.within_s, waiting=show_wait)
        self._refuse_when_closed()
        return url

    async def _find_program(self, devices: tuple[str, ...]) -> Program:
        """Choose the build; on GPUs of AMD and Intel, it has to see them. Raises: EngineUnavailableError.

        A build for NVIDIA's GPUs sees none there, and would take tasks that another slot computes much faster.
        """
        program = choose_program(self._options, self._find_builds(), gpu=self._is_gpu)
        gpus = self._list_gpus(devices)
        if self._options.gpu_layers != 0 and program != self._proven and any(is_address(gpu) for gpu in gpus):
            await asyncio.to_thread(self._check_devices, program, devices)
            self._proven = program
        return program

    def _check_devices(self, program: Program, devices: tuple[str, ...]) -> None:
        environment = {**self._share.make_environment(devices), **self._find_devices(program, devices)}
        check_devices(program, environment, self._list_gpus(devices))

    def _list_gpus(self, devices: tuple[str, ...]) -> tuple[str, ...]:
        """Return the GPUs of a task, or of the slot; none on a processor."""
        gpu = self._share.device.gpu
        return () if gpu is None else devices or (gpu,)

    def _find_devices(self, program: Program, devices: tuple[str, ...]) -> dict[str, str]:
        """Return the variables by which a build for Vulkan sees these GPUs alone; blocks."""
        gpus = self._list_gpus(devices)
        if not gpus or program.is_builtin:
            return {}
        visible = choose_devices(list_devices(os.environ), gpus)
        return {} if visible is None else {VISIBLE: visible}

    def _make_server_program(self, program: Program, order: _Order, key: str, seen: Mapping[str, str]) -> ServerProgram:
        cores = psutil.cpu_count(logical=False)
        threads = choose_threads(self._options.threads, share=self._share.threads, cores=cores)
        return ServerProgram(
            name=program.name,
            command=lambda port: (
                *program.command,
                *list_arguments(
                    order.loading,
                    self._options,
                    name=order.model,
                    lanes=self._share.lanes,
                    gpu=self._is_gpu,
                    threads=threads,
                    port=port,
                ),
            ),
            environment=lambda _: {**make_environment(self._share.make_environment(order.devices), key=key), **seen},
            health_path="/health",
            stop_grace_s=0.0,  # it has nothing to save, and a signal waits for its model to be freed page by page
        )

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise EngineUnavailableError(f"the {self.name} engine is closed", hint="start the server again")

    def _count_failure(self, failure: EngineError) -> EngineError:
        """Turn a start that fails again and again into the slot's trouble; a model's trouble is not counted."""
        if isinstance(failure, TaskInvalidError):
            return failure
        self._failed_starts += 1
        if self._failed_starts < _STARTS_BEFORE_GIVING_UP:
            return failure
        return EngineUnavailableError(failure.what, hint=failure.hint or "run `corral doctor`, then look into the log")

    async def _unload(self) -> None:
        loaded, self._loaded, self._doubted = self._loaded, None, None
        if loaded is not None:
            await loaded.server.stop()
            await loaded.client.close()


def _check_file(path: Path) -> None:
    """Raises: TaskInvalidError when the file cannot be a model."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise TaskInvalidError(f"the model file {path.name!r} cannot be read: {error.strerror}") from error
    if magic != _MAGIC:
        raise TaskInvalidError(
            f"{path.name!r} is not a GGUF file", hint="pull the model again with `corral models pull`"
        )


def build_llama(share: MachineShare, options: LlamaOptions) -> Llama:
    """Return the engine for one slot; nothing is started before its first task."""
    return Llama(share, options)
