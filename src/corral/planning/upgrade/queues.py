"""The queues and their pools, before and after."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, QueueSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueChange:
    """One queue that comes, goes or changes; None where it is not there."""

    name: str
    before: str | None
    after: str | None


def compare_queues(before: Cluster, after: Cluster) -> tuple[QueueChange, ...]:
    """List the queues that differ; `after` with the adaptations."""
    names = dict.fromkeys([*before.queues, *after.queues])
    changes = (
        QueueChange(name=name, before=_text(before.queues.get(name)), after=_text(after.queues.get(name)))
        for name in names
    )
    return tuple(change for change in changes if change.before != change.after)


def _text(queue: QueueSettings | None) -> str | None:
    if queue is None:
        return None
    return f"{', '.join(queue.pool) if queue.pool is not None else 'every slot'}; order {queue.order.value}"
