"""Alerts on Corral's server and its tasks: a server that leads, its database, queues that move, engines that work."""

from __future__ import annotations

from corral.rendering.prometheus.alerts.values import Alert, Severity
from corral.rendering.prometheus.jobs import CORRAL
from corral.rendering.prometheus.recording import ENDED, FAILED, GPU_SLOTS_FREE, QUEUED, RUNNING, SLOTS_FREE

FAILED_SHARE = 0.2
FAILED_AT_LEAST = 5
"""Fewer are reported by the tasks themselves."""
ALL_SHARE = 0.9

_WAITING = f"{QUEUED} > 0"
_EXPLAIN = "`corral tasks list --state queued`, then `corral tasks explain ID` says why it does not start."

TASK_ALERTS = (
    Alert(
        name="QueueStuck",
        expression=f"({_WAITING}) unless on (queue) ({RUNNING} > 0) and on (queue) ({SLOTS_FREE} > 0)",
        lasting="15m",
        severity=Severity.CRITICAL,
        summary="{{ $value }} tasks wait in {{ $labels.queue }}, none runs, and slots are free",
        description=(
            f"{_EXPLAIN} A paused queue shows in `corral queues list`, a paused slot in `corral slots list`; a task "
            "can also ask for more memory than any free slot has."
        ),
        reason="A free slot takes a task within a second; a quarter of an hour outlasts the longest backoff (5 min).",
    ),
    Alert(
        name="SlotIdleWhileTasksWait",
        expression=f"({_WAITING}) and on (queue) ({RUNNING} > 0) and on (queue) ({GPU_SLOTS_FREE} > 0)",
        lasting="30m",
        severity=Severity.WARNING,
        summary="{{ $value }} tasks wait in {{ $labels.queue }} while a GPU of its pool is free",
        description=(
            f"{_EXPLAIN} Often the tasks fit only on another GPU, or their engine has no instance on the free one: "
            "`corral fit MODEL` lists the GPUs that hold it."
        ),
        reason="Half an hour without work on a GPU is a night's loss in the making; processors' slots do not count.",
    ),
    Alert(
        name="TasksFail",
        expression=f"{FAILED} / on (engine) {ENDED} > {FAILED_SHARE} and on (engine) {FAILED} >= {FAILED_AT_LEAST}",
        lasting="5m",
        severity=Severity.WARNING,
        summary="{{ $value | humanizePercentage }} of the {{ $labels.engine }} tasks of the last hour failed",
        description=(
            "`corral tasks list --state failed` and `corral tasks show ID` print the error with its hint; "
            "`corral tasks retry ID` once it is fixed."
        ),
        reason="One in five, and at least five: less is an input, not an installation.",
    ),
    Alert(
        name="EngineFails",
        expression=f"{FAILED} / on (engine) {ENDED} > {ALL_SHARE} and on (engine) {FAILED} >= {FAILED_AT_LEAST}",
        lasting="15m",
        severity=Severity.CRITICAL,
        summary="nearly every {{ $labels.engine }} task fails",
        description=(
            "The engine itself is broken: its server, its model files or its driver. `corral doctor` looks at each; "
            "`corral tasks logs ID` of a failed task has its last words. Pause its queue before retries are spent: "
            "`corral queues pause NAME`."
        ),
        reason="Nine in ten of an hour: no input is that bad.",
    ),
    Alert(
        name="SlotGone",
        expression=(
            "max by (device) (max_over_time(corral_slot_busy[1h])) "
            "unless on (device) max by (device) (corral_slot_busy) "
            "and on () (max(corral_dispatcher_leading) == 1)"
        ),
        lasting="5m",
        severity=Severity.WARNING,
        summary="the device {{ $labels.device }} was there within the hour and is not there now",
        description=(
            "Its GPU, its node or its instance is gone, and what ran there is tried elsewhere. `corral slots list`, "
            "`corral doctor`; silent again after an hour, or once it is back."
        ),
        reason="Compares with the last hour, so that a slot which was removed on purpose is reported only once.",
    ),
    Alert(
        name="SlotClosed",
        expression="max by (device) (corral_device_closed) == 1",
        lasting="1m",
        severity=Severity.CRITICAL,
        summary="Corral gives no tasks to {{ $labels.device }}: its GPU is lost or has errors",
        description=(
            "`corral slots list` has the reason: an XID, memory errors, heat, the power brake, or a GPU that left the "
            "bus. What ran there is tried elsewhere. It opens by itself when that is over; after a look at the GPU, "
            "`corral slots pause {{ $labels.device }}` and `corral slots resume {{ $labels.device }}` open it at once."
        ),
        reason="A minute outlasts a suspend of the machine, after which its slots open at the next look.",
    ),
)


ERROR_SHARE = 0.05

SERVER_ALERTS = (
    Alert(
        name="CorralServerDown",
        expression=f'up{{job="{CORRAL}"}} == 0 or absent(up{{job="{CORRAL}"}})',
        lasting="2m",
        severity=Severity.CRITICAL,
        summary="Corral's server does not answer",
        description=(
            "Nothing new starts while no server runs; the queue is kept. `corral doctor` where it runs, and its log: "
            "`journalctl -u corral` or `kubectl logs`. An answer of 401 to Prometheus means that its token is gone: "
            "`corral tokens list`."
        ),
        reason="Two minutes are longer than a restart with its database.",
    ),
    Alert(
        name="CorralNobodyLeads",
        expression="max(corral_dispatcher_leading) == 0",
        lasting="2m",
        severity=Severity.CRITICAL,
        summary="no Corral server leads, so no task starts",
        description=(
            "Servers answer, and none of them dispatches: another process can hold the lock in the database, or the "
            "database refuses. `corral doctor`; then restart one server and read its log."
        ),
        reason="Another server takes over within seconds; two minutes are a fault.",
    ),
    Alert(
        name="CorralDatabaseDown",
        expression="corral_database_up == 0",
        lasting="1m",
        severity=Severity.CRITICAL,
        summary="PostgreSQL does not answer Corral's server {{ $labels.instance }}",
        description=(
            "Tasks cannot be submitted, and what ends now is written when it is back. `corral doctor`; is its volume "
            "full? The database's own log has the reason."
        ),
        reason="A minute is four scrapes: longer than a restart of PostgreSQL after a clean stop.",
    ),
    Alert(
        name="CorralRequestsFail",
        expression=(
            'sum(rate(corral_http_requests_total{status=~"5.."}[5m])) '
            f"/ sum(rate(corral_http_requests_total[5m])) > {ERROR_SHARE}"
        ),
        lasting="5m",
        severity=Severity.WARNING,
        summary="{{ $value | humanizePercentage }} of the requests to Corral fail",
        description="The server's log has the reason of each, by its route. `corral doctor` looks at what it needs.",
        reason="A server without faults answers no 5xx; one in twenty leaves room for a database that restarts.",
    ),
)
