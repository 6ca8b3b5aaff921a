"""The order of tasks: classes, then each queue's order, then what their owner put first, then age.

Tasks of equal class and priority form a *rank*; inside a rank each owner (each queue, where the order is fifo) has a
row. The owner with the lowest tag goes first (`fairness`); in its row go first those that it gave the highest
precedence, then the oldest: no precedence moves one owner before another. A fifo queue ranks as normal priority and
goes by age, whatever the priority and the precedence of its tasks.

Batch tasks whose deadline is near (`deadlines`) are promoted too, before all others of their row.

Promotion lifts a task over priorities and precedences, and makes its row share with the interactive ones, but not over
other owners: a night's batch is past its bound for hours, and would keep everything else out. While promoted tasks
wait, batch tasks are in one rank (*due*) where each owner is represented by their promoted tasks or else by those of
their highest priority. Interactive tasks and due ones get equal shares of the time where both want it; what due ones
got while nothing interactive waited counts, so a person waits for them only where interactive work took more than half.

Rows and ranks are heaps that are put right when looked at, because one decision starts few of many tasks: building
is O(tasks), each look O(log tasks).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from heapq import heapify, heappop, heapreplace
from itertools import islice
from operator import attrgetter

from corral.cluster.values import QueueOrder
from corral.scheduling.deadlines import DeadlineId
from corral.scheduling.fairness import Account
from corral.scheduling.values import PolicyBounds, Priority, Queue, QueuedTask, TaskClass

Entry = tuple[int, datetime, int, QueuedTask]
"""A task after what orders its row: its precedence with the sign changed, then its age."""
Head = tuple[float, datetime, int, "Row"]
_Name = tuple[bool, str]
"""Of a row: whether it is a fifo queue's, and that queue, else the owner."""
_Kind = tuple[TaskClass, Priority, int, str, str, DeadlineId | None]

_kind: Callable[[QueuedTask], _Kind] = attrgetter("task_class", "priority", "precedence", "queue", "owner", "deadline")
"""The properties that decide which row a task joins, except its age."""


_BEFORE_ALL = timedelta(days=365_000)
"""Added to the age of urgent tasks: a thousand years, so that they are before those that have waited in vain."""


def age(task: QueuedTask) -> tuple[datetime, int]:
    """Sort key: the task that became ready first; its number decides between equals."""
    return task.queued_at, task.id


def yields_to(task: QueuedTask, other: QueuedTask) -> bool:
    """Whether the owner of both gave the other task the higher precedence: nothing lets this one pass it."""
    return task.precedence < other.precedence and task.owner == other.owner


class Row:
    """One owner's tasks of a rank by precedence and age, or a fifo queue's by age; several ranks can hold the same row.

    It is a heap until a decision looks behind its first task, which few decisions do; then it is sorted, once.
    """

    __slots__ = ("_entries", "_first", "_gone", "_is_sorted")

    def __init__(self, entries: list[Entry], gone: Collection[int]) -> None:
        self._entries = entries
        self._gone = gone
        self._is_sorted = False
        self._first = 0
        heapify(entries)

    def find_first(self) -> Entry | None:
        """The first entry that is not gone."""
        entries, gone = self._entries, self._gone
        if self._is_sorted:
            while self._first < len(entries) and entries[self._first][2] in gone:
                self._first += 1
            return entries[self._first] if self._first < len(entries) else None
        while entries and entries[0][2] in gone:
            heappop(entries)
        return entries[0] if entries else None

    def __iter__(self) -> Iterator[Entry]:
        """The entries that are not gone, in order."""
        if not self._is_sorted:
            self._entries.sort()
            self._is_sorted = True
        return (entry for entry in islice(self._entries, self._first, None) if entry[2] not in self._gone)

    def tasks(self) -> Iterator[QueuedTask]:
        """The tasks that were not gone when last looked at, in no order."""
        return (task for *_, task in self._entries)


class Rank:
    """Tasks of equal class and priority, owners by their tags, each owner's tasks by precedence and age."""

    def __init__(self, account: Account, gone: Collection[int]) -> None:
        self.rows: dict[_Name, Row] = {}
        self._joining: dict[_Name, list[Entry]] = {}
        self._account = account
        self._gone = gone
        self._heads: list[Head] | None = None
        self._wanting: dict[tuple[str, str | None], list[int]] | None = None

    def join(self, name: _Name, entries: list[Entry]) -> None:
        """Let tasks join a row; it takes the list over where the row is new."""
        if name in self._joining:
            self._joining[name] += entries
        elif entries:
            self._joining[name] = entries

    def close(self) -> None:
        """Make rows of the tasks that joined."""
        self.rows = {name: Row(entries, self._gone) for name, entries in self._joining.items()}

    def find_head(self) -> QueuedTask | None:
        """The task that goes first."""
        if self._heads is None:
            self._heads = self._collect_heads()
        heads = self._heads
        while heads:
            head = heads[0]
            row = head[3]
            first = row.find_first()
            if first is None:
                heappop(heads)
                continue
            _, at, number, task = first
            current = self._account.tag(task.owner), at, number, row
            if current[:3] == head[:3]:
                return task
            heapreplace(heads, current)
        return None

    def is_wanted(self, models: Collection[tuple[str, str | None]]) -> bool:
        """Whether a task of the rank needs one of these models, given as engine and model."""
        if self._wanting is None:
            self._wanting = {}
            for row in self.rows.values():
                for task in row.tasks():
                    self._wanting.setdefault((task.engine, task.model), []).append(task.id)
        return any(self._is_wanted(self._wanting.get(model, [])) for model in models)

    def merge_upcoming(self, expected_s: Callable[[QueuedTask], float]) -> Upcoming:
        """The tasks in the order in which they would go, if each were charged what it is expected to take."""
        return Upcoming(self.rows, self._account, expected_s)

    def _collect_heads(self) -> list[Head]:
        heads: list[Head] = []
        for row in self.rows.values():
            first = row.find_first()
            if first is not None:  # another rank can have emptied a row
                _, at, number, task = first
                heads.append((self._account.tag(task.owner), at, number, row))
        heapify(heads)
        return heads

    def _is_wanted(self, tasks: list[int]) -> bool:
        """Whether one of the tasks is not gone; those at the end that are gone are dropped for good."""
        while tasks and tasks[-1] in self._gone:
            tasks.pop()
        return bool(tasks)


class Upcoming:
    """The tasks of a rank in the order in which they would go, merged from its rows as far as they were looked at.

    When the first one starts and is charged what was expected, the others stay in their order, for each row is that of
    an owner: a decision looks at the same ones again and again. A fifo queue's row is of several owners.
    """

    def __init__(self, rows: Mapping[_Name, Row], account: Account, expected_s: Callable[[QueuedTask], float]) -> None:
        self._expected_s = expected_s
        self._is_by_owner = not any(by_age for by_age, _ in rows)
        self._merged: deque[QueuedTask] = deque()
        self._heads: list[tuple[float, datetime, int, QueuedTask, Iterator[Entry]]] = []
        for row in rows.values():
            entries = iter(row)
            for _, at, number, task in entries:
                self._heads.append((account.tag(task.owner), at, number, task, entries))
                break
        heapify(self._heads)

    def __iter__(self) -> Iterator[QueuedTask]:
        yield from self._merged
        while self._heads:
            start, _, _, task, entries = self._heads[0]
            for _, at, number, later in entries:
                heapreplace(self._heads, (start + self._charge(task), at, number, later, entries))
                break
            else:
                heappop(self._heads)
            self._merged.append(task)
            yield task

    def start(self, task: QueuedTask, slot_seconds: float) -> bool:
        """Take out a task that starts and is charged so much, and return whether the others stay in their order."""
        if not (self._is_by_owner and self._merged and self._merged[0] is task and self._charge(task) == slot_seconds):
            return False
        self._merged.popleft()
        return True

    def _charge(self, task: QueuedTask) -> float:
        """Slot-seconds that the task is expected to take."""
        return self._expected_s(task) * task.gpus


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
        urgent: Mapping[DeadlineId, datetime] = {},  # never changed
    ) -> None:
        """`urgent` has the deadlines that are near, with the latest start of each (`deadlines.list_urgent`)."""
        self._account = account
        self._urgent = urgent
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
        for rank in (self._promoted, *self._interactive.values(), *self._batch.values()):
            rank.close()
        if self._promoted.rows:
            self._let_others_be_due()
        self._classes = tuple(
            [ranks[priority] for priority in sorted(ranks, reverse=True)] for ranks in (self._interactive, self._batch)
        )
        self._contested = False
        self._head: QueuedTask | None = None
        self._rank: Rank | None = None
        self._upcoming: Upcoming | None = None
        self._upcoming_of: tuple[Rank, Callable[[QueuedTask], float]] | None = None

    def _sort_in(self, tasks: Iterable[QueuedTask], fifo: set[str], promoted_before: datetime) -> None:
        kinds: dict[_Kind, list[Entry]] = {}
        for task in tasks:
            kinds.setdefault(_kind(task), []).append((-task.precedence, task.queued_at, task.id, task))
        for (task_class, priority, precedence, queue, owner, deadline), entries in kinds.items():
            by_age = queue in fifo
            name = (by_age, queue if by_age else owner)
            rank = Priority.NORMAL if by_age else priority
            if by_age and precedence:
                entries[:] = _go_by_age(entries)
            if task_class is TaskClass.INTERACTIVE:
                self._join(self._interactive, rank, name, entries)
            elif deadline is not None and deadline in self._urgent and not by_age:
                first = self._urgent[deadline] - _BEFORE_ALL
                self._promoted.join(name, [(0, first, number, task) for _, _, number, task in entries])
            else:
                promoted = [entry for entry in entries if entry[1] < promoted_before]
                self._promoted.join(name, _go_by_age(promoted) if precedence else promoted)
                if len(promoted) < len(entries):
                    others = [entry for entry in entries if entry[1] >= promoted_before]
                    self._join(self._batch, rank, name, others)

    def _join(self, ranks: dict[Priority, Rank], priority: Priority, name: _Name, entries: list[Entry]) -> None:
        """Let entries join a row of the rank of their priority."""
        if priority not in ranks:
            ranks[priority] = Rank(self._account, self._gone)
        ranks[priority].join(name, entries)

    def _let_others_be_due(self) -> None:
        """Let rows without a promoted task be due next to the promoted ones, each with its highest priority."""
        others: dict[_Name, Row] = {}
        for priority in sorted(self._batch, reverse=True):
            for name, row in self._batch[priority].rows.items():
                if name not in self._promoted.rows:
                    others.setdefault(name, row)
        if others:
            self._due.rows = {**self._promoted.rows, **others}
        else:
            self._due = self._promoted

    def find_head(self) -> QueuedTask | None:
        """The task that goes first of those not yet removed."""
        promoted, interactive = self._promoted.find_head(), self._find_first_of(self._classes[0])
        self._contested = promoted is not None and interactive is not None
        if promoted is not None and interactive is None:
            self._head, self._rank = self._due.find_head(), self._due
        elif promoted is not None and self._account.promoted_may_go:
            self._head, self._rank = promoted, self._promoted
        elif interactive is not None:
            self._head, self._rank = interactive
        else:
            self._head, self._rank = self._find_first_of(self._classes[1]) or (None, None)
        return self._head

    def remove(self, task: QueuedTask) -> None:
        """Take a task out: nothing free can run it."""
        self._gone.add(task.id)
        self._upcoming = None

    def start(self, task: QueuedTask, slot_seconds: float) -> None:
        """Take a task out because it starts in the head's turn, and charge it."""
        self._gone.add(task.id)
        if self._upcoming is not None and not self._upcoming.start(task, slot_seconds):
            self._upcoming = None
        self._account.charge(task.owner, slot_seconds)
        if self._contested:
            self._account.note_turn(slot_seconds if self._rank is self._promoted else -slot_seconds)
        elif self._rank is self._due:
            self._account.note_undisputed(slot_seconds)

    def is_wanted(self, models: Collection[tuple[str, str | None]]) -> bool:
        """Whether a task of the head's rank needs one of these models, given as engine and model."""
        return self._rank is not None and self._rank.is_wanted(models)

    def look_behind_head(self, count: int, expected_s: Callable[[QueuedTask], float]) -> Iterator[QueuedTask]:
        """The head, then the tasks of its rank behind it, as many as `count`, in the order in which they would go."""
        if self._rank is None:
            return iter(())
        if self._upcoming is None or self._upcoming_of != (self._rank, expected_s):
            self._upcoming_of = self._rank, expected_s
            self._upcoming = self._rank.merge_upcoming(expected_s)
        return islice(self._upcoming, count + 1)

    @staticmethod
    def _find_first_of(ranks: list[Rank]) -> tuple[QueuedTask, Rank] | None:
        while ranks:
            head = ranks[0].find_head()
            if head is not None:
                return head, ranks[0]
            ranks.pop(0)
        return None


def _go_by_age(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries without their precedence."""
    return [(0, at, number, task) for _, at, number, task in entries]
