"""Who goes first: classes, then each queue's order, then age.

Tasks of equal class and priority form a *rank*; inside a rank each owner (each queue, where the order is fifo) has a
line by age. The owner with the lowest tag goes first (`fairness`). A fifo queue ranks as normal priority, whatever
its tasks say.

Promotion lifts a task over priorities and makes its line share with the interactive ones, but not over other owners: a
night's batch is past its bound for hours, and would keep everybody else out. While promoted tasks wait, batch tasks
stand in one rank (*due*) where each owner is represented by their promoted tasks or else by those of their highest
priority. Interactive tasks and due ones get equal shares of the time where both want it; what due ones got while
nobody interactive waited counts, so a person waits for them only where interactive work took more than half.

Lines and ranks are heaps that are put right when looked at, because one decision starts few of many tasks: building
is O(tasks), each look O(log tasks).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from heapq import heapify, heappop, heapreplace, nsmallest
from operator import attrgetter

from corral.cluster.values import QueueOrder
from corral.scheduling.fairness import Account
from corral.scheduling.values import PolicyBounds, Priority, Queue, QueuedTask, TaskClass

Entry = tuple[int, datetime, int, QueuedTask]
Head = tuple[float, datetime, int, list[Entry]]
_Name = tuple[bool, str]
"""Of a line: whether it is a fifo queue's, and that queue, else the owner."""
_Kind = tuple[TaskClass, Priority, str, str]

_kind: Callable[[QueuedTask], _Kind] = attrgetter("task_class", "priority", "queue", "owner")
"""What decides which line a task joins, except its age."""


def age(task: QueuedTask) -> tuple[datetime, int]:
    """Sort key: the task that became ready first; its number decides between equals."""
    return task.queued_at, task.id


class Rank:
    """Tasks of equal class and priority, owners by their tags, each owner's tasks by age."""

    def __init__(self, account: Account, gone: Collection[int]) -> None:
        self.lines: dict[_Name, list[Entry]] = {}
        self._account = account
        self._gone = gone
        self._heads: list[Head] | None = None

    def join(self, name: _Name, entries: list[Entry]) -> None:
        """Let tasks join a line; it takes the list over where the line is new."""
        if name in self.lines:
            self.lines[name] += entries
        elif entries:
            self.lines[name] = entries

    def head(self) -> QueuedTask | None:
        """The task that goes first."""
        if self._heads is None:
            self._heads = self._all_heads()
        heads = self._heads
        while heads:
            head = heads[0]
            line = head[3]
            while line and line[0][2] in self._gone:
                heappop(line)
            if not line:
                heappop(heads)
                continue
            current = self._head_of(line)
            if current[:3] == head[:3]:
                return line[0][3]
            heapreplace(heads, current)
        return None

    def wants(self, models: Collection[tuple[str, str | None]]) -> bool:
        """Whether a task of the rank needs one of these models, given as engine and model."""
        return any(
            (task.engine, task.model) in models and number not in self._gone
            for line in self.lines.values()
            for _, _, number, task in line
        )

    def upcoming(self, count: int, expected_s: Callable[[QueuedTask], float]) -> Iterator[QueuedTask]:
        """The next tasks in the order in which they would go, if each were charged what it is expected to take."""
        lines = [
            nsmallest(count + 1, (entry for entry in line if entry[2] not in self._gone))
            for line in self.lines.values()
        ]
        heads = [self._head_of(line) for line in lines if line]
        heapify(heads)
        for _ in range(count):
            if not heads:
                return
            start, _, _, line = heads[0]
            task = line.pop(0)[3]
            yield task
            if line:
                heapreplace(heads, (start + expected_s(task) * task.gpus, line[0][1], line[0][2], line))
            else:
                heappop(heads)

    def _all_heads(self) -> list[Head]:
        for line in self.lines.values():
            heapify(line)
        heads = [self._head_of(line) for line in self.lines.values() if line]  # another rank may have emptied a line
        heapify(heads)
        return heads

    def _head_of(self, line: list[Entry]) -> Head:
        _, at, number, task = line[0]
        return self._account.tag(task.owner), at, number, line


class Line:
    """All tasks of one decision, in order."""

    def __init__(
        self,
        tasks: Iterable[QueuedTask],
        *,
        account: Account,
        queues: Mapping[str, Queue],
        bounds: PolicyBounds,
        now: datetime,
    ) -> None:
        self._account = account
        self._gone: set[int] = set()
        self._interactive: dict[Priority, Rank] = {}
        self._batch: dict[Priority, Rank] = {}
        self._promoted = Rank(account, self._gone)
        self._due = Rank(account, self._gone)
        self._sort_in(
            tasks,
            {name for name, queue in queues.items() if queue.order is QueueOrder.FIFO},
            now - bounds.promote_after,
        )
        if self._promoted.lines:
            self._let_others_be_due()
        self._classes = tuple(
            [ranks[priority] for priority in sorted(ranks, reverse=True)] for ranks in (self._interactive, self._batch)
        )
        self._contested = False
        self._head: QueuedTask | None = None
        self._rank: Rank | None = None

    def _sort_in(self, tasks: Iterable[QueuedTask], fifo: set[str], promoted_before: datetime) -> None:
        kinds: dict[_Kind, list[Entry]] = {}
        for task in tasks:
            kinds.setdefault(_kind(task), []).append((-task.precedence, task.queued_at, task.id, task))
        for (task_class, priority, queue, owner), entries in kinds.items():
            by_age = queue in fifo
            name = (by_age, queue if by_age else owner)
            rank = Priority.NORMAL if by_age else priority
            if by_age:
                entries = _go_by_age(entries)
            if task_class is TaskClass.INTERACTIVE:
                self._join(self._interactive, rank, name, entries)
            else:
                promoted = _go_by_age([entry for entry in entries if entry[1] < promoted_before])
                self._promoted.join(name, promoted)
                if len(promoted) < len(entries):
                    others = [entry for entry in entries if entry[1] >= promoted_before]
                    self._join(self._batch, rank, name, others)

    def _join(self, ranks: dict[Priority, Rank], priority: Priority, name: _Name, entries: list[Entry]) -> None:
        """Let entries join a line of the rank of their priority."""
        if priority not in ranks:
            ranks[priority] = Rank(self._account, self._gone)
        ranks[priority].join(name, entries)

    def _let_others_be_due(self) -> None:
        """Let lines without a promoted task stand beside the promoted ones, each with its highest priority."""
        others: dict[_Name, list[Entry]] = {}
        for priority in sorted(self._batch, reverse=True):
            for name, line in self._batch[priority].lines.items():
                if name not in self._promoted.lines:
                    others.setdefault(name, line)
        if others:
            self._due.lines = {**self._promoted.lines, **others}
        else:
            self._due = self._promoted

    def head(self) -> QueuedTask | None:
        """The task that goes first of those not yet removed."""
        promoted, interactive = self._promoted.head(), self._first_of(self._classes[0])
        self._contested = promoted is not None and interactive is not None
        if promoted is not None and interactive is None:
            self._head, self._rank = self._due.head(), self._due
        elif promoted is not None and self._account.promoted_may_go:
            self._head, self._rank = promoted, self._promoted
        elif interactive is not None:
            self._head, self._rank = interactive
        else:
            self._head, self._rank = self._first_of(self._classes[1]) or (None, None)
        return self._head

    def remove(self, task: QueuedTask) -> None:
        """Take a task out: it starts, or nothing free can run it."""
        self._gone.add(task.id)

    def start(self, task: QueuedTask, slot_seconds: float) -> None:
        """Take a task out because it starts in the head's turn, and charge it."""
        self._gone.add(task.id)
        self._account.charge(task.owner, slot_seconds)
        if self._contested:
            self._account.note_turn(slot_seconds if self._rank is self._promoted else -slot_seconds)
        elif self._rank is self._due:
            self._account.note_undisputed(slot_seconds)

    def is_wanted(self, models: Collection[tuple[str, str | None]]) -> bool:
        """Whether a task of the head's rank needs one of these models, given as engine and model."""
        return self._rank is not None and self._rank.wants(models)

    def behind_head(self, count: int, expected_s: Callable[[QueuedTask], float]) -> Iterator[QueuedTask]:
        """The head, then the tasks of its rank behind it, as many as `count`, in the order in which they would go."""
        return iter(()) if self._rank is None else self._rank.upcoming(count + 1, expected_s)

    @staticmethod
    def _first_of(ranks: list[Rank]) -> tuple[QueuedTask, Rank] | None:
        while ranks:
            head = ranks[0].head()
            if head is not None:
                return head, ranks[0]
            ranks.pop(0)
        return None


def _go_by_age(entries: list[Entry]) -> list[Entry]:
    return [(0, at, number, task) for _, at, number, task in entries]
