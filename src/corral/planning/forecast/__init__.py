"""Forecasts of an hour, a night or a batch: played forward with the policy that the queue runs on.

Belongs here: where a workload runs, its night as a trace, what can go wrong in it, and the figures that come of it.
Does not belong here: reading files or the queue, printing, any choice of what runs where next.
May import: `corral.planning.placement`, `corral.scheduling`, `corral.hardware`, `corral.cluster`, `corral.charts`,
`corral.hours`, `corral.figures`, `corral.units`, `corral.errors`.
"""

from corral.planning.forecast.nights import forecast_workload
from corral.planning.forecast.values import Forecast, Scenario, WorkloadForecast

__all__ = ["Forecast", "Scenario", "WorkloadForecast", "forecast_workload"]
