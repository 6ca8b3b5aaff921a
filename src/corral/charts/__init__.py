"""Charts as SVG text, for reports that stand alone: no script, no address, the same bytes for the same values.

Belongs here: bars, lines, Gantt charts of plain numbers and names.
Does not belong here: what the numbers mean; reading or writing anything.
May import: `corral.units`.
"""

from corral.charts.gantt import GanttBar, GanttRow, Mark, draw_gantt
from corral.charts.plots import draw_bars, draw_lines

__all__ = ["GanttBar", "GanttRow", "Mark", "draw_bars", "draw_gantt", "draw_lines"]
