"""What would run where, what a change of hardware would bring, and what to do for it. Nothing is ever changed here.

Belongs here: placement, comparison of two cluster files, the checklist of a migration, their reports.
Does not belong here: reading files or machines, running anything, time, randomness.
May import: `corral.rendering` (what is compared is what would be written), `corral.scheduling` (forecasts are made with
the policy itself), `corral.hardware`, `corral.cluster`, `corral.charts`, `corral.work`, `corral.figures`,
`corral.hours`, `corral.engine_kinds`, `corral.units`, `corral.errors`.
"""
