"""Verifies a layout on a cluster: its objects, then what only the inside of the cluster can say.

A question is asked in a container of the service that it is about, and nothing is left there. Where no such container
has a program for it, a Job of ours asks, with an image that runs on the cluster; it is deleted when it has answered,
and when this is interrupted, and by Kubernetes if this is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corral.deploying.health import shorten
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import JOB, POD
from corral.deploying.state import name_state, read_state
from corral.diagnosis.case import get_phase
from corral.diagnosis.values import ContainerKey
from corral.errors import CorralError
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import choose_layout, make_wanted
from corral.rendering.installation import namespace_of
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.verifying.job import LONGEST_S, choose_images, make_job
from corral.verifying.judging import judge_answer, judge_hanging, judge_silence
from corral.verifying.objects import OBSERVED, check_objects, list_groups
from corral.verifying.questions import Question, list_questions, list_watchers
from corral.verifying.scripts import Reply, read_reply
from corral.verifying.targets import judge_absence, list_watching_namespaces
from corral.verifying.values import Check, Mark, Subject, conclude
from corral.work import Json

if TYPE_CHECKING:
    from corral.kubernetes.api import Api

Report = Callable[[str], None]
_AT_ONCE = 8
_ANSWER_S = 20.0
"""A script gives up by itself after 8 s; what takes longer hangs."""
_MOST_ASKED = 3
"""Containers that are asked the same, until one has a program for it."""
_MOST_IMAGES = 2
_LOOK_S = 0.5
_PAUSES_S = (1.0, 3.0)
"""Pauses before a connection that failed is tried again. Nodes learn where a Service leads a moment after its pods are
ready (https://kubernetes.io/docs/reference/networking/virtual-ips/: kube-proxy syncs once a second at most)."""
_BY_NETWORK = frozenset({Subject.CALLS, Subject.ENGINES})
_EVENT = Kind("", "Event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a layout works."""

    layout: str
    mark: Mark
    """`ok` when every check is, `bad` when one is, else `unknown`."""
    checks: tuple[Check, ...]
    created: tuple[str, ...]
    """The Jobs that asked; they are deleted again."""


async def verify_layout(api: Api, file: FileText, layout: str | None, *, report: Report = lambda _: None) -> Verdict:
    """Verify a layout, the active one unless named; `report` gets a line for each step of the work.

    Raises: ClusterFileError, UnknownLayoutError, NoLayoutError, NoKubernetesError, TakenNamespaceError,
    UnreachableError.
    """
    checked = check_cluster(file)
    key = name_state(namespace_of(checked.cluster))
    state = read_state(await api.get(key), checked.cluster.name, key.namespace)
    wanted = make_wanted(checked, choose_layout(checked, state, layout))
    report(f"reading the objects of layout {wanted.layout}")
    snapshot = await api.observe(OBSERVED, wanted.namespaces)
    checks = [*check_objects(wanted, snapshot)]
    watchers = list_watchers(await api.observe((POD,), list_watching_namespaces(wanted)))
    questions = list_questions(wanted, list_groups(wanted, snapshot), watchers)
    inside = _Inside(api=api, wanted=wanted, snapshot=snapshot, report=report)
    checks += await inside.ask_all(questions)
    absence = None if watchers else judge_absence(wanted)
    checks += [] if absence is None else [absence]
    return Verdict(layout=wanted.layout, mark=conclude(checks), checks=tuple(checks), created=tuple(inside.created))


@dataclass(kw_only=True)
class _Inside:
    """Asks inside of a cluster."""

    api: Api
    wanted: LayoutObjects
    snapshot: Snapshot
    report: Report
    created: list[str] = field(default_factory=list[str])
    answered: list[str] = field(default_factory=list[str])
    """Pods that had a program for a question."""

    async def ask_all(self, questions: Sequence[Question]) -> list[Check]:
        """Ask all questions; those that no container could answer are asked by a Job afterwards."""
        gate = asyncio.Semaphore(_AT_ONCE)
        done = 0

        async def ask(question: Question) -> tuple[Check, ...] | str:
            nonlocal done
            async with gate:
                answer = await self._ask_containers(question)
            done += 1
            self.report(f"asked {done} of {len(questions)}: {question.name}")
            return answer

        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(question)) for question in questions]
        checks: list[Check] = []
        for question, task in zip(questions, asked, strict=True):
            answer = task.result()
            checks += await self._ask_by_job(question, answer) if isinstance(answer, str) else answer
        return checks

    async def _ask_containers(self, question: Question) -> tuple[Check, ...] | str:
        """Ask the containers that can answer; gives the reason where none did."""
        why = "no container that could be asked runs"
        for container in question.candidates[:_MOST_ASKED]:
            try:
                reply = await self._try(container, question)
            except TimeoutError:
                if question.subject is Subject.EXPORTS:
                    return (judge_hanging(question, f"asked in {container}", _ANSWER_S),)
                why = f"{container} did not answer within {_ANSWER_S:.0f} s"
            except CorralError as error:
                why = error.what
            else:
                if not reply.lacks_tool:
                    self.answered.append(container.pod)
                    return judge_answer(question, reply, _say_asked(str(container), reply), self.wanted)
                why = f"{container} has neither curl, python3, wget nor bash"
        return why

    async def _try(self, container: ContainerKey, question: Question) -> Reply:
        """Ask a container, again when a connection from pod to pod failed."""
        reply = await self._run(container, question.argv)
        for pause_s in _PAUSES_S if question.subject in _BY_NETWORK else ():
            if reply.error is None:
                break
            await asyncio.sleep(pause_s)
            reply = await self._run(container, question.argv)
        return reply

    async def _run(self, container: ContainerKey, argv: tuple[str, ...]) -> Reply:
        async with asyncio.timeout(_ANSWER_S):
            answer = await self.api.run_inside(
                container.namespace, container.pod, container.name, argv, deadline_s=2 * _ANSWER_S
            )
        return read_reply(answer.exit_code, _decode(answer.stdout) + _decode(answer.stderr))

    async def _ask_by_job(self, question: Question, why: str) -> tuple[Check, ...]:
        """Ask by a Job what no container could answer; not what is about a container's own loopback."""
        if question.is_local:
            return (judge_silence(question, why),)
        images = choose_images(self.wanted, self.snapshot, self.answered)
        for image, node in images[:_MOST_IMAGES]:
            self.report(f"asking by a Job with image {image} on {node}: {question.name}")
            try:
                name, reply = await self._run_job(make_job(question, image, node, self.wanted.cluster))
            except CorralError as error:
                return (judge_silence(question, f"{why}; a Job cannot be created: {error.what}"),)
            if not reply.lacks_tool:
                asked = f"Job {question.namespace}/{name} on {node}, image {image}"
                return judge_answer(question, reply, _say_asked(asked, reply), self.wanted)
            why = f"{why}; {image} has no program for it either"
        return (judge_silence(question, why),)

    async def _run_job(self, job: Json) -> tuple[str, Reply]:
        """Run a Job to its end, and delete it."""
        made = await self.api.create(job)
        key = ObjectKey.read({"apiVersion": "batch/v1", "kind": JOB.name, **made})
        self.created.append(str(key))
        try:
            async with asyncio.timeout(LONGEST_S):
                return key.name, await self._follow_job(key)
        except TimeoutError:
            return key.name, Reply(exit_code=1, error=await self._explain_wait(key))
        finally:
            await asyncio.shield(self.api.delete(key))

    async def _follow_job(self, key: ObjectKey) -> Reply:
        """Wait for a Job's pod to end, or for a volume that it cannot mount."""
        while True:
            for pod in await self.api.list(POD, key.namespace, labels=f"job-name={key.name}"):
                if get_phase(pod) in ("Succeeded", "Failed"):
                    log = await self.api.read_log(key.namespace, pod["metadata"]["name"])
                    return read_reply(0 if get_phase(pod) == "Succeeded" else 1, log)
            failed = [event for event in await self._list_events(key) if event.get("reason") == "FailedMount"]
            if failed:
                return Reply(exit_code=1, error=shorten(failed[-1]["message"]))
            await asyncio.sleep(_LOOK_S)

    async def _explain_wait(self, key: ObjectKey) -> str:
        """Explain why a Job's pod does not run, by its last event."""
        own = await self._list_events(key)
        return shorten(own[-1]["message"]) if own else f"its pod did not run within {LONGEST_S} s"

    async def _list_events(self, key: ObjectKey) -> list[Json]:
        """List the events about a Job's pods, oldest first."""
        events = await self.api.list(_EVENT, key.namespace)
        own = [event for event in events if event["involvedObject"].get("name", "").startswith(f"{key.name}-")]
        return sorted(own, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")


def _say_asked(whom: str, reply: Reply) -> str:
    return f"asked in {whom}" + (f", with {reply.tool}" if reply.tool else "")


def _decode(printed: str | bytes | None) -> str:
    return printed.decode(errors="replace") if isinstance(printed, bytes) else printed or ""
