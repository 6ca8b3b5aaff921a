"""The metrics for Prometheus. Values are read at the scrape, with two bounded queries; nothing runs in between.

Ended tasks are counted from the change log, by the leading server alone, so that a sum over servers counts each once.
Labels are bounded: alarms have fixed names, queues and engines come from the cluster file, slots and devices from the
machines, routes from the code.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Rising

from corral.server.services import Services
from corral.tasks.store import story
from corral.tasks.store.pool import CONNECTION_LOST
from corral.tasks.store.reading import count_states, list_endings

_BUCKETS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
"""From a spoken line (0.1 s) to a training run (hours)."""
_WAIT_BUCKETS_S = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""From a guest that starts at once (1 ms) to the waits that a cluster file can allow."""
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class _Total:
    """A counter of the library that follows totals which others count."""

    def __init__(self, counter: Rising) -> None:
        self._counter = counter
        self._known: dict[str, float] = {}

    def raise_to(self, total: float, label: str) -> None:
        """Raise it to a total; one below what is known is that of a new beginning."""
        known = self._known.get(label, 0.0)
        self._counter.labels(label).inc(total - known if total >= known else total)
        self._known[label] = total


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._tasks = Gauge("corral_tasks_open", "Tasks that have not ended.", ["queue", "state"], registry=registry)
        self._ended = Rising(
            "corral_tasks_ended", "Tasks that ended.", ["engine", "class", "outcome"], registry=registry
        )
        self._waits = Histogram(
            "corral_task_wait_seconds",
            "From when a task could start to the start of its last attempt, of tasks that ended.",
            ["class"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._lost = Rising(
            "corral_attempts_lost",
            "Attempts of ended tasks that ended without an answer: a server was killed, a slot was taken away.",
            ["engine"],
            registry=registry,
        )
        self._durations = Histogram(
            "corral_task_duration_seconds",
            "From the start of the last attempt to the end, of tasks that succeeded.",
            ["engine"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._busy = Gauge(
            "corral_slot_busy", "1 while a task or a guest has the slot.", ["slot", "device"], registry=registry
        )
        self._closed = Gauge(
            "corral_device_closed",
            "1 while a GPU gets no tasks because it is lost or has errors.",
            ["device"],
            registry=registry,
        )
        self._lanes = Gauge(
            "corral_slot_lanes", "How many tasks of one model a slot does at a time.", ["slot"], registry=registry
        )
        self._lanes_busy = Gauge(
            "corral_slot_lanes_busy", "How many lanes of a slot tasks and guests have.", ["slot"], registry=registry
        )
        self._loads = _Total(
            Rising(
                "corral_model_loads",
                "Models that a slot was asked for and did not have in memory.",
                ["slot"],
                registry=registry,
            )
        )
        self._evictions = _Total(
            Rising(
                "corral_model_evictions",
                "How often a slot gave up the memory of its models.",
                ["slot"],
                registry=registry,
            )
        )
        self._joules = _Total(
            Rising(
                "corral_gpu_energy_joules",
                "The energy that a GPU of this machine drew, where it was measured.",
                ["device"],
                registry=registry,
            )
        )
        self._guests = Gauge("corral_guests", "Requests of doors, by what they do now.", ["state"], registry=registry)
        self._guest_waits = Histogram(
            "corral_guest_wait_seconds",
            "How long requests of doors waited for their slot.",
            ["engine"],
            buckets=_WAIT_BUCKETS_S,
            registry=registry,
        )
        self._refused = Rising(
            "corral_guests_refused", "Requests of doors that got no slot, by error.", ["code"], registry=registry
        )
        self._preempted = Rising(
            "corral_tasks_preempted", "Tasks that were interrupted for a request of a door.", registry=registry
        )
        self._elsewhere = Rising(
            "corral_cloud_requests",
            "Requests of doors that a provider elsewhere served, since no slot here could.",
            ["provider"],
            registry=registry,
        )
        self._limits = Gauge(
            "corral_gpu_power_limit_watts",
            "The limit that the cluster file sets on a GPU now, by the hour where it has power hours.",
            ["node", "gpu"],
            registry=registry,
        )
        self._leading = Gauge("corral_dispatcher_leading", "1 while this server's dispatcher acts.", registry=registry)
        self._database = Gauge("corral_database_up", "1 when PostgreSQL answered this scrape.", registry=registry)
        self._alarms = Gauge("corral_alarm", "1 while this does not work.", ["alarm"], registry=registry)
        self._requests = Rising(
            "corral_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._in_progress = Gauge(
            "corral_http_requests_in_progress", "Requests being answered, open streams too.", registry=registry
        )
        self._sockets = Rising(
            "corral_websockets",
            "Websockets that ended, by whether they were accepted: conversations, and clients of ComfyUI.",
            ["route", "outcome"],
            registry=registry,
        )
        self._open_sockets = Gauge("corral_websockets_open", "Websockets that are open.", registry=registry)
        self._counted_to: int | None = None
        self._scraping = asyncio.Lock()
        self._open_requests = 0
        self._answered: Counter[tuple[str, str, int]] = Counter()
        """Requests by method, route and status since the last scrape; the library's counters cost ten times as much."""

    def begin_request(self) -> None:
        """Count a request that arrived."""
        self._open_requests += 1

    def end_request(self, method: str, route: str, status: int) -> None:
        """Count an answered request by its route's template."""
        self._open_requests -= 1
        self._answered[method if method in _METHODS else "other", route, status] += 1

    def begin_websocket(self) -> None:
        """Count a websocket that is accepted."""
        self._open_sockets.inc()

    def end_websocket(self, route: str, *, accepted: bool) -> None:
        """Count a websocket that ends, by its route's template; one that was refused was not begun."""
        if accepted:
            self._open_sockets.dec()
        self._sockets.labels(route, "accepted" if accepted else "refused").inc()

    def count_cloud(self, provider: str) -> None:
        """Count a request that a provider elsewhere served; the cluster file names it."""
        self._elsewhere.labels(provider).inc()

    async def scrape(self, services: Services) -> bytes:
        """Return everything in Prometheus's text format; what the database would say is left out while it is away."""
        async with self._scraping:
            try:
                await self._read_database(services)
                self._database.set(1)
            except CONNECTION_LOST:
                self._database.set(0)
            self._leading.set(services.board.leading)
            self._count_requests()
            self._count_guests(services)
            self._alarms.clear()
            for alarm in services.alarms.raised:
                self._alarms.labels(alarm.name).set(1)
            self._show_slots(services)
            for device, joules in services.joules.items():
                self._joules.raise_to(joules, device)
            self._limits.clear()
            now = datetime.now(UTC)
            for node in services.cluster.nodes:
                for gpu in node.gpus or ():
                    limit_w = gpu.find_power_limit(now)
                    if limit_w is not None:
                        self._limits.labels(node.name, str(gpu.index)).set(limit_w)
            return generate_latest(self._registry)

    def _show_slots(self, services: Services) -> None:
        for gauge in (self._busy, self._closed, self._lanes, self._lanes_busy):
            gauge.clear()
        for place in services.board.places:
            self._closed.labels(place.device.name).set(place.device_problem is not None)
            for slot in place.slots:
                busy = sum(work.engine == slot.spec.engine for work in place.facts.running)
                self._busy.labels(slot.spec.id, slot.spec.device).set(busy > 0)
                self._lanes.labels(slot.spec.id).set(slot.lanes)
                self._lanes_busy.labels(slot.spec.id).set(busy)
                self._loads.raise_to(slot.loads, slot.spec.id)
                self._evictions.raise_to(slot.evictions, slot.spec.id)

    def _count_requests(self) -> None:
        self._in_progress.set(self._open_requests)
        answered, self._answered = self._answered, Counter()
        for (method, route, status), count in answered.items():
            self._requests.labels(method, route, str(status)).inc(count)

    def _count_guests(self, services: Services) -> None:
        guests = () if services.guests is None else services.guests.list_guests()
        waiting = sum(guest.slot is None for guest in guests)
        self._guests.labels("waiting").set(waiting)
        self._guests.labels("running").set(len(guests) - waiting)
        news = services.guest_counts.take_news()
        for engine, seconds in news.waits:
            self._guest_waits.labels(engine).observe(seconds)
        for code, count in news.refused.items():
            self._refused.labels(code).inc(count)
        self._preempted.inc(news.preempted)

    async def _read_database(self, services: Services) -> None:
        counts = await count_states(services.pool)
        self._tasks.clear()
        for queue, states in counts.items():
            for state, count in states.items():
                self._tasks.labels(queue, state.value).set(count)
        if self._counted_to is None or not services.board.leading:
            self._counted_to = await story.read_horizon(services.pool)
            return
        for ending in await list_endings(services.pool, self._counted_to):
            self._counted_to = ending.event
            self._ended.labels(ending.engine, ending.task_class, ending.outcome).inc()
            self._lost.labels(ending.engine).inc(ending.losses)
            if ending.waited_s is not None:
                self._waits.labels(ending.task_class).observe(max(0.0, ending.waited_s))
            if ending.duration_s is not None:
                self._durations.labels(ending.engine).observe(ending.duration_s)
