"""Runs one container of a pod through its life: its image, its starts and restarts, its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from control_plane.simulator.environment import ConfigurationError, make_argv
from control_plane.simulator.events import Events, format_time
from control_plane.simulator.images import Image
from control_plane.simulator.objects import EMPTY, Json
from control_plane.simulator.probes import Prober, run_handler
from control_plane.simulator.processes import Container, Launch, Log, Sandbox, StartError
from control_plane.simulator.status import Record

FIRST_DELAY_S, LAST_DELAY_S = 1.0, 30.0
"""Between restarts, and between pulls: the kubelet begins with 10 s and ends with 300 s."""
RESET_S = 60.0
"""A container that ran so long begins anew with the first delay; 600 s in the kubelet."""


class PullError(Exception):
    """An image cannot be pulled, in the words of the container runtime; `reason` is the kubelet's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the containers of a pod share, and whom they ask."""

    pod: Json
    folder: Path
    events: Events
    sandbox: Sandbox
    address: str
    hostname: str
    pull: Callable[[Json, str], Awaitable[Image]]
    """Gets an image for a container. Raises: PullError."""
    configure: Callable[[Json, Image], Awaitable[tuple[dict[str, str], list[tuple[str, str, bool]]]]]
    """Makes a container's variables and mounts. Raises: ConfigurationError."""
    changed: Callable[[], None]
    """Called when a record has changed."""


class Runner:
    """One container of a pod."""

    def __init__(self, spec: Json, kind: str, around: Surroundings) -> None:
        self.spec = spec
        self.record = Record(
            spec["name"],
            spec["image"],
            kind,
            {"waiting": {"reason": "PodInitializing" if kind == "main" else "ContainerCreating"}},
        )
        self.container: Container | None = None
        """Its current run."""
        self.log: Log | None = None
        self.previous_log: Log | None = None
        self.started = asyncio.Event()
        """Set when its startup probe has succeeded, or, without one, when it runs."""
        self._around = around
        self._is_stopping = False
        self._end_reason: str | None = None
        self._prober = Prober(self, around)
        self._delay_s = FIRST_DELAY_S

    @property
    def field(self) -> str:
        """Where in the pod it is, for events."""
        part = {"main": "containers", "ephemeral": "ephemeralContainers"}.get(self.record.kind, "initContainers")
        return f"spec.{part}{{{self.record.name}}}"

    def report(self, reason: str, message: str, *, is_warning: bool = False) -> None:
        """Write an event about it."""
        self._around.events.write(self._around.pod, reason, message, field=self.field, is_warning=is_warning)

    async def run(self, target: Runner | None = None) -> int:
        """Run it to its last end. Returns its exit code."""
        while True:
            image = await self._pull()
            code = await self._run_once(image, None if target is None else target.container)
            if self._is_stopping or not self._is_restarted(code):
                return code
            await self._back_off(code)

    async def stop(self, grace_s: float) -> None:
        """End it: its `preStop`, SIGTERM, and SIGKILL after the grace period in seconds."""
        self._is_stopping = True
        await self.end(grace_s, f"Stopping container {self.record.name}")

    async def end(self, grace_s: float, why: str) -> None:
        """End this run; by its restart policy another one follows."""
        container = self.container
        if container is None:
            return
        self.report("Killing", why)
        ends_at = asyncio.get_running_loop().time() + grace_s
        hook = (self.spec.get("lifecycle") or EMPTY).get("preStop")
        if hook is not None and grace_s > 0:
            try:
                async with asyncio.timeout(grace_s):
                    await run_handler(container, hook, self._around.address, self.spec)
            except (OSError, TimeoutError, ConfigurationError):
                self.report("FailedPreStopHook", "PreStopHook failed", is_warning=True)
        container.send(signal.SIGTERM)
        # As the kubelet: a hook that took all of the time leaves 2 s.
        rest = max(ends_at - asyncio.get_running_loop().time(), 2.0 if grace_s > 0 else 0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await container.ended.wait()
        container.send(signal.SIGKILL)

    def kill(self, reason: str | None = None) -> None:
        """End this run at once. `reason`: what its status says, such as OOMKilled."""
        self._end_reason = reason
        if self.container is not None:
            self.container.send(signal.SIGKILL)

    def abandon(self) -> None:
        """End it for good, without a word: its node is gone."""
        self._is_stopping = True
        self.kill()

    def set_ready(self, *, is_ready: bool) -> None:
        """Note what its readiness probe says."""
        if self.record.is_ready != is_ready:
            self.record.is_ready = is_ready
            self._around.changed()

    def set_started(self) -> None:
        """Note that its startup probe has succeeded."""
        self.record.is_started = True
        self.started.set()
        self._around.changed()

    async def _pull(self) -> Image:
        delay_s = FIRST_DELAY_S
        while True:
            try:
                return await self._around.pull(self.spec, self.field)
            except PullError as error:
                name = self.spec["image"]
                self._wait(error.reason, str(error))
                self.report("Failed", f"Error: {error.reason}", is_warning=True)
                await asyncio.sleep(delay_s / 2)
                if error.reason == "ErrImagePull":
                    self.report("BackOff", f'Back-off pulling image "{name}"')
                    self.report("Failed", "Error: ImagePullBackOff", is_warning=True)
                    self._wait("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {error}')
                await asyncio.sleep(delay_s / 2)
                delay_s = min(delay_s * 2, LAST_DELAY_S)

    async def _run_once(self, image: Image, target: Container | None) -> int:
        base = self._around.folder / "containers" / f"{self.record.name}-{self.record.restarts}-{uuid4().hex[:6]}"
        message_file = base.with_suffix(".message")
        while True:
            try:
                variables, mounts = await self._around.configure(self.spec, image)
                message_path = self.spec.get("terminationMessagePath") or "/dev/termination-log"
                launch = self._make_launch(image, variables, [*mounts, (str(message_file), message_path, False)])
            except ConfigurationError as error:
                self.report("Failed", f"Error: {error}", is_warning=True)
                self._wait("CreateContainerConfigError", str(error))
                await asyncio.sleep(FIRST_DELAY_S)
            else:
                break
        message_file.parent.mkdir(parents=True, exist_ok=True)
        message_file.touch(mode=0o666)
        message_file.chmod(0o666)
        started_at = datetime.now(UTC)
        self.report("Created", "Container created")
        try:
            around = self._around
            container = await Container.start(launch, around.sandbox, around.hostname, base, target)
        except StartError as error:
            message = (
                f"failed to create containerd task: failed to create shim task: OCI runtime create failed: {error}"
            )
            self.report("Failed", f"Error: {message}", is_warning=True)
            self._finish(128, "StartError", started_at, message)
            return 128
        self._begin(container)
        if self._is_stopping:  # asked to while it started
            container.send(signal.SIGKILL)
        try:
            async with asyncio.TaskGroup() as group:
                probing = group.create_task(self._prober.run(container))
                code = await container.wait()
                probing.cancel()
        finally:
            container.send(signal.SIGKILL)
            self.container = None
        reason, self._end_reason = self._end_reason, None
        self._finish(
            code, reason or ("Completed" if code == 0 else "Error"), started_at, self._read_message(message_file, code)
        )
        return code

    def _make_launch(
        self, image: Image, variables: Mapping[str, str], mounts: Sequence[tuple[str, str, bool]]
    ) -> Launch:
        if image.ignores_command:
            argv = [*image.argv, *image.arguments]
        else:
            argv = make_argv(self.spec, image.argv, image.arguments, variables)
        metadata = self._around.pod["metadata"]
        shared: Json = self._around.pod["spec"].get("securityContext") or EMPTY
        own: Json = {**shared, **(self.spec.get("securityContext") or EMPTY)}
        user = own.get("runAsUser", image.user)
        if own.get("runAsNonRoot") and user == 0:
            whole = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            raise ConfigurationError(
                f'container has runAsNonRoot and image will run as root (pod: "{whole}", container: {self.record.name})'
            )
        groups = [*(shared.get("supplementalGroups") or ()), *([shared["fsGroup"]] if "fsGroup" in shared else [])]
        return Launch(
            argv=argv,
            environment=variables,
            folder=self.spec.get("workingDir") or image.folder,
            mounts=mounts,
            user=user,
            group=own.get("runAsGroup", 0),
            groups=groups,
            has_input=bool(self.spec.get("stdin")),
        )

    def _begin(self, container: Container) -> None:
        self.previous_log, self.log = self.log, container.log
        self.container = container
        self.record.container_id = f"simulated://{uuid4().hex}{uuid4().hex}"
        self.record.state = {"running": {"startedAt": format_time(container.started_at)}}
        has_startup = self.spec.get("startupProbe") is not None
        self.record.is_started = not has_startup
        self.record.is_ready = not has_startup and self.spec.get("readinessProbe") is None
        if self.record.kind == "init":
            self.record.is_ready = False
        if not has_startup:
            self.started.set()
        self.report("Started", "Container started")
        self._around.changed()

    def _finish(self, code: int, reason: str, started_at: datetime, message: str) -> None:
        ended = {
            "exitCode": code,
            "reason": reason,
            "startedAt": format_time(started_at),
            "finishedAt": format_time(),
            "containerID": self.record.container_id,
        }
        if message:
            ended["message"] = message
        if (datetime.now(UTC) - started_at).total_seconds() > RESET_S:
            self._delay_s = FIRST_DELAY_S
        self.record.state = {"terminated": ended}
        self.record.is_ready = False
        self.record.is_started = False
        self._around.changed()

    def _read_message(self, file: Path, code: int) -> str:
        with suppress(OSError):
            text = file.read_text(errors="replace")[-4096:]
            file.unlink()
            if text:
                return text
        if code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError" and self.log is not None:
            return b"".join(line.text for line in list(self.log.lines)[-80:]).decode(errors="replace")[-2048:]
        return ""

    def _is_restarted(self, code: int) -> bool:
        policy = self._around.pod["spec"].get("restartPolicy", "Always")
        match self.record.kind:
            case "sidecar":
                return True
            case "init":
                return code != 0 and policy != "Never"
            case "ephemeral":
                return False
            case _:
                return policy == "Always" or (policy == "OnFailure" and code != 0)

    async def _back_off(self, code: int) -> None:
        metadata = self._around.pod["metadata"]
        whole = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        self.record.last_state = self.record.state
        # The first restart follows at once, as with the kubelet.
        if self.record.restarts > 0:
            name = self.record.name
            self.report("BackOff", f"Back-off restarting failed container {name} in pod {whole}", is_warning=True)
            message = f"back-off {self._delay_s:.0f}s restarting failed container={name} pod={whole}"
            self._wait("CrashLoopBackOff", message)
            await asyncio.sleep(self._delay_s)
            self._delay_s = min(self._delay_s * 2, LAST_DELAY_S)
        self.record.restarts += 1

    def _wait(self, reason: str, message: str) -> None:
        self.record.state = {"waiting": {"reason": reason, "message": message}}
        self._around.changed()
