"""Nodes, models and devices of all instances as one, and whether a prompt can run on one of them.

Nothing here loads a model or starts a server: clients ask every second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from corral import __version__
from corral.gateway.asgi import Exchange
from corral.gateway.comfyui.asked import find_ends
from corral.gateway.comfyui.union import Nodes, add_choices, unite_lists, unite_nodes, unite_stats
from corral.gateway.comfyui.validating import Describe, Verdict, judge, judge_shape, make_error
from corral.gateway.comfyui.workshop import InstanceAnswer, Workshop
from corral.gateway.doors import Visitor
from corral.narrowing import as_object
from corral.work import Json

NOTE = "X-Corral-Note"
"""The header in which an answer says that no instance was there to ask."""
_CONTROLS = dict.fromkeys([*range(32), 127], "?")
"""Characters that no header can have."""
_LACKS = frozenset({"missing_node_type", "value_not_in_list"})
"""Errors that say what an instance does not have: another can have it."""


class Instances:
    """All instances as one."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._united: tuple[tuple[int, ...], Sequence[Nodes], dict[str, bytes]] = ((), (), {})
        """The union of descriptions, and what it was made from."""

    # --- answers ------------------------------------------------------------------------------------------------------

    async def get_all_nodes(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """`/object_info`."""
        answers = await self._workshop.describe_nodes()
        nodes = self._unite(answers)
        inputs = await self._workshop.list_inputs(visitor.owner)
        entries = (json.dumps(name).encode() + b":" + add_choices(node, inputs) for name, node in nodes.items())
        await exchange.answer(200, b"{" + b",".join(entries) + b"}", "application/json", _note(answers))

    async def get_node(self, exchange: Exchange, visitor: Visitor, name: str) -> None:
        """`/object_info/{class}`; an empty object for an unknown one."""
        answers = await self._workshop.describe_nodes()
        node = self._unite(answers).get(name)
        if node is None:
            await exchange.answer_json(200, {}, _note(answers))
            return
        described = add_choices(node, await self._workshop.list_inputs(visitor.owner))
        body = b"{" + json.dumps(name).encode() + b":" + described + b"}"
        await exchange.answer(200, body, "application/json")

    async def get_folders(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """`/models`: the folders of any instance."""
        await self._answer_list(exchange, "/models")

    async def get_models(self, exchange: Exchange, visitor: Visitor, folder: str) -> None:
        """`/models/{folder}`: what is in the folder of any instance; 404 where none has it."""
        await self._answer_list(exchange, f"/models/{quote(folder)}", of_none=404)

    async def get_embeddings(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """`/embeddings`: those of any instance."""
        await self._answer_list(exchange, "/embeddings")

    async def _answer_list(self, exchange: Exchange, path: str, *, of_none: int = 200) -> None:
        """Answer with the list of all instances together; `of_none` is the status where none has it."""
        answers = await self._workshop.ask(path)
        is_lacking = bool(answers) and all(answer.value is None for answer in answers)
        await exchange.answer_json(of_none if is_lacking else 200, unite_lists(answers), _note(answers))

    async def get_stats(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        """`/system_stats`: the devices of all instances."""
        answers = await self._workshop.ask("/system_stats")
        await exchange.answer_json(200, unite_stats(answers, version=__version__), _note(answers))

    async def explain_absence(self) -> str:
        """Say why no instance answers."""
        return _explain(await self._workshop.ask("/system_stats"))

    def _unite(self, answers: Sequence[InstanceAnswer]) -> dict[str, bytes]:
        known = _list_nodes(answers)
        key = tuple(id(nodes) for nodes in known)
        if key != self._united[0]:
            self._united = (key, known, unite_nodes(known))
        return self._united[2]

    # --- whether a prompt can run -------------------------------------------------------------------------------------

    async def judge(self, workflow: Mapping[str, Json], targets: Sequence[str]) -> tuple[Verdict, Describe]:
        """Validate a prompt against each instance: the best verdict, and how nodes are described.

        Where an instance is away, it is not refused for what the others lack.
        """
        verdict, describe = self._judge(await self._workshop.describe_nodes(), workflow, targets)
        if _only_lacks(verdict):  # it can have been installed just now
            verdict, describe = self._judge(await self._workshop.describe_nodes(fresh=True), workflow, targets)
        return verdict, describe

    def _judge(
        self, answers: Sequence[InstanceAnswer], workflow: Mapping[str, Json], targets: Sequence[str]
    ) -> tuple[Verdict, Describe]:
        known = _list_nodes(answers)
        describe = _describe_by(self._unite(answers))
        if not answers:
            return Verdict(
                error=make_error("no_instances", "There is no ComfyUI instance", _explain(answers))
            ), describe
        if not known:
            verdict = judge_shape(workflow)
            verdict.outputs = () if verdict.error is not None else tuple(targets) or find_ends(workflow)
            return verdict, describe
        verdicts = [judge(workflow, _describe_by(nodes), targets) for nodes in known]
        best = min(verdicts, key=lambda verdict: (verdict.error is not None, len(verdict.node_errors)))
        is_away = len(known) < len(answers)
        if is_away and _only_lacks(best):
            return Verdict(outputs=tuple(targets) or find_ends(workflow)), describe
        return best, describe


def _only_lacks(verdict: Verdict) -> bool:
    if verdict.error is None and not verdict.node_errors:
        return False
    kinds = {error["type"] for node in verdict.node_errors.values() for error in as_object(node)["errors"]}
    whole = as_object(verdict.error).get("type")
    return kinds <= _LACKS and whole in (None, "missing_node_type", "prompt_outputs_failed_validation")


def _describe_by(nodes: Nodes) -> Callable[[str], Mapping[str, Json] | None]:
    read: dict[str, Mapping[str, Json] | None] = {}

    def describe(name: str) -> Mapping[str, Json] | None:
        if name not in read:
            description = nodes.get(name)
            read[name] = None if description is None else as_object(json.loads(description))
        return read[name]

    return describe


def _list_nodes(answers: Sequence[InstanceAnswer]) -> list[Nodes]:
    return [answer.value for answer in answers if answer.value is not None]


def _note(answers: Sequence[InstanceAnswer]) -> dict[str, str]:
    return {} if any(answer.value is not None for answer in answers) else {NOTE: _explain(answers)}


def _explain(answers: Sequence[InstanceAnswer]) -> str:
    if not answers:
        return "no ComfyUI instance is in the cluster file: add one under engines.comfyui.instances"
    reasons = "; ".join(f"{answer.name}: {answer.problem or 'no answer'}" for answer in answers)
    return f"no ComfyUI instance answers now ({reasons})".encode("ascii", "replace").decode().translate(_CONTROLS)
