"""Alerts on Corral itself: a server that answers, one that leads, its database."""

from __future__ import annotations

from corral.rendering.prometheus.alerts.values import Alert, Severity
from corral.rendering.prometheus.jobs import CORRAL

ERROR_SHARE = 0.05

ALERTS = (
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
            "Servers answer, and none of them dispatches: another process may hold the lock in the database, or the "
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
            "full? The database's own log tells why it stopped."
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
