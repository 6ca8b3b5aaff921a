"""The load test: watches GPUs under load, writes down what it sees as it sees it, and judges it against limits.

Belongs here: the recording of samples, load commands and their end, the verdict, the charts of it.
Does not belong here: asking the driver (`corral.telemetry.sampling`), printing.
May import: `corral.telemetry.sampling`, `corral.telemetry.nvml`, `corral.charts`, `corral.figures`, `corral.units`,
`corral.errors`.
"""
