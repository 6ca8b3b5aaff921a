"""Streams of a container over a WebSocket, in Kubernetes' protocols: exec and attach (v5), and port forwarding.

v5.channel.k8s.io: the first byte of a message is its channel: 0 to 2 as file descriptors, 3 the result, 4 the size of
the terminal; 255 closes the channel that follows. Source: `k8s.io/streaming/pkg/httpstream/wsstream`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
import termios
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress

from aiohttp import WSMsgType, web

from control_plane.network import open_socket_inside
from control_plane.simulator import spdy
from control_plane.simulator.containers import Runner
from control_plane.simulator.processes import Container, Sandbox

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
TUNNEL = "SPDY/3.1+portforward.k8s.io"
REFUSAL = (
    "failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start "
    'container process: exec: "{program}": executable file not found in $PATH: unknown'
)
"""containerd's words (NVIDIA/k8s-device-plugin#346)."""
_NOT_THERE = 127
INPUT, OUTPUT, ERRORS, RESULT, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


class Channels:
    """The channels of one WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, channel: int, data: bytes) -> None:
        """Send bytes on a channel; a client that is gone misses them."""
        with suppress(ConnectionError):
            await self._socket.send_bytes(bytes([channel]) + data)

    async def finish(self, code: int, refusal: str = "") -> None:
        """Send the exit code, or the runtime's reason why nothing ran, and close."""
        if refusal:
            status: dict[str, object] = {
                "metadata": {},
                "status": "Failure",
                "reason": "InternalError",
                "message": f"Internal error occurred: error executing command in container: {refusal}",
                "code": 500,
            }
        elif code == 0:
            status = {"metadata": {}, "status": "Success"}
        else:
            status = {
                "metadata": {},
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": f"command terminated with non-zero exit code: exit status {code}",
                "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
            }
        await self.send(RESULT, json.dumps(status).encode())
        await self._socket.close()

    async def read_input(self, writer: asyncio.StreamWriter | None, terminal: int | None) -> None:
        """Pass what the client sends to a process, until one of them ends."""
        async for message in self._socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == RESIZE and terminal is not None:
                size = json.loads(data)
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size["Height"], size["Width"], 0, 0))
            elif channel == INPUT and writer is not None:
                writer.write(data)
                with suppress(ConnectionError):
                    await writer.drain()
            elif channel == CLOSE and data[:1] == bytes([INPUT]) and writer is not None:
                writer.close()


async def open_channels(request: web.Request) -> tuple[web.WebSocketResponse, Channels]:
    """Accept a WebSocket of channels."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, compress=False, max_msg_size=0)
    await socket.prepare(request)
    channels = Channels(socket)
    # Old clients wait for a message before they begin.
    await channels.send(OUTPUT, b"")
    return socket, channels


async def run_command(request: web.Request, container: Container) -> web.StreamResponse:
    """Run a command in a container, its streams over a WebSocket."""
    query = request.query
    argv = query.getall("command", [])
    socket, channels = await open_channels(request)
    if not container.has(argv[0]):
        await channels.finish(_NOT_THERE, REFUSAL.format(program=argv[0]))
    elif query.get("tty") in ("1", "true"):
        await channels.finish(await _run_on_terminal(channels, container, argv))
    else:
        has_input = query.get("input") in ("1", "true")
        await channels.finish(await _run_on_pipes(channels, container, argv, has_input=has_input))
    return socket


async def _run_on_pipes(channels: Channels, container: Container, argv: Sequence[str], *, has_input: bool) -> int:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", *container.enter(argv)),
        stdin=pipe if has_input else asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
    )

    async def copy(channel: int, stream: asyncio.StreamReader | None) -> None:
        while stream is not None and (part := await stream.read(32768)):
            await channels.send(channel, part)

    reading = asyncio.create_task(channels.read_input(process.stdin, None))
    copying = asyncio.gather(copy(OUTPUT, process.stdout), copy(ERRORS, process.stderr))
    return await _finish_process(process, reading, copying)


async def _run_on_terminal(channels: Channels, container: Container, argv: Sequence[str]) -> int:
    controller, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", "setsid", "--ctty", "--wait"),
        *container.enter(argv, environment={"TERM": "xterm"}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    loop = asyncio.get_running_loop()
    source = asyncio.StreamReader()
    output, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(source), os.fdopen(os.dup(controller), "rb", buffering=0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(os.dup(controller), "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)

    async def copy() -> None:
        with suppress(OSError):  # a terminal without a process reads as an error
            while part := await source.read(32768):
                await channels.send(OUTPUT, part)

    try:
        reading = asyncio.create_task(channels.read_input(writer, controller))
        copying = asyncio.create_task(copy())
        return await _finish_process(process, reading, copying)
    finally:
        output.close()
        transport.close()
        os.close(controller)


async def _finish_process(
    process: asyncio.subprocess.Process, reading: asyncio.Task[None], copying: Awaitable[object]
) -> int:
    """Wait for the end of a process, or of its client, which ends it."""
    ending = asyncio.create_task(process.wait())
    await asyncio.wait({ending, reading}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        with suppress(ProcessLookupError):
            process.kill()
    code = await ending
    await copying
    reading.cancel()
    return code if code >= 0 else 128 - code


async def attach(request: web.Request, runner: Runner, container: Container) -> web.StreamResponse:
    """Connect a client with the streams of a container."""
    queue: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
    container.log.readers.append(queue)
    socket, channels = await open_channels(request)
    has_input = request.query.get("input") in ("1", "true")
    writer = container.write_input() if has_input else None
    reading = asyncio.create_task(channels.read_input(writer, None))

    async def copy() -> None:
        while (part := await queue.get()) is not None:
            await channels.send(OUTPUT if part[0] == "stdout" else ERRORS, part[1])

    copying = asyncio.create_task(copy())
    await asyncio.wait({reading, copying}, return_when=asyncio.FIRST_COMPLETED)
    container.log.readers.remove(queue)
    if copying.done():
        await container.ended.wait()
        await channels.finish(runner.record.exit_code or 0)
    elif writer is not None and runner.spec.get("stdinOnce"):
        writer.close()
    copying.cancel()
    reading.cancel()
    return socket


class Forwarder:
    """Forwards connections to ports of a pod: a pair of streams of SPDY for each, in one WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, sandbox: Sandbox) -> None:
        self._socket = socket
        self._sandbox = sandbox
        self._spdy = spdy.Connection()
        self._inputs: dict[int, asyncio.Queue[bytes | None]] = {}
        self._errors: dict[str, int] = {}
        """Streams for errors, by the request that they belong to."""

    async def run(self) -> None:
        """Forward until the client is gone."""
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []
            async for message in self._socket:
                for frame in self._spdy.receive(message.data if message.type is WSMsgType.BINARY else b""):
                    task = await self._take(frame, group)
                    if task is not None:
                        tasks.append(task)
            for task in tasks:
                task.cancel()

    async def _take(self, frame: spdy.Frame, group: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        if frame.ping:
            await self._send(frame.ping)
        elif frame.headers is not None:
            return await self._open(frame.stream, frame.headers, group)
        elif frame.stream in self._inputs:
            queue = self._inputs[frame.stream]
            if frame.data:
                queue.put_nowait(frame.data)
            if frame.is_last or frame.is_reset:
                queue.put_nowait(None)
        return None

    async def _open(
        self, stream: int, headers: Mapping[str, str], group: asyncio.TaskGroup
    ) -> asyncio.Task[None] | None:
        await self._send(self._spdy.accept(stream))
        request = headers.get("requestid", "")
        if headers.get("streamtype") == "error":
            self._errors[request] = stream
            return None
        self._inputs[stream] = asyncio.Queue()
        return group.create_task(self._connect(stream, int(headers["port"]), request))

    async def _connect(self, stream: int, port: int, request: str) -> None:
        errors = self._errors.pop(request, None)
        try:
            reader, writer = await connect_inside(self._sandbox, port)
        except OSError as error:
            if errors is not None:
                text = f"failed to connect to localhost:{port} inside namespace: {error.strerror or error}"
                await self._send(spdy.write_data(errors, text.encode(), is_last=True))
            await self._send(spdy.write_data(stream, b"", is_last=True))
            return
        if errors is not None:
            await self._send(spdy.write_data(errors, b"", is_last=True))

        async def pass_on() -> None:
            while (data := await self._inputs[stream].get()) is not None:
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        passing = asyncio.create_task(pass_on())
        try:
            with suppress(ConnectionError):
                while data := await reader.read(32768):
                    await self._send(spdy.write_data(stream, data))
            await self._send(spdy.write_data(stream, b"", is_last=True))
        finally:
            passing.cancel()
            writer.close()
            self._inputs.pop(stream, None)

    async def _send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            await self._socket.send_bytes(data)


async def connect_inside(sandbox: Sandbox, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port of a pod's loopback, as the kubelet does. Raises: OSError."""
    connection = open_socket_inside(sandbox.process_id)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        return await asyncio.open_connection(sock=connection)
    except OSError:
        connection.close()
        raise


async def forward_ports(request: web.Request, sandbox: Sandbox) -> web.StreamResponse:
    """Forward ports of a pod as `kubectl port-forward` asks for it."""
    socket = web.WebSocketResponse(protocols=(TUNNEL,), compress=False, max_msg_size=0)
    await socket.prepare(request)
    await Forwarder(socket, sandbox).run()
    return socket
