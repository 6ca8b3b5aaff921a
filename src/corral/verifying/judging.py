"""Judges the answers of containers."""

from __future__ import annotations

import json
from dataclasses import replace

from corral.deploying.objects import LayoutObjects
from corral.verifying.questions import Question
from corral.verifying.scripts import Reply, hide_password
from corral.verifying.targets import judge_targets
from corral.verifying.values import Check, Mark, Subject
from corral.work import Json

_LOWEST_FAILURE = 500
"""A server that answers with less is reached: 401 and 404 are its own words."""


def judge_answer(question: Question, reply: Reply, asked: str, wanted: LayoutObjects) -> tuple[Check, ...]:
    """Judge an answer; `asked` says who was asked and how, as evidence."""
    if question.subject is Subject.TARGETS and reply.status == 200:
        return judge_targets(reply.body, asked, wanted)
    judge = {
        Subject.CALLS: _judge_call,
        Subject.ENGINES: _judge_engine,
        Subject.MODELS: _judge_models,
        Subject.EXPORTS: _judge_export,
    }.get(question.subject, _judge_request)
    return (judge(question, reply, asked),)


def judge_silence(question: Question, why: str) -> Check:
    """Judge a question that no container could be asked."""
    return Check(
        subject=question.subject,
        name=question.name,
        mark=Mark.UNKNOWN,
        what=f"it could not be asked: {why}",
        fix="docs/guides/verify.md says what is needed to ask from inside",
    )


def judge_hanging(question: Question, asked: str, seconds: float) -> Check:
    """Judge a folder that neither takes nor refuses a file, as a mount over NFS does while its server is away."""
    return Check(
        subject=question.subject,
        name=question.name,
        mark=Mark.BAD,
        what=f"no answer within {seconds:.0f} s",
        evidence=(asked,),
        fix="check that the server runs and exports the path: `showmount -e SERVER`",
    )


def _judge_request(question: Question, reply: Reply, asked: str) -> Check:
    """Judge a request whose answer has to come, whatever it is."""
    if reply.status is None:
        what, mark = f"no answer: {reply.error or f'exit code {reply.exit_code}'}", Mark.BAD
    else:
        took = f" in {reply.took_ms} ms" if reply.took_ms is not None else ""
        what = f"{reply.status}{took}"
        mark = Mark.OK if reply.status < _LOWEST_FAILURE else Mark.BAD
    return Check(
        subject=question.subject,
        name=question.name,
        mark=mark,
        what=what,
        evidence=(asked, f"asked for {reply.url}"),
        fix=None if mark is Mark.OK else "corral doctor --kubernetes",
    )


def _judge_call(question: Question, reply: Reply, asked: str) -> Check:
    """Judge how a service reaches another: at the address that the layout says, whatever its environment has."""
    base = _request_check(question, reply, f"{asked}, asked from inside")
    planned = hide_password(question.address).rstrip("/")
    if reply.url is None or reply.url.startswith(planned):
        return base
    return replace(
        base,
        mark=Mark.BAD,
        what=f"{question.variable} leads to {reply.url}, and the layout says {planned}: {base.what}",
        fix="corral apply --force; a pod that was not started anew keeps its environment: kubectl rollout restart",
    )


def _request_check(question: Question, reply: Reply, asked: str) -> Check:
    check = _judge_request(question, reply, asked)
    if check.mark is not Mark.OK:
        return check
    return replace(check, what=f"{check.what}, asked from inside")


def _judge_engine(question: Question, reply: Reply, asked: str) -> Check:
    check = _judge_request(question, reply, asked)
    if check.mark is Mark.OK or question.instance is None:
        return check
    return replace(
        check,
        what=f"{hide_password(question.address)}: {check.what}",
        fix="leave `instances` out of the cluster file: they follow the layout then",
    )


def _judge_models(question: Question, reply: Reply, asked: str) -> Check:
    if reply.status != 200:
        return _judge_request(question, reply, asked)
    try:
        listed: Json = json.loads(reply.body)
        names = {_complete(entry["name"]) for entry in listed["models"]}
    except (ValueError, KeyError, TypeError):
        return Check(
            subject=question.subject,
            name=question.name,
            mark=Mark.UNKNOWN,
            what="the list of models cannot be read",
            evidence=(asked, reply.body[:200]),
            fix="check that Ollama answers at this port",
        )
    missing = [model for model in question.models if _complete(model) not in names]
    evidence = (asked, f"Ollama has {', '.join(sorted(names)) or 'no models'}")
    if not missing:
        what = f"{' and '.join(question.models)} pulled"
        return Check(subject=question.subject, name=question.name, mark=Mark.OK, what=what, evidence=evidence)
    container = question.candidates[0]
    pull = f"kubectl -n {container.namespace} exec {container.pod} -c {container.name} -- ollama pull {missing[0]}"
    return Check(
        subject=question.subject,
        name=question.name,
        mark=Mark.BAD,
        what=f"not pulled: {', '.join(missing)}",
        evidence=evidence,
        fix=pull,
    )


def _complete(model: str) -> str:
    """Complete the name of a model as Ollama does: without a tag, it is the newest."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _judge_export(question: Question, reply: Reply, asked: str) -> Check:
    if reply.written is not None:
        mark, what, fix = Mark.OK, "answers and can be written to", None
    else:
        mark, what = Mark.BAD, f"a file in {question.address} cannot be written: {reply.error or reply.exit_code}"
        fix = "let the export be written to by the service's user: its options on the server, and the folder's owner"
    return Check(subject=question.subject, name=question.name, mark=mark, what=what, evidence=(asked,), fix=fix)
