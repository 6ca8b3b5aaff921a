"""The reference of metrics, from the registry that the server fills."""

from __future__ import annotations

from typing import Any

from pieces import code, page, sentence, table

from corral.server.metrics import Metrics


def collectors() -> list[Any]:  # Any: prometheus_client keeps what is needed here to itself
    """Return every metric, in the order of their definition."""
    registry: Any = vars(Metrics())["_registry"]  # the server hands out text only, which lacks metrics without a value
    return list(registry._collector_to_names)


def render() -> str:
    """Make the page."""
    rows = [
        (code(_shown(metric)), metric._type, ", ".join(map(code, metric._labelnames)), sentence(metric._documentation))
        for metric in collectors()
    ]
    return page("Metrics", _OPENING, table(("metric", "type", "labels", "meaning"), rows), _buckets())


_OPENING = """`GET /metrics` gives these in Prometheus's text format. It needs the role viewer; from loopback no token.

```yaml
scrape_configs:
  - job_name: corral
    static_configs: [{targets: ["127.0.0.1:7433"]}]
```

Values are read at the scrape. Ended tasks are counted by the leading server alone, from its start on, so a sum over
servers counts each once. Labels are bounded: queues and engines come from the cluster file, slots from the machines,
routes from the code. Counters and histograms come with a `_created` time, which scrapers can ignore."""


def _shown(metric: Any) -> str:
    """Return the name as it is scraped: counters end in `_total`."""
    return f"{metric._name}_total" if metric._type == "counter" else str(metric._name)


def _buckets() -> str:
    histograms = [metric for metric in collectors() if metric._type == "histogram"]
    return "\n\n".join(
        f"`{metric._name}` has buckets up to {', '.join(f'{bound:g}' for bound in metric._upper_bounds[:-1])} seconds, "
        "with the suffixes `_bucket`, `_sum` and `_count`."
        for metric in histograms
    )
