"""Watts at the wall: what a supply takes in for what it gives, by its 80 PLUS mark and its load.

A mark promises a least efficiency at 20, 50 and 100 % of the rating (Titanium at 10 %, too), so what is worked out is
the most that the wall gives. Between two loads the line is straight; below the lowest, where nothing is promised, the
lowest counts. Source: CLEAResult, "80 PLUS certified power supplies and manufacturers", the tables for 115 V internal
non-redundant and 230 V EU internal non-redundant supplies.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from corral.cluster.values import Node
from corral.figures import Figure, Origin, computed

_Curve = Mapping[int, float]  # efficiency in % by load in %
CURVES_115_V: Mapping[str, _Curve] = {
    "white": {20: 80, 50: 80, 100: 80},
    "bronze": {20: 82, 50: 85, 100: 82},
    "silver": {20: 85, 50: 88, 100: 85},
    "gold": {20: 87, 50: 90, 100: 87},
    "platinum": {20: 90, 50: 92, 100: 89},
    "titanium": {10: 90, 20: 92, 50: 94, 100: 90},
}
CURVES_230_V: Mapping[str, _Curve] = {
    "white": {20: 82, 50: 85, 100: 82},
    "bronze": {20: 85, 50: 88, 100: 85},
    "silver": {20: 87, 50: 90, 100: 87},
    "gold": {20: 90, 50: 92, 100: 89},
    "platinum": {20: 92, 50: 94, 100: 90},
    "titanium": {10: 90, 20: 94, 50: 96, 100: 94},
}
_LEAST = 80.0
"""% that any supply with an 80 PLUS mark has at each of the loads."""
_HIGH_LINE_V = 200


def find_efficiency(node: Node, output_w: float) -> Figure:
    """Find the least efficiency of a node's supply at an output, in %; assumed where the file states no mark."""
    mark = node.psu_efficiency
    if mark is None:
        return Figure(
            value=_LEAST,
            unit="%",
            origin=Origin.ASSUMED,
            source="not stated: the least of any supply with an 80 PLUS mark (CLEAResult); set `psu.efficiency`",
        )
    is_high = node.line is not None and node.line.volts >= _HIGH_LINE_V
    curve = (CURVES_230_V if is_high else CURVES_115_V)[mark]
    line = "230 V" if is_high else "115 V"
    if node.psu_w is None:
        return computed(min(curve.values()), "%", f"the least of 80 PLUS {mark} at {line}: the rating is unknown")
    load = 100 * output_w / node.psu_w
    return computed(round(interpolate(curve, load), 1), "%", f"80 PLUS {mark} at {load:.0f} % of the rating, {line}")


def interpolate(curve: _Curve, load: float) -> float:
    """Read a curve between its loads; at its ends beyond them."""
    loads = sorted(curve)
    if load <= loads[0]:
        return curve[loads[0]]
    for lower, upper in pairwise(loads):
        if load <= upper:
            return curve[lower] + (curve[upper] - curve[lower]) * (load - lower) / (upper - lower)
    return curve[loads[-1]]
